//! What every [`Storage`] must do, as a suite to run on your own: [`check`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Storage, StorageError, recover};
use crate::config::Config;
use crate::record::{HardState, MEMBERS_MAX, Member, PROCLAIMED_LEN_MAX, Record, RecordId};
use crate::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NAME_LEN_MAX, NodeId, Term};

/// Runs the whole contract on a storage.
///
/// `open` opens the same storage each time it is called; the one before has been dropped by then. The first time it
/// must be empty, for cluster `contract` and node `a`. A storage that [is volatile](Storage::is_volatile) may come back
/// empty, and must otherwise keep the same contract.
///
/// ```
/// use hustings::storage::contract;
/// use hustings::storage::memory::VolatileStorage;
///
/// contract::check(VolatileStorage::new).expect("it keeps the contract");
/// ```
///
/// # Errors
/// The first rule that was broken, in words. What the storage holds by then is of no use.
pub fn check<S: Storage>(mut open: impl FnMut() -> S) -> Result<(), String> {
    let mut open: Box<Open<'_>> = Box::new(move || Box::new(open()));
    nothing_before_the_first_save(&mut open)?;
    what_was_saved_is_loaded(&mut open)?;
    a_group_is_overwritten(&mut open)?;
    groups_do_not_mix(&mut open)?;
    a_batch_is_saved_whole(&mut open)?;
    settling_is_harmless(&mut open)?;
    starting_over_is_a_save(&mut open)?;
    recovery_counts_the_starts(&mut open)
}

type Open<'a> = dyn FnMut() -> Box<dyn Storage> + 'a;

fn nothing_before_the_first_save(open: &mut Open<'_>) -> Result<(), String> {
    let mut storage = open();
    let rule = "a group that was never saved has no state";
    expect(rule, &mut *storage, &group("first"), None)?;
    save(&mut *storage, &[(group("second"), state(1))])?;
    expect(rule, &mut *storage, &group("first"), None)?;
    done(storage.save(&[]), "an empty batch is saved")?;
    let mut storage = reopen(storage, open);
    expect(rule, &mut *storage, &group("first"), None)
}

fn what_was_saved_is_loaded(open: &mut Open<'_>) -> Result<(), String> {
    for (what, state) in samples() {
        let group = group("exact");
        let mut storage = open();
        save(&mut *storage, &[(group.clone(), state.clone())])?;
        expect(&format!("load returns exactly what was saved: {what}"), &mut *storage, &group, Some(&state))?;
        expect(&format!("a second load returns it too: {what}"), &mut *storage, &group, Some(&state))?;
        let mut storage = reopen(storage, open);
        let expected = survives(&*storage, &state);
        expect(&format!("it is there after a restart: {what}"), &mut *storage, &group, expected)?;
    }
    Ok(())
}

fn a_group_is_overwritten(open: &mut Open<'_>) -> Result<(), String> {
    let group = group("overwritten");
    let mut storage = open();
    for round in 0..100_u64 {
        let state = if round % 7 == 3 { largest(round) } else { state(round) };
        save(&mut *storage, &[(group.clone(), state.clone())])?;
        if round % 3 == 0 {
            done(storage.settle(), "a state is settled")?;
        }
        expect(&format!("save {round} replaces the one before"), &mut *storage, &group, Some(&state))?;
        if round % 5 == 0 {
            storage = reopen(storage, open);
            let expected = survives(&*storage, &state);
            expect(&format!("save {round} is there after a restart"), &mut *storage, &group, expected)?;
        }
    }
    Ok(())
}

/// Names that a file system or a case-insensitive index may confuse.
fn groups_do_not_mix(open: &mut Open<'_>) -> Result<(), String> {
    let mut names: Vec<String> =
        ["main", "Main", "MAIN", "main.", ".main", "..", "a:b", "a_b", "a-b", "a%62", "é", "@"]
            .map(str::to_owned)
            .to_vec();
    let long = "x".repeat(NAME_LEN_MAX - 1);
    names.extend([format!("{long}1"), format!("{long}2"), long]);
    let states: Vec<_> = names.iter().zip(1..).map(|(name, term)| (group(name), state(term))).collect();
    let mut storage = open();
    for (group, state) in &states {
        save(&mut *storage, &[(group.clone(), state.clone())])?;
    }
    for (group, state) in &states {
        expect("each group has its own state", &mut *storage, group, Some(state))?;
    }
    let mut storage = reopen(storage, open);
    for (group, state) in &states {
        let expected = survives(&*storage, state);
        expect("each group has its own state after a restart", &mut *storage, group, expected)?;
    }
    Ok(())
}

