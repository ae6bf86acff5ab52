//! The normative sentences of Raft that concern elections, one test each, in their order.
//!
//! The section and the sentence, restated, stand above each test. *Paper* is "In Search of an Understandable Consensus
//! Algorithm (extended version)", *dissertation* is Ongaro's "Consensus: Bridging Theory and Practice". Where this
//! library is stricter (a pre-vote before every election, a promise for every heartbeat) the test says so.

#[path = "support/bench.rs"]
mod bench;

#[path = "paper/disruption.rs"]
mod disruption;
#[path = "paper/elections.rs"]
mod elections;
#[path = "paper/pre_vote.rs"]
mod pre_vote;
#[path = "paper/reads.rs"]
mod reads;
#[path = "paper/restriction.rs"]
mod restriction;
#[path = "paper/terms.rs"]
mod terms;
