//! The store on a faulty disk: whatever happens, an acknowledged state is found again, or the start is refused.

use super::faults::{Chance, Fate, FaultyDisk};
use super::samples::{cluster, group, largest, node, owner, small};
use super::slot::{self, SLOT_LEN};
use super::store::{Store, file_name};
use crate::record::HardState;
use crate::storage::StorageError;
use crate::types::GroupId;

fn main() -> GroupId {
    GroupId::default()
}

fn store(disk: &FaultyDisk) -> Store<FaultyDisk> {
    Store::open(disk.clone(), cluster(), node("a")).expect("the directory can be synced")
}

fn save(store: &mut Store<FaultyDisk>, state: &HardState) -> Result<(), StorageError> {
    store.save(&[(main(), state.clone())])
}

fn load(disk: &FaultyDisk) -> Option<HardState> {
    store(disk).load(&main()).expect("the state is readable")
}

/// A disk whose newest state is `states.last()`, copied to both slots or not.
fn disk_with(states: &[HardState], copied: bool) -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    let mut store = store(&disk);
    for state in states {
        store.settle().expect("a sound disk");
        save(&mut store, state).expect("a sound disk");
    }
    if copied {
        store.settle().expect("a sound disk");
    }
    disk
}

/// Every byte of the frame, or those around the sectors of a large one, and the operations behind it.
fn crash_points(state: &HardState) -> Vec<usize> {
    let len = slot::encode(&owner(), 9, state).len();
    (0..len + 4).filter(|at| len < 2000 || at % 512 == 0 || *at + 8 > len).collect()
}

/// After a crash the next life must work as well: save, settle, and find it again.
fn live_on(disk: &FaultyDisk, context: &str) {
    let mut next = store(disk);
    next.load(&main()).expect("the state is readable");
    save(&mut next, &small(1000)).expect("a sound disk");
    disk.lose_power(Fate::Lost);
    assert_eq!(load(disk), Some(small(1000)), "{context}");
    let mut next = store(disk);
    next.load(&main()).expect("the state is readable");
    next.settle().expect("a sound disk");
    for at in [40, SLOT_LEN + 40] {
        let disk = disk.fork();
        disk.rot(&file_name(&main()), at, 1);
        assert_eq!(load(&disk), Some(small(1000)), "{context}, then rot at {at}");
    }
}

#[test]
fn a_save_torn_at_any_byte_leaves_the_old_state_or_the_new_one() {
    for (old, new) in [(small(7), small(8)), (largest(7), largest(8)), (largest(7), small(8)), (small(7), largest(8))] {
        for copied in [true, false] {
            let before = disk_with(&[small(5), small(6), old.clone()], copied);
            for at in crash_points(&new) {
                for fate in [Fate::Lost, Fate::Kept, Fate::Drawn] {
                    let context = format!("copied {copied}, crash after {at}, {fate:?}");
                    let disk = before.fork();
                    let mut store = store(&disk);
                    store.load(&main()).expect("a sound disk");
                    disk.crash_after(at);
                    let saved = save(&mut store, &new);
                    disk.lose_power(fate);
                    let found = load(&disk);
                    if saved.is_ok() {
                        assert_eq!(found.as_ref(), Some(&new), "{context}: acknowledged and forgotten");
                    } else {
                        assert!([&old, &new].contains(&found.as_ref().expect("a state")), "{context}");
                    }
                    if at % 16 == 0 {
                        live_on(&disk, &context);
                    }
                }
            }
        }
    }
}

#[test]
fn a_copy_torn_at_any_byte_leaves_the_acknowledged_state() {
    for (old, new) in [(small(7), small(8)), (largest(7), largest(8))] {
        let before = disk_with(&[small(6), old], true);
        for at in crash_points(&new) {
            for fate in [Fate::Lost, Fate::Kept, Fate::Drawn] {
                let disk = before.fork();
                let mut store = store(&disk);
                save(&mut store, &new).expect("a sound disk");
                disk.crash_after(at);
                let _ = store.settle();
                disk.lose_power(fate);
                assert_eq!(load(&disk).as_ref(), Some(&new), "crash after {at}, {fate:?}");
                if at % 16 == 0 {
                    live_on(&disk, &format!("copy torn at {at}"));
                }
            }
        }
    }
}

