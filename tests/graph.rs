//! Every connectivity graph of a few nodes: a leader comes wherever one can, stays, and nothing else moves.

use hustings::sim::graph::{Graph, Survey, cases, survey};

fn of(graphs: &[Graph]) -> Survey {
    survey(&cases(graphs), 2, &|_| true)
}

#[test]
fn three() {
    let t = std::time::Instant::now();
    let s = of(&Graph::directed(3).collect::<Vec<_>>());
    println!("{s:#?} {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let s = of(&Graph::undirected(4).collect::<Vec<_>>());
    println!("{s:#?} {:?}", t.elapsed());
}
