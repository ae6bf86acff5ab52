//! Storages on the real file system: the contract, damage, locks and refusals. What a crash does at any byte of a write
//! is tested on a faulty disk, beside the store.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hustings::record::HardState;
use hustings::storage::file::{FileStorage, slot};
use hustings::storage::memory::VolatileStorage;
use hustings::storage::{Storage, StorageError, contract};
use hustings::types::{ClusterId, DiskId, GroupId, NodeId, Term};
use tempfile::TempDir;

fn cluster(name: &str) -> ClusterId {
    ClusterId::new(name).expect("a name")
}

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

fn try_open(dir: &Path) -> Result<FileStorage, StorageError> {
    FileStorage::open(dir, &cluster("contract"), &node("a"))
}

fn open(dir: &Path) -> FileStorage {
    try_open(dir).expect("the directory is free and sound")
}

fn state(term: u64) -> HardState {
    let empty = HardState::new(DiskId(7), Duration::from_millis(150));
    HardState { term: Term(term), voted_for: Some(node("b")), ..empty }
}

fn main_group() -> GroupId {
    GroupId::default()
}

fn load(dir: &Path) -> Result<Option<HardState>, StorageError> {
    open(dir).load(&main_group())
}

fn file_in(dir: &Path) -> PathBuf {
    dir.join("group-main.state")
}

/// A directory in which terms 7 and 8 were saved, both slots being copies of the latter.
fn settled() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut storage = open(dir.path());
    for term in [7, 8] {
        storage.save(&[(main_group(), state(term))]).expect("a sound disk");
        storage.settle().expect("a sound disk");
    }
    dir
}

#[test]
fn files_keep_the_contract() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    contract::check(|| open(dir.path())).unwrap();
}

#[test]
fn the_volatile_storage_keeps_the_contract_and_forgets() {
    contract::check(VolatileStorage::new).unwrap();
    assert!(VolatileStorage::new().is_volatile() && !open(settled().path()).is_volatile());
}

/// The suite must find those who break it.
#[test]
fn the_contract_finds_a_storage_that_breaks_it() {
    let run = |how, forgets: bool| {
        let disk = Arc::default();
        contract::check(|| Breaks { how, disk: if forgets { Default::default() } else { Arc::clone(&disk) } })
    };
    run("", false).expect("a sound one");
    for how in [
        "one group only",
        "ignores case",
        "cuts names",
        "forgets the vote",
        "rounds the promise",
        "refuses large states",
        "keeps the first",
        "drops the rest of a batch",
        "settles badly",
    ] {
        run(how, false).expect_err(how);
    }
    let error = run("", true).expect_err("it forgets, and does not say so");
    assert!(error.contains("after a restart"), "{error}");
}

/// A storage that breaks the contract in one way.
struct Breaks {
    how: &'static str,
    disk: Arc<Mutex<BTreeMap<String, HardState>>>,
}

impl Breaks {
    fn key(&self, group: &GroupId) -> String {
        match self.how {
            "one group only" => String::new(),
            "ignores case" => group.as_str().to_lowercase(),
            "cuts names" => group.as_str().chars().take(200).collect(),
            _ => group.as_str().to_owned(),
        }
    }
}

impl Storage for Breaks {
    fn load(&mut self, group: &GroupId) -> Result<Option<HardState>, StorageError> {
        Ok(self.disk.lock().unwrap().get(&self.key(group)).cloned())
    }