/// A save after a save that was not copied yet must not touch the only copy.
#[test]
fn saves_without_a_copy_between_them_never_overwrite_the_newest_state() {
    for at in crash_points(&small(8)) {
        let disk = FaultyDisk::new(3);
        let mut store = store(&disk);
        for term in 5..8 {
            save(&mut store, &small(term)).expect("a sound disk");
        }
        disk.crash_after(at);
        let saved = save(&mut store, &small(8));
        disk.lose_power(Fate::Drawn);
        let found = load(&disk).expect("a state");
        assert!(found == small(8) || saved.is_err() && found == small(7), "crash after {at}: {found:?}");
    }
}

#[test]
fn a_crash_while_the_file_is_created_leaves_nothing_or_the_state() {
    let whole = 2 * SLOT_LEN + 5;
    let points = (0..whole).step_by(4093).chain(whole - 8..whole + 3).chain(0..4);
    for at in points {
        for fate in [Fate::Lost, Fate::Kept, Fate::Drawn] {
            let disk = FaultyDisk::new(at as u64);
            let mut first = store(&disk);
            assert_eq!(first.load(&main()).expect("a sound disk"), None);
            disk.crash_after(at);
            let saved = save(&mut first, &small(1));
            disk.lose_power(fate);
            match load(&disk) {
                None => assert!(saved.is_err(), "crash after {at}, {fate:?}: acknowledged and forgotten"),
                found => assert_eq!(found, Some(small(1))),
            }
            live_on(&disk, &format!("creation crashed after {at}"));
        }
    }
}

/// The next process sees in the cache what no sync made durable, and must not build on it before it is.
#[test]
fn a_kill_before_the_sync_and_power_loss_after_the_next_save_forget_nothing() {
    let whole = 2 * SLOT_LEN + 5;
    for at in whole - 8..whole + 3 {
        let disk = FaultyDisk::new(at as u64);
        let mut first = store(&disk);
        disk.crash_after(at);
        let created = save(&mut first, &small(1));
        disk.kill();
        assert!(load(&disk).is_some() || created.is_err(), "killed after {at}");
        live_on(&disk, &format!("creation killed after {at}"));
    }
    let whole = slot::encode(&owner(), 9, &small(8)).len();
    for at in whole - 2..whole + 3 {
        for tear in 0..300 {
            let disk = disk_with(&[small(5), small(6)], true);
            let mut first = store(&disk);
            save(&mut first, &small(7)).expect("a sound disk");
            disk.crash_after(at);
            let _ = save(&mut first, &small(8));
            disk.kill();
            let mut second = store(&disk);
            let found = second.load(&main()).expect("a sound disk").expect("a state");
            disk.crash_after(tear);
            let saved = save(&mut second, &small(9));
            disk.lose_power(if tear % 2 == 0 { Fate::Lost } else { Fate::Drawn });
            let last = load(&disk).expect("a state");
            assert!(last == small(9) || saved.is_err() && last == found, "killed after {at}, torn at {tear}");
        }
    }
}

#[test]
fn one_rotten_byte_anywhere_costs_nothing_once_the_state_is_copied() {
    let before = disk_with(&[small(7), small(8)], true);
    let len = slot::encode(&owner(), 9, &small(8)).len();
    for at in (0..len).chain(SLOT_LEN..SLOT_LEN + len) {
        let disk = before.fork();
        disk.rot(&file_name(&main()), at, 0x10);
        let mut store = store(&disk);
        assert_eq!(store.load(&main()).expect("one slot is enough"), Some(small(8)), "byte {at}");
        store.settle().expect("a sound disk");
        let other = if at < SLOT_LEN { SLOT_LEN + 20 } else { 20 };
        disk.rot(&file_name(&main()), other, 0x10);
        assert_eq!(load(&disk), Some(small(8)), "byte {at} was repaired before the other slot rotted");
    }
}

#[test]
fn two_rotten_slots_refuse_the_start() {
    let disk = disk_with(&[small(8)], true);
    disk.rot(&file_name(&main()), 30, 1);
    disk.rot(&file_name(&main()), SLOT_LEN + 30, 1);
    let error = store(&disk).load(&main()).expect_err("nothing is readable");
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    let error = save(&mut store(&disk), &small(9)).expect_err("what cannot be read is not overwritten either");
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    let error = store(&disk).load(&main()).expect_err("and it stays so").to_string();
    assert!(error.contains("/disk/group-main.state") && error.contains("checksum"), "{error}");
}

/// A file of the final name had an acknowledged state: an empty one has lost it.
#[test]
fn a_file_that_lost_its_content_is_corrupt_and_not_new() {
    for len in [0, 10, 100] {
        let disk = disk_with(&[small(8)], true);
        disk.truncate(&file_name(&main()), len);
        let error = store(&disk).load(&main()).expect_err("nothing is readable");
        assert!(matches!(error, StorageError::Corrupt { .. }), "{len} bytes: {error}");
    }
    let disk = disk_with(&[small(8)], true);
    disk.truncate(&file_name(&main()), SLOT_LEN);
    assert_eq!(load(&disk), Some(small(8)), "one slot is enough");
    live_on(&disk, "the file was cut in half");
}

