//! V9 and SCENARIOS 22 on a real process that is suspended: it notices by itself, and neither leads nor campaigns on stale time.

use std::time::{Duration, Instant};

use super::member::{Cluster, wait_for};

/// Three that run, and who leads.
fn led() -> (Cluster, String) {
    let mut cluster = Cluster::untraced(&["a", "b", "c"]);
    for id in ["a", "b", "c"] {
        cluster.start(id);
    }
    let leader = wait_for("a leader", || cluster.leader(&[]));
    for id in ["a", "b", "c"].into_iter().filter(|id| **id != leader) {
        wait_for("everyone to follow", || cluster.says(id, &format!("leader {leader} of T")).then_some(()));
    }
    (cluster, leader)
}

fn says(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

/// The term in which that one was elected last.
fn elected_in(cluster: &Cluster, id: &str) -> u64 {
    let elected = |line: &String| line.rsplit_once("elected leader of T")?.1.split(',').next()?.parse().ok();
    cluster.told(id, 0).iter().rev().find_map(elected).expect("it was elected")
}

#[test]
fn a_suspended_leader_wakes_without_its_office_and_does_not_campaign() {
    let (cluster, old) = led();
    let before = cluster.suspend(&old);
    let new = wait_for("a successor that leads alone", || cluster.leader(&[&old]));
    let term = elected_in(&cluster, &new);
    cluster.resume(&old);
    wait_for("the old leader to follow the new one", || {
        says(&cluster.told(&old, before), &format!("leader {new} of T{term}")).then_some(())
    });
    let told = cluster.told(&old, before);
    assert!(says(&told, "stood still for"), "{told:#?}");
    let over = told.iter().position(|line| line.contains("leadership over: paused past the lease"));
    let found = told.iter().position(|line| line.contains(&format!("leader {new} of T{term}")));
    assert!(over.is_some() && over < found, "it gave up by itself, before it heard of the other: {told:#?}");
    // There was no time to ask the work to end: it was dropped.
    wait_for("its work to end", || says(&cluster.told(&old, before), "work ended under T").then_some(()));
    assert!(!says(&cluster.told(&old, before), "campaign"), "{:#?}", cluster.told(&old, before));
    assert_eq!(cluster.leader(&[&old]), Some(new), "nobody was disturbed");
}

#[test]
fn a_suspended_follower_reads_what_came_before_it_campaigns() {
    let (mut cluster, leader) = led();
    let term = elected_in(&cluster, &leader);
    let still = ["a", "b", "c"].into_iter().find(|id| *id != leader).expect("a follower");
    let before = cluster.suspend(still);
    // Three times the longest election timeout of these members.
    let (began, longest) = (Instant::now(), Duration::from_millis(900));
    wait_for("its election timeout to pass", || (began.elapsed() > longest * 3).then_some(()));
    cluster.resume(still);
    wait_for("it to notice", || says(&cluster.told(still, before), "stood still for").then_some(()));
    // Whoever leads next was handed the office, and had to take one term for it: none was spent in between.
    cluster.terminate(&leader);
    let next = wait_for("a hand-over", || cluster.leader(&[&leader]));
    assert!(cluster.wait_for_exit(&leader).success());
    assert_eq!(elected_in(&cluster, &next), term + 1);
    let told = cluster.told(still, before);
    let woke = told.iter().find(|line| line.contains("stood still for")).map(|line| time_of(line)).expect("it noticed");
    // A heartbeat of 150 ms and two fifths of it for the way: only a leader that is too slow for that may be missed.
    let too_soon = |line: &&String| line.contains("(election timeout") && time_of(line) < woke + 210.0;
    assert!(!told.iter().any(|line| too_soon(&line)), "it campaigned before it listened: {told:#?}");
}

/// When the line says that it happened, in milliseconds.
fn time_of(line: &str) -> f64 {
    line.split("ms").next().and_then(|number| number.trim().parse().ok()).expect("a line begins with its time")
}
