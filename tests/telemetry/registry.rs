//! The table of everything that is emitted, held against what is emitted, and against the sources.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use hustings::event::{
    Alarm, Change, ChangeOutcome, EventKind, LeadershipEnd, LossOfLeader, Outcome, RecordCause, Role, TransferOutcome,
};
use hustings::message::Reason;
use hustings::record::RecordId;
use hustings::telemetry::registry::{
    self, ANY_SPAN_ATTRIBUTES, ATTRIBUTES, EVENT_ATTRIBUTES, EVENTS, Kind, LINKS, METRIC_ATTRIBUTES, METRICS,
    SPAN_ATTRIBUTES, SPANS, Type,
};
use hustings::types::{DiskId, Founding, Term, Time};
use opentelemetry::trace::{Event, SpanId, SpanKind};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;

use super::stage::*;
use super::{application, collective, elections, heartbeats, live, offices, sampling, traps};

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
    heartbeats::the_first_round_and_one_in_many_are_traced,
    heartbeats::a_round_that_ends_a_gap_is_traced,
    heartbeats::a_node_that_campaigns_without_end_is_traced_now_and_then,
    collective::a_leader_knows_every_member_and_a_follower_its_leader,
    collective::it_is_told_at_establishment_and_when_it_changes,
    collective::what_the_application_says_stands_in_its_own_entry_and_event,
    application::an_act_links_to_the_election_that_authorized_it,
    application::a_campaign_by_order_links_to_its_caller,
    application::a_transfer_links_to_its_caller,
    what_is_rarely_seen,
];

/// What no other test plays: each of these is an event of some transition.
fn what_is_rarely_seen() {
    let exported = Exported::default();
    let mut a = Player::new("a", &exported);
    let (b, id, parent) = (node("b"), RecordId { term: Term(4), index: 9 }, RecordId { term: Term(4), index: 8 });
    let since = Time::ZERO;
    let kinds = [
        EventKind::Started { amnesiac: true, quarantine: us(150_000), record: Some(id) },
        EventKind::MembersAwaited { missing: vec![b.clone()] },
        EventKind::Founded { founding: Founding(7), members: 3 },
        EventKind::Named { floor: Term(4) },
        EventKind::EvidenceFound { leader: b.clone(), refused: true },
        EventKind::LeaderLost {
            leader: b.clone(),
            leader_term: Term(3),
            last_contact: since,
            cause: LossOfLeader::Timeout,
        },
        EventKind::LeaderResigned { leader: b.clone(), resigned_term: Term(3) },
        EventKind::Paused { duration: us(900_000) },
        EventKind::Alarmed { alarm: Alarm::WrongCluster, about: Some(b.clone()) },
        EventKind::RecordAccepted { id, parent, from: b.clone() },
        EventKind::RecordAdopted { id, from: b.clone() },
        EventKind::RecordAppended { id, parent, cause: RecordCause::AddVoter },
        EventKind::MembersChanged { id, voters: vec![node("a"), b.clone()], non_voters: vec![node("c")] },
        EventKind::ChangeStarted { change: Change::Add, node: b.clone() },
        EventKind::ChangeEnded { change: Change::Add, node: b.clone(), outcome: ChangeOutcome::Completed },
        EventKind::BecameExclusive { after: us(140_000) },
        EventKind::GuardRevoked { work_running: true },
        EventKind::WorkStarted,
        EventKind::WorkEnded { work_term: Term(4) },
        EventKind::QuorumReached { pre_vote: true, granted: 2, quorum: 2 },
        EventKind::Elected { barrier: us(1_000) },
        EventKind::Established { time_to_election: us(1), time_to_leadership: us(1), leaderless: None },
        EventKind::RoundStarted { pre_vote: true, round: 1, asked_term: Term(5), last: Some(id), quorum: 2, voters: 3 },
        EventKind::RoundEnded { pre_vote: true, round: 1, won: true, granted: 2, denied: 0, unanswered: Vec::new() },
        EventKind::ElectionEnded { outcome: Outcome::Cancelled, rounds: 1, retry_in: None },
        EventKind::TransferEnded { to: b.clone(), outcome: TransferOutcome::Completed },
        EventKind::PersistFailed { write: hustings::event::WriteId(1), error: "full".to_owned() },
        EventKind::LeadershipEnded { cause: LeadershipEnd::Removed, since, work_running: false },
    ];
    for (at, kind) in (1..).zip(kinds) {
        a.tell(at * 1_000_000, kind);
    }
    a.become_role(90_000_000, Role::Candidate);
    a.tell(91_000_000, EventKind::Stopped { disk: DiskId(1) });
}

