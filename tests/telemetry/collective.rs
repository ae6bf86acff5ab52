//! The whole group, as one of its members sees it.

use std::time::Duration;

use hustings::elector::{CollectiveState, DiskState, STATUS_LEN_MAX, StatusError};
use hustings::event::Role;
use opentelemetry::{Array, Value};
use opentelemetry_sdk::trace::SpanData;

use super::application::{World, member, patiently};
use super::stage::*;

/// The events that tell of the group, each with its span.
fn told(exported: &Exported) -> Vec<(SpanData, opentelemetry::trace::Event)> {
    let mut found = Vec::new();
    for span in exported.all() {
        let events = span.events.events.iter().filter(|event| event.name == "raft.collective_state");
        found.extend(events.cloned().map(|event| (span.clone(), event)));
    }
    found.sort_by_key(|(_, event)| event.timestamp);
    found
}

fn of<'a>(event: &'a opentelemetry::trace::Event, key: &str) -> Option<&'a Value> {
    event.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|attribute| &attribute.value)
}

fn members(event: &opentelemetry::trace::Event) -> Vec<String> {
    match of(event, "raft.members.states") {
        Some(Value::Array(Array::String(members))) => members.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

async fn state(world: &World, at: usize) -> CollectiveState {
    patiently(world.electors[at].collective_state()).await.expect("it runs")
}

#[tokio::test]
pub(crate) async fn a_leader_knows_every_member_and_a_follower_its_leader() {
    let world = World::of(3).await;
    let leader = world.leader().await;
    let ready = |state: &CollectiveState| state.members.iter().all(|member| member.lag == Some(0));
    let seen = loop {
        let seen = state(&world, leader).await;
        if ready(&seen) {
            break seen;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    assert_eq!((seen.leader.as_ref(), seen.who.node.clone()), (Some(&member(leader)), member(leader)));
    assert_eq!(seen.members.len(), 3);
    for at in 0..3 {
        let one = seen.member(&member(at)).expect("a member");
        let role = if at == leader { Role::Leader } else { Role::Follower };
        assert_eq!((one.role, one.voter, one.in_contact), (Some(role), true, Some(true)), "{one}");
        assert_eq!((one.term, one.durable), (Some(seen.term), seen.record), "{one}");
        assert_eq!(one.disk, DiskState::Good);
        assert!(one.disk_latency.is_some(), "each wrote the no-op: {one:?}");
        assert!(one.contact_age.is_some_and(|age| age < Duration::from_secs(5)));
    }

    let follower = (leader + 1) % 3;
    let seen = state(&world, follower).await;
    let led = seen.member(&member(leader)).expect("a member");
    assert_eq!((led.role, led.in_contact), (Some(Role::Leader), Some(true)));
    let other = seen.member(&member((leader + 2) % 3)).expect("a member");
    assert_eq!(other.in_contact, None, "nobody speaks to it here: its silence says nothing");
    world.stop().await;
    assert_eq!(world.electors[0].collective_state().await, None);
}

#[tokio::test]
pub(crate) async fn it_is_told_at_establishment_and_when_it_changes() {
    let world = World::of(3).await;
    let leader = world.leader().await;
    let of_leader = |(span, _): &(SpanData, _)| text(span, "raft.node.id") == member(leader).as_str();
    let first = until("the first is told", || told(&world.elections).into_iter().find(of_leader)).await;
    assert_eq!(first.0.name, "raft.election", "in the trace of the election that was won");
    assert_eq!((of(&first.1, "raft.members"), of(&first.1, "raft.voters")), (Some(&3.into()), Some(&3.into())));
    assert_eq!(
        members(&first.1)[leader],
        format!("n{leader} leader voter in_contact disk=good durable={} stands_back=idle no_work", {
            let record = state(&world, leader).await.member(&member(leader)).and_then(|m| m.durable).expect("a record");
            format!("{},{}", record.term.0, record.index)
        })
    );

    // One that is not heard any more, and is heard again.
    let silent = (leader + 1) % 3;
    let latest = |what: &str| {
        let line = format!("n{silent} ");
        let newest = told(&world.elections).into_iter().rfind(of_leader);
        newest
            .filter(|(_, event)| members(event).iter().any(|member| member.starts_with(&line) && member.contains(what)))
    };
    until("all are heard", || latest(" in_contact")).await;
    world.network.cut(&member(silent), &member(leader));
    let (span, event) = until("it is missed", || latest(" silent")).await;
    assert_eq!(span.name, "raft.transition");
    assert_eq!(of(&event, "raft.members.in_contact"), Some(&2.into()));
    assert_eq!(links(&span)[0].0, "elected_by");
    world.network.heal(&member(silent), &member(leader));
    until("it is heard again", || latest(" in_contact")).await;

    let rounds = || world.elections.named("raft.heartbeat").len();
    let before = rounds();
    until("heartbeats flow", || (rounds() >= before + 40).then_some(())).await;
    let all: Vec<_> = told(&world.elections).into_iter().filter(of_leader).collect();
    for pair in all.windows(2).filter(|pair| of(&pair[0].1, "raft.term") == of(&pair[1].1, "raft.term")) {
        assert_ne!(members(&pair[0].1), members(&pair[1].1), "told again, and nothing changed");
    }
    world.stop().await;
    world.elections.assert_sound();
}

#[tokio::test]
pub(crate) async fn what_the_application_says_stands_in_its_own_entry_and_event() {
    let world = World::of(3).await;
    let leader = world.leader().await;
    let follower = (leader + 1) % 3;
    let long = "x".repeat(STATUS_LEN_MAX + 1);
    let refused = world.electors[follower].set_status(&long);
    assert_eq!(refused, Err(StatusError::TooLong { len: 257, max: 256 }));
    world.electors[follower].set_status("warming \"up\"").expect("it runs");

    let seen = state(&world, follower).await;
    let said = |state: &CollectiveState, at| state.member(&member(at)).and_then(|m| m.status.clone());
    assert_eq!(said(&seen, follower).as_deref(), Some("warming \"up\""));
    assert_eq!(seen.members.iter().filter(|member| member.status.is_some()).count(), 1, "of nobody else");
    assert_eq!(said(&state(&world, leader).await, follower), None, "no message carries it");

    let by_follower = |(span, _): &(SpanData, _)| text(span, "raft.node.id") == member(follower).as_str();
    let (span, event) = until("it is told", || told(&world.elections).into_iter().find(by_follower)).await;
    assert_eq!((span.name.as_ref(), text(&span, "raft.role").as_str()), ("raft.transition", "follower"));
    assert_eq!(of(&event, "raft.application.status"), Some(&"warming \"up\"".into()));
    assert!(members(&event)[follower].ends_with("status=\"warming \\\"up\\\"\""), "{:?}", members(&event));

    // Whoever changes its mind a thousand times is told of once a second, and the last word is told.
    for at in 0..1000 {
        world.electors[follower].set_status(format!("step {at}")).expect("it runs");
    }
    let last = |(_, event): &(SpanData, opentelemetry::trace::Event)| {
        of(event, "raft.application.status") == Some(&"step 999".into())
    };
    until("the last is told", || told(&world.elections).into_iter().find(last)).await;
    let count = told(&world.elections).into_iter().filter(by_follower).count();
    assert!(count <= 5, "{count} events of 1001 words");
    world.electors[follower].set_status("").expect("it runs");
    assert_eq!(said(&state(&world, follower).await, follower), None, "it is taken back");
    world.stop().await;
    world.elections.assert_sound();
}
