//! Raft leader election with the **leader election trace** built in.
//!
//! A service with a few replicas embeds this library. At any moment it knows which replica leads, may act as leader only
//! while that is provable, and can show afterwards who asked whom, who voted how, *why*, and how long each phase took.
//!
//! It is leader election, and nothing more: no log, no replicated state machine, no service discovery. The log of Raft is
//! one record long here ([`record::Record`]): who the members are, and a small value that the leader proclaimed.
//!
//! # The floors
//!
//! Imports go downward only; a test holds every file to it.
//!
//! | floor | modules | what they are |
//! |---|---|---|
//! | words and pure parts | [`types`], [`config`], [`quorum`], [`message`], [`event`], [`record`], [`promise`] | newtypes, numbers, what nodes say, what happened, what survives, who owes what to whom |
//! | the machine | [`node`] | [`node::Node::step`]: `(state, now, input) -> output`, one file per role |
//! | *the purity line* | | above it there is no clock, no I/O, no `async`, no chance but a seeded generator |
//! | contracts at the edge | [`clock`], [`wire`], [`storage`], [`transport`], [`observer`] | traits with a public contract suite each, and what is shipped |
//! | users of the machine | [`driver`], [`elector`], `telemetry`, `sim` | the loop, what applications hold, spans, the simulator |
//!
//! # The loop
//!
//! What the [`driver`] does for each input, and what you would write to run the machine yourself:
//!
//! ```
//! use hustings::config::Config;
//! use hustings::node::{Input, Node, Output};
//! use hustings::record::HardState;
//! use hustings::types::{ClusterId, DiskId, Incarnation, NodeId, Time};
//!
//! let me = NodeId::new("solo")?;
//! let config = Config::new(ClusterId::new("demo")?, me.clone(), vec![me.clone()]);
//! let mut state = HardState::new(DiskId(1), config.timing.promise_max);
//! state.incarnation = Incarnation(1); // raised durably by `storage::recover`
//!
//! let (mut now, mut out) = (Time(1), Output::default());
//! let mut node = Node::new(config, state, 42, now, &mut out);
//! while node.leader() != Some(&me) {
//!     if let Some(persist) = out.persist.take() {
//!         // Write it off the loop; here the disk is instant.
//!         node.step(now, Input::Persisted(persist.write), &mut out);
//!         continue;
//!     }
//!     // Then show `out.events` to the observers, send `out.requests` and `out.replies`, and wait.
//!     out.clear();
//!     now = now.max(node.deadline());
//!     node.step(now, Input::Tick, &mut out);
//! }
//! # Ok::<(), hustings::types::NameError>(())
//! ```
//!
//! # What is deliberately absent
//!
//! - **Invariant:** below the purity line no clock is read, nothing blocks, and no input makes [`node::Node::step`] panic.
//! - **Invariant:** no bool travels as a verdict: every refusal has a [`message::Reason`], on the wire and in the trace.
//! - **Invariant:** nothing that promises leaves before it is durable, and the core decides that, not the driver.
//! - **Invariant:** the events of [`event`] are the only source of spans, logs, the journal and `explain`, so that they
//!   cannot disagree.
//! - **Invariant:** pre-vote, check-quorum and leases are always on; they are not options.
//! - **Invariant:** no type of another crate is part of the public API, but for one module per integration.
//!
//! The code cites rules by letter and number (S3, E5, D2): [`properties`] says what each is, its source, and what checks it.
//!
//! Comments cite sources where a rule bites: the paper is *In Search of an Understandable Consensus Algorithm*
//! (Ongaro, Ousterhout, extended version), the dissertation is *Consensus: Bridging Theory and Practice* (Ongaro).

// Floor 0/1: words and pure parts.
pub mod config;
pub mod event;
pub mod message;
#[cfg(hustings_mutants)]
pub mod mutant;
#[cfg(not(hustings_mutants))]
mod mutant;
pub mod promise;
pub mod quorum;
pub mod record;
pub mod types;
// Floor 2: the machine.
pub mod node;
// ---------------------------------------- the purity line ----------------------------------------
// Floor 3: contracts at the edge.
pub mod clock;
pub mod observer;
pub mod storage;
pub mod transport;
pub mod wire;
// Floor 4: users of the machine.
pub mod driver;
pub mod elector;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "telemetry")]
pub mod telemetry;

#[cfg(doc)]
#[doc = include_str!("properties.md")]
pub mod properties {}

/// The README's code compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
