//! Whether an expectation is met, and what was seen if not.

use super::command::{Compare, Expectation, Fact, Told};
use crate::event::{Event, EventKind, Role};
use crate::message::Verdict;
use crate::sim::Cluster;

/// The events of a run with their texts, which are made once.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<String>);

impl Texts {
    /// Takes note of what has happened since.
    pub(super) fn catch_up(&mut self, events: &[Event]) {
        let new = events.iter().skip(self.0.len()).map(|event| event.to_string());
        self.0.extend(new);
    }
}

/// Judges `expectation` by the state of the cluster and the events from number `from` on.
///
/// # Errors
/// It is not met: what was seen.
pub(super) fn judge(expectation: &Expectation, cluster: &Cluster, texts: &Texts, from: usize) -> Result<(), String> {
    let court = Court { cluster, events: &cluster.events()[from..], texts: &texts.0[from..] };
    let (holds, seen) = court.judge(&expectation.fact);
    if holds != expectation.not { Ok(()) } else { Err(seen) }
}

struct Court<'a> {
    cluster: &'a Cluster,
    events: &'a [Event],
    texts: &'a [String],
}

impl Court<'_> {
    // tidy: a table, one arm for each fact
    fn judge(&self, fact: &Fact) -> (bool, String) {
        let cluster = self.cluster;
        match fact {
            Fact::Leader(wanted) => {
                let leader = self.leader();
                let holds = leader.is_some() && wanted.is_none_or(|wanted| leader == Some(wanted));
                (holds, format!("leader {}", self.named(leader)))
            }
            Fact::NoLeader => (self.leader().is_none(), format!("leader {}", self.named(self.leader()))),
            Fact::Exclusive(wanted) => {
                let exclusive = (0..cluster.len()).find(|at| !cluster.is_paused(*at) && cluster.is_exclusive(*at));
                (exclusive == *wanted, format!("exclusive {}", self.named(exclusive)))
            }
            Fact::Term(node, compare) => self.term(*node, *compare),
            Fact::Role(node, role) => {
                let seen = cluster.node(*node).map(|node| node.role());
                (seen == Some(*role), seen.map_or("not running".to_owned(), |role| format!("role {}", role.code())))
            }
            Fact::Follows(node, leader) => {
                let seen = cluster.node(*node).and_then(|node| node.leader());
                (seen == Some(cluster.name(*leader)), format!("follows {}", shown(seen)))
            }
            Fact::Hears(node, leader) => {
                let seen = cluster.node(*node).and_then(|node| node.hearsay()).map(|hearsay| hearsay.leader);
                (seen.as_ref() == Some(cluster.name(*leader)), format!("hears of {}", shown(seen.as_ref())))
            }
            Fact::Voted(node, whom) => {
                let seen = cluster.node(*node).and_then(|node| node.hard_state().voted_for.as_ref());
                (seen == Some(cluster.name(*whom)), format!("voted for {}", shown(seen)))
            }
            Fact::Amnesiac(node) => {
                let seen = cluster.node(*node).is_some_and(|node| node.hard_state().named.is_none());
                (seen, format!("{}, disk named: {}", self.running(*node), !seen))
            }
            Fact::Members(node, wanted) => {
                let committed = cluster.node(*node).and_then(|node| node.committed());
                let voters = committed.into_iter().flat_map(|record| &record.members).filter(|member| member.voter);
                let seen: Vec<&str> = voters.map(|member| member.node.as_str()).collect();
                let mut wanted: Vec<&str> = wanted.iter().map(|node| cluster.name(*node).as_str()).collect();
                wanted.sort_unstable();
                (seen == wanted, format!("members {}", seen.join(" ")))
            }
            Fact::Working(node) => (cluster.is_working(*node), format!("works: {}", cluster.is_working(*node))),
            Fact::Holds(node, value) => {
                let committed = cluster.node(*node).and_then(|node| node.committed());
                let seen = committed.map(|record| String::from_utf8_lossy(&record.proclaimed).into_owned());
                (seen.as_deref() == Some(value), format!("holds {}", seen.unwrap_or("nothing committed".to_owned())))
            }
            Fact::Elections(node, compare) => {
                let node = node.map(|node| cluster.name(node));
                let campaigns = self.events.iter().filter(|event| node.is_none_or(|node| event.who.node == *node));
                count(campaigns, *compare, "elections", |kind| matches!(kind, EventKind::ElectionStarted { .. }))
            }
            Fact::Changes(compare) => {
                count(self.events.iter(), *compare, "changes", |kind| matches!(kind, EventKind::Elected { .. }))
            }
            Fact::Refused(node, reason) => {
                let node = cluster.name(*node);
                let mut answers = self.events.iter().filter(|event| event.who.node == *node);
                let holds = answers.any(|event| match &event.kind {
                    EventKind::RequestAnswered { verdict, .. } => *verdict == Verdict::Refused(*reason),
                    _ => false,
                });
                let seen = if holds { "such a refusal" } else { "no such refusal" };
                (holds, seen.to_owned())
            }
            Fact::Event(told) => {
                let found = self.find(told);
                (found.is_some(), found.map_or("no such event".to_owned(), |at| self.texts[at].clone()))
            }
            Fact::Before(first, second) => self.before(first, second),
        }
    }

    fn term(&self, node: Option<usize>, compare: Compare) -> (bool, String) {
        let nodes = (0..self.cluster.len()).filter(|at| node.is_none_or(|node| node == *at));
        let term = nodes.filter_map(|at| self.cluster.node(at)).map(|node| node.term().0).max();
        (term.is_some_and(|term| compare.holds(term)), format!("term {}", term.unwrap_or_default()))
    }

    fn before(&self, first: &Told, second: &Told) -> (bool, String) {
        match (self.find(first), self.find(second)) {
            (Some(one), Some(other)) if one < other => (true, "this order".to_owned()),
            (Some(one), Some(other)) => (false, format!("{} before {}", self.texts[other], self.texts[one])),
            (None, _) => (false, format!("no event \"{}\"", first.text)),
            (_, None) => (false, format!("no event \"{}\"", second.text)),
        }
    }

    /// The first event with this in its text.
    fn find(&self, told: &Told) -> Option<usize> {
        let node = told.node.map(|node| self.cluster.name(node));
        let mut events = self.events.iter().zip(self.texts);
        events.position(|(event, shown)| node.is_none_or(|node| event.who.node == *node) && shown.contains(&told.text))
    }

    /// Who leads in the highest term, among those that do not stand still.
    fn leader(&self) -> Option<usize> {
        let leads = |at: &usize| {
            !self.cluster.is_paused(*at) && self.cluster.node(*at).is_some_and(|node| node.role() == Role::Leader)
        };
        (0..self.cluster.len()).filter(leads).max_by_key(|at| self.cluster.node(*at).map(|node| node.term()))
    }

    fn named(&self, node: Option<usize>) -> &str {
        node.map_or("none", |node| self.cluster.name(node).as_str())
    }

    fn running(&self, node: usize) -> &'static str {
        if self.cluster.node(node).is_some() { "running" } else { "not running" }
    }
}

fn shown(node: Option<&crate::types::NodeId>) -> &str {
    node.map_or("nobody", |node| node.as_str())
}

fn count<'a>(
    events: impl Iterator<Item = &'a Event>,
    compare: Compare,
    what: &str,
    counts: impl Fn(&EventKind) -> bool,
) -> (bool, String) {
    let seen = events.filter(|event| counts(&event.kind)).count() as u64;
    (compare.holds(seen), format!("{what} = {seen}"))
}
