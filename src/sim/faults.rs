//! What goes wrong by chance, apart from links and disks.

use std::time::Duration;

/// What may go wrong inside a step or on the way, apart from links and disks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Faults {
    /// How probable it is that a process dies while it carries out what a step asked of it.
    pub crash_in_step: f64,
    /// How long a process that died in this way stays away.
    pub absence: (Duration, Duration),
    /// How probable it is that a reply reaches the asker after it gave up, or its next incarnation.
    pub stray_reply: f64,
    /// How probable it is that a message is cut short on its way.
    pub truncate: f64,
    /// How probable it is that bits of a message turn on its way. Links have checksums: what a receiver could still read
    /// is lost in this way, and what it cannot read is given to it to refuse.
    pub corrupt: f64,
    /// How probable it is that a request arrives a second time, much later: from an earlier term, to a later life.
    pub replay: f64,
    /// How much later it arrives at most.
    pub replay_max: Duration,
}