    fn save(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        for (group, state) in states {
            let mut state = state.clone();
            match self.how {
                "forgets the vote" => state.voted_for = None,
                "rounds the promise" => state.promise_max = Duration::from_millis(150),
                "refuses large states" if state.voted_for.as_ref().is_some_and(|n| n.as_str().len() > 200) => {
                    return Err(StorageError::Other("too large".to_owned()));
                }
                "keeps the first" if self.disk.lock().unwrap().contains_key(&self.key(group)) => continue,
                _ => {}
            }
            self.disk.lock().unwrap().insert(self.key(group), state);
            if self.how == "drops the rest of a batch" {
                break;
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), StorageError> {
        if self.how == "settles badly" {
            self.disk.lock().unwrap().remove("settled");
        }
        Ok(())
    }
}

#[test]
fn a_missing_directory_is_created_with_those_above_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let deep = dir.path().join("a/b/c");
    open(&deep).save(&[(main_group(), state(1))]).expect("a sound disk");
    assert_eq!(load(&deep).expect("a sound disk"), Some(state(1)));
}

/// PROPERTIES D3, with the bytes of a real file.
#[test]
fn rot_of_any_byte_of_one_slot_is_survived_and_of_both_refused() {
    let dir = settled();
    let sound = fs::read(file_in(dir.path())).expect("the file");
    assert_eq!(sound.len(), 2 * slot::SLOT_LEN, "it has its full size from the start");
    let owner = slot::Owner { cluster: cluster("contract"), group: main_group(), node: node("a") };
    let frame_len = slot::encode(&owner, 2, &state(8)).len();
    for at in (0..frame_len).flat_map(|at| [at, slot::SLOT_LEN + at]) {
        let mut rotten = sound.clone();
        rotten[at] ^= 0x40;
        fs::write(file_in(dir.path()), &rotten).expect("the file");
        assert_eq!(load(dir.path()).expect("one slot is enough"), Some(state(8)), "byte {at}");
        rotten[(at + slot::SLOT_LEN) % (2 * slot::SLOT_LEN)] ^= 0x40;
        fs::write(file_in(dir.path()), &rotten).expect("the file");
        let error = load(dir.path()).expect_err("both are rotten");
        assert!(matches!(error, StorageError::Corrupt { .. }), "byte {at}: {error}");
        assert_eq!(fs::read(file_in(dir.path())).expect("the file"), rotten, "evidence is not touched");
    }
}

#[test]
fn a_rotten_slot_is_repaired_by_settling() {
    let dir = settled();
    let sound = fs::read(file_in(dir.path())).expect("the file");
    for at in [50, slot::SLOT_LEN + 50] {
        let mut rotten = sound.clone();
        rotten[at] ^= 1;
        fs::write(file_in(dir.path()), &rotten).expect("the file");
        let mut storage = open(dir.path());
        storage.load(&main_group()).expect("one slot is enough");
        storage.settle().expect("a sound disk");
        assert_eq!(fs::read(file_in(dir.path())).expect("the file"), sound);
    }
}

#[test]
fn a_save_writes_one_slot_and_settling_the_other() {
    let dir = settled();
    let halves = || {
        let bytes = fs::read(file_in(dir.path())).expect("the file");
        let terms = bytes.chunks(slot::SLOT_LEN).map(|half| slot::decode(half).expect("a slot").state.term.0);
        terms.collect::<Vec<_>>()
    };
    assert_eq!(halves(), [8, 8]);
    let mut storage = open(dir.path());
    storage.save(&[(main_group(), state(9))]).expect("a sound disk");
    let mut after = halves();
    after.sort_unstable();
    assert_eq!(after, [8, 9]);
    storage.settle().expect("a sound disk");
    assert_eq!(halves(), [9, 9]);
}

#[test]
fn files_of_others_and_of_newer_releases_are_refused_and_not_touched() {
    let dir = settled();
    let before = fs::read(file_in(dir.path())).expect("the file");
    for (in_cluster, as_node) in [("another", "a"), ("contract", "b")] {
        let mut storage = FileStorage::open(dir.path(), &cluster(in_cluster), &node(as_node)).expect("it is free");
        let error = storage.load(&main_group()).expect_err("it is not ours");
        assert!(matches!(error, StorageError::WrongOwner { .. }), "{error}");
        let error = storage.save(&[(main_group(), state(9))]).expect_err("it is not ours");
        assert!(matches!(error, StorageError::WrongOwner { .. }), "{error}");
    }
    fs::copy(file_in(dir.path()), dir.path().join("group-other.state")).expect("the file");
    let error = open(dir.path()).load(&GroupId::new("other").expect("a name")).expect_err("it belongs to main");
    assert!(error.to_string().contains("belongs to contract/main/a, not to contract/other/a"), "{error}");

    let mut newer = before.clone();
    newer[slot::SLOT_LEN + 16] = 9;
    let len = u32::from_le_bytes(newer[12..16].try_into().expect("four bytes")) as usize + 28;
    let checksum = crc32(&newer[slot::SLOT_LEN + 12..slot::SLOT_LEN + len]);
    newer[slot::SLOT_LEN + 8..slot::SLOT_LEN + 12].copy_from_slice(&checksum.to_le_bytes());
    fs::write(file_in(dir.path()), &newer).expect("the file");
    let mut storage = open(dir.path());
    for error in [storage.load(&main_group()).map(drop), storage.save(&[(main_group(), state(9))])] {
        let error = error.expect_err("a newer release wrote it");
        assert!(matches!(error, StorageError::UnknownVersion { found: 9, known: slot::VERSION, .. }), "{error}");
    }
    assert_eq!(fs::read(file_in(dir.path())).expect("the file"), newer);
}

/// CRC-32 (IEEE) bit by bit: what the format says, not what its code does.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn what_a_crashed_creation_left_is_not_taken_for_a_state() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("group-main.state.new"), b"hust").expect("a file");
    assert_eq!(load(dir.path()).expect("a sound disk"), None);
    open(dir.path()).save(&[(main_group(), state(1))]).expect("a sound disk");
    assert_eq!(load(dir.path()).expect("a sound disk"), Some(state(1)));
    assert!(!dir.path().join("group-main.state.new").exists());
}

