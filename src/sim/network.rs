//! The links between nodes, each direction on its own.

use std::time::Duration;

use super::chance::Chance;
use crate::types::Time;

/// What one direction of a link does to messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Nothing passes, and nobody is told.
    pub cut: bool,
    /// Connections stand and can be made, and nothing passes.
    pub stalled: bool,
    /// The smallest and the largest delay of a message; a range reorders.
    pub delay: (Duration, Duration),
    /// How probable it is that a message is lost.
    pub loss: f64,
    /// How probable it is that a message arrives twice.
    pub duplicate: f64,
    /// How probable it is that a message is held up for long.
    pub tail: f64,
    /// The longest hold-up.
    pub tail_max: Duration,
}

impl Link {
    /// A link that delays each message by exactly `delay`.
    #[must_use]
    pub fn steady(delay: Duration) -> Link {
        Link {
            cut: false,
            stalled: false,
            delay: (delay, delay),
            loss: 0.0,
            duplicate: 0.0,
            tail: 0.0,
            tail_max: Duration::ZERO,
        }
    }
}

/// All links, and which outbound connections stand.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: usize,
    links: Vec<Link>,
    connected: Vec<bool>,
    loss: Chance,
    delay: Chance,
    duplicate: Chance,
}

impl Network {
    pub(crate) fn new(seed: u64, nodes: usize, link: &Link) -> Network {
        Network {
            nodes,
            links: vec![link.clone(); nodes * nodes],
            connected: vec![false; nodes * nodes],
            loss: Chance::stream(seed, "loss"),
            delay: Chance::stream(seed, "delay"),
            duplicate: Chance::stream(seed, "duplicate"),
        }
    }

    pub(crate) fn link(&self, from: usize, to: usize) -> &Link {
        &self.links[from * self.nodes + to]
    }

    pub(crate) fn link_mut(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from * self.nodes + to]
    }

    pub(crate) fn connected(&mut self, from: usize, to: usize) -> &mut bool {
        &mut self.connected[from * self.nodes + to]
    }

    /// Whether messages pass in this direction.
    pub(crate) fn passes(&self, from: usize, to: usize) -> bool {
        let link = self.link(from, to);
        !link.cut && !link.stalled
    }

    /// Whether a connection can be made.
    pub(crate) fn is_open(&self, a: usize, b: usize) -> bool {
        !self.link(a, b).cut && !self.link(b, a).cut
    }

    /// When a message that leaves `from` now arrives at `to`: never, once, or twice.
    pub(crate) fn arrivals(&mut self, now: Time, from: usize, to: usize) -> [Option<Time>; 2] {
        let link = &self.links[from * self.nodes + to];
        if link.cut || link.stalled || self.loss.happens(link.loss) {
            return [None, None];
        }
        let mut arrival = || {
            let held = if self.delay.happens(link.tail) { link.tail_max } else { Duration::ZERO };
            now + self.delay.between(link.delay) + self.delay.between((Duration::ZERO, held))
        };
        let first = arrival();
        let second = self.duplicate.happens(link.duplicate).then(arrival);
        [Some(first), second]
    }
}
