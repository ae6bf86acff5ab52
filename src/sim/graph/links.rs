//! Graphs as bits, and which of them are the same but for names.

use std::fmt;

use super::{majority, name};

/// The most nodes a graph can have: its links are the bits of one word.
const NODES_MAX: usize = 8;

/// Which node can send to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Graph {
    nodes: usize,
    /// The bit `from * 8 + to`.
    links: u64,
}

impl Graph {
    /// No link at all between so many nodes, at most 8.
    #[must_use]
    pub fn empty(nodes: usize) -> Graph {
        Graph { nodes: nodes.min(NODES_MAX), links: 0 }
    }

    /// Every graph whose links are all two-way, by number: `2^(n(n-1)/2)` of them.
    pub fn undirected(nodes: usize) -> impl Iterator<Item = Graph> {
        let pairs = pairs(nodes, false);
        (0..1_u64 << pairs.len()).map(move |code| Graph::of(nodes, &pairs, code))
    }

    /// Every graph, one-way links included, by number: `2^(n(n-1))` of them.
    pub fn directed(nodes: usize) -> impl Iterator<Item = Graph> {
        let pairs = pairs(nodes, true);
        (0..1_u64 << pairs.len()).map(move |code| Graph::of(nodes, &pairs, code))
    }

    /// One graph of each class that differs by more than names, and how many graphs the class has.
    #[must_use]
    pub fn classes(nodes: usize, directed: bool) -> Vec<(Graph, usize)> {
        let pairs = pairs(nodes, directed);
        let permutations = permutations(nodes);
        let mut seen = vec![false; 1 << pairs.len()];
        let mut classes = Vec::new();
        for code in 0..seen.len() {
            if seen[code] {
                continue;
            }
            let graph = Graph::of(nodes, &pairs, code as u64);
            let mut size = 0;
            for permutation in &permutations {
                let image = graph.renamed(permutation).code(&pairs);
                size += usize::from(!seen[image]);
                seen[image] = true;
            }
            classes.push((graph, size));
        }
        classes
    }

    /// Every graph that differs from this one by names only, itself included.
    #[must_use]
    pub fn renamings(&self) -> Vec<Graph> {
        let mut graphs = Vec::new();
        for names in permutations(self.nodes) {
            let graph = self.renamed(&names);
            if !graphs.contains(&graph) {
                graphs.push(graph);
            }
        }
        graphs
    }

    /// How many nodes it has.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Whether `from` can send to `to`.
    #[must_use]
    pub fn has(&self, from: usize, to: usize) -> bool {
        self.links & bit(from, to) != 0
    }

    /// Whether that node has two-way links to a majority, itself included.
    #[must_use]
    pub fn is_quorum_connected(&self, at: usize) -> bool {
        let both = |other: &usize| *other == at || (self.has(at, *other) && self.has(*other, at));
        (0..self.nodes).filter(both).count() >= majority(self.nodes)
    }

    /// Whether any node is.
    #[must_use]
    pub fn has_quorum_connected(&self) -> bool {
        (0..self.nodes).any(|at| self.is_quorum_connected(at))
    }

    fn of(nodes: usize, pairs: &[(usize, usize, bool)], code: u64) -> Graph {
        let mut graph = Graph::empty(nodes);
        for (at, (from, to, both)) in pairs.iter().enumerate().filter(|(at, _)| code & 1 << at != 0) {
            debug_assert!(at < 64);
            graph.links |= bit(*from, *to) | if *both { bit(*to, *from) } else { 0 };
        }
        graph
    }

    fn code(&self, pairs: &[(usize, usize, bool)]) -> usize {
        let bits = pairs.iter().enumerate().filter(|(_, (from, to, _))| self.has(*from, *to));
        bits.fold(0, |code, (at, _)| code | 1 << at)
    }

    fn renamed(&self, names: &[usize]) -> Graph {
        let mut graph = Graph::empty(self.nodes);
        for from in 0..self.nodes {
            for to in (0..self.nodes).filter(|to| self.has(from, *to)) {
                graph.links |= bit(names[from], names[to]);
            }
        }
        graph
    }
}

/// In the words of stories: `a-b a->c`.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for from in 0..self.nodes {
            for to in 0..self.nodes {
                let arrow = match (self.has(from, to), self.has(to, from)) {
                    (true, true) if from < to => "-",
                    (true, false) => "->",
                    _ => continue,
                };
                write!(f, "{gap}{}{arrow}{}", name(from), name(to))?;
                gap = " ";
            }
        }
        if gap.is_empty() { write!(f, "no links between {} nodes", self.nodes) } else { Ok(()) }
    }
}

fn bit(from: usize, to: usize) -> u64 {
    1 << (from * NODES_MAX + to)
}

/// The links that a number's bits stand for, and whether each goes both ways.
fn pairs(nodes: usize, directed: bool) -> Vec<(usize, usize, bool)> {
    let nodes = nodes.min(NODES_MAX);
    let wanted = |from: usize, to: usize| if directed { from != to } else { from < to };
    let all = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
    all.filter(|(from, to)| wanted(*from, *to)).map(|(from, to)| (from, to, !directed)).collect()
}

fn permutations(nodes: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for next in 0..nodes.min(NODES_MAX) {
        let longer = |one: &Vec<usize>| {
            let one = one.clone();
            (0..=one.len()).map(move |at| {
                let mut longer = one.clone();
                longer.insert(at, next);
                longer
            })
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known numbers of graphs up to isomorphism.
    #[test]
    fn classes_are_as_many_as_there_are() {
        let count = |nodes, directed| Graph::classes(nodes, directed).len();
        assert_eq!([3, 4, 5, 6].map(|nodes| count(nodes, false)), [4, 11, 34, 156]);
        assert_eq!([3, 4].map(|nodes| count(nodes, true)), [16, 218]);
        let classes = Graph::classes(5, false);
        assert_eq!(classes.iter().map(|(_, size)| size).sum::<usize>(), 1024);
        assert!(classes.iter().all(|(graph, size)| graph.renamings().len() == *size));
    }

    #[test]
    fn one_way_links_connect_nobody_to_a_quorum() {
        let with = |nodes| Graph::undirected(nodes).filter(Graph::has_quorum_connected).count();
        assert_eq!([with(3), with(5)], [7, 998]);
        assert_eq!(Graph::directed(3).filter(Graph::has_quorum_connected).count(), 37);
    }

    #[test]
    fn a_graph_is_told_by_its_links() {
        let told: Vec<String> = Graph::directed(3).map(|graph| graph.to_string()).collect();
        assert_eq!([&told[0], &told[1], &told[5]], ["no links between 3 nodes", "a->b", "a-b"]);
    }
}
