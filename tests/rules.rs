//! The rules of this library beyond the paper: one test each for what a single node can show.
//!
//! The letters are those of the properties: S safety, L log, A adoption, D disks, E exclusiveness.

#[path = "support/bench.rs"]
mod bench;

#[path = "rules/contention.rs"]
mod contention;
#[path = "rules/disks.rs"]
mod disks;
#[path = "rules/durability.rs"]
mod durability;
#[path = "rules/learning.rs"]
mod learning;
#[path = "rules/lease.rs"]
mod lease;
#[path = "rules/membership.rs"]
mod membership;
#[path = "rules/office.rs"]
mod office;
#[path = "rules/promises.rs"]
mod promises;
#[path = "rules/strangers.rs"]
mod strangers;
