//! What a seed draws: who the users are, and what goes wrong.

use std::time::Duration;

use crate::sim::chance::Chance;

/// What the work of a user is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Watches its token, tidies up, and returns.
    Watches,
    /// Like that, and asks its guard all the time.
    Asks,
    /// Watches nothing: it is dropped.
    Ignores,
    /// Waits for children of its own, each with a clone.
    Children,
    /// Blocks its thread now and then.
    Blocks,
    /// Returns `Ok` after a while.
    Returns,
    /// Fails after a while.
    Fails,
    /// Panics after a while.
    Panics,
    /// Fails, and the application keeps a clone of its leadership.
    Keeps,
    /// Resigns from inside.
    Resigns,
    /// Hands over from inside.
    Transfers,
}

/// How a member of the cluster is used.
#[derive(Debug, Clone)]
pub(super) struct Usage {
    /// What runs under `while_leader`; `None`: it contends for nothing.
    pub(super) work: Option<Manner>,
    /// Contends again after its work has ended while it led.
    pub(super) again: bool,
    /// Waits by `campaign` beside or instead.
    pub(super) campaigns: bool,
    /// How probable it is that it hands over while it holds the leadership that `campaign` returned.
    pub(super) hands_over: f64,
    /// Gives orders of every kind.
    pub(super) orders: bool,
}

/// The mix of a seed. Most of it is absent from most seeds.
#[derive(Debug, Clone)]
pub(super) struct Mix {
    pub(super) members: usize,
    pub(super) usage: Vec<Usage>,
    pub(super) drain_limit: Duration,
    pub(super) elected: bool,
    pub(super) delay: (Duration, Duration),
    pub(super) loss: f64,
    /// In a whim: how probable each is.
    pub(super) driver_stalls: f64,
    pub(super) user_stalls: f64,
    pub(super) kills: f64,
    pub(super) cuts: f64,
    pub(super) writer_stalls: f64,
    /// Of a public future that is given up at some poll.
    pub(super) fleeting: f64,
    pub(super) observer_panics: bool,
    pub(super) propagator_panics: bool,
    pub(super) disk_hangs: f64,
    pub(super) disk_fails: f64,
    pub(super) disk_panics: f64,
    /// How long a turn of the driver takes.
    pub(super) turn: Duration,
    pub(super) clocks: bool,
    /// The driver is a task of the user's runtime.
    pub(super) on_current_runtime: bool,
}

impl Mix {
    pub(super) fn draw(seed: u64) -> Mix {
        let mut chance = Chance::stream(seed, "stack mix");
        let members = [3, 3, 3, 5, 2][chance.index(5)];
        let manners: &[Manner] = &[
            Manner::Watches,
            Manner::Asks,
            Manner::Ignores,
            Manner::Children,
            Manner::Blocks,
            Manner::Returns,
            Manner::Fails,
            Manner::Panics,
            Manner::Keeps,
            Manner::Resigns,
            Manner::Transfers,
        ];
        let varied = chance.happens(0.6);
        let usage = (0..members).map(|_| {
            let manner = if varied { manners[chance.index(manners.len())] } else { manners[chance.index(4)] };
            let idle = chance.happens(if varied { 0.2 } else { 0.0 });
            Usage {
                work: (!idle).then_some(manner),
                again: !chance.happens(0.3),
                campaigns: chance.happens(0.15),
                hands_over: if chance.happens(0.5) { 0.3 } else { 0.0 },
                orders: chance.happens(0.3),
            }
        });
        let usage = usage.collect();
        let mut rare = |share: f64, most: f64| if chance.happens(share) { chance.fraction() * most } else { 0.0 };
        Mix {
            members,
            usage,
            driver_stalls: rare(0.4, 0.5),
            user_stalls: rare(0.3, 0.5),
            kills: rare(0.4, 0.4),
            cuts: rare(0.4, 0.5),
            writer_stalls: rare(0.2, 0.4),
            fleeting: rare(0.4, 1.0),
            disk_hangs: rare(0.15, 0.05),
            disk_fails: rare(0.1, 0.02),
            disk_panics: rare(0.1, 0.02),
            loss: rare(0.2, 0.2),
            drain_limit: Duration::from_millis([50, 300, 1000, 1500][chance.index(4)]),
            elected: chance.happens(0.2),
            delay: [(100, 101), (500, 3000), (1000, 8000)]
                .map(|(low, high)| (Duration::from_micros(low), Duration::from_micros(high)))[chance.index(3)],
            observer_panics: chance.happens(0.1),
            propagator_panics: chance.happens(0.1),
            turn: Duration::from_micros([0, 0, 0, 20, 100, 200][chance.index(6)]),
            clocks: chance.happens(0.6),
            on_current_runtime: chance.happens(0.15),
        }
    }
}
