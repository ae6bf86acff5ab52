//! What the store needs from a file system: a seam, so that tests can put a faulty one in its place.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::storage::StorageError;

/// A file of fixed size.
pub(super) trait BlockFile {
    /// Reads some bytes; 0 at the end of the file.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes some of the bytes, and says how many.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;

    /// Lets later reads see the disk rather than a cache, where the system can.
    fn drop_cache(&mut self) {}

    fn write_all_at(&mut self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(offset, bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_exact_at(&mut self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            match self.read_at(offset, into) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    offset += read as u64;
                    into = &mut into[read..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A directory of files.
pub(super) trait Directory {
    /// Its files.
    type File: BlockFile;

    /// For errors.
    fn path(&self) -> &Path;

    /// Opens a file, `None` if there is none.
    fn open(&mut self, name: &str) -> io::Result<Option<Self::File>>;

    /// Creates an empty file in the place of any other.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;

    /// Renames a file.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Makes creations and renames durable.
    fn sync(&mut self) -> io::Result<()>;

    /// Whether it is still the directory that this value locked, as far as the system can tell: a deleted one may have been
    /// created again, and locked by another process.
    fn is_ours(&self) -> io::Result<bool> {
        Ok(true)
    }
}

impl BlockFile for File {
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.seek(SeekFrom::Start(offset))?;
        self.read(into)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.seek(SeekFrom::Start(offset))?;
        self.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn drop_cache(&mut self) {
        // Advice only: a system that ignores it reads its cache, as every other system does.
        let _ = rustix::fs::fadvise(&*self, 0, None, rustix::fs::Advice::DontNeed);
    }
}

/// A directory of the operating system, locked as long as this value lives.
#[derive(Debug)]
pub(super) struct OsDirectory {
    path: PathBuf,
    #[cfg_attr(not(unix), expect(dead_code, reason = "elsewhere it only has to stay open"))]
    lock: Lock,
}

/// The name of the lock file.
const LOCK: &str = "lock";

/// The open lock file.
#[derive(Debug)]
#[cfg_attr(not(unix), allow(dead_code, reason = "elsewhere it only has to stay open"))]
struct Lock(File);

/// A process that another thread is just starting shares the open file until it runs its own program, so that closing
/// alone would unlock it a moment later.
#[cfg(unix)]
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

impl OsDirectory {
    /// Creates the directory if it is missing, and locks it.
    pub(super) fn open(path: PathBuf) -> Result<OsDirectory, StorageError> {
        create_durably(&path)?;
        let lock = Lock(lock(&path.join(LOCK))?);
        Ok(OsDirectory { path, lock })
    }
}

impl Directory for OsDirectory {
    type File = File;

    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&mut self, name: &str) -> io::Result<Option<File>> {
        match OpenOptions::new().read(true).write(true).open(self.path.join(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&mut self, name: &str) -> io::Result<File> {
        // A new file, and not the old one emptied: that one's last sync may have failed.
        let path = self.path.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync(&mut self) -> io::Result<()> {
        sync_directory(&self.path)
    }

    #[cfg(unix)]
    fn is_ours(&self) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt;

        let held = self.lock.0.metadata()?;
        match std::fs::metadata(self.path.join(LOCK)) {
            Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// An [`StorageError::Io`] with advice for what the system said.
pub(super) fn io_error(action: &'static str, path: &Path, source: io::Error) -> StorageError {
    let advice = match source.kind() {
        ErrorKind::PermissionDenied => "let the user that runs this node read and write it",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space on that disk",
        ErrorKind::ReadOnlyFilesystem => "mount its file system writable, or choose another directory",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists | ErrorKind::IsADirectory => {
            "a file stands where a directory should, or the reverse: choose another directory"
        }
        _ if too_many_open_files(&source) => "raise the limit of open files: each group keeps one open",
        _ => "check that disk and the system's log",
    };
    StorageError::Io { action, path: path.to_owned(), source, advice }
}

#[cfg(unix)]
fn too_many_open_files(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

#[cfg(not(unix))]
fn too_many_open_files(_error: &io::Error) -> bool {
    false
}

/// Creates the directory and those above it, and makes them durable: a state saved in a directory that vanishes with
/// the power would be forgotten.
fn create_durably(path: &Path) -> Result<(), StorageError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    std::fs::create_dir_all(path).map_err(|source| io_error("create", path, source))?;
    for created in missing {
        let parent = match created.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        sync_directory(parent).map_err(|source| io_error("sync", parent, source))?;
    }
    Ok(())
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Elsewhere a directory cannot be synced through the standard library; renames are durable when the system says so.
#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn lock(path: &Path) -> Result<File, StorageError> {
    use rustix::fs::{FlockOperation, flock};
    use rustix::io::Errno;

    let file = open_lock(OpenOptions::new().read(true), path)?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::INTR) => {}
            // EWOULDBLOCK; where the lock is carried over a network it may be EACCES.
            Err(Errno::WOULDBLOCK | Errno::ACCESS) => return Err(StorageError::Locked { path: path.to_owned() }),
            Err(errno) => return Err(io_error("lock", path, errno.into())),
        }
    }
}

/// A file that is opened without sharing cannot be opened a second time.
#[cfg(windows)]
fn lock(path: &Path) -> Result<File, StorageError> {
    use std::os::windows::fs::OpenOptionsExt;

    const ERROR_SHARING_VIOLATION: i32 = 32;
    match open_lock(OpenOptions::new().read(true).share_mode(0), path) {
        Err(StorageError::Io { source, .. }) if source.raw_os_error() == Some(ERROR_SHARING_VIOLATION) => {
            Err(StorageError::Locked { path: path.to_owned() })
        }
        opened => opened,
    }
}

/// Nothing is locked here: it is up to the user that no two processes share a directory.
#[cfg(not(any(unix, windows)))]
fn lock(path: &Path) -> Result<File, StorageError> {
    open_lock(OpenOptions::new().read(true), path)
}

fn open_lock(options: &mut OpenOptions, path: &Path) -> Result<File, StorageError> {
    options.write(true).create(true).truncate(false).open(path).map_err(|source| io_error("open", path, source))
}
