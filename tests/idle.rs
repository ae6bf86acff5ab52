//! E12 in the simulator: whoever contends, and however often that changes, no office without work outlasts two smallest
//! election timeouts while a contender is in contact; and somebody leads where nobody contends.

use std::time::Duration;

use hustings::config::Timing;
use hustings::event::Role;
use hustings::message::Contention;
use hustings::node::Input;
use hustings::sim::{Cluster, Detail, Manners};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// How often the outside looks.
const LOOK: Duration = Duration::from_millis(5);

/// Whether each node's user contends.
struct Users(Vec<bool>);

impl Users {
    fn set(&mut self, cluster: &mut Cluster, at: usize, contends: bool) {
        let contention = if contends { Contention::Contends } else { Contention::Idle };
        self.0[at] = contends;
        *cluster.user(at) = if contends { Manners::eager(Duration::ZERO) } else { Manners::idle() };
        cluster.input(at, Input::Contend(contention, None));
    }

    /// A leader without work, with somebody else who contends.
    fn is_missed(&self, cluster: &Cluster) -> bool {
        let leader = (0..self.0.len()).find(|at| cluster.node(*at).is_some_and(|node| node.role() == Role::Leader));
        leader.is_some_and(|leader| !self.0[leader] && !cluster.is_working(leader) && self.0.contains(&true))
    }
}

/// Numbers that depend on the seed alone.
fn draws(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |end| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    }
}

#[test]
fn no_office_without_work_outlasts_two_timeouts() {
    let timing = Timing::default();
    let limit = timing.election_timeout_min * 2;
    for seed in 0..100 {
        let mut draw = draws(seed);
        let size = if seed % 2 == 0 { 3 } else { 5 };
        let mut cluster = Cluster::new(seed, &NAMES[..size], &timing, Detail::Hash).expect("names");
        let mut users = Users(vec![true; size]);
        (0..size).for_each(|at| cluster.start(at));
        for _ in 0..20 {
            for at in 0..size {
                let contends = draw(3) == 0;
                users.set(&mut cluster, at, contends);
            }
            let mut idle = Duration::ZERO;
            for _ in 0..draw(300) {
                cluster.run_for(LOOK);
                idle = if users.is_missed(&cluster) { idle + LOOK } else { Duration::ZERO };
                assert!(idle <= limit + LOOK, "seed {seed}: idle for {idle:?} at {}", cluster.now());
            }
        }
        assert_eq!(cluster.violation(), None, "seed {seed}");
    }
}

#[test]
fn somebody_leads_where_nobody_contends() {
    let timing = Timing::default();
    for seed in 0..50 {
        let mut cluster = Cluster::new(seed, &NAMES[..3], &timing, Detail::Hash).expect("names");
        let mut users = Users(vec![true; 3]);
        for at in 0..3 {
            cluster.start(at);
            users.set(&mut cluster, at, false);
        }
        let leads = |cluster: &Cluster| (0..3).any(|at| cluster.is_exclusive(at));
        assert!(cluster.run_until(timing.election_timeout_min * 4, leads), "seed {seed}: after a start");
        let leader = (0..3).find(|at| cluster.is_exclusive(*at)).expect("one leads");
        cluster.crash(leader, hustings::sim::Death::Vanished);
        assert!(!leads(&cluster));
        assert!(cluster.run_until(timing.election_timeout_min * 4, leads), "seed {seed}: after a silence");
    }
}
