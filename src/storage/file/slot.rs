//! One slot of a state file: a checksummed frame around one hard state. Pure functions, no I/O.
//!
//! The frame is the same in every version, so that a release can tell a file of a newer one from a damaged one:
//!
//! ```text
//! 0  magic "hustings"      16 version (u16)
//! 8  CRC-32 of 12..        18 zero (u16)
//! 12 length of the body    20 sequence (u64)          28 body
//! ```
//!
//! Numbers are little-endian. The body names its owner, then the state. It and each of its nested parts carries its
//! length, and what follows the known fields is ignored: a release may append fields and keep the version. It raises
//! the version when an older release must not read the file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::record::{HardState, Member, Record, RecordId};
use crate::storage::StorageError;
use crate::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Term};

/// The size of a slot, in bytes. The largest state (64 KiB proclaimed, 64 members with the longest names) needs about
/// 84,000; a multiple of every sector and page size, so that a write to one slot never touches the other.
pub const SLOT_LEN: usize = 128 * 1024;
/// The version that this release writes, and the newest that it reads.
pub const VERSION: u16 = 1;

pub(super) const HEADER_LEN: usize = 28;
const MAGIC: [u8; 8] = *b"hustings";
const CHECKED_FROM: usize = 12;

/// Whose state a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The group.
    pub group: GroupId,
    /// The node.
    pub node: NodeId,
}

/// `cluster/group/node`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster, self.group, self.node)
    }
}

/// What a readable slot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Rises by one with each save; the slot with the larger one is newer, equal ones are copies.
    pub sequence: u64,
    /// Whose state it is.
    pub owner: Owner,
    /// The state.
    pub state: HardState,
}

/// Why a slot cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// Torn, rotten or not a slot.
    #[error("{0}")]
    Unreadable(String),
    /// Intact, and of a version that this release does not know.
    #[error("version {0} is newer than {VERSION}")]
    UnknownVersion(u16),
}

/// What two slots amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Which slot holds the newest state: 0 or 1.
    pub at: usize,
    /// Its content.
    pub slot: Slot,
    /// Whether the other slot is a copy of it. If not, rot of this one would lose it: it is to be copied.
    pub copied: bool,
    /// What is wrong with the other slot, if it is unreadable.
    pub fault: Option<String>,
}

/// The bytes of a slot, without padding: what is written to disk.
///
/// A state that is larger than the library permits may give more than [`SLOT_LEN`]; the caller must not write that.
#[must_use]
pub fn encode(owner: &Owner, sequence: u64, state: &HardState) -> Vec<u8> {
    let mut frame = Vec::with_capacity(512);
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&[0; 8]);
    frame.extend_from_slice(&VERSION.to_le_bytes());
    frame.extend_from_slice(&[0; 2]);
    frame.extend_from_slice(&sequence.to_le_bytes());
    for name in [owner.cluster.as_str(), owner.group.as_str(), owner.node.as_str()] {
        put_name(&mut frame, name);
    }
    put_state(&mut frame, state);
    seal(&mut frame);
    frame
}

/// Reads a slot; bytes after the frame are ignored.
///
/// # Errors
/// [`SlotError`] says what is wrong with it. Damage of up to four adjacent bytes is always found, any other with all
/// but one in 2^32.
pub fn decode(bytes: &[u8]) -> Result<Slot, SlotError> {
    let frame_len = frame_len(bytes)?;
    let frame = bytes.get(..frame_len).ok_or_else(|| unreadable("it is cut short"))?;
    let (header, body) = frame.split_at(HEADER_LEN);
    let mut header = Reader(&header[MAGIC.len()..]);
    let expected = header.u32()?;
    let _body_len = header.u32()?;
    if crc32fast::hash(&frame[CHECKED_FROM..]) != expected {
        return Err(unreadable("its checksum does not match"));
    }
    let version = header.u16()?;
    if version > VERSION {
        return Err(SlotError::UnknownVersion(version));
    }
    header.u16()?;
    let sequence = header.u64()?;
    let mut body = Reader(body);
    let owner = Owner { cluster: body.name()?, group: body.name()?, node: body.name()? };
    Ok(Slot { sequence, owner, state: body.state()? })
}

