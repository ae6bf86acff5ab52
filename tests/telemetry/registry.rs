//! The table of everything that is emitted, held against what is emitted, and against the sources.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use hustings::message::Reason;
use hustings::telemetry::registry::{
    self, ANY_SPAN_ATTRIBUTES, ATTRIBUTES, EVENT_ATTRIBUTES, EVENTS, LINKS, METRIC_ATTRIBUTES, METRICS,
    SPAN_ATTRIBUTES, SPANS,
};
use opentelemetry_sdk::trace::SpanData;

use super::audit::Audit;
use super::stage::*;
use super::{application, collective, elections, heartbeats, live, offices, plays, sampling, traps};

/// Everything that the tests of the trace play.
const PLAYS: &[fn()] = &[
    elections::a_won_election_is_one_trace_across_the_nodes,
    elections::an_election_says_what_it_was_about,
    elections::requests_name_their_peer_and_voters_their_verdict,
    elections::who_did_not_answer_ends_with_the_round,
    elections::a_call_that_failed_is_an_error_with_a_type,
    elections::a_lost_election_is_no_error_and_the_next_links_to_it,
    elections::a_voter_tells_how_long_leaderless_it_was_and_a_candidate_what_it_waited_for,
    elections::an_ordered_election_links_to_the_order,
    offices::a_term_of_office_is_told_at_its_end,
    offices::a_resignation_is_a_transition_with_a_pair_for_each_peer,
    offices::a_leader_that_stops_says_so_in_its_own_trace,
    offices::a_record_that_is_sent_round_is_a_transition_until_it_is_committed,
    offices::what_led_to_a_campaign_is_linked_from_it,
    offices::an_election_that_changes_leader_at_a_restart_starts_afresh,
    live::a_cold_start_is_told_without_a_gap,
    live::a_killed_leader_is_remembered_by_the_next_election,
    live::a_transfer_leads_to_the_election_that_it_caused,
    traps::without_a_provider_nothing_nonsensical_is_handed_on,
    traps::a_follower_without_a_provider_does_not_pose_as_its_candidate,
    traps::a_hostile_context_is_only_a_parent,
    traps::a_node_that_stops_ends_what_it_was_asked,
    traps::a_candidate_that_asks_again_ends_what_it_asked_before,
    traps::a_failed_write_is_an_error_of_whoever_waited_for_it,
    traps::one_write_is_shown_to_each_who_waits_for_it,
    traps::a_span_holds_sixty_events_and_counts_the_rest,
    traps::memory_is_bounded_and_what_is_given_up_says_so,
    traps::a_provider_that_was_shut_down_is_as_none,
    sampling::an_election_is_kept_also_under_a_parent_that_is_not,
    sampling::other_spans_are_left_to_the_other_sampler,
    sampling::heartbeats_are_kept_by_share,
    heartbeats::a_node_that_campaigns_without_end_is_traced_now_and_then,
    plays::what_is_rarely_seen,
    plays::requests_of_strangers,
    plays::a_leader_and_its_user,
    plays::heartbeats,
    // In real time, since only a driver knows the group, and only the bridge an application's spans.
    collective::what_the_application_says_stands_in_its_own_entry_and_event,
    application::an_act_links_to_the_election_that_authorized_it,
];

fn play_all() -> Vec<SpanData> {
    let collected = Spanned::default();
    COLLECTED.set(Some(Arc::clone(&collected)));
    for play in PLAYS {
        play();
    }
    COLLECTED.take();
    collected.lock().unwrap().clone()
}

#[test]
fn what_is_emitted_is_in_the_table_and_what_is_in_the_table_is_emitted() {
    let audit = Audit::of(&play_all());
    audit.assert_known();
    let missing: Vec<_> = Audit::promised().difference(&audit.seen).cloned().collect();
    assert!(missing.is_empty(), "in the table, and emitted by no play: {missing:#?}");
}