#[test]
fn an_empty_file_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(file_in(dir.path()), b"").expect("a file");
    let error = load(dir.path()).expect_err("it lost what it held");
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
}

#[test]
fn a_file_in_the_place_of_a_directory_is_refused_with_advice() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("file");
    fs::write(&path, b"").expect("a file");
    for path in [path.clone(), path.join("below")] {
        let error = try_open(&path).expect_err("it is no directory");
        assert_eq!(error.code(), "io");
        let text = error.to_string();
        assert!(text.contains("file") && text.contains("choose another directory"), "{text}");
    }
}

/// A folder that was deleted under a member may belong to another process by now: what starts over leaves that one alone.
#[cfg(unix)]
#[test]
fn starting_over_spares_a_folder_that_is_not_its_own_any_more() {
    let above = TempDir::new().expect("a folder");
    let dir = above.path().join("data");
    let mut old = open(&dir);
    old.save(&[(main_group(), state(7))]).expect("it is ours");
    fs::remove_dir_all(&dir).expect("somebody cleans up");
    let gone = old.start_over(&[(main_group(), state(8))]).expect_err("there is no folder");
    assert!(gone.to_string().contains("deleted, or replaced"), "{gone}");
    let mut new = open(&dir);
    new.save(&[(main_group(), state(1))]).expect("it is that one's");
    old.start_over(&[(main_group(), state(8))]).expect_err("it is another's");
    drop((old, new));
    assert_eq!(load(&dir).expect("readable"), Some(state(1)));
}

/// A staged file whose sync failed is not taken up again: each attempt is a file of its own.
#[cfg(unix)]
#[test]
fn starting_over_takes_a_new_file_each_time() {
    use std::os::unix::fs::MetadataExt;

    let dir = settled();
    let inode = || fs::metadata(file_in(dir.path())).expect("a state").ino();
    let mut storage = open(dir.path());
    let before = inode();
    let staged = file_in(dir.path()).with_extension("state.new");
    fs::write(&staged, "what an attempt left").expect("a file");
    let left = fs::metadata(&staged).expect("a file").ino();
    let held = fs::File::open(&staged).expect("its number is not used again while it is open");
    storage.start_over(&[(main_group(), state(9))]).expect("a sound disk");
    assert!(inode() != before && inode() != left);
    drop((held, storage));
    assert_eq!(load(dir.path()).expect("readable"), Some(state(9)));
}

