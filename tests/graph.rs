//! Every connectivity graph of a few nodes: a leader comes wherever one can, stays, and nothing else moves (V1, V2, V4).
//!
//! `cargo run --release --features cli -- sim graph` runs all 81,920 cases of five nodes.

use hustings::sim::graph::{Case, Graph, Survey, cases, survey};

/// How many threads: the outcome does not depend on it.
const JOBS: usize = 2;

fn all(graphs: impl Iterator<Item = Graph>) -> Vec<Case> {
    cases(&graphs.collect::<Vec<_>>())
}

/// Runs them, and holds them to the figures that this project promises.
fn judge(cases: &[Case]) -> Survey {
    let survey = survey(cases, JOBS, &|_| true);
    let told: Vec<String> = survey.failures.iter().map(ToString::to_string).collect();
    assert!(survey.failed == 0, "{} cases failed:\n{}", survey.failed, told.join("\n"));
    assert_eq!(survey.recovered, survey.connected);
    let spread = survey.spread;
    assert!(spread.p50 <= 1.5 && spread.p99 <= 2.5 && spread.max <= 4.0, "{spread:?}, slowest {:?}", survey.slowest);
    survey
}

#[test]
fn every_graph_of_three_nodes_one_way_links_included() {
    let survey = judge(&all(Graph::directed(3)));
    assert_eq!((survey.cases, survey.connected, survey.kept), (768, 444, 336));
}

#[test]
fn every_graph_of_four_nodes() {
    let survey = judge(&all(Graph::undirected(4)));
    assert_eq!((survey.cases, survey.connected, survey.kept), (2048, 1728, 1024));
}

/// A sample: the tool runs them all.
#[test]
fn a_sample_of_the_graphs_of_five_nodes() {
    let sample: Vec<Case> = all(Graph::undirected(5)).into_iter().step_by(41).collect();
    let survey = judge(&sample);
    assert!(survey.connected > 1900 && survey.kept > 1300, "{survey:?}");
}

#[test]
fn a_sample_of_the_graphs_of_four_nodes_with_one_way_links() {
    let sample: Vec<Case> = all(Graph::directed(4)).into_iter().step_by(79).collect();
    let survey = judge(&sample);
    assert!(survey.connected > 600 && survey.cases - survey.connected > 900, "{survey:?}");
}

/// The same cases come out the same to the last bit, whatever runs beside what.
#[test]
fn outcomes_do_not_depend_on_the_threads() {
    let some: Vec<Case> = all(Graph::undirected(5)).into_iter().step_by(1009).collect();
    let [one, three] = [1, 3].map(|jobs| survey(&some, jobs, &|_| true));
    assert_eq!(one, three);
}

/// What is broken off counts what was finished before it.
#[test]
fn a_survey_that_is_broken_off_counts_what_ran() {
    let all = all(Graph::undirected(3));
    let survey = survey(&all, JOBS, &|done| done < 10);
    assert!((1..all.len()).contains(&survey.cases), "{}", survey.cases);
    assert_eq!(survey.failed, 0);
}
