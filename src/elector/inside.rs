//! Whose work is being polled: a call from inside it must not wait for its end, which would wait for the call.

use std::cell::RefCell;
use std::sync::Arc;

use crate::driver::{Handle, Tenure};

thread_local! {
    /// The works that this thread is polling, the innermost last.
    static WORKS: RefCell<Vec<Arc<Tenure>>> = const { RefCell::new(Vec::new()) };
}

/// This thread polls the work of this tenure until it is dropped.
pub(super) struct Inside(());

impl Inside {
    pub(super) fn enter(tenure: &Arc<Tenure>) -> Inside {
        WORKS.with_borrow_mut(|works| works.push(tenure.clone()));
        Inside(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        WORKS.with_borrow_mut(Vec::pop);
    }
}

/// The work of this elector that the caller is part of. What it spawned is not.
pub(super) fn of(handle: &Handle) -> Option<Arc<Tenure>> {
    found(|work| work.is_of(handle))
}

/// The work that the caller is part of, if it is of the same office.
pub(super) fn beside(tenure: &Tenure) -> Option<Arc<Tenure>> {
    found(|work| Arc::ptr_eq(&work.office, &tenure.office))
}

fn found(is_it: impl Fn(&Tenure) -> bool) -> Option<Arc<Tenure>> {
    WORKS.with_borrow(|works| works.iter().rev().find(|work| is_it(work)).cloned())
}
