//! The two slots of each group: which one is written, when, and what a crash leaves.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::directory::{BlockFile, Directory, io_error};
use super::slot::{self, HEADER_LEN, Newest, Owner, SLOT_LEN, Slot, SlotError};
use crate::mutant::{self, Mutant};
use crate::record::HardState;
use crate::storage::StorageError;
use crate::types::{ClusterId, GroupId, NodeId};

/// One file for each group in a directory.
#[derive(Debug)]
pub(super) struct Store<D: Directory> {
    directory: D,
    cluster: ClusterId,
    node: NodeId,
    groups: BTreeMap<GroupId, Group<D::File>>,
    /// What the disk holds of these groups is unknown since a failure.
    failed: BTreeMap<GroupId, Failure>,
}

#[derive(Debug, Clone)]
struct Failure {
    path: PathBuf,
    cause: String,
}

/// **Invariant:** slot `newest` holds `state` durably, and nothing is ever written to it. Only the other one is, and
/// only after its sync do they change places.
#[derive(Debug)]
struct Group<F> {
    file: F,
    path: PathBuf,
    newest: usize,
    sequence: u64,
    state: HardState,
    /// What `settle` has to write to the other slot.
    uncopied: Option<Vec<u8>>,
}

/// A state on its way to the disk.
struct Write {
    owner: Owner,
    sequence: u64,
    state: HardState,
    frame: Vec<u8>,
}

impl<D: Directory> Store<D> {
    pub(super) fn open(mut directory: D, cluster: ClusterId, node: NodeId) -> Result<Store<D>, StorageError> {
        // A predecessor may have been killed between a rename and its sync: what it renamed must not vanish later.
        let synced = directory.sync();
        synced.map_err(|source| io_error("sync", directory.path(), source))?;
        Ok(Store { directory, cluster, node, groups: BTreeMap::new(), failed: BTreeMap::new() })
    }

    pub(super) fn load(&mut self, group: &GroupId) -> Result<Option<HardState>, StorageError> {
        self.refuse_after_failure([group])?;
        self.open_group(group)?;
        Ok(self.groups.get(group).map(|group| group.state.clone()))
    }

    pub(super) fn save(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        self.refuse_after_failure(states.iter().map(|(group, _)| group))?;
        // Of two states of one group the later one counts.
        let states: BTreeMap<&GroupId, &HardState> = states.iter().map(|(group, state)| (group, state)).collect();
        let mut writes = Vec::with_capacity(states.len());
        for (group, state) in states {
            self.open_group(group)?;
            writes.push(self.prepare(group, state)?);
        }
        let mut staged = BTreeMap::new();
        for write in &writes {
            if !self.groups.contains_key(&write.owner.group) {
                staged.insert(write.owner.group.clone(), self.stage(write)?);
            }
        }
        // Until here nothing was changed, and a failure concerns one group. From here on a failure leaves doubt.
        let new: Vec<GroupId> = staged.keys().cloned().collect();
        let saved = self.write(writes, staged);
        self.poison_if_failed(saved, &new)
    }

    pub(super) fn settle(&mut self) -> Result<(), StorageError> {
        let mut settled = Ok(());
        let failed = &self.failed;
        let sound = self.groups.iter_mut().filter(|(id, _)| !failed.contains_key(id)).map(|(_, group)| group);
        for group in sound.filter(|group| group.uncopied.is_some()) {
            settled = group.copy();
            if settled.is_err() {
                break;
            }
        }
        self.poison_if_failed(settled, &[])
    }

    /// Writes each state to a new file, and lets that take the old one's place once it was read back from the disk: nothing
    /// depends on the file whose write or sync failed, or on what the system remembers of it.
    pub(super) fn start_over(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        for (group, state) in states {
            self.refuse_unless_ours()?;
            let write = self.prepare(group, state)?;
            let mut file = self.stage(&write)?;
            file.drop_cache();
            for at in [0, 1] {
                let path = || self.directory.path().join(staged_name(group));
                let read = read_slot(&mut file, at).map_err(ReadError::into_slot_error);
                let same = read.as_ref().is_ok_and(|slot| slot.sequence == write.sequence && slot.state == *state);
                if !same {
                    let source = std::io::Error::other("what was written does not come back");
                    return Err(io_error("read", &path(), source));
                }
            }
            // What takes the place of a file could take that of another process's, which a write to an open one never does.
            self.refuse_unless_ours()?;
            self.publish(file, write)?;
            self.failed.remove(group);
        }
        Ok(())
    }

