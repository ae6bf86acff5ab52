//! No input may cost more memory than it is worth: the largest single allocation is watched.

#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The largest allocation that an input may cause, in bytes.
pub const ALLOCATION_MAX: usize = 1 << 20;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work`, and panics if it allocated more than [`ALLOCATION_MAX`] bytes at once. Other threads are not watched.
///
/// # Panics
/// If it did, or if `work` does.
pub fn guarded<T>(work: impl FnOnce() -> T) -> T {
    LARGEST.set(0);
    let result = work();
    let largest = LARGEST.get();
    assert!(largest <= ALLOCATION_MAX, "one allocation of {largest} bytes");
    result
}

struct Watched;

#[global_allocator]
static WATCHED: Watched = Watched;

impl Watched {
    fn note(size: usize) {
        // A thread that ends may allocate when its locals are gone; nobody asks about it any more.
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Watched::note(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Watched::note(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Watched::note(size);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_permitted_is_permitted() {
        guarded(|| std::hint::black_box(Vec::<u8>::with_capacity(ALLOCATION_MAX)));
    }

    #[test]
    #[should_panic(expected = "one allocation of 1048577 bytes")]
    fn a_byte_more_is_a_find() {
        guarded(|| std::hint::black_box(Vec::<u8>::with_capacity(ALLOCATION_MAX + 1)));
    }

    #[test]
    #[should_panic(expected = "one allocation of 2097152 bytes")]
    fn growing_counts_too() {
        guarded(|| {
            let mut bytes = vec![0_u8; 16];
            bytes.reserve_exact(2 * ALLOCATION_MAX - 16);
            std::hint::black_box(bytes);
        });
    }
}