fn play_all() -> Vec<SpanData> {
    let collected = Spanned::default();
    COLLECTED.set(Some(Arc::clone(&collected)));
    for play in PLAYS {
        play();
    }
    COLLECTED.take();
    let spans = collected.lock().unwrap().clone();
    spans
}

/// The texts of a list are checked one by one.
fn values(value: &Value) -> Vec<String> {
    match value {
        Value::Array(Array::String(texts)) => texts.iter().map(ToString::to_string).collect(),
        value => vec![value.to_string()],
    }
}

fn type_of(value: &Value) -> Option<Type> {
    Some(match value {
        Value::I64(_) => Type::Int,
        Value::F64(_) => Type::Double,
        Value::Bool(_) => Type::Bool,
        Value::String(_) => Type::Text,
        Value::Array(Array::String(_)) => Type::Texts,
        _ => return None,
    })
}

fn kind_of(kind: &SpanKind) -> Option<Kind> {
    Some(match kind {
        SpanKind::Internal => Kind::Internal,
        SpanKind::Client => Kind::Client,
        SpanKind::Server => Kind::Server,
        _ => return None,
    })
}

/// What was emitted, and what of it is not as the table says.
#[derive(Default)]
struct Audit {
    wrong: BTreeSet<String>,
    /// `span kind`, `span kind: attribute`, `span kind -> link`, and so on.
    seen: BTreeSet<String>,
}