    fn refuse_unless_ours(&self) -> Result<(), StorageError> {
        let other = || std::io::Error::other("it was deleted, or replaced by one that this process has not locked");
        let ours = self.directory.is_ours().and_then(|ours| if ours { Ok(()) } else { Err(other()) });
        ours.map_err(|source| io_error("use", self.directory.path(), source))
    }

    /// After a failed sync the system may forget what was not written and report success the next time: nothing that
    /// this value could still do would prove anything.
    fn refuse_after_failure<'a>(&self, groups: impl IntoIterator<Item = &'a GroupId>) -> Result<(), StorageError> {
        match groups.into_iter().find_map(|group| self.failed.get(group)).cloned() {
            _ if mutant::on(Mutant::FailedWriteRetried) => Ok(()),
            None => Ok(()),
            Some(Failure { path, cause }) => Err(StorageError::Poisoned { path, cause }),
        }
    }

    /// A failure leaves doubt about every file here: they share a disk, and what is written together fails together.
    fn poison_if_failed(&mut self, result: Result<(), StorageError>, new: &[GroupId]) -> Result<(), StorageError> {
        if let Err(StorageError::Io { action, path, source, .. }) = &result {
            let failure = Failure { path: path.clone(), cause: format!("{action}: {source}") };
            for group in self.groups.keys().chain(new) {
                self.failed.insert(group.clone(), failure.clone());
            }
        }
        result
    }

    /// Opens the group's file if there is one and it is not open yet.
    fn open_group(&mut self, group: &GroupId) -> Result<(), StorageError> {
        if self.groups.contains_key(group) {
            return Ok(());
        }
        let name = file_name(group);
        let path = self.directory.path().join(&name);
        let file = self.directory.open(&name).map_err(|source| io_error("open", &path, source))?;
        let Some(mut file) = file else { return Ok(()) };
        // What a killed predecessor wrote may still be on its way, and what its failed sync lost may still be in the
        // cache. The next save relies on the newest slot: it must be on the disk, not only look so.
        let synced = file.sync().map_err(|source| io_error("sync", &path, source));
        self.poison_if_failed(synced, std::slice::from_ref(group))?;
        file.drop_cache();
        let opened = Group::open(file, path, &self.owner(group))?;
        self.groups.insert(group.clone(), opened);
        Ok(())
    }

    fn prepare(&self, group: &GroupId, state: &HardState) -> Result<Write, StorageError> {
        let sequence = match self.groups.get(group) {
            None => Some(1),
            Some(group) => group.sequence.checked_add(1),
        };
        let path = || self.directory.path().join(file_name(group));
        let sequence =
            sequence.ok_or_else(|| StorageError::Other(format!("{} has no number left", path().display())))?;
        let owner = self.owner(group);
        let frame = slot::encode(&owner, sequence, state);
        if frame.len() > SLOT_LEN {
            return Err(StorageError::TooLarge { path: path(), size: frame.len(), max: SLOT_LEN });
        }
        Ok(Write { owner, sequence, state: state.clone(), frame })
    }

    /// Writes first and syncs then, so that the system may do several groups at once. The groups are open, and new
    /// files are staged.
    fn write(&mut self, writes: Vec<Write>, mut staged: BTreeMap<GroupId, D::File>) -> Result<(), StorageError> {
        for write in &writes {
            if let Some(group) = self.groups.get_mut(&write.owner.group) {
                group.write_other(&write.frame)?;
            }
        }
        for write in writes {
            if let Some(file) = staged.remove(&write.owner.group) {
                self.publish(file, write)?;
            } else if let Some(group) = self.groups.get_mut(&write.owner.group) {
                group.sync()?;
                group.advance(write);
            }
        }
        Ok(())
    }

    /// Creates a group's file beside its final name: a file of that name always has two slots that were once durable,
    /// so that one without any is known to have lost an acknowledged state.
    ///
    /// If it fails nothing was changed: what stands beside the name is never read, and replaced the next time.
    fn stage(&mut self, write: &Write) -> Result<D::File, StorageError> {
        let name = staged_name(&write.owner.group);
        let path = self.directory.path().join(&name);
        let mut image = vec![0; 2 * SLOT_LEN];
        for at in [0, SLOT_LEN] {
            image[at..at + write.frame.len()].copy_from_slice(&write.frame);
        }
        let mut file = self.directory.create(&name).map_err(|source| io_error("create", &path, source))?;
        file.write_all_at(0, &image).map_err(|source| io_error("write", &path, source))?;
        file.sync().map_err(|source| io_error("sync", &path, source))?;
        Ok(file)
    }

    fn publish(&mut self, file: D::File, write: Write) -> Result<(), StorageError> {
        let Write { owner, sequence, state, .. } = write;
        let name = file_name(&owner.group);
        let path = self.directory.path().join(&name);
        let renamed = self.directory.rename(&staged_name(&owner.group), &name);
        renamed.and_then(|()| self.directory.sync()).map_err(|source| io_error("create", &path, source))?;
        self.groups.insert(owner.group, Group { file, path, newest: 0, sequence, state, uncopied: None });
        Ok(())
    }

    fn owner(&self, group: &GroupId) -> Owner {
        Owner { cluster: self.cluster.clone(), group: group.clone(), node: self.node.clone() }
    }
}