#[test]
fn an_unreadable_sector_costs_one_slot_and_a_dead_disk_is_no_corruption() {
    let disk = disk_with(&[small(8)], true);
    disk.fail_reads_from(Some(SLOT_LEN as u64));
    assert_eq!(load(&disk), Some(small(8)));
    disk.fail_reads_from(Some(0));
    let error = store(&disk).load(&main()).expect_err("nothing is readable");
    assert!(matches!(error, StorageError::Io { action: "read", .. }), "{error}");
}

#[test]
fn short_writes_are_continued() {
    let disk = disk_with(&[small(7)], true);
    disk.write_short(true);
    let mut store = store(&disk);
    save(&mut store, &largest(8)).expect("a sound disk");
    store.settle().expect("a sound disk");
    disk.lose_power(Fate::Lost);
    assert_eq!(load(&disk), Some(largest(8)));
}

/// The second sync would report success for what the first one lost.
#[test]
fn after_a_failed_sync_nothing_is_tried_again() {
    for failing in ["save", "settle"] {
        for seed in 0..50 {
            let disk = disk_with(&[small(6), small(7)], true);
            disk.chance(seed);
            let mut store = store(&disk);
            store.load(&main()).expect("a sound disk");
            if failing == "settle" {
                save(&mut store, &small(8)).expect("a sound disk");
                disk.fail_next_sync();
                let error = store.settle().expect_err("the sync failed");
                assert!(matches!(error, StorageError::Io { action: "sync", .. }), "{error}");
            } else {
                disk.fail_next_sync();
                let error = save(&mut store, &small(8)).expect_err("the sync failed");
                assert!(matches!(error, StorageError::Io { action: "sync", .. }), "{error}");
            }
            let ops = disk.ops();
            assert!(store.settle().is_ok(), "there is nothing that could be copied");
            for error in [save(&mut store, &small(9)), store.load(&main()).map(drop)] {
                let error = error.expect_err("poisoned");
                assert!(matches!(error, StorageError::Poisoned { .. }), "{error}");
                assert!(error.to_string().contains("sync: Input/output error"), "{error}");
            }
            assert_eq!(disk.ops(), ops, "the disk was not touched");
            // A new process on the same kernel sees the cache, and must not build on it.
            let found = load(&disk).expect("a state");
            assert!(found == small(8) || failing == "save" && found == small(7), "seed {seed}: {found:?}");
            disk.lose_power(Fate::Lost);
            assert_eq!(load(&disk), Some(found), "seed {seed}: what was loaded was not on the disk");
        }
    }
}

/// The file whose sync failed is never used again: not its inode, and not what the cache shows of it.
#[test]
fn after_a_failed_sync_a_new_file_takes_the_place_of_the_old_one() {
    for failing in ["save", "settle"] {
        let disk = disk_with(&[small(6), small(7)], true);
        let mut store = store(&disk);
        store.load(&main()).expect("a sound disk");
        if failing == "settle" {
            save(&mut store, &small(8)).expect("a sound disk");
        }
        disk.fail_next_sync();
        let failed = if failing == "settle" { store.settle() } else { save(&mut store, &small(8)) };
        failed.expect_err("the sync failed");
        disk.fail_next_sync();
        store.start_over(&[(main(), small(9))]).expect_err("the new file's sync fails too");
        assert!(matches!(save(&mut store, &small(9)), Err(StorageError::Poisoned { .. })), "still nothing is proven");
        store.start_over(&[(main(), small(9))]).expect("the disk is well again");
        disk.lose_power(Fate::Lost);
        assert_eq!(load(&disk), Some(small(9)), "it was durable when it was said to be");
        let mut store = self::store(&disk);
        store.load(&main()).expect("a state");
        save(&mut store, &small(10)).expect("as good as any");
        store.settle().expect("as good as any");
        disk.lose_power(Fate::Lost);
        assert_eq!(load(&disk), Some(small(10)));
    }
}