fn a_batch_is_saved_whole(open: &mut Open<'_>) -> Result<(), String> {
    let batch = |term: u64| -> Vec<_> { (0..20).map(|at| (group(&format!("batch-{at}")), state(term + at))).collect() };
    let mut storage = open();
    save(&mut *storage, &batch(100)[..10])?;
    let batch = batch(200);
    save(&mut *storage, &batch)?;
    for (group, state) in &batch {
        expect("every state of a batch is saved", &mut *storage, group, Some(state))?;
    }
    let mut storage = reopen(storage, open);
    for (group, state) in &batch {
        let expected = survives(&*storage, state);
        expect("every state of a batch is there after a restart", &mut *storage, group, expected)?;
    }
    Ok(())
}

fn settling_is_harmless(open: &mut Open<'_>) -> Result<(), String> {
    let group = group("settled");
    let mut storage = open();
    done(storage.settle(), "there may be nothing to settle")?;
    save(&mut *storage, &[(group.clone(), state(1))])?;
    for _ in 0..2 {
        done(storage.settle(), "a state is settled")?;
        expect("settling changes no state", &mut *storage, &group, Some(&state(1)))?;
    }
    let mut storage = reopen(storage, open);
    done(storage.settle(), "a storage is settled before anything was loaded")?;
    let expected = survives(&*storage, &state(1)).cloned();
    expect("a settled state is there after a restart", &mut *storage, &group, expected.as_ref())?;
    save(&mut *storage, &[(group.clone(), state(2))])?;
    done(storage.settle(), "a state is settled")?;
    expect("the newer state replaces a settled one", &mut *storage, &group, Some(&state(2)))
}

/// A storage need not be able to start over; one that says it did holds the state as after a save.
fn starting_over_is_a_save(open: &mut Open<'_>) -> Result<(), String> {
    let (group, beside) = (group("afresh"), group("beside"));
    let mut storage = open();
    save(&mut *storage, &[(group.clone(), state(1)), (beside.clone(), state(2))])?;
    if storage.start_over(&[(group.clone(), largest(3))]).is_err() {
        return Ok(());
    }
    expect("what starts over replaces what was there", &mut *storage, &group, Some(&largest(3)))?;
    expect("what starts over leaves other groups alone", &mut *storage, &beside, Some(&state(2)))?;
    save(&mut *storage, &[(group.clone(), state(4))])?;
    done(storage.settle(), "a state is settled")?;
    expect("a save after that replaces it", &mut *storage, &group, Some(&state(4)))?;
    let mut storage = reopen(storage, open);
    let saved = state(4);
    let expected = survives(&*storage, &saved);
    expect("it is there after a restart", &mut *storage, &group, expected)
}

fn recovery_counts_the_starts(open: &mut Open<'_>) -> Result<(), String> {
    let config = |group_name: &str| Config { group: group(group_name), ..config() };
    let mut storage = open();
    let volatile = storage.is_volatile();
    let first = done(recover(&mut *storage, &config("recovered")), "a new storage is recovered")?;
    let other = done(recover(&mut *storage, &config("recovered-too")), "a second group is recovered")?;
    ensure(volatile == (first.disk == DiskId::NONE), "a disk is minted, unless the storage is volatile")?;
    ensure(volatile || first.disk != other.disk, "each group has a disk of its own")?;
    ensure(volatile || first.incarnation == Incarnation(1), "the first start has incarnation 1")?;
    expect("recovery saves what it returns", &mut *storage, &group("recovered"), Some(&first))?;
    let mut last = HardState { term: Term(9), voted_for: Some(node("b")), ..first.clone() };
    save(&mut *storage, &[(group("recovered"), last.clone())])?;
    for _ in 0..5 {
        storage = reopen(storage, open);
        let next = done(recover(&mut *storage, &config("recovered")), "a storage is recovered")?;
        ensure(next.incarnation > last.incarnation, "each start has a higher incarnation than the one before")?;
        if !volatile {
            last.incarnation = next.incarnation;
            ensure(next == last, "recovery changes nothing but the incarnation")?;
        }
        expect("recovery saves what it returns", &mut *storage, &group("recovered"), Some(&next))?;
        last = next;
    }
    Ok(())
}