/// Chooses between two slots: the newest readable one.
///
/// One unreadable slot is a write that was torn before it was acknowledged, or rot of one of two copies: either way
/// the other one holds what was acknowledged. `path` is only named in errors.
///
/// # Errors
/// [`StorageError::WrongOwner`], [`StorageError::UnknownVersion`], or [`StorageError::Corrupt`] if both are unreadable
/// or contradict each other.
pub fn newest(path: &Path, owner: &Owner, slots: [Result<Slot, SlotError>; 2]) -> Result<Newest, StorageError> {
    let path = || path.to_owned();
    for slot in &slots {
        match slot {
            Err(SlotError::UnknownVersion(found)) => {
                return Err(StorageError::UnknownVersion { path: path(), found: *found, known: VERSION });
            }
            Ok(slot) if slot.owner != *owner => {
                let (found, wanted) = (slot.owner.to_string(), owner.to_string());
                return Err(StorageError::WrongOwner { path: path(), found, wanted });
            }
            Ok(_) | Err(SlotError::Unreadable(_)) => {}
        }
    }
    match slots {
        [Ok(first), Ok(second)] if first.sequence == second.sequence && first.state != second.state => {
            let text = format!("it claims to be state {}, and so does the other one", first.sequence);
            Err(StorageError::Corrupt { path: path(), first: text.clone(), second: text })
        }
        [Ok(first), Ok(second)] => {
            let copied = first.sequence == second.sequence;
            let (at, slot) = if first.sequence >= second.sequence { (0, first) } else { (1, second) };
            Ok(Newest { at, slot, copied, fault: None })
        }
        [Ok(slot), Err(fault)] => Ok(Newest { at: 0, slot, copied: false, fault: Some(fault.to_string()) }),
        [Err(fault), Ok(slot)] => Ok(Newest { at: 1, slot, copied: false, fault: Some(fault.to_string()) }),
        [Err(first), Err(second)] => {
            Err(StorageError::Corrupt { path: path(), first: first.to_string(), second: second.to_string() })
        }
    }
}

/// How long a frame is that starts with these bytes, at most [`SLOT_LEN`].
pub(super) fn frame_len(bytes: &[u8]) -> Result<usize, SlotError> {
    let header = bytes.get(..HEADER_LEN).ok_or_else(|| unreadable("it is cut short"))?;
    if header[..MAGIC.len()] != MAGIC {
        return Err(unreadable("it does not start like a slot"));
    }
    let body_len = Reader(&header[CHECKED_FROM..]).u32()?;
    let frame_len = usize::try_from(body_len).ok().and_then(|len| len.checked_add(HEADER_LEN));
    match frame_len {
        Some(len) if len <= SLOT_LEN => Ok(len),
        _ => Err(unreadable("it claims to be longer than a slot")),
    }
}

fn unreadable(what: &str) -> SlotError {
    SlotError::Unreadable(what.to_owned())
}

/// Writes the length, then the checksum of everything behind the checksum.
fn seal(frame: &mut [u8]) {
    let body_len = length(frame.len() - HEADER_LEN);
    frame[CHECKED_FROM..CHECKED_FROM + 4].copy_from_slice(&body_len.to_le_bytes());
    let checksum = crc32fast::hash(&frame[CHECKED_FROM..]);
    frame[MAGIC.len()..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
}

/// Saturates: such a frame is too large for a slot and never written.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// At most 253 bytes, which the name types ensure.
fn put_name(out: &mut Vec<u8>, name: &str) {
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name.as_bytes());
}