#[test]
fn a_full_disk_fails_a_new_group_alone() {
    let disk = disk_with(&[small(7)], true);
    let mut store = store(&disk);
    disk.fill_up_after(1000);
    let error = store.save(&[(main(), small(8)), (group("new"), small(1))]).expect_err("the disk is full");
    assert!(matches!(&error, StorageError::Io { action: "write", .. }), "{error}");
    assert!(error.to_string().contains("group-new.state.new") && error.to_string().contains("free some space"));
    assert_eq!(store.load(&main()).expect("not poisoned"), Some(small(7)), "none of the batch was saved");
    disk.kill();
    save(&mut store, &small(8)).expect("the group has its space");
    store.save(&[(group("new"), small(1))]).expect("there is space again");
    assert_eq!(load(&disk), Some(small(8)));
}

/// On file systems that copy on write even an overwritten byte needs space.
#[test]
fn a_full_disk_under_an_old_group_poisons_the_store() {
    for space in [0, 100] {
        let disk = disk_with(&[small(7)], true);
        let mut store = store(&disk);
        store.load(&main()).expect("a sound disk");
        disk.fill_up_after(space);
        let error = save(&mut store, &small(8)).expect_err("the disk is full");
        assert!(matches!(&error, StorageError::Io { action: "write", .. }), "{error}");
        disk.kill();
        let error = save(&mut store, &small(8)).expect_err("poisoned");
        assert!(matches!(error, StorageError::Poisoned { .. }), "{error}");
        assert_eq!(load(&disk), Some(small(7)));
    }
}

#[test]
fn a_state_that_is_too_large_changes_nothing() {
    let disk = disk_with(&[small(7)], true);
    let mut store = store(&disk);
    let mut large = largest(8);
    let record = std::sync::Arc::make_mut(large.record.as_mut().expect("it has a record"));
    record.proclaimed = vec![0; SLOT_LEN].into();
    let error = store.save(&[(group("other"), small(1)), (main(), large)]).expect_err("it is too large");
    assert!(matches!(error, StorageError::TooLarge { max: SLOT_LEN, .. }), "{error}");
    assert!(!disk.has(&file_name(&group("other"))), "no part of the batch was saved");
    save(&mut store, &small(8)).expect("not poisoned");
}

#[test]
fn of_two_states_of_a_group_in_one_batch_the_later_one_is_kept() {
    let disk = FaultyDisk::new(1);
    for terms in [[1, 2], [3, 4]] {
        store(&disk).save(&terms.map(|term| (main(), small(term)))).expect("a sound disk");
        assert_eq!(load(&disk), Some(small(terms[1])));
    }
}

#[test]
fn a_file_of_another_owner_is_refused() {
    let disk = disk_with(&[small(7)], true);
    let mut other = Store::open(disk.clone(), cluster(), node("b")).expect("it can be synced");
    for error in [other.load(&main()).map(drop), other.save(&[(main(), small(8))])] {
        let error = error.expect_err("it belongs to a");
        assert!(matches!(error, StorageError::WrongOwner { .. }), "{error}");
        assert!(error.to_string().contains("belongs to test/main/a, not to test/main/b"), "{error}");
    }
    assert_eq!(load(&disk), Some(small(7)));
}

#[test]
fn no_two_groups_share_a_file() {
    let long = |end: &str| format!("{}{end}", "x".repeat(250));
    let names =
        ["main", "Main", "MAIN", "..", ".", "main.state", "a:b", "a_b", "a-b", "a~b", "é", "%6d", "m%6d", "con"];
    let mut files: Vec<String> = names.iter().map(|name| file_name(&group(name))).collect();
    files.extend(["aaa", "aab", ""].iter().map(|end| file_name(&group(&long(end)))));
    for file in &files {
        assert!(
            file.len() < 200
                && file.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_%~.".contains(&b))
        );
        assert!(files.iter().filter(|other| *other == file).count() == 1, "{file} twice");
    }
}

/// No vote is ever forgotten: random lives of two groups on a disk that does its worst.
#[test]
fn whatever_was_acknowledged_is_found_again() {
    for seed in 0..400 {
        Lives::new(seed).run();
    }
}

struct Lives {
    seed: u64,
    chance: Chance,
    disk: FaultyDisk,
    groups: [GroupId; 2],
    /// What was acknowledged, and what was tried since; the first is `None` until a state was acknowledged.
    acked: [Option<HardState>; 2],
    tried: [Vec<HardState>; 2],
    failed: [bool; 2],
    /// Whether both slots are known to hold what was acknowledged.
    copied: [bool; 2],
    term: u64,
}

impl Lives {
    fn new(seed: u64) -> Lives {
        let disk = FaultyDisk::new(seed ^ 0xd15c);
        disk.write_short(seed.is_multiple_of(5));
        Lives {
            seed,
            chance: Chance(seed),
            disk,
            groups: [group("main"), group("other")],
            acked: [None, None],
            tried: [Vec::new(), Vec::new()],
            failed: [false; 2],
            copied: [false; 2],
            term: 0,
        }
    }

