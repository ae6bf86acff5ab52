//! Two slots of a state file: whatever they hold, the newest intact state is found or the start is refused.
//!
//! The first byte says how the rest is meant: as two slots as they are, as the body of a slot whose header and checksum are
//! right (what no damage could make, and a newer release could), or as damage to an image that the library wrote.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hustings::record::{HardState, Member, Record, RecordId};
use hustings::storage::StorageError;
use hustings::storage::file::slot::{Newest, Owner, SLOT_LEN, Slot, SlotError, VERSION, decode, encode, newest};
use hustings::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Term};

use crate::cursor::Cursor;

const HEADER_LEN: usize = 28;
/// Where the checked part begins: behind the checksum.
const CHECKED_FROM: usize = 12;

pub(crate) fn check(data: &[u8]) {
    let mut bytes = Cursor::new(data);
    match bytes.byte() % 4 {
        0 => as_they_are(&mut bytes),
        1 => sealed(&mut bytes),
        _ => damaged(&mut bytes),
    }
}

fn as_they_are(bytes: &mut Cursor<'_>) {
    let len = usize::from(bytes.u16());
    let first = bytes.take(len);
    let slots = [first, bytes.rest()].map(decode);
    recover(slots);
}

/// The two slots share what follows, with sequences of their own.
fn sealed(bytes: &mut Cursor<'_>) {
    let version = if bytes.byte() < 240 { VERSION } else { bytes.u16() };
    let sequences = [bytes.number(), bytes.number()];
    let owner = bytes.flag();
    let body = bytes.rest();
    let slots = sequences.map(|sequence| {
        let mut frame = b"hustings".to_vec();
        frame.extend([0; 8]);
        frame.extend(version.to_le_bytes());
        frame.extend([0; 2]);
        frame.extend(sequence.to_le_bytes());
        if owner {
            // Right away to the state: the names are simple.
            ["fuzz", "main", "a"].iter().for_each(|name| put_name(&mut frame, name));
        }
        frame.extend(body);
        let len = u32::try_from(frame.len() - HEADER_LEN).expect("short");
        frame[CHECKED_FROM..CHECKED_FROM + 4].copy_from_slice(&len.to_le_bytes());
        let sum = crc32fast::hash(&frame[CHECKED_FROM..]);
        frame[8..CHECKED_FROM].copy_from_slice(&sum.to_le_bytes());
        decode(&frame)
    });
    recover(slots);
}

fn put_name(frame: &mut Vec<u8>, name: &str) {
    frame.push(u8::try_from(name.len()).expect("short"));
    frame.extend(name.as_bytes());
}

/// What is read can be written, and is read as the same then.
fn recover(slots: [Result<Slot, SlotError>; 2]) {
    for slot in slots.iter().flatten() {
        let frame = encode(&slot.owner, slot.sequence, &slot.state);
        assert!(frame.len() <= SLOT_LEN, "a frame of {} bytes came of one that was read", frame.len());
        assert_eq!(decode(&frame).as_ref(), Ok(slot));
    }
    let known: Vec<u64> = slots.iter().flatten().map(|slot| slot.sequence).collect();
    match newest(Path::new("fuzz"), &owner(), slots) {
        Ok(Newest { at, slot, .. }) => {
            assert!(at < 2 && slot.owner == owner());
            assert_eq!(known.iter().max(), Some(&slot.sequence), "the newest one");
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.code().is_empty()),
    }
}

/// State 7 is being written over state 5, and state 6 stands in the other slot; then the image is damaged.
fn damaged(bytes: &mut Cursor<'_>) {
    let owner = owner();
    let states = [state(5, bytes), state(6, bytes), state(7, bytes)];
    let written = |number: usize| encode(&owner, 5 + number as u64, &states[number]);
    let mut slots = [written(0), written(1)];
    // How far the write of 7 came, if there was one.
    let next = written(2);
    let torn_at = (usize::from(bytes.u16()) % (next.len() * 2)).min(next.len());
    slots[0] = overwritten(&slots[0], &next, torn_at);
    let intact = slots.clone();
    let mut hurt = [torn_at > 0 && torn_at < next.len(), false];
    while !bytes.is_over() {
        let slot = bytes.below(2);
        let at = usize::from(bytes.u16()) % slots[slot].len();
        slots[slot][at] ^= bytes.byte();
        if bytes.byte() > 224 {
            slots[slot].truncate(at);
            slots[slot].push(0);
        }
        hurt[slot] |= slots[slot] != intact[slot];
    }
    if (0..2).any(|at| slots[at] != intact[at] && is_forged(&slots[at])) {
        // Damage that the checksum does not see: one in 2^32.
        return;
    }
    // The largest state that a slot which nobody hurt holds; what was not acknowledged may be found or not.
    let first = if torn_at == next.len() { 2 } else { 0 };
    let whole = [(0, first), (1, 1)].into_iter().filter(|(at, _)| !hurt[*at]).map(|(_, number)| number).max();
    match newest(Path::new("fuzz"), &owner, slots.map(|slot| decode(&slot))) {
        Ok(Newest { slot, .. }) => {
            let number = usize::try_from(slot.sequence - 5).expect("a state that was written");
            assert!(number <= 2 && slot.state == states[number], "a state that nobody wrote: {slot:?}");
            assert!(Some(number) >= whole, "state {number} is older than an intact one, {whole:?}");
        }
        Err(StorageError::Corrupt { .. }) => assert!(whole.is_none(), "state {whole:?} is intact"),
        Err(other) => panic!("damage looks like something else: {other}"),
    }
}

/// A write that broke off: the beginning of the new frame, and the rest of what was there.
fn overwritten(old: &[u8], new: &[u8], len: usize) -> Vec<u8> {
    let mut slot = new[..len].to_vec();
    slot.extend(old.iter().skip(len));
    slot
}

/// Whether the checksum is right, counted without the library's code. The bytes behind the frame do not matter.
fn is_forged(slot: &[u8]) -> bool {
    let Some(header) = slot.get(..HEADER_LEN) else { return false };
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let frame = slot.get(..HEADER_LEN + number(CHECKED_FROM) as usize);
    frame.is_some_and(|frame| crc32fast::hash(&frame[CHECKED_FROM..]) == number(8))
}

fn owner() -> Owner {
    Owner {
        cluster: ClusterId::new("fuzz").expect("a name"),
        group: GroupId::default(),
        node: NodeId::new("a").expect("a name"),
    }
}

fn state(term: u64, bytes: &mut Cursor<'_>) -> HardState {
    let node = |name: &str| NodeId::new(name).expect("a name");
    let shape = bytes.byte();
    let member = |(at, name): (usize, &&str)| Member { node: node(name), disk: DiskId(at as u128), voter: at != 4 };
    let record = Record {
        id: RecordId { term: Term(term), index: term * 2 },
        parent: RecordId { term: Term(term - 1), index: term * 2 - 1 },
        members: ["a", "b", "c", "d", "e"].iter().enumerate().take(usize::from(shape % 6)).map(member).collect(),
        proclaimed: Bytes::from(vec![shape; usize::from(shape)]),
    };
    HardState {
        disk: DiskId(0xd15c),
        incarnation: Incarnation(term),
        named: (shape & 64 == 64).then_some(Term(1)),
        founding: Founding(9),
        term: Term(term),
        voted_for: (shape & 128 == 128).then(|| node("b")),
        promise_max: Duration::from_millis(150),
        record: (!shape.is_multiple_of(6)).then(|| Arc::new(record)),
    }
}
