//! Protocols as sets of rules that are switched off, and how they are measured.

use hustings::mutant::Mutant::{
    self, LeaderVotes, NoAdoption, NoCheckQuorum, NoPreVote, NoResignation, NoSuccession, PromiseIgnored,
};
use hustings::mutant::switch;
use hustings::sim::graph::{Case, Graph, Rules, Spread, Wanted, cases, outcomes};

/// A protocol: this machine without some of its rules.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// What it is called in the table.
    pub name: &'static str,
    /// What it lacks.
    pub without: &'static [Mutant],
}

/// The protocols of the table, and this one without each of the three parts of learn before lead.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol { name: "hustings", without: &[] },
    Protocol {
        name: "plain Raft",
        without: &[NoPreVote, NoCheckQuorum, PromiseIgnored, LeaderVotes, NoAdoption, NoResignation, NoSuccession],
    },
    Protocol {
        name: "openraft style: voters refuse while they hear a leader, which never steps down",
        without: &[NoPreVote, NoCheckQuorum, NoAdoption, NoResignation, NoSuccession],
    },
    Protocol { name: "etcd style: pre-vote and check-quorum", without: &[NoAdoption, NoResignation, NoSuccession] },
    Protocol { name: "hustings without adoption", without: &[NoAdoption] },
    Protocol { name: "hustings without pre-vote", without: &[NoPreVote] },
    Protocol { name: "hustings without check-quorum", without: &[NoCheckQuorum] },
    Protocol { name: "hustings without ranks, resignation and short retries", without: &[NoResignation, NoSuccession] },
];

/// What others have measured, with models of the protocols.
pub const CITED: &[(&str, &str)] = &[
    ("*cited:* plain Raft", "358 | | | 5.3 / 33 / 59"),
    ("*cited:* openraft style", "463 | | | 2.5 / 21 / 55"),
    ("*cited:* etcd style", "858 | | | 2.05 / 2.98 / 6.1"),
    ("*cited:* Omni-Paxos", "998 | | | 2.3 / 3.8 / 4.8"),
    ("*cited:* learn before lead, as a model", "998 | | | 1.38 / 2.13 / 3.44"),
];

/// Every protocol is asked the same: a leader that is quorum-connected and has committed in its term, and that stays.
const RULES: Rules = Rules { wanted: Wanted::Established, horizon: 60, window: 10, checked: false };

/// Graphs that stand for a class, and how many graphs each of them stands for.
#[derive(Debug)]
pub struct Chosen {
    graphs: Vec<Graph>,
    weights: Vec<f64>,
}

/// Up to `of_class` graphs of each class that have a quorum-connected node.
#[must_use]
pub fn chosen(nodes: usize, of_class: usize) -> Chosen {
    let mut chosen = Chosen { graphs: Vec::new(), weights: Vec::new() };
    for (graph, size) in Graph::classes(nodes, false).into_iter().filter(|(graph, _)| graph.has_quorum_connected()) {
        let renamings = graph.renamings();
        let count = of_class.clamp(1, size);
        chosen.graphs.extend((0..count).map(|at| renamings[at * size / count]));
        chosen.weights.extend((0..count).map(|_| size as f64 / count as f64));
    }
    chosen
}

/// What a protocol came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// In how many graphs every case recovered.
    pub graphs: f64,
    /// The share of cases that recovered.
    pub recovered: f64,
    /// The share of cases with a quorum-connected old leader in which nobody took its place.
    pub kept: f64,
    /// Until the leader that stayed was established, in election timeouts: where a new one was needed, and came.
    pub spread: Spread,
}

/// Runs every case of these graphs.
#[must_use]
pub fn measure(protocol: &Protocol, chosen: &Chosen, jobs: usize) -> Measured {
    let all = cases(&chosen.graphs);
    let run = |case: &Case| {
        switch(protocol.without);
        case.run_by(&RULES)
    };
    let results = outcomes(&all, jobs, &run, &|_| true);
    let of_graph = all.len() / chosen.graphs.len().max(1);
    let (mut graphs, mut recovered, mut total, mut kept, mut to_keep) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let mut times = Vec::new();
    for (at, weight) in chosen.weights.iter().enumerate() {
        let range = at * of_graph..(at + 1) * of_graph;
        let mut always = true;
        for (case, outcome) in all[range.clone()].iter().zip(&results[range]) {
            always &= outcome.settled.is_some();
            total += weight;
            recovered += if outcome.settled.is_some() { *weight } else { 0.0 };
            if case.graph.is_quorum_connected(case.leader) {
                to_keep += weight;
                kept += if outcome.changes == 0 && outcome.settled.is_some() { *weight } else { 0.0 };
            } else {
                let copies = weight.round() as usize;
                times.extend(outcome.settled.into_iter().flat_map(|took| std::iter::repeat_n(took, copies)));
            }
        }
        graphs += if always { *weight } else { 0.0 };
    }
    Measured { graphs, recovered: recovered / total, kept: kept / to_keep, spread: Spread::of(times) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Measured {
        let protocol = PROTOCOLS.iter().find(|protocol| protocol.name.starts_with(name)).expect("a protocol");
        measure(protocol, &chosen(4, 1), 2)
    }

    /// The switches switch something, and each part of learn before lead is needed.
    #[test]
    fn only_the_whole_recovers_every_graph() {
        let whole = named("hustings");
        assert_eq!((whole.recovered, whole.kept), (1.0, 1.0), "{whole:?}");
        for protocol in PROTOCOLS.iter().filter(|protocol| !protocol.without.is_empty()) {
            let part = measure(protocol, &chosen(4, 1), 2);
            let recovers = !protocol.without.iter().any(|rule| [NoAdoption, NoPreVote, NoCheckQuorum].contains(rule));
            assert_eq!(part.graphs == whole.graphs, recovers, "{}: {part:?}", protocol.name);
        }
        // Without promises a leader that everyone needs is overthrown by whoever cannot hear it.
        assert!(named("plain").kept < 1.0);
    }

    #[test]
    fn the_chosen_graphs_stand_for_all() {
        for of_class in [1, 3, usize::MAX] {
            let chosen = chosen(5, of_class);
            assert!((chosen.weights.iter().sum::<f64>() - 998.0).abs() < 1e-6);
            assert_eq!(chosen.graphs.len() == 998, of_class == usize::MAX);
        }
    }
}