fn reopen(storage: Box<dyn Storage>, open: &mut Open<'_>) -> Box<dyn Storage> {
    drop(storage);
    open()
}

fn survives<'a>(storage: &dyn Storage, state: &'a HardState) -> Option<&'a HardState> {
    (!storage.is_volatile()).then_some(state)
}

fn save(storage: &mut dyn Storage, states: &[(GroupId, HardState)]) -> Result<(), String> {
    done(storage.save(states), "a batch of permitted states is saved")
}

fn done<T>(result: Result<T, StorageError>, rule: &str) -> Result<T, String> {
    result.map_err(|error| format!("{rule}, but: {error}"))
}

fn ensure(holds: bool, rule: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("broken: {rule}")) }
}

fn expect(rule: &str, storage: &mut dyn Storage, group: &GroupId, expected: Option<&HardState>) -> Result<(), String> {
    let found = done(storage.load(group), rule)?;
    if found.as_ref() == expected {
        return Ok(());
    }
    let (found, expected) = (summary(found.as_ref()), summary(expected));
    Err(format!("broken: {rule} (group {group}): found {found}, expected {expected}"))
}

/// Short enough to read, though a state may have 80 KiB.
fn summary(state: Option<&HardState>) -> String {
    let Some(state) = state else { return "nothing".to_owned() };
    let mut text = format!("{state:?}");
    if let Some((end, _)) = text.char_indices().nth(400) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

fn samples() -> Vec<(&'static str, HardState)> {
    let empty = HardState::new(DiskId::NONE, Duration::ZERO);
    let highest = HardState {
        disk: DiskId(u128::MAX),
        incarnation: Incarnation(u64::MAX),
        named: Some(Term(u64::MAX)),
        founding: Founding(u64::MAX),
        term: Term(u64::MAX),
        promise_max: Duration::new(3600, 999_999_999),
        ..state(1)
    };
    let no_members = Record { members: Vec::new(), proclaimed: Bytes::new(), ..record(1) };
    let binary = Record { proclaimed: (0..=u8::MAX).collect(), ..record(1) };
    vec![
        ("an empty state", empty),
        ("a state without a vote", HardState { voted_for: None, ..state(3) }),
        ("a state without a record", HardState { record: None, ..state(3) }),
        ("a disk that was named in term 0", HardState { named: Some(Term(0)), ..state(3) }),
        ("a record without members", HardState { record: Some(Arc::new(no_members)), ..state(3) }),
        ("a proclaimed value of any bytes", HardState { record: Some(Arc::new(binary)), ..state(3) }),
        ("the highest numbers", highest),
        ("the largest state", largest(3)),
    ]
}

fn state(term: u64) -> HardState {
    HardState {
        disk: DiskId(0x5eed),
        incarnation: Incarnation(3),
        named: Some(Term(term / 2)),
        founding: Founding(0xf00d),
        term: Term(term),
        voted_for: Some(node("b")),
        promise_max: Duration::from_millis(150),
        record: Some(Arc::new(record(term))),
    }
}

fn record(term: u64) -> Record {
    let member = |name, disk, voter| Member { node: node(name), disk: DiskId(disk), voter };
    Record {
        id: RecordId { term: Term(term), index: term + 2 },
        parent: RecordId { term: Term(term), index: term + 1 },
        members: vec![member("a", 1, true), member("b", 2, true), member("c", 0, false)],
        proclaimed: Bytes::from_static(b"https://b.example:7300"),
    }
}

/// 64 members with the longest names, and 64 KiB proclaimed.
fn largest(term: u64) -> HardState {
    let name = |at: usize| node(&format!("{at:0width$}", width = NAME_LEN_MAX));
    let members = (0..MEMBERS_MAX).map(|at| Member { node: name(at), disk: DiskId(at as u128), voter: true }).collect();
    let proclaimed = (0_u8..=250).cycle().skip(usize::from(term as u8)).take(PROCLAIMED_LEN_MAX).collect();
    let record = Record { members, proclaimed, ..record(term) };
    HardState { voted_for: Some(name(0)), record: Some(Arc::new(record)), ..state(term) }
}

fn config() -> Config {
    let cluster = ClusterId::new("contract").expect("a permitted name");
    Config::new(cluster, node("a"), vec![node("a"), node("b")])
}

fn group(name: &str) -> GroupId {
    GroupId::new(name).expect("a permitted name")
}

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a permitted name")
}