/// A name once, and each that is used explained.
#[test]
fn the_table_is_whole() {
    let names: Vec<&str> = ATTRIBUTES.iter().map(|entry| entry.name).collect();
    let known: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), known.len(), "an attribute stands there twice");
    let spans: BTreeSet<_> = SPANS.iter().map(|span| (span.name, span.kind)).collect();
    assert_eq!(spans.len(), SPANS.len());
    assert_eq!(EVENTS.iter().map(|event| event.name).collect::<BTreeSet<_>>().len(), EVENTS.len());

    let links: BTreeSet<&str> = LINKS.iter().map(|link| link.name).collect();
    let mut used: BTreeSet<&str> = BTreeSet::from(["raft.link.type"]);
    for list in [SPAN_ATTRIBUTES, ANY_SPAN_ATTRIBUTES, EVENT_ATTRIBUTES, METRIC_ATTRIBUTES] {
        used.extend(list);
    }
    for span in SPANS {
        used.extend(span.attributes);
        assert!(span.links.iter().all(|link| links.contains(link)), "{}", span.name);
    }
    used.extend(EVENTS.iter().flat_map(|event| event.attributes));
    used.extend(LINKS.iter().flat_map(|link| link.attributes.iter().chain([&link.mirror])));
    used.extend(METRICS.iter().flat_map(|metric| metric.attributes));
    assert_eq!(used, known, "each attribute is used, and each that is used is explained");

    let reasons = ATTRIBUTES.iter().find(|entry| entry.name == "raft.vote.reason").unwrap().values;
    let codes: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).chain(["ok", "unanswered"]).collect();
    assert_eq!(reasons.iter().copied().collect::<BTreeSet<_>>(), codes);
    let types = ATTRIBUTES.iter().find(|entry| entry.name == "raft.link.type").unwrap().values;
    assert_eq!(types.iter().copied().collect::<BTreeSet<_>>(), links);
}

/// Also what no test happens to run.
#[test]
fn the_sources_name_what_is_in_the_table_and_nothing_else() {
    let mut named = BTreeSet::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry");
    read_names(&sources, &mut named);
    let mut known: BTreeSet<String> = BTreeSet::from([NEVER.to_owned()]);
    known.extend(SPANS.iter().map(|span| span.name.to_owned()));
    known.extend(EVENTS.iter().map(|event| event.name.to_owned()));
    known.extend(METRICS.iter().map(|metric| metric.name.to_owned()));
    known.extend(ATTRIBUTES.iter().map(|entry| entry.name.to_owned()).filter(|name| name.starts_with("raft.")));
    let unknown: Vec<_> = named.difference(&known).collect();
    assert!(unknown.is_empty(), "in the sources, and not in the table: {unknown:#?}");
    let unused: Vec<_> = known.difference(&named).collect();
    assert!(unused.is_empty(), "in the table, and not in the sources: {unused:#?}");
}

/// What the compiler asks for where every kind of event is dealt with: those that come to it have spans of their own.
const NEVER: &str = "raft.changed";

/// The texts of the sources that begin with `raft.`, but for the names of log lines and of the table itself.
fn read_names(path: &Path, named: &mut BTreeSet<String>) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
        for entry in entries.filter(|entry| !entry.ends_with("registry")) {
            read_names(&entry, named);
        }
        return;
    }
    if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("log.rs") {
        return;
    }
    let text = std::fs::read_to_string(path).expect("a source");
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.contains("name: \"raft.")) {
        let texts = line.split('"').skip(1).step_by(2).filter(|text| text.starts_with("raft.") && text.len() > 5);
        named.extend(texts.map(str::to_owned));
    }
}

/// `HUSTINGS_REWRITE=1 cargo test --test telemetry registry` writes the page.
#[test]
fn the_page_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry/registry.md");
    let page = registry::page();
    if std::env::var_os("HUSTINGS_REWRITE").is_some_and(|value| value == "1") {
        std::fs::write(&path, &page).expect("the page is written");
    }
    let committed = std::fs::read_to_string(&path).expect("the page");
    assert!(committed == page, "registry.md is not up to date: HUSTINGS_REWRITE=1 rewrites it");
}
