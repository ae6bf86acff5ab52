//! The one thread that writes hard states: it may take a second on a bad disk, and no heartbeat waits for it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

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

/// How long a write may still take once the member leaves. A disk that hangs is left to itself then, and so is the thread.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// A state to write.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) group: usize,
    pub(super) id: GroupId,
    pub(super) write: WriteId,
    pub(super) state: HardState,
    /// An earlier write failed: the storage is to start over.
    pub(super) afresh: bool,
}

/// A job in the queue. It is answered however it ends: also if the thread dies with it.
#[derive(Debug)]
struct Queued {
    id: GroupId,
    state: HardState,
    afresh: bool,
    ticket: Ticket,
}

#[derive(Debug)]
struct Ticket {
    group: usize,
    write: WriteId,
    mail: Mail,
    answered: bool,
}

impl Ticket {
    fn answer(&mut self, error: Option<&str>) {
        let input = match error {
            None => Input::Persisted(self.write),
            Some(error) => Input::PersistFailed(self.write, error.to_owned()),
        };
        self.answered = true;
        self.mail.send(Parcel::Input(self.group, input));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            self.answer(Some("the writer thread has ended"));
        }
    }
}

/// The writer's door. Dropping it lets the thread finish what it has, and end.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::UnboundedSender<Queued>,
    ended: oneshot::Receiver<()>,
    clock: Clock,
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
        let on = clock.clone();
        let body = async move {
            serve(storage, &configs, recovered, queue, &mail, &on).await;
            // The storage is dropped, and its lock with it.
            let _ = end.send(());
        };
        let spawned = clock.thread("hustings-writer", body);
        spawned.map_err(|error| StorageError::Other(format!("cannot start the writer thread: {error}")))?;
        let states = states.await.map_err(|_| StorageError::Other("the storage panicked in recovery".into()))??;
        Ok((Writer { jobs, ended, clock }, states))
    }

    /// Queues a state. The answer comes as [`Input::Persisted`] or [`Input::PersistFailed`].
    pub(super) fn write(&self, job: Job, mail: &Mail) {
        let Job { group, id, write, state, afresh } = job;
        let ticket = Ticket { group, write, mail: mail.clone(), answered: false };
        // One that cannot be queued is dropped, and its ticket answers.
        let _ = self.jobs.send(Queued { id, state, afresh, ticket });
    }

    /// Ends the thread once its queue is empty, and waits for it, at most [`FINISH_MAX`]: then the storage is released. Says
    /// whether it was.
    pub(super) async fn finish(self) -> bool {
        drop(self.jobs);
        if mutant::on(Mutant::StorageNotAwaited) {
            return true;
        }
        let ended = self.clock.timeout(FINISH_MAX, self.ended).await.is_some();
        if !ended {
            tracing::error!(
                target: "hustings::storage",
                "a write still hangs after {FINISH_MAX:?}: left to itself, and the storage with it"
            );
        }
        ended
    }
}

async fn serve(
    mut storage: Box<dyn Storage>,
    configs: &[Config],
    recovered: oneshot::Sender<Result<Vec<HardState>, StorageError>>,
    mut queue: mpsc::UnboundedReceiver<Queued>,
    mail: &Mail,
    clock: &Clock,
) {
    let states: Result<Vec<_>, _> = configs.iter().map(|config| recover_with(&mut *storage, config, clock)).collect();
    clock.caught_up().await;
    let failed = states.is_err();
    if recovered.send(states).is_err() || failed {
        return;
    }
    // Recovery has written, before any number was given.
    let mut uncopied: BTreeMap<usize, WriteId> = (0..configs.len()).map(|group| (group, WriteId(0))).collect();
    settle(&mut *storage, &mut uncopied, mail, clock).await;
    let mut waiting = queue.recv().await;
    let mut unsettled = 0;
    while let Some(first) = waiting {
        let others = std::iter::from_fn(|| queue.try_recv().ok());
        for ticket in save(&mut *storage, std::iter::once(first).chain(others), clock).await {
            uncopied.insert(ticket.group, ticket.write);
        }
        unsettled += 1;
        waiting = queue.try_recv().ok();
        if waiting.is_none() || unsettled >= UNSETTLED_MAX {
            settle(&mut *storage, &mut uncopied, mail, clock).await;
            unsettled = 0;
            if waiting.is_none() {
                waiting = queue.recv().await;
            }
        }
    }
    drop(storage);
    clock.caught_up().await;
}

/// Writes all that waits at once: many groups share one sync. What starts over does so by itself. Returns the answered.
async fn save(storage: &mut dyn Storage, jobs: impl Iterator<Item = Queued>, clock: &Clock) -> Vec<Ticket> {
    let mut answered = Vec::new();
    let (afresh, together): (Vec<Queued>, Vec<Queued>) = jobs.partition(|job| job.afresh);
    let alone = afresh.into_iter().map(|job| vec![job]);
    for batch in alone.chain([together].into_iter().filter(|batch| !batch.is_empty())) {
        let afresh = batch.iter().any(|job| job.afresh);
        let (mut tickets, states): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|job| (job.ticket, (job.id, job.state))).unzip();
        let error = attempt(|| if afresh { storage.start_over(&states) } else { storage.save(&states) });
        clock.caught_up().await;
        for ticket in &mut tickets {
            ticket.answer(error.as_deref());
        }
        answered.extend(tickets);
    }
    answered
}

/// Lets the storage copy what it saved. A failure concerns everything that was to be copied, and is told at once: a node
/// that did not know would go on to promise what its disk may not keep.
async fn settle(storage: &mut dyn Storage, uncopied: &mut BTreeMap<usize, WriteId>, mail: &Mail, clock: &Clock) {
    let saved = std::mem::take(uncopied);
    let error = attempt(|| storage.settle());
    clock.caught_up().await;
    if let Some(error) = error {
        for (group, write) in saved {
            let error = format!("the second copy of the state could not be written: {error}");
            mail.send(Parcel::Input(group, Input::PersistFailed(write, error)));
        }
    }
}

/// What went wrong, a panic of the storage included.
fn attempt(what: impl FnOnce() -> Result<(), StorageError>) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(what)) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the storage panicked".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::DiskId;

    /// Whatever becomes of the thread: the core hears that the write did not come about, and asks for no answer in vain.
    #[test]
    fn a_job_that_is_lost_is_answered() {
        let (mail, mut letters) = Mail::new();
        let ticket = |write| Ticket { group: 3, write: WriteId(write), mail: mail.clone(), answered: false };
        let state = HardState::new(DiskId(1), Duration::ZERO);
        drop(Queued { id: GroupId::default(), state, afresh: false, ticket: ticket(7) });
        let letter = letters.try_recv().expect("an answer");
        assert!(matches!(letter, Parcel::Input(3, Input::PersistFailed(WriteId(7), _))), "{letter:?}");
        let mut answered = ticket(8);
        answered.answer(None);
        drop(answered);
        assert!(matches!(letters.try_recv(), Ok(Parcel::Input(3, Input::Persisted(WriteId(8))))));
        assert!(letters.try_recv().is_err(), "one answer a write");
    }
}