impl<F: BlockFile> Group<F> {
    fn open(mut file: F, path: PathBuf, owner: &Owner) -> Result<Group<F>, StorageError> {
        let slots = match [read_slot(&mut file, 0), read_slot(&mut file, 1)] {
            [Err(ReadError::Io(source)), Err(ReadError::Io(_))] => return Err(io_error("read", &path, source)),
            slots => slots.map(|slot| slot.map_err(ReadError::into_slot_error)),
        };
        let Newest { at, slot, copied, fault } = slot::newest(&path, owner, slots)?;
        if let Some(fault) = fault {
            let bad = 1 - at;
            tracing::warn!(file = %path.display(), slot = bad, fault, "a slot is unreadable, the other one holds");
        }
        let uncopied = (!copied).then(|| slot::encode(owner, slot.sequence, &slot.state));
        let Slot { sequence, state, .. } = slot;
        Ok(Group { file, path, newest: at, sequence, state, uncopied })
    }

    /// Writes the frame to the slot that does not hold the newest state.
    fn write_other(&mut self, frame: &[u8]) -> Result<(), StorageError> {
        let offset = slot_offset(1 - self.newest);
        self.file.write_all_at(offset, frame).map_err(|source| io_error("write", &self.path, source))
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync().map_err(|source| io_error("sync", &self.path, source))
    }

    fn advance(&mut self, write: Write) {
        self.newest = 1 - self.newest;
        self.sequence = write.sequence;
        self.state = write.state;
        self.uncopied = Some(write.frame);
    }

    /// Makes the other slot a copy, durably: until then rot of the newest one would lose it.
    fn copy(&mut self) -> Result<(), StorageError> {
        if let Some(frame) = self.uncopied.take().filter(|_| !mutant::on(Mutant::SecondSlotNotCopied)) {
            self.write_other(&frame)?;
            self.sync()?;
        }
        Ok(())
    }
}

enum ReadError {
    Io(std::io::Error),
    Slot(SlotError),
}

impl ReadError {
    fn into_slot_error(self) -> SlotError {
        match self {
            ReadError::Io(error) => SlotError::Unreadable(format!("it cannot be read: {error}")),
            ReadError::Slot(error) => error,
        }
    }
}

/// Reads no more than the frame, so that a bad sector behind it does no harm.
fn read_slot(file: &mut impl BlockFile, at: usize) -> Result<Slot, ReadError> {
    let end_of_file = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            ReadError::Slot(SlotError::Unreadable("the file ends before it does".to_owned()))
        }
        _ => ReadError::Io(error),
    };
    let mut frame = vec![0; HEADER_LEN];
    file.read_exact_at(slot_offset(at), &mut frame).map_err(end_of_file)?;
    let frame_len = slot::frame_len(&frame).map_err(ReadError::Slot)?;
    frame.resize(frame_len, 0);
    file.read_exact_at(slot_offset(at), &mut frame).map_err(end_of_file)?;
    slot::decode(&frame).map_err(ReadError::Slot)
}

fn slot_offset(at: usize) -> u64 {
    (at * SLOT_LEN) as u64
}

/// The name of a group's file. Two groups never share one, not even where the file system ignores case or reserves
/// names; what is not a lower-case letter, a digit, `-` or `_` is escaped, and long names end in a hash.
pub(super) fn file_name(group: &GroupId) -> String {
    const ESCAPED_LEN_MAX: usize = 150;
    let mut escaped = String::new();
    for &byte in group.as_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02x}")),
        }
    }
    if escaped.len() > ESCAPED_LEN_MAX {
        escaped.truncate(ESCAPED_LEN_MAX);
        // `~` is never left unescaped, so that no short name looks like this.
        escaped.push_str(&format!("~{:016x}", hash(group.as_str().as_bytes())));
    }
    format!("group-{escaped}.state")
}

fn staged_name(group: &GroupId) -> String {
    format!("{}.new", file_name(group))
}

/// FNV-1a, 64 bit. Should two long names ever collide, the second group is refused as the wrong owner.
fn hash(bytes: &[u8]) -> u64 {
    let eat = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, eat)
}