    fn run(&mut self) {
        for _ in 0..12 {
            let mut store = store(&self.disk);
            self.find(&mut store);
            self.live(&mut store);
            drop(store);
            self.die();
        }
        self.find(&mut store(&self.disk));
    }

    fn find(&mut self, store: &mut Store<FaultyDisk>) {
        for at in 0..2 {
            let found = match store.load(&self.groups[at]) {
                Ok(found) => found,
                Err(error) => panic!("seed {}: the start is refused: {error}", self.seed),
            };
            let is_acked = found == self.acked[at];
            let is_tried = found.as_ref().is_some_and(|found| self.tried[at].contains(found));
            let (acked, tried) = (&self.acked[at], &self.tried[at]);
            assert!(is_acked || is_tried, "seed {}: found {found:?} instead of {acked:?} or {tried:?}", self.seed);
            // What was loaded is what the node builds on: it is durable from now on.
            (self.acked[at], self.tried[at], self.failed[at]) = (found, Vec::new(), false);
        }
    }

    fn live(&mut self, store: &mut Store<FaultyDisk>) {
        match self.chance.below(6) {
            0 => self.disk.crash_after(self.chance.below(600_000)),
            1 | 2 => self.disk.crash_after(self.chance.below(1500)),
            3 => self.disk.fill_up_after(self.chance.below(1500)),
            _ => {}
        }
        for _ in 0..self.chance.below(8) {
            if self.chance.one_in(12) {
                self.disk.fail_next_sync();
            }
            match self.chance.below(3) {
                0 => match store.settle() {
                    Ok(()) => {
                        for at in (0..2).filter(|at| !self.failed[*at]) {
                            self.copied[at] = self.acked[at].is_some();
                        }
                    }
                    Err(_) => self.fail(),
                },
                _ if self.failed.contains(&true) && self.chance.one_in(2) => self.start_over(store),
                choice => self.save(store, choice == 1),
            }
        }
    }

    fn save(&mut self, store: &mut Store<FaultyDisk>, both: bool) {
        let chosen: Vec<usize> = if both { vec![0, 1] } else { vec![self.chance.below(2)] };
        self.term += 1;
        let state = if self.chance.one_in(20) { largest(self.term) } else { small(self.term) };
        let batch: Vec<_> = chosen.iter().map(|&at| (self.groups[at].clone(), state.clone())).collect();
        let result = store.save(&batch);
        for &at in &chosen {
            match &result {
                Ok(()) => (self.acked[at], self.tried[at]) = (Some(state.clone()), Vec::new()),
                Err(StorageError::Poisoned { .. }) => continue,
                Err(_) => self.tried[at].push(state.clone()),
            }
            self.copied[at] = false;
        }
        // A full disk fails a new group before anything was written: then nothing is in doubt.
        if matches!(result, Err(StorageError::Io { .. })) && store.load(&self.groups[chosen[0]]).is_err() {
            self.fail();
        }
    }

    /// Both files are in doubt as far as they are there.
    fn fail(&mut self) {
        self.failed = [true; 2];
    }

    /// What starts over stands in both slots of a new file, or nothing has changed, or it is not known which.
    fn start_over(&mut self, store: &mut Store<FaultyDisk>) {
        let at = self.chance.below(2);
        self.term += 1;
        let state = small(self.term);
        match store.start_over(&[(self.groups[at].clone(), state.clone())]) {
            Ok(()) => {
                (self.acked[at], self.tried[at]) = (Some(state), Vec::new());
                (self.failed[at], self.copied[at]) = (false, true);
                assert_eq!(store.load(&self.groups[at]).expect("it is well again"), self.acked[at]);
            }
            Err(_) => {
                self.tried[at].push(state);
                self.copied[at] = false;
            }
        }
    }

    fn die(&mut self) {
        let fate = [Fate::Lost, Fate::Kept, Fate::Drawn, Fate::Drawn][self.chance.below(4)];
        if self.chance.one_in(3) {
            self.disk.kill();
        } else {
            self.disk.lose_power(fate);
        }
        for at in 0..2 {
            // Rot of one slot is survived only while the other one is a copy.
            if self.copied[at] && self.chance.one_in(2) {
                let slot = self.chance.below(2) * SLOT_LEN;
                let byte = slot + self.chance.below(200);
                self.disk.rot(&file_name(&self.groups[at]), byte, 1 << self.chance.below(8));
                self.copied[at] = false;
            }
        }
    }
}