#[test]
fn a_directory_serves_one_at_a_time() {
    let dir = settled();
    let held = open(dir.path());
    let error = try_open(dir.path()).expect_err("it is held in this process");
    assert!(matches!(error, StorageError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&*dir.path().to_string_lossy()), "{error}");
    drop(held);
    open(dir.path());
}

#[cfg(unix)]
#[test]
fn a_directory_held_by_another_process_is_free_when_that_one_is_killed() {
    let dir = settled();
    let mut child = play("hold", dir.path(), None).expect("the program can be run");
    let _pipe = wait_for_line(&mut child, "holding");
    let error = try_open(dir.path()).expect_err("it is held by a process");
    assert!(matches!(error, StorageError::Locked { .. }), "{error}");
    child.kill().expect("it runs");
    child.wait().expect("it was started");
    assert_eq!(load(dir.path()).expect("a sound disk"), Some(state(100)), "what it saved before it was killed");
}

/// Root ignores permissions: then another user's process must be refused.
#[cfg(unix)]
#[test]
fn what_may_not_be_written_is_refused_with_advice() {
    use std::os::unix::fs::PermissionsExt;

    let dir = settled();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    mode(&file_in(dir.path()), 0o444);
    mode(&dir.path().join("lock"), 0o666);
    mode(dir.path(), 0o755);
    let is_root = fs::OpenOptions::new().write(true).open(file_in(dir.path())).is_ok();
    // As root the test needs a copy of itself that another user can run.
    let mut child = match play("load", dir.path(), is_root.then_some(65534)) {
        Ok(child) => child,
        Err(error) if is_root => {
            writeln!(std::io::stderr(), "nothing was tested: root may not become another user here: {error}").unwrap();
            return;
        }
        Err(error) => panic!("the program can be run: {error}"),
    };
    let _pipe = wait_for_line(&mut child, "let the user that runs this node read and write it");
    child.wait().expect("it was started");
}

/// Not a test by itself: what the processes do that the tests above start.
#[cfg(unix)]
#[test]
fn actor() {
    let (Ok(part), Ok(dir)) = (std::env::var("STORAGE_TEST_PART"), std::env::var("STORAGE_TEST_DIR")) else { return };
    let dir = Path::new(&dir);
    let mut say = std::io::stdout();
    if part == "hold" {
        let mut storage = open(dir);
        storage.save(&[(main_group(), state(100))]).expect("a sound disk");
        writeln!(say, "\nholding").expect("a pipe");
        std::io::stdin().read_to_end(&mut Vec::new()).expect("a pipe");
    } else {
        let outcome = try_open(dir).and_then(|mut storage| storage.load(&main_group()));
        match outcome {
            Ok(_) => writeln!(say, "\nit was permitted").expect("a pipe"),
            Err(error) => writeln!(say, "\n{error}").expect("a pipe"),
        }
    }
}

#[cfg(unix)]
fn play(part: &str, dir: &Path, user: Option<u32>) -> std::io::Result<std::process::Child> {
    let program = std::env::current_exe().expect("this test has a file");
    let mut command = match user {
        None => Command::new(program),
        Some(user) => {
            use std::os::unix::process::CommandExt;
            let copy = dir.join("program");
            fs::copy(program, &copy).expect("room for a copy");
            let mut command = Command::new(copy);
            command.uid(user).current_dir("/");
            command
        }
    };
    command.args(["actor", "--exact", "--nocapture"]);
    command.env("STORAGE_TEST_PART", part).env("STORAGE_TEST_DIR", dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    loop {
        match command.spawn() {
            // Another test forked while the copy was being written, and has not executed its own program yet.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            spawned => return spawned,
        }
    }
}

/// Reads until the line comes, and hands the pipe back so that it stays open. Fails when the process ends before.
#[cfg(unix)]
fn wait_for_line(child: &mut std::process::Child, wanted: &str) -> impl Read + use<> {
    let mut pipe = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        if pipe.read_line(&mut line).expect("text") == 0 {
            panic!("never said {wanted:?}:\n{seen}");
        }
        if line.contains(wanted) {
            return pipe;
        }
        seen.push_str(&line);
    }
}
