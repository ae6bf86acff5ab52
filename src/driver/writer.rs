//! The one thread that writes hard states: it may take a second on a bad disk, and no heartbeat waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::{mpsc, oneshot};

use super::{Mail, Parcel};
use crate::clock::Clock;
use crate::config::Config;
use crate::event::WriteId;
use crate::mutant::{self, Mutant};
use crate::node::Input;
use crate::record::HardState;
use crate::storage::{Storage, StorageError, recover_with};
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
    jobs: mpsc::UnboundedSender<Job>,
    ended: oneshot::Receiver<()>,
}

impl Writer {
    /// Starts the thread, which first recovers every group's state.
    pub(super) async fn start(
        storage: Box<dyn Storage>,
        configs: Vec<Config>,
        mail: Mail,
        clock: Clock,
    ) -> Result<(Writer, Vec<HardState>), StorageError> {
        let (jobs, queue) = mpsc::unbounded_channel();
        let (recovered, states) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let threads = clock.clone();
        let body = async move {
            serve(storage, &configs, recovered, queue, &mail, &clock).await;
            // The storage is dropped, and its lock with it.
            let _ = end.send(());
        };
        let spawned = threads.thread("hustings-writer", body);
        spawned.map_err(|error| StorageError::Other(format!("cannot start the writer thread: {error}")))?;
        let states = states.await.map_err(|_| StorageError::Other("the storage panicked in recovery".into()))??;
        Ok((Writer { jobs, ended }, states))
    }

    /// Queues a state. The answer comes as [`Input::Persisted`] or [`Input::PersistFailed`].
    pub(super) fn write(&self, job: Job, mail: &Mail) {
        if let Err(mpsc::error::SendError(job)) = self.jobs.send(job) {
            let input = Input::PersistFailed(job.write, "the writer thread has ended".into());
            mail.send(Parcel::Input(job.group, input));
        }
    }

    /// Ends the thread once its queue is empty, and waits for it: then the storage is released.
    pub(super) async fn finish(self) {
        drop(self.jobs);
        if !mutant::on(Mutant::StorageNotAwaited) {
            let _ = self.ended.await;
        }
    }
}

async fn serve(
    mut storage: Box<dyn Storage>,
    configs: &[Config],
    recovered: oneshot::Sender<Result<Vec<HardState>, StorageError>>,
    mut queue: mpsc::UnboundedReceiver<Job>,
    mail: &Mail,
    clock: &Clock,
) {
    let states: Result<Vec<_>, _> = configs.iter().map(|config| recover_with(&mut *storage, config, clock)).collect();
    clock.caught_up().await;
    let failed = states.is_err();
    if recovered.send(states).is_err() || failed {
        return;
    }
    settle(&mut *storage, clock).await;
    let mut waiting = queue.recv().await;
    let mut unsettled = 0;
    while let Some(first) = waiting {
        let others = std::iter::from_fn(|| queue.try_recv().ok());
        let answers = save(&mut *storage, std::iter::once(first).chain(others));
        clock.caught_up().await;
        for answer in answers {
            mail.send(answer);
        }
        unsettled += 1;
        waiting = queue.try_recv().ok();
        if waiting.is_none() || unsettled >= UNSETTLED_MAX {
            settle(&mut *storage, clock).await;
            unsettled = 0;
            if waiting.is_none() {
                waiting = queue.recv().await;
            }
        }
    }
    drop(storage);
    clock.caught_up().await;
}

/// Writes all that waits at once: many groups share one sync. What is to be answered when that is done.
fn save(storage: &mut dyn Storage, jobs: impl Iterator<Item = Job>) -> Vec<Parcel> {
    let (tickets, states): (Vec<_>, Vec<_>) = jobs.map(|job| ((job.group, job.write), (job.id, job.state))).unzip();
    let saved = catch_unwind(AssertUnwindSafe(|| storage.save(&states)));
    let error = match saved {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the storage panicked".into()),
    };
    let answer = |(group, write)| {
        let input = match &error {
            None => Input::Persisted(write),
            Some(error) => Input::PersistFailed(write, error.clone()),
        };
        Parcel::Input(group, input)
    };
    tickets.into_iter().map(answer).collect()
}

async fn settle(storage: &mut dyn Storage, clock: &Clock) {
    let settled = catch_unwind(AssertUnwindSafe(|| storage.settle()));
    clock.caught_up().await;
    let error = match settled {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the storage panicked".into(),
    };
    tracing::warn!(target: "hustings::storage", %error, "the second copy of the hard state could not be written");
}
