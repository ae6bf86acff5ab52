//! The driver's helpers: each a loop over a channel, on a thread of its own.
//!
//! A helper is written as a future that waits for nothing but its channel, so that a simulation can run the same body as
//! a task of its one thread.

use std::io;
use std::thread;

use crate::clock::Clock;

/// Starts a helper of the node whose clock this is.
pub(super) fn spawn(clock: &Clock, name: &str, body: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    if clock.is_simulated() {
        drop(tokio::spawn(body));
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name(name.into()).spawn(move || runtime.block_on(body)).map(drop)
}

/// Says something that may find its listener blocked: nobody waits for it.
pub(super) fn say(clock: &Clock, what: impl FnOnce() + Send + 'static) {
    if clock.is_simulated() {
        return what();
    }
    // Where no thread is to be had there is nobody left to tell.
    drop(thread::Builder::new().name("hustings-word".into()).spawn(what));
}
