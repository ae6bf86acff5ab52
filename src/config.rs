//! What a member is told before it starts, each default with its reason.

use std::time::Duration;

use crate::record::MEMBERS_MAX;
use crate::types::{ClusterId, GroupId, Millis, NodeId, nanos};

/// The times of the protocol. All members must have the same, and refuse those of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats. Default 50 ms: on a shared two-core machine such heartbeats never came later than 1.5
    /// intervals, even busy. A member that was there lately and does not answer within a quarter of it is asked again,
    /// up to three times: so that loss does not look like death. Let it be four round trips or more.
    pub heartbeat: Duration,
    /// The smallest time without a heartbeat after which a node may campaign. Default 150 ms, three heartbeats: two
    /// may be lost.
    pub election_timeout_min: Duration,
    /// The largest drawn election timeout. Default 300 ms, twice the smallest: wide against a round trip, so that
    /// two nodes that know no rank seldom collide.
    pub election_timeout_max: Duration,
    /// The promise a leader asks of its voters. Default 150 ms, the smallest election timeout: longer would make
    /// voters refuse a candidate that is in its right, shorter would only shorten the lease.
    pub promise: Duration,
    /// The largest promise that may ever be asked. Default: [`Timing::promise`]. A new disk owes this much.
    pub promise_max: Duration,
    /// The largest round trip under which a leader must keep its lease. Default 20 ms.
    pub round_trip_max: Duration,
    /// How much later each next successor stands: round trip, write and margin. Default 15 ms.
    pub succession_slot: Duration,
    /// How far a clock's rate may be from true time, in parts per million. Default 10,000 (1 %): a hundred times
    /// what a quartz is off, and it costs 2 % of the lease.
    pub drift_ppm: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Timing::of(Duration::from_millis(50))
    }
}

impl Timing {
    /// The defaults, scaled to another heartbeat interval: timeouts 3 to 6 intervals, promise 3.
    #[must_use]
    pub fn of(heartbeat: Duration) -> Timing {
        Timing {
            heartbeat,
            election_timeout_min: heartbeat.saturating_mul(3),
            election_timeout_max: heartbeat.saturating_mul(6),
            promise: heartbeat.saturating_mul(3),
            promise_max: heartbeat.saturating_mul(3),
            round_trip_max: heartbeat.saturating_mul(2) / 5,
            succession_slot: heartbeat.saturating_mul(3) / 10,
            drift_ppm: 10_000,
        }
    }

    /// How long a leader may count on a promise of `promise`: `promise x (1-rho)/(1+rho)`, since the voter's clock may
    /// run fast and the leader's slow.
    #[must_use]
    pub fn lease_of(&self, promise: Duration) -> Duration {
        let drift = u64::from(self.drift_ppm);
        scaled(promise, MILLION.saturating_sub(drift), MILLION + drift, false)
    }

    /// The reverse: how long this node must wait on its own clock so that `lease` has passed on every other.
    #[must_use]
    pub fn owed_of(&self, lease: Duration) -> Duration {
        let drift = u64::from(self.drift_ppm);
        scaled(lease, MILLION + drift, MILLION.saturating_sub(drift), true)
    }

