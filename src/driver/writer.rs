//! The one thread that writes hard states: it may take a second on a bad disk, and no heartbeat waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use super::show::Notes;
use super::{Mail, Parcel};
use crate::config::Config;
use crate::event::WriteId;
use crate::node::Input;
use crate::record::HardState;
use crate::storage::{Storage, StorageError, recover};
use crate::types::GroupId;

/// How many batches may follow each other before [`Storage::settle`] is called although more is waiting.
const UNSETTLED_MAX: usize = 16;

/// A state to write.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) group: usize,
    pub(super) id: GroupId,
    pub(super) write: WriteId,
    pub(super) state: HardState,
}

/// The writer's door. Dropping it lets the thread finish what it has, and end.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    ended: oneshot::Receiver<()>,
}

impl Writer {
    /// Starts the thread, which first recovers every group's state.
    pub(super) async fn start(
        storage: Box<dyn Storage>,
        configs: Vec<Config>,
        mail: Mail,
        notes: Notes,
    ) -> Result<(Writer, Vec<HardState>), StorageError> {
        let (jobs, queue) = mpsc::channel();
        let (recovered, states) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let body = move || {
            serve(storage, &configs, recovered, &queue, &mail, &notes);
            // The storage is dropped, and its lock with it.
            let _ = end.send(());
        };
        let spawned = thread::Builder::new().name("hustings-writer".into()).spawn(body);
        spawned.map_err(|error| StorageError::Other(format!("cannot start the writer thread: {error}")))?;
        let states = states.await.map_err(|_| StorageError::Other("the storage panicked in recovery".into()))??;
        Ok((Writer { jobs, ended }, states))
    }

    /// Queues a state. The answer comes as [`Input::Persisted`] or [`Input::PersistFailed`].
    pub(super) fn write(&self, job: Job, mail: &Mail) {
        if let Err(mpsc::SendError(job)) = self.jobs.send(job) {
            let input = Input::PersistFailed(job.write, "the writer thread has ended".into());
            mail.send(Parcel::Input(job.group, input));
        }
    }

    /// Ends the thread once its queue is empty, and waits for it: then the storage is released.
    pub(super) async fn finish(self) {
        drop(self.jobs);
        let _ = self.ended.await;
    }
}

fn serve(
    mut storage: Box<dyn Storage>,
    configs: &[Config],
    recovered: oneshot::Sender<Result<Vec<HardState>, StorageError>>,
    queue: &mpsc::Receiver<Job>,
    mail: &Mail,
    notes: &Notes,
) {
    let states: Result<Vec<_>, _> = configs.iter().map(|config| recover(&mut *storage, config)).collect();
    let failed = states.is_err();
    if recovered.send(states).is_err() || failed {
        return;
    }
    settle(&mut *storage, notes);
    let mut waiting = queue.recv().ok();
    let mut unsettled = 0;
    while let Some(first) = waiting {
        save(&mut *storage, std::iter::once(first).chain(queue.try_iter()), mail);
        unsettled += 1;
        waiting = queue.try_recv().ok();
        if waiting.is_none() || unsettled >= UNSETTLED_MAX {
            settle(&mut *storage, notes);
            unsettled = 0;
            waiting = waiting.or_else(|| queue.recv().ok());
        }
    }
}

/// Writes all that waits at once: many groups share one sync.
fn save(storage: &mut dyn Storage, jobs: impl Iterator<Item = Job>, mail: &Mail) {
    let (tickets, states): (Vec<_>, Vec<_>) = jobs.map(|job| ((job.group, job.write), (job.id, job.state))).unzip();
    let saved = catch_unwind(AssertUnwindSafe(|| storage.save(&states)));
    let error = match saved {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the storage panicked".into()),
    };
    for (group, write) in tickets {
        let input = match &error {
            None => Input::Persisted(write),
            Some(error) => Input::PersistFailed(write, error.clone()),
        };
        mail.send(Parcel::Input(group, input));
    }
}

fn settle(storage: &mut dyn Storage, notes: &Notes) {
    let error = match catch_unwind(AssertUnwindSafe(|| storage.settle())) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the storage panicked".into(),
    };
    notes.say(move || {
        tracing::warn!(target: "hustings::storage", %error, "the second copy of the hard state could not be written");
    });
}