impl Audit {
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.insert(what());
        }
    }

    fn span(&mut self, span: &SpanData) {
        let name = format!("{} {:?}", span.name, span.span_kind);
        let entry = SPANS.iter().find(|e| e.name == span.name && Some(e.kind) == kind_of(&span.span_kind));
        let Some(entry) = entry else {
            self.wrong.insert(format!("{name} is not in the table"));
            return;
        };
        self.seen.insert(name.clone());
        let is_root = span.parent_span_id == SpanId::INVALID;
        self.expect(entry.parent.is_empty() <= is_root, || format!("{name} is no root"));
        let (mut relations, mut mirrors) = (Vec::new(), Vec::new());
        for link in &span.links.links {
            let relation = link.attributes[0].value.to_string();
            self.expect(entry.links.contains(&relation.as_str()), || format!("{name} -> {relation}"));
            self.seen.insert(format!("{name} -> {relation}"));
            self.link(&name, &link.attributes);
            mirrors.push(format!("raft.link.{relation}"));
            relations.push(relation);
        }
        for common in SPAN_ATTRIBUTES {
            self.expect(attribute(span, common).is_some(), || format!("{name} lacks {common}"));
        }
        for KeyValue { key, value, .. } in &span.attributes {
            let key = key.as_str();
            let listed = [SPAN_ATTRIBUTES, ANY_SPAN_ATTRIBUTES, entry.attributes].concat().contains(&key);
            self.expect(listed || mirrors.iter().any(|mirror| mirror == key), || format!("{name} bears {key}"));
            self.seen.insert(format!("{name}: {key}"));
            self.seen.insert(format!("any: {key}"));
            self.value(&name, key, value);
        }
        for event in &span.events.events {
            self.event(event);
        }
    }

    fn event(&mut self, event: &Event) {
        let name = event.name.as_ref();
        let Some(entry) = EVENTS.iter().find(|entry| entry.name == name) else {
            self.wrong.insert(format!("event {name} is not in the table"));
            return;
        };
        self.seen.insert(format!("event {name}"));
        for KeyValue { key, value, .. } in &event.attributes {
            let key = key.as_str();
            let listed = [EVENT_ATTRIBUTES, entry.attributes].concat().contains(&key);
            self.expect(listed, || format!("event {name} bears {key}"));
            self.seen.insert(format!("event {name}: {key}"));
            self.value(name, key, value);
        }
    }

    fn link(&mut self, name: &str, attributes: &[KeyValue]) {
        let relation = attributes[0].value.to_string();
        let Some(entry) = LINKS.iter().find(|entry| entry.name == relation) else {
            self.wrong.insert(format!("link {relation} is not in the table"));
            return;
        };
        self.seen.insert(format!("link {relation}"));
        for KeyValue { key, value, .. } in attributes {
            let key = key.as_str();
            let listed = key == "raft.link.type" || entry.attributes.contains(&key);
            self.expect(listed, || format!("link {relation} bears {key}"));
            self.seen.insert(format!("link {relation}: {key}"));
            self.value(name, key, value);
        }
    }

    /// The application's own spans: whatever they say of elections is in the table, too.
    fn application(&mut self, span: &SpanData) {
        for link in &span.links.links {
            self.link("the application's", &link.attributes);
        }
        for KeyValue { key, value, .. } in &span.attributes {
            if key.as_str().starts_with("raft.") {
                self.seen.insert(format!("application: {key}"));
                self.value("the application's", key.as_str(), value);
            }
        }
    }

    fn value(&mut self, on: &str, key: &str, value: &Value) {
        let Some(entry) = ATTRIBUTES.iter().find(|entry| entry.name == key) else {
            self.wrong.insert(format!("{key} is not in the table"));
            return;
        };
        let found = type_of(value);
        self.expect(found == Some(entry.kind), || format!("{key} on {on} is {found:?} and not {:?}", entry.kind));
        for value in values(value).into_iter().filter(|_| !entry.values.is_empty()) {
            self.expect(entry.values.contains(&value.as_str()), || format!("{key} on {on} is {value:?}"));
        }
    }

    /// What the table promises.
    fn promised() -> BTreeSet<String> {
        let mut promised = BTreeSet::new();
        for span in SPANS {
            let kind = match span.kind {
                Kind::Internal => SpanKind::Internal,
                Kind::Client => SpanKind::Client,
                Kind::Server => SpanKind::Server,
            };
            let name = format!("{} {kind:?}", span.name);
            promised.extend(span.attributes.iter().map(|key| format!("{name}: {key}")));
            promised.extend(span.links.iter().map(|link| format!("{name} -> {link}")));
            promised.insert(name);
        }
        promised.extend(ANY_SPAN_ATTRIBUTES.iter().map(|key| format!("any: {key}")));
        for event in EVENTS {
            promised.insert(format!("event {}", event.name));
            let attributes = EVENT_ATTRIBUTES.iter().chain(event.attributes);
            promised.extend(attributes.map(|key| format!("event {}: {key}", event.name)));
        }
        for link in LINKS {
            promised.insert(format!("link {}", link.name));
            promised.extend(link.attributes.iter().map(|key| format!("link {}: {key}", link.name)));
        }
        promised
    }
}

/// Promised, and seen in no play: each with its reason.
const NOT_PLAYED: &[(&str, &str)] = &[];

#[test]
fn what_is_emitted_is_in_the_table_and_what_is_in_the_table_is_emitted() {
    let mut audit = Audit::default();
    for span in play_all() {
        match span.name.starts_with("raft.") {
            true => audit.span(&span),
            false => audit.application(&span),
        }
    }
    assert!(audit.wrong.is_empty(), "not as the table says: {:#?}", audit.wrong);
    let excused: BTreeSet<String> = NOT_PLAYED.iter().map(|(what, _)| (*what).to_owned()).collect();
    let missed: BTreeSet<_> = Audit::promised().difference(&audit.seen).cloned().collect();
    let missing: Vec<_> = missed.difference(&excused).collect();
    assert!(missing.is_empty(), "in the table, and emitted by no test: {missing:#?}");
    let played: Vec<_> = excused.difference(&missed).collect();
    assert!(played.is_empty(), "excused, and emitted all the same, or not in the table: {played:#?}");
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
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.starts_with("name: ")) {
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
