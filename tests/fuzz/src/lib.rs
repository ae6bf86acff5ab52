//! Arbitrary bytes into everything that reads bytes from outside: one function for each door.
//!
//! No input may panic, break an invariant that the function asserts, or make one allocation of more than
//! [`ALLOCATION_MAX`] bytes. `./run` hunts with libFuzzer, guided by coverage; `cargo test -p hustings-fuzz` runs the same
//! functions over the committed seeds and over their simplest mutations, on any toolchain.

mod allocations;
mod configuration;
mod cursor;
mod decode_then_step;
mod journal_reader;
mod slot_recovery;
mod sources;
mod story_parser;
mod wire_decode;

/// Where `address.rs` looks for its error: see `sources`.
pub(crate) use hustings::transport;

pub use allocations::{ALLOCATION_MAX, guarded};

/// A door, and what is asserted behind it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of the directory of its seeds.
    pub name: &'static str,
    check: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "wire_decode", check: wire_decode::check },
    Target { name: "decode_then_step", check: decode_then_step::check },
    Target { name: "slot_recovery", check: slot_recovery::check },
    Target { name: "journal_reader", check: journal_reader::check },
    Target { name: "story_parser", check: story_parser::check },
    Target { name: "configuration", check: configuration::check },
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|target| target.name == name).copied()
}

impl Target {
    /// Takes one input.
    ///
    /// # Panics
    /// If something did not hold: a find.
    pub fn run(&self, data: &[u8]) {
        guarded(|| (self.check)(data));
    }
}