    /// A fingerprint that members compare: members with different timing refuse each other.
    #[must_use]
    pub fn fingerprint(&self) -> u32 {
        let parts = [
            nanos(self.heartbeat),
            nanos(self.election_timeout_min),
            nanos(self.election_timeout_max),
            nanos(self.promise),
            nanos(self.promise_max),
            u64::from(self.drift_ppm),
        ];
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_be_bytes()).collect();
        crc32fast::hash(&bytes)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let clash = |what, smaller: (&'static str, Duration), larger: (&'static str, Duration), works| {
            Err(ConfigError::Clash {
                what,
                smaller: (smaller.0, Millis(smaller.1)),
                larger: (larger.0, Millis(larger.1)),
                works: Millis(works),
            })
        };
        if self.heartbeat < Duration::from_millis(1) || self.election_timeout_max > HOUR {
            return Err(ConfigError::Range {
                heartbeat: Millis(self.heartbeat),
                election_timeout_max: Millis(self.election_timeout_max),
            });
        }
        // What follows from the others is bounded with them; these two stand alone, and sums with them must not overflow.
        for (what, given) in [("promise_max", self.promise_max), ("succession_slot", self.succession_slot)] {
            if given > HOUR {
                return Err(ConfigError::TooLong { what, given: Millis(given) });
            }
        }
        if self.drift_ppm > 200_000 {
            return Err(ConfigError::Drift { drift_ppm: self.drift_ppm });
        }
        if self.election_timeout_max <= self.election_timeout_min {
            return clash(
                "election_timeout_max must be larger than election_timeout_min, or split votes repeat",
                ("election_timeout_max", self.election_timeout_max),
                ("election_timeout_min", self.election_timeout_min),
                self.election_timeout_min.saturating_mul(2),
            );
        }
        if self.promise > self.election_timeout_min {
            return clash(
                "promise must not be larger than election_timeout_min, or voters refuse a candidate that is in its right",
                ("election_timeout_min", self.election_timeout_min),
                ("promise", self.promise),
                self.promise,
            );
        }
        if self.promise_max < self.promise {
            return clash(
                "promise_max must be at least promise",
                ("promise_max", self.promise_max),
                ("promise", self.promise),
                self.promise,
            );
        }
        let lease = self.lease_of(self.promise);
        let spent = self.heartbeat.saturating_add(self.round_trip_max);
        if lease <= spent {
            return clash(
                "the lease (promise less drift) must outlast a heartbeat and a round trip, or it lapses without any fault",
                ("lease", lease),
                ("heartbeat + round_trip_max", spent),
                self.owed_of(spent.saturating_add(self.heartbeat / 2)),
            );
        }
        Ok(())
    }
}

const MILLION: u64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3600);

fn scaled(duration: Duration, numerator: u64, denominator: u64, up: bool) -> Duration {
    let product = u128::from(nanos(duration)) * u128::from(numerator);
    let divisor = u128::from(denominator.max(1));
    let quotient = if up { product.div_ceil(divisor) } else { product / divisor };
    Duration::from_nanos(u64::try_from(quotient).unwrap_or(u64::MAX))
}

/// What one member of one group is told. [`Config::validate`] is called by every door of the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The cluster.
    pub cluster: ClusterId,
    /// The group; default `main`.
    pub group: GroupId,
    /// This member.
    pub node: NodeId,
    /// The members of the first record, this one among them; for a node that joins, the members of the time and itself.
    /// After the first start the stored record decides.
    pub members: Vec<NodeId>,
    /// The times; see [`Timing`].
    pub timing: Timing,
    /// Larger stands earlier among equally fresh successors. It delays, and never forbids. Default 100.
    pub priority: u8,
    /// Whether the store forgets at a restart. All members must agree. Default no.
    pub volatile: bool,
    /// Whether this node is added to a cluster that exists: it never takes part in the founding of one, and waits until
    /// the leader has added it, or has named its new disk. Means nothing once it holds a record. Default no.
    ///
    /// Set it on every node once the members have changed: a node that lost its disk, and whose list is that of the first
    /// start, would otherwise found a second cluster if nobody on that list holds a record any more.
    pub joins: bool,
    /// Whether a refused connection proves that the leader's process is dead, so that nothing is owed to it any more.
    /// Default no: a firewall's REJECT and a service without ready endpoints refuse as well.
    pub trust_connection_refused: bool,
    /// How long a write may be under way until the disk counts as stalled: then this node does not stand, and as leader
    /// gives way to a member whose disk is sound. Members may differ. Default 1 s: a sound disk under load takes tenths
    /// of that.
    pub storage_stall: Duration,
}

impl Config {
    /// The defaults for a member of a cluster.
    #[must_use]
    pub fn new(cluster: ClusterId, node: NodeId, members: Vec<NodeId>) -> Config {
        Config {
            cluster,
            group: GroupId::default(),
            node,
            members,
            timing: Timing::default(),
            priority: 100,
            volatile: false,
            joins: false,
            trust_connection_refused: false,
            storage_stall: Duration::from_secs(1),
        }
    }

    /// Checks that the numbers go together.
    ///
    /// # Errors
    /// [`ConfigError`] names the numbers that clash and one that would work. Nothing was changed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.timing.validate()?;
        if self.members.len() > MEMBERS_MAX {
            return Err(ConfigError::TooManyMembers { members: self.members.len() });
        }
        if let Some((at, twice)) = self.members.iter().enumerate().find(|(at, m)| self.members[..*at].contains(m)) {
            return Err(ConfigError::MemberTwice { member: twice.clone(), at });
        }
        if !self.members.contains(&self.node) {
            return Err(ConfigError::NotAMember { node: self.node.clone(), members: self.members.clone() });
        }
        Ok(())
    }
}