fn put_state(out: &mut Vec<u8>, state: &HardState) {
    out.extend_from_slice(&state.disk.0.to_le_bytes());
    out.extend_from_slice(&state.incarnation.0.to_le_bytes());
    out.push(u8::from(state.named.is_some()));
    out.extend_from_slice(&state.named.unwrap_or_default().0.to_le_bytes());
    out.extend_from_slice(&state.founding.0.to_le_bytes());
    out.extend_from_slice(&state.term.0.to_le_bytes());
    put_name(out, state.voted_for.as_ref().map_or("", NodeId::as_str));
    out.extend_from_slice(&state.promise_max.as_secs().to_le_bytes());
    out.extend_from_slice(&state.promise_max.subsec_nanos().to_le_bytes());
    let mut record = Vec::new();
    if let Some(newest) = &state.record {
        put_record(&mut record, newest);
    }
    out.extend_from_slice(&length(record.len()).to_le_bytes());
    out.extend_from_slice(&record);
}

fn put_record(out: &mut Vec<u8>, record: &Record) {
    for id in [record.id, record.parent] {
        out.extend_from_slice(&id.term.0.to_le_bytes());
        out.extend_from_slice(&id.index.to_le_bytes());
    }
    out.extend_from_slice(&length(record.members.len()).to_le_bytes());
    for member in &record.members {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&member.disk.0.to_le_bytes());
        bytes.push(u8::from(member.voter));
        put_name(&mut bytes, member.node.as_str());
        out.extend_from_slice(&length(bytes.len()).to_le_bytes());
        out.extend_from_slice(&bytes);
    }
    out.extend_from_slice(&length(record.proclaimed.len()).to_le_bytes());
    out.extend_from_slice(&record.proclaimed);
}

