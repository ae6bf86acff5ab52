//! What a leader does here: it writes down when it acts, and when its guard says that it is the only leader.

use std::str::FromStr;
use std::time::Duration;

use hustings::elector::{BoxError, CancelToken, Elector, LeadError, Leadership};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::diary::{Diary, Entry};
use crate::stamp;

/// How long an act takes, and how long is between two.
const ACT: Duration = Duration::from_millis(3);
const PAUSE: Duration = Duration::from_millis(2);
/// How long work that ignores its guard goes on.
const DEAF: Duration = Duration::from_millis(1500);

/// The kinds of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Asks its guard before each act.
    Asks,
    /// Waits for tasks that act until they are told to end.
    Waits,
    /// Asks its guard, and gives leadership away after a while.
    Fair,
    /// Never listens: the control.
    Deaf,
}

impl Kind {
    /// What a member may be given.
    pub const SOUND: [Kind; 3] = [Kind::Asks, Kind::Waits, Kind::Fair];

    /// Its name among the arguments.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Asks => "asks",
            Kind::Waits => "waits",
            Kind::Fair => "fair",
            Kind::Deaf => "deaf",
        }
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(name: &str) -> Result<Kind, ()> {
        let all = [Kind::Asks, Kind::Waits, Kind::Fair, Kind::Deaf];
        all.into_iter().find(|kind| kind.name() == name).ok_or(())
    }
}

/// Works whenever this node leads, until the elector stops.
///
/// # Errors
/// It has stopped.
pub async fn run(elector: &Elector, kind: Kind, diary: &Diary, seed: u64) -> Result<(), LeadError> {
    let mut random = StdRng::seed_from_u64(seed);
    loop {
        let patience = Duration::from_millis(random.random_range(300..2000));
        let hands_over = random.random_bool(0.5);
        elector
            .while_leader(|lead| {
                let worker = Worker { lead, diary: diary.clone() };
                async move {
                    match kind {
                        Kind::Asks => worker.ask_and_act().await,
                        Kind::Waits => worker.wait_for_children().await,
                        Kind::Fair => worker.give_away(patience, hands_over).await,
                        Kind::Deaf => worker.ignore_the_guard().await,
                    }
                    Ok::<(), BoxError>(())
                }
            })
            .await?;
    }
}

/// The work of one leadership.
struct Worker {
    lead: Leadership,
    diary: Diary,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.diary.write(Entry::Over { fence: self.fence(), at: stamp::now() });
    }
}

impl Worker {
    fn fence(&self) -> u64 {
        self.lead.fence().get()
    }

    /// Whether the guard says that this process is the only leader.
    fn ask(&self) -> bool {
        let before = stamp::now();
        let alone = self.lead.is_exclusive();
        let after = stamp::now();
        if alone {
            self.diary.write(Entry::Yes { fence: self.fence(), before, after });
        }
        alone
    }

    async fn ask_and_act(&self) {
        while self.ask() {
            let act = self.diary.act(self.fence());
            sleep(ACT).await;
            drop(act);
            sleep(PAUSE).await;
        }
    }

    async fn wait_for_children(&self) {
        let mut children = JoinSet::new();
        for _ in 0..3 {
            children.spawn(act_until_told(self.diary.clone(), self.fence(), self.lead.token()));
        }
        let token = self.lead.token();
        while !token.is_cancelled() {
            self.ask();
            let _ = timeout(ACT + PAUSE, token.cancelled()).await;
        }
        while children.join_next().await.is_some() {}
    }

    async fn give_away(&self, patience: Duration, hands_over: bool) {
        let _ = timeout(patience, self.ask_and_act()).await;
        if hands_over {
            // Begins at once; it waits for this work to end, so that this work must not wait for it.
            drop(self.lead.transfer_to(None));
            let _ = timeout(patience, self.ask_and_act()).await;
        }
    }

    async fn ignore_the_guard(&self) {
        tokio::spawn(act_on(self.diary.clone(), self.fence(), self.lead.token()));
        while self.ask() {
            sleep(ACT + PAUSE).await;
        }
    }
}

async fn act_until_told(diary: Diary, fence: u64, token: CancelToken) {
    while !token.is_cancelled() {
        let act = diary.act(fence);
        sleep(ACT).await;
        drop(act);
        sleep(PAUSE).await;
    }
}

async fn act_on(diary: Diary, fence: u64, token: CancelToken) {
    let mut told = None;
    while told.is_none_or(|told: Instant| told.elapsed() < DEAF) {
        let act = diary.act(fence);
        sleep(ACT).await;
        drop(act);
        sleep(PAUSE).await;
        if token.is_cancelled() {
            told.get_or_insert_with(Instant::now);
        }
    }
}