/// A configuration that cannot work. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two numbers clash.
    #[error("{} {} is too small beside {} {}: {what}; {} {works} would work", .smaller.0, .smaller.1, .larger.0, .larger.1, .smaller.0)]
    Clash {
        /// The rule.
        what: &'static str,
        /// The number that is too small.
        smaller: (&'static str, Millis),
        /// The number that it clashes with.
        larger: (&'static str, Millis),
        /// A value of the smaller one that works.
        works: Millis,
    },
    /// A time is out of range.
    #[error("heartbeat {heartbeat} must be at least 1ms, and election_timeout_max {election_timeout_max} at most 1h")]
    Range {
        /// The heartbeat interval.
        heartbeat: Millis,
        /// The largest election timeout.
        election_timeout_max: Millis,
    },
    /// A time is longer than an hour. A promise that long would be owed that long after each restart.
    #[error("{what} {given} must be at most 1h")]
    TooLong {
        /// Which time.
        what: &'static str,
        /// What was given.
        given: Millis,
    },
    /// The drift bound is absurd.
    #[error("drift_ppm {drift_ppm} is more than 200000 (20 %): 10000 is a hundred times a quartz")]
    Drift {
        /// What was given.
        drift_ppm: u32,
    },
    /// Too many members.
    #[error("{members} members are more than {MEMBERS_MAX}: 3 or 5 vote well")]
    TooManyMembers {
        /// How many.
        members: usize,
    },
    /// A member is listed twice.
    #[error("member {member} stands twice in the list, again at position {at}: name each member once")]
    MemberTwice {
        /// The member.
        member: NodeId,
        /// The position of the second entry, from 0.
        at: usize,
    },
    /// The node is not on its own list.
    #[error("node {node} is not among the members {members:?}: list every member, this one included")]
    NotAMember {
        /// This node.
        node: NodeId,
        /// The list.
        members: Vec<NodeId>,
    },
}

impl ConfigError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ConfigError::Clash { .. } => "timing_clash",
            ConfigError::Range { .. } => "timing_range",
            ConfigError::TooLong { .. } => "time_too_long",
            ConfigError::Drift { .. } => "drift_range",
            ConfigError::TooManyMembers { .. } => "too_many_members",
            ConfigError::MemberTwice { .. } => "member_twice",
            ConfigError::NotAMember { .. } => "not_a_member",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let name = |n: &str| NodeId::new(n).expect("a name");
        Config::new(ClusterId::new("test").expect("a name"), name("a"), vec![name("a"), name("b"), name("c")])
    }

    #[test]
    fn the_defaults_work_at_every_scale() {
        config().validate().expect("the defaults");
        for ms in [1, 5, 500] {
            let timing = Timing::of(Duration::from_millis(ms));
            Config { timing, ..config() }.validate().expect("scaled defaults");
        }
    }

    /// E10: a configuration in which the lease would lapse without a fault is refused, with numbers that work.
    #[test]
    fn a_lease_that_cannot_last_is_refused_with_what_works() {
        let mut config = config();
        config.timing.promise = Duration::from_millis(60);
        let error = config.validate().expect_err("60 ms cannot outlast a heartbeat of 50 ms and a round trip of 20");
        let ConfigError::Clash { works, .. } = &error else { panic!("{error}") };
        assert!(error.to_string().contains("heartbeat + round_trip_max 70ms"), "{error}");
        config.timing.promise = works.0;
        config.validate().expect("what the error proposed");
    }

    #[test]
    fn every_refusal_names_its_culprit() {
        let refused = |change: fn(&mut Config)| {
            let mut config = config();
            change(&mut config);
            config.validate().expect_err("a bad configuration").code()
        };
        assert_eq!(refused(|c| c.timing.election_timeout_max = c.timing.election_timeout_min), "timing_clash");
        assert_eq!(refused(|c| c.timing.promise *= 2), "timing_clash");
        assert_eq!(refused(|c| c.timing.promise_max /= 2), "timing_clash");
        assert_eq!(refused(|c| c.timing.heartbeat = Duration::ZERO), "timing_range");
        assert_eq!(refused(|c| c.timing.promise_max = 2 * HOUR), "time_too_long");
        assert_eq!(refused(|c| c.timing.succession_slot = 2 * HOUR), "time_too_long");
        assert_eq!(refused(|c| c.timing.drift_ppm = 300_000), "drift_range");
        assert_eq!(refused(|c| c.members.push(c.node.clone())), "member_twice");
        assert_eq!(refused(|c| c.members.retain(|m| m.as_str() != "a")), "not_a_member");
    }

    /// What is just allowed is allowed, and a nanosecond more is not.
    #[test]
    fn the_bounds_themselves_are_allowed() {
        let valid = |change: fn(&mut Timing)| {
            let mut config = config();
            change(&mut config.timing);
            config.validate().is_ok()
        };
        const STEP: Duration = Duration::from_nanos(1);
        assert!(valid(|t| *t = Timing { round_trip_max: Duration::ZERO, ..Timing::of(Duration::from_millis(1)) }));
        assert!(!valid(|t| *t = Timing::of(Duration::from_millis(1) - STEP)));
        assert!(valid(|t| t.election_timeout_max = HOUR) && !valid(|t| t.election_timeout_max = HOUR + STEP));
        assert!(valid(|t| t.promise_max = HOUR) && !valid(|t| t.promise_max = HOUR + STEP));
        assert!(valid(|t| t.succession_slot = HOUR) && !valid(|t| t.succession_slot = HOUR + STEP));
        assert!(valid(|t| t.promise_max = t.promise) && !valid(|t| t.promise_max = t.promise - STEP));
        let drifting = |drift_ppm| {
            let timing = Timing { drift_ppm, round_trip_max: Duration::ZERO, ..Timing::default() };
            Config { timing, ..config() }.validate().is_ok()
        };
        assert!(drifting(200_000) && !drifting(200_001));
        let with = |promise| Config { timing: Timing { drift_ppm: 0, promise, ..Timing::default() }, ..config() };
        let spent = Timing::default().heartbeat + Timing::default().round_trip_max;
        assert!(with(spent).validate().is_err() && with(spent + STEP).validate().is_ok());
    }

    #[test]
    fn as_many_members_as_are_permitted_and_no_more() {
        let of = |members: usize| {
            let names = (0..members).map(|at| NodeId::new(format!("n{at}")).expect("a name")).collect();
            Config { node: NodeId::new("n0").expect("a name"), members: names, ..config() }.validate()
        };
        of(MEMBERS_MAX).expect("permitted");
        assert_eq!(of(MEMBERS_MAX + 1).expect_err("one too many").code(), "too_many_members");
    }

    /// Members compare fingerprints: each time that both sides must agree on is in it.
    #[test]
    fn other_times_have_another_fingerprint() {
        let changes: [fn(&mut Timing); 7] = [
            |_| {},
            |t| t.heartbeat *= 2,
            |t| t.election_timeout_min *= 2,
            |t| t.election_timeout_max *= 2,
            |t| t.promise *= 2,
            |t| t.promise_max *= 2,
            |t| t.drift_ppm *= 2,
        ];
        let fingerprint = |change: &fn(&mut Timing)| {
            let mut timing = Timing::default();
            change(&mut timing);
            timing.fingerprint()
        };
        let all: std::collections::BTreeSet<u32> = changes.iter().map(fingerprint).collect();
        assert_eq!(all.len(), changes.len());
    }

    /// Found by fuzzing: the sums and products of the check itself overflowed.
    #[test]
    fn the_longest_times_are_refused_like_any_other() {
        let changes: [fn(&mut Timing); 7] = [
            |t| *t = Timing::of(Duration::MAX),
            |t| t.heartbeat = Duration::MAX,
            |t| t.election_timeout_min = Duration::MAX,
            |t| t.promise_max = Duration::MAX,
            |t| t.round_trip_max = Duration::MAX,
            |t| t.succession_slot = Duration::MAX,
            |t| t.drift_ppm = u32::MAX,
        ];
        for change in changes {
            let mut config = config();
            change(&mut config.timing);
            let timing = &config.timing;
            assert!(timing.lease_of(timing.promise) <= timing.owed_of(timing.promise));
            config.validate().expect_err("too long");
        }
    }

    #[test]
    fn drift_shortens_leases_and_lengthens_debts() {
        let timing = Timing { drift_ppm: 200_000, ..Timing::default() };
        let promise = Duration::from_millis(120);
        assert_eq!(timing.lease_of(promise), Duration::from_millis(80));
        assert_eq!(timing.owed_of(timing.lease_of(promise)), promise);
    }
}