/// Reads fields from the front. A slot whose checksum matches was written by this library, so its errors are unlikely;
/// they are handled all the same, since a file is input.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], SlotError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(|| unreadable("a field is missing"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], SlotError> {
        let mut array = [0; LEN];
        array.copy_from_slice(self.take(LEN)?);
        Ok(array)
    }

    fn flag(&mut self) -> Result<bool, SlotError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(SlotError::Unreadable(format!("a flag is {other}"))),
        }
    }

    fn u16(&mut self) -> Result<u16, SlotError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, SlotError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, SlotError> {
        self.array().map(u64::from_le_bytes)
    }

    fn disk(&mut self) -> Result<DiskId, SlotError> {
        self.array().map(|bytes| DiskId(u128::from_le_bytes(bytes)))
    }

    /// A part that starts with its length in four bytes.
    fn part(&mut self) -> Result<&'a [u8], SlotError> {
        let len = usize::try_from(self.u32()?).map_err(|_| unreadable("a part is too long"))?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'a str, SlotError> {
        let [len] = self.array()?;
        std::str::from_utf8(self.take(usize::from(len))?).map_err(|_| unreadable("a name is not UTF-8"))
    }

    fn name<N: TryFrom<&'a str>>(&mut self) -> Result<N, SlotError> {
        N::try_from(self.text()?).map_err(|_| unreadable("a name is not valid"))
    }

    fn state(&mut self) -> Result<HardState, SlotError> {
        let disk = self.disk()?;
        let incarnation = Incarnation(self.u64()?);
        let (is_named, named) = (self.flag()?, Term(self.u64()?));
        let founding = Founding(self.u64()?);
        let term = Term(self.u64()?);
        let voted_for = match self.text()? {
            "" => None,
            name => Some(NodeId::new(name).map_err(|_| unreadable("the name in the vote is not valid"))?),
        };
        let (seconds, nanos) = (self.u64()?, self.u32()?);
        if nanos >= 1_000_000_000 {
            return Err(unreadable("the longest promise is not a duration"));
        }
        let record = match self.part()? {
            [] => None,
            part => Some(Arc::new(Reader(part).record()?)),
        };
        let promise_max = Duration::new(seconds, nanos);
        let named = is_named.then_some(named);
        Ok(HardState { disk, incarnation, named, founding, term, voted_for, promise_max, record })
    }

    fn record(&mut self) -> Result<Record, SlotError> {
        let id = self.record_id()?;
        let parent = self.record_id()?;
        let mut members = Vec::new();
        for _ in 0..self.u32()? {
            let mut part = Reader(self.part()?);
            let (disk, voter) = (part.disk()?, part.flag()?);
            members.push(Member { node: part.name()?, disk, voter });
        }
        let proclaimed = Bytes::copy_from_slice(self.part()?);
        Ok(Record { id, parent, members, proclaimed })
    }

    fn record_id(&mut self) -> Result<RecordId, SlotError> {
        Ok(RecordId { term: Term(self.u64()?), index: self.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{largest, owner, small};
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (sequence, state) in [(1, HardState::new(DiskId(7), Duration::MAX)), (u64::MAX, small(3)), (2, largest(4))]
        {
            let mut bytes = encode(&owner(), sequence, &state);
            assert!(bytes.len() <= SLOT_LEN, "{}", bytes.len());
            bytes.extend_from_slice(b"what an older, larger state left behind");
            assert_eq!(decode(&bytes), Ok(Slot { sequence, owner: owner(), state }));
        }
    }

    /// The format is on disks: a change of these bytes needs a new version.
    #[test]
    fn the_bytes_are_pinned() {
        let bytes = encode(&owner(), 9, &small(5));
        assert_eq!((bytes.len(), crc32fast::hash(&bytes)), PINNED);
    }

    const PINNED: (usize, u32) = (235, 416_201_081);

    #[test]
    fn every_damaged_byte_and_every_cut_is_found() {
        let bytes = encode(&owner(), 9, &small(5));
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut rotten = bytes.clone();
                rotten[at] ^= flip;
                assert!(matches!(decode(&rotten), Err(SlotError::Unreadable(_))), "byte {at} ^ {flip:#x}");
            }
            assert!(matches!(decode(&bytes[..at]), Err(SlotError::Unreadable(_))), "cut at {at}");
        }
    }

    #[test]
    fn fields_that_a_later_release_appends_are_ignored() {
        let mut bytes = encode(&owner(), 9, &small(5));
        bytes.extend_from_slice(b"a field of the future");
        seal(&mut bytes);
        assert_eq!(decode(&bytes).map(|slot| slot.state), Ok(small(5)));
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = encode(&owner(), 9, &small(5));
        bytes[16] = 2;
        assert!(matches!(decode(&bytes), Err(SlotError::Unreadable(_))), "rot of the version is rot");
        seal(&mut bytes);
        assert_eq!(decode(&bytes), Err(SlotError::UnknownVersion(2)));
        let path = Path::new("x");
        let error = newest(path, &owner(), [decode(&encode(&owner(), 8, &small(4))), decode(&bytes)]);
        assert!(matches!(error, Err(StorageError::UnknownVersion { found: 2, known: 1, .. })), "{error:?}");
    }

    /// A file is input: whatever stands under a matching checksum gives an error, never a panic.
    #[test]
    fn nonsense_under_a_matching_checksum_is_refused_without_a_panic() {
        let bytes = encode(&owner(), 9, &small(5));
        for at in HEADER_LEN..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut strange = bytes.clone();
                strange[at] = value;
                seal(&mut strange);
                let _ = decode(&strange);
                strange.truncate(at);
                seal(&mut strange);
                assert!(decode(&strange).is_err(), "a body of {} bytes", at - HEADER_LEN);
            }
        }
    }

    #[test]
    fn the_newest_readable_slot_wins() {
        let path = Path::new("x");
        let slot = |sequence| decode(&encode(&owner(), sequence, &small(sequence)));
        let bad = || Err(unreadable("torn"));
        let chosen = |slots| newest(path, &owner(), slots).map(|n| (n.at, n.slot.sequence, n.copied)).ok();
        assert_eq!(chosen([slot(4), slot(5)]), Some((1, 5, false)));
        assert_eq!(chosen([slot(6), slot(5)]), Some((0, 6, false)));
        assert_eq!(chosen([slot(5), slot(5)]), Some((0, 5, true)));
        assert_eq!(chosen([bad(), slot(5)]), Some((1, 5, false)));
        assert_eq!(chosen([slot(5), bad()]), Some((0, 5, false)));
        assert_eq!(chosen([bad(), bad()]), None);
        let twin = decode(&encode(&owner(), 5, &small(6)));
        assert_eq!(chosen([slot(5), twin]), None, "two states of one number cannot be ordered");
    }
}
