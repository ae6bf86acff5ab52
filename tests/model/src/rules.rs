//! The steps of the protocol, each with what permits it.

use crate::state::{
    DISKS_MAX, FIRST, Members, NONE, RecordId, Role, SERVERS_MAX, Server, State, World, place_of, record_id, term_of,
};
use crate::{Breach, Fault, Setup};

/// What one leader wants to change in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// That server votes no more.
    Remove(u8),
    /// That server votes from now on.
    Add(u8),
    /// That server has that disk in the place of its lost one (D2).
    Name(u8, u8),
}

/// A step. Servers are numbered from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A server enters a later term as candidate, votes for itself in memory, and asks everyone.
    Campaign {
        /// Who.
        server: u8,
        /// Which term: any later one, as if it had heard of the one before.
        term: u8,
    },
    /// A write ends: the disk holds what the memory holds, and the answers that waited for it leave.
    Persist(u8),
    /// A RequestVote reaches a voter that grants it.
    Vote {
        /// Who grants.
        voter: u8,
        /// Whom.
        candidate: u8,
    },
    /// A candidate has its quorum and its own vote on disk: it leads, and creates its no-op.
    Lead(u8),
    /// A newer record reaches a server: from its leader, or (A1) from the refusal of whoever holds it.
    Learn {
        /// Who.
        server: u8,
        /// What.
        record: RecordId,
    },
    /// A leader finds its newest record durable on a quorum.
    Commit(u8),
    /// A leader creates a record that changes the members.
    Change {
        /// Who.
        leader: u8,
        /// What.
        change: Change,
    },
    /// An amnesiac is told that the record which it holds, and which names its disk, is committed.
    Cure(u8),
    /// A server stops and starts again, with what its disk holds.
    Crash(u8),
    /// A server's disk is lost; it starts with a new one.
    Wipe(u8),
    /// [`Fault::OlderTermCommitted`]: a leader counts the copies of the record that it inherited.
    CommitInherited(u8),
    /// [`Fault::BackwardAdoption`], [`Fault::AdoptionWithoutTerm`], [`Fault::LeaderAdopts`]: the rule A1 broken.
    LearnWrongly {
        /// Who.
        server: u8,
        /// What.
        record: RecordId,
    },
}

impl Setup {
    /// The world at the beginning: every server was there at the founding, and its disk holds the first record.
    #[must_use]
    pub fn beginning(&self) -> World {
        let mut world = World::default();
        for (at, server) in world.servers.iter_mut().enumerate().take(self.servers()) {
            server.memory.record = FIRST;
            server.memory.named = u8::from(at < usize::from(self.voters));
            server.disk = server.memory;
        }
        world
    }

    /// The members of a record.
    #[must_use]
    pub fn members(&self, world: &World, record: RecordId) -> Members {
        match record {
            NONE | FIRST => Members::first(self.voters),
            _ => world.reigns[usize::from(term_of(record)) - 1].members[usize::from(place_of(record))],
        }
    }

    /// Everything that can happen next.
    pub fn steps(&self, world: &World, steps: &mut Vec<Action>) {
        if world.has_broken(Breach::S1) || world.has_broken(Breach::L1) {
            return;
        }
        for server in 0..self.servers() {
            self.steps_of(world, server, steps);
        }
    }

    /// The one of all worlds that differ from this one only in the names of the servers which stands for them.
    #[must_use]
    pub fn canonical(&self, world: &World) -> World {
        if !self.symmetry {
            return *world;
        }
        let mut to: [u8; SERVERS_MAX] = std::array::from_fn(|at| at as u8);
        let mut least = (world.pack(), *world);
        self.rename_from(0, &mut to, world, &mut least);
        least.1
    }

    /// Tries every permutation of the first voters, who began alike; the spare did not.
    fn rename_from(&self, at: usize, to: &mut [u8; SERVERS_MAX], world: &World, least: &mut (State, World)) {
        if at + 1 >= usize::from(self.voters) {
            let renamed = world.renamed(to);
            let packed = renamed.pack();
            if packed < least.0 {
                *least = (packed, renamed);
            }
            return;
        }
        for other in at..usize::from(self.voters) {
            to.swap(at, other);
            self.rename_from(at + 1, to, world, least);
            to.swap(at, other);
        }
    }

    fn steps_of(&self, world: &World, at: usize, steps: &mut Vec<Action>) {
        let server = &world.servers[at];
        let name = at as u8;
        if self.may_campaign(world, at) {
            let terms = server.memory.term + 1..=self.terms;
            let permitted = terms.filter(|term| self.candidates[usize::from(*term) - 1] >> at & 1 == 1);
            let permitted = permitted.filter(|term| self.clears_floor(server.disk.named, *term));
            steps.extend(permitted.map(|term| Action::Campaign { server: name, term }));
        }
        if server.memory != server.disk {
            steps.push(Action::Persist(name));
        }
        let candidates = (0..self.servers()).filter(|candidate| self.would_vote(world, at, *candidate));
        steps.extend(candidates.map(|candidate| Action::Vote { voter: name, candidate: candidate as u8 }));
        if self.may_lead(world, at) {
            steps.push(Action::Lead(name));
        }
        self.learning_steps(world, at, steps);
        if self.may_commit(world, at) {
            steps.push(Action::Commit(name));
        }
        self.change_steps(world, at, steps);
        if self.may_be_cured(world, at) {
            steps.push(Action::Cure(name));
        }
        let loses = server.memory != server.disk || server.role != Role::Follower;
        if loses && self.crashes.is_none_or(|most| world.crashes < most) {
            steps.push(Action::Crash(name));
        }
        let wipes: u8 = world.servers.iter().map(|server| server.generation).sum();
        let may_lose = self.lost >> at & 1 == 1;
        if may_lose && wipes < self.wipes && usize::from(server.generation) + 1 < DISKS_MAX {
            steps.push(Action::Wipe(name));
        }
        if self.fault == Some(Fault::OlderTermCommitted) && self.may_commit_inherited(world, at) {
            steps.push(Action::CommitInherited(name));
        }
    }

    /// A leader that stands again has stepped down first; to which term, and when, is nobody's to restrict.
    fn may_campaign(&self, world: &World, at: usize) -> bool {
        let server = &world.servers[at];
        let names = self.members(world, server.memory.record).names(at, server.generation);
        server.memory.record != NONE && names && !self.is_amnesiac(world, at)
    }

    fn is_amnesiac(&self, world: &World, at: usize) -> bool {
        world.servers[at].disk.named == 0 && self.fault != Some(Fault::AmnesiacVotes)
    }

    /// D2: a disk that was named later votes only above the term in which it was.
    fn clears_floor(&self, named: u8, term: u8) -> bool {
        term >= named || self.fault == Some(Fault::FloorIgnored)
    }

    /// §5.4.1 and D2. That the candidate's record is at least as new makes a check of its disk superfluous: it is the
    /// same record, which names the candidate, or a newer one, which decides.
    fn would_grant(&self, world: &World, voter: usize, candidate: usize) -> bool {
        let (voter, its) = (&world.servers[voter], voter);
        let asks = world.servers[candidate].memory;
        let named = self.members(world, voter.memory.record).names(its, voter.generation);
        let named = named || self.fault == Some(Fault::NonVoterCounted);
        let free = asks.term > voter.memory.term || voter.memory.voted_for == 0;
        let free = free || voter.memory.voted_for == candidate as u8 + 1;
        let behind = asks.record < voter.memory.record && self.fault != Some(Fault::RecordCheckIgnored);
        its != candidate
            && world.servers[candidate].role == Role::Candidate
            && voter.memory.record != NONE
            && named
            && !self.is_amnesiac(world, its)
            && self.clears_floor(voter.disk.named, asks.term)
            && asks.term >= voter.memory.term
            && free
            && !behind
    }

    /// Whether a grant would change anything.
    fn would_vote(&self, world: &World, voter: usize, candidate: usize) -> bool {
        if !self.would_grant(world, voter, candidate) {
            return false;
        }
        let (server, asks) = (&world.servers[voter], &world.servers[candidate]);
        let voted = server.memory.term == asks.memory.term && server.memory.voted_for != 0;
        let is_durable = server.disk.term == asks.memory.term && server.disk.voted_for == candidate as u8 + 1;
        !voted || (is_durable && asks.heard_from(voter, server.generation) == 0)
    }

    fn may_lead(&self, world: &World, at: usize) -> bool {
        let server = &world.servers[at];
        let own = server.disk.term == server.memory.term && usize::from(server.disk.voted_for) == at + 1;
        let own = own || self.fault == Some(Fault::LeadsBeforeOwnVoteDurable);
        if server.role != Role::Candidate || !own {
            return false;
        }
        let members = self.members(world, server.memory.record);
        let granted = |voter: usize| server.heard_from(voter, members.generation(voter)) > 0;
        let votes = |voter: usize| members.is_voter(voter) || self.fault == Some(Fault::NonVoterCounted);
        let granted = (0..self.servers()).filter(|voter| *voter == at || (votes(*voter) && granted(*voter)));
        granted.count() as u32 >= self.quorum(members)
    }

    fn quorum(&self, members: Members) -> u32 {
        match self.fault {
            Some(Fault::HalfIsAQuorum) => members.voters().div_ceil(2),
            _ => members.voters() / 2 + 1,
        }
    }

    fn learning_steps(&self, world: &World, at: usize, steps: &mut Vec<Action>) {
        let server = &world.servers[at];
        let name = at as u8;
        if server.memory.record == NONE {
            steps.push(Action::Learn { server: name, record: FIRST });
        }
        if self.may_learn_wrongly(world, at, FIRST) {
            steps.push(Action::LearnWrongly { server: name, record: FIRST });
        }
        for term in 1..=self.terms {
            for place in 0..world.reigns[usize::from(term) - 1].created {
                let record = record_id(term, place);
                if record > server.memory.record {
                    steps.push(Action::Learn { server: name, record });
                }
                if self.may_learn_wrongly(world, at, record) {
                    steps.push(Action::LearnWrongly { server: name, record });
                }
            }
        }
    }

    fn may_learn_wrongly(&self, world: &World, at: usize, record: RecordId) -> bool {
        let server = &world.servers[at];
        match self.fault {
            Some(Fault::BackwardAdoption) => record < server.memory.record && server.role == Role::Follower,
            Some(Fault::AdoptionWithoutTerm) => {
                record > server.memory.record && term_of(record) > server.memory.term && server.role == Role::Follower
            }
            Some(Fault::LeaderAdopts) => record > server.memory.record && server.role == Role::Leader,
            _ => false,
        }
    }

    /// L4, L5: its own record, durable on a quorum of the disks that it names.
    fn may_commit(&self, world: &World, at: usize) -> bool {
        let leader = &world.servers[at];
        let record = leader.memory.record;
        if leader.role != Role::Leader || term_of(record) != leader.memory.term {
            return false;
        }
        if world.reigns[usize::from(leader.memory.term) - 1].committed > place_of(record) {
            return false;
        }
        let members = self.members(world, record);
        let holders = (0..self.servers()).filter(|server| {
            let own = leader.disk.record >= record || self.fault == Some(Fault::OwnCopyCountedFromMemory);
            let acked = leader.heard_from(*server, members.generation(*server)) > place_of(record);
            members.is_voter(*server) && if *server == at { own } else { acked }
        });
        holders.count() as u32 >= self.quorum(members)
    }

    /// What a leader that forgot L4 would do: as `may_commit`, with the record that its no-op replaced.
    fn may_commit_inherited(&self, world: &World, at: usize) -> bool {
        let leader = &world.servers[at];
        let base = match leader.role {
            Role::Leader => world.reigns[usize::from(leader.memory.term) - 1].base,
            _ => return false,
        };
        if base <= FIRST || world.reigns[usize::from(term_of(base)) - 1].committed > place_of(base) {
            return false;
        }
        let members = self.members(world, base);
        let holds = |server: &usize| {
            let held = &world.servers[*server];
            let current = held.memory.term == leader.memory.term && !self.is_amnesiac(world, *server);
            members.names(*server, held.generation) && current && held.disk.record >= base
        };
        (0..self.servers()).filter(holds).count() as u32 >= self.quorum(members)
    }

    /// L6: nothing is in flight, and a record of its own term is committed. That it is exclusive too is not asked for
    /// here: the model is more permissive.
    fn change_steps(&self, world: &World, at: usize, steps: &mut Vec<Action>) {
        let leader = &world.servers[at];
        let record = leader.memory.record;
        if leader.role != Role::Leader || term_of(record) != leader.memory.term {
            return;
        }
        let reign = &world.reigns[usize::from(leader.memory.term) - 1];
        let settled = reign.committed > place_of(record) || self.fault == Some(Fault::ChangeBeforeCommit);
        if !settled || reign.created >= self.records {
            return;
        }
        let members = self.members(world, record);
        let mut propose = |change| steps.push(Action::Change { leader: at as u8, change });
        for server in 0..self.servers() {
            let name = server as u8;
            let newest = world.servers[server].generation;
            (members.generation(server) + 1..=newest).for_each(|disk| propose(Change::Name(name, disk)));
            if self.changes_made(world) >= self.changes {
                continue;
            }
            match members.is_voter(server) {
                true if members.voters() > 1 => propose(Change::Remove(name)),
                true => {}
                false => propose(Change::Add(name)),
            }
        }
    }

    fn changes_made(&self, world: &World) -> u8 {
        let mut made = 0;
        for reign in &world.reigns {
            for place in 1..usize::from(reign.created) {
                made += u8::from(reign.members[place].voter_set() != reign.members[place - 1].voter_set());
            }
        }
        made
    }

    /// D2: the record is durable here, names this disk, with a vote or without, and is of the current term; its leader has
    /// committed it.
    fn may_be_cured(&self, world: &World, at: usize) -> bool {
        let server = &world.servers[at];
        let record = server.disk.record;
        if server.memory.named != 0 || record <= FIRST || record != server.memory.record {
            return false;
        }
        let committed = world.reigns[usize::from(term_of(record)) - 1].committed > place_of(record);
        let committed = committed || self.fault == Some(Fault::NamedBeforeCommit);
        let listed = self.members(world, record).generation(at) == server.generation;
        committed && listed && term_of(record) == server.memory.term
    }

    /// The world after a step that [`Setup::steps`] gave.
    #[must_use]
    pub fn after(&self, world: &World, step: Action) -> World {
        let mut world = *world;
        match step {
            Action::Campaign { server, term } => world.campaign(usize::from(server), term, self),
            Action::Persist(server) => self.persist(&mut world, usize::from(server)),
            Action::Vote { voter, candidate } => self.vote(&mut world, usize::from(voter), usize::from(candidate)),
            Action::Lead(server) => self.lead(&mut world, usize::from(server)),
            Action::Learn { server, record } => self.learn(&mut world, usize::from(server), record),
            Action::Commit(server) => self.commit(&mut world, usize::from(server)),
            Action::Change { leader, change } => self.change(&mut world, usize::from(leader), change),
            Action::Cure(server) => {
                let server = &mut world.servers[usize::from(server)];
                server.memory.named = server.memory.term + 1;
            }
            Action::Crash(server) => self.crash(&mut world, usize::from(server)),
            Action::Wipe(server) => world.wipe(usize::from(server)),
            Action::CommitInherited(server) => world.commit_inherited(usize::from(server)),
            Action::LearnWrongly { server, record } => self.learn_wrongly(&mut world, usize::from(server), record),
        }
        if self.prompt {
            self.write_promptly(&mut world);
        }
        world
    }

    /// With [`Setup::prompt`], whoever neither stands nor leads writes before it does anything else.
    fn write_promptly(&self, world: &mut World) {
        for at in 0..self.servers() {
            let server = &world.servers[at];
            if server.role == Role::Follower && server.memory != server.disk {
                self.persist(world, at);
            }
        }
    }

    fn persist(&self, world: &mut World, at: usize) {
        let server = &mut world.servers[at];
        let (memory, disk) = (server.memory, server.disk);
        let another = memory.term == disk.term && disk.voted_for != 0 && disk.voted_for != memory.voted_for;
        server.disk = memory;
        if memory.term < disk.term || another {
            world.break_rule(Breach::S5);
        }
        if memory.record < disk.record {
            world.break_rule(Breach::L2);
        }
        let candidate = usize::from(memory.voted_for);
        if candidate > 0 && world.servers[candidate - 1].memory.term == memory.term {
            self.grant(world, at, candidate - 1);
        }
        self.ack(world, at);
    }

    fn vote(&self, world: &mut World, voter: usize, candidate: usize) {
        let term = world.servers[candidate].memory.term;
        let server = &mut world.servers[voter];
        server.follow();
        server.memory.advance(term);
        server.memory.voted_for = candidate as u8 + 1;
        let durable = server.disk.term == term && server.disk.voted_for == candidate as u8 + 1;
        if durable || self.fault == Some(Fault::VoteBeforeDurable) {
            self.grant(world, voter, candidate);
        }
    }

    /// A grant leaves, if the request that is out deserves it; it counts in that candidacy only.
    fn grant(&self, world: &mut World, voter: usize, candidate: usize) {
        if !self.would_grant(world, voter, candidate) {
            return;
        }
        let (generation, named) = (world.servers[voter].generation, world.servers[voter].disk.named);
        let term = world.servers[candidate].memory.term;
        let elsewhere = (0..self.servers()).any(|other| {
            let other = &world.servers[other];
            other.role == Role::Candidate && other.memory.term == term && other.heard_from(voter, generation) > 0
        });
        let repeated = world.servers[candidate].heard_from(voter, generation) > 0;
        world.servers[candidate].hear(voter, generation, 1);
        if elsewhere && !repeated {
            world.break_rule(Breach::S2);
        }
        if named == 0 {
            world.break_rule(Breach::D2);
        }
    }

    /// A server that holds a record of its leader says so, unless its disk does not count.
    fn ack(&self, world: &mut World, at: usize) {
        let server = world.servers[at];
        let from_memory = self.fault == Some(Fault::AckFromMemory);
        let record = if from_memory { server.memory.record } else { server.disk.record };
        let term = server.memory.term;
        if term_of(record) != term || term == 0 || !self.counts(world, at, record) {
            return;
        }
        let leader = (0..self.servers()).find(|leader| {
            let leader = &world.servers[*leader];
            leader.role == Role::Leader && leader.memory.term == term
        });
        if let Some(leader) = leader.filter(|leader| *leader != at) {
            world.servers[leader].hear(at, server.generation, place_of(record) + 1);
        }
    }

    /// D2: until a new disk is cured, neither the record that names it counts it nor one that follows.
    fn counts(&self, world: &World, at: usize, record: RecordId) -> bool {
        let server = &world.servers[at];
        let names = |record| self.members(world, record).names(at, server.generation);
        let naming = names(record) && !names(world.parent(record));
        match self.fault {
            _ if server.disk.named != 0 => true,
            Some(Fault::NamingCountsItself) => naming,
            Some(Fault::SuccessorCountsNamed) => names(record) && !naming,
            _ => false,
        }
    }

    fn lead(&self, world: &mut World, at: usize) {
        let memory = world.servers[at].memory;
        let members = self.members(world, memory.record);
        let reign = &mut world.reigns[usize::from(memory.term) - 1];
        if reign.leader != 0 {
            // And a second content of the record (T, 0): nothing that comes after this is worth looking at.
            world.break_rule(Breach::L1);
            return world.break_rule(Breach::S1);
        }
        reign.leader = at as u8 + 1;
        reign.base = memory.record;
        reign.created = 1;
        reign.members[0] = members;
        let leader = &mut world.servers[at];
        leader.role = Role::Leader;
        leader.heard = 0;
        leader.memory.record = record_id(memory.term, 0);
    }

    fn learn(&self, world: &mut World, at: usize, record: RecordId) {
        let server = &mut world.servers[at];
        server.adopted = self.witness && term_of(record) < server.memory.term;
        server.follow();
        server.memory.advance(term_of(record));
        server.memory.record = record;
        if self.fault == Some(Fault::AckFromMemory) {
            self.ack(world, at);
        }
    }

    fn learn_wrongly(&self, world: &mut World, at: usize, record: RecordId) {
        let server = &mut world.servers[at];
        server.memory.record = record;
        if self.fault != Some(Fault::AdoptionWithoutTerm) {
            server.memory.advance(term_of(record));
        }
        if record < server.disk.record {
            world.break_rule(Breach::L2);
        }
    }

    fn commit(&self, world: &mut World, at: usize) {
        let leader = world.servers[at].memory;
        world.reigns[usize::from(leader.term) - 1].committed = place_of(leader.record) + 1;
        if self.lacks_quorum(world, at) {
            world.break_rule(Breach::L5);
        }
    }

    /// Whether the disks that hold the newest record of that leader, lost ones included, are fewer than a quorum.
    fn lacks_quorum(&self, world: &World, at: usize) -> bool {
        let leader = &world.servers[at];
        let record = leader.memory.record;
        let members = self.members(world, record);
        let holds = |server: &usize| {
            let held = &world.servers[*server];
            let lost = held.generation > members.generation(*server);
            let acked = leader.heard_from(*server, members.generation(*server)) > place_of(record);
            let durable = held.generation == members.generation(*server) && held.disk.record >= record;
            members.is_voter(*server) && ((lost && acked) || durable)
        };
        ((0..self.servers()).filter(holds).count() as u32) < members.voters() / 2 + 1
    }

    fn change(&self, world: &mut World, at: usize, change: Change) {
        let leader = &mut world.servers[at];
        let record = leader.memory.record;
        leader.memory.record = record + 1;
        let term = usize::from(leader.memory.term);
        let members = self.members(world, record);
        let changed = match change {
            Change::Remove(server) => members.with_voter(usize::from(server), false),
            Change::Add(server) => members.with_voter(usize::from(server), true),
            Change::Name(server, disk) => members.with_disk(usize::from(server), disk),
        };
        let reign = &mut world.reigns[term - 1];
        let unsettled = reign.committed <= place_of(record);
        let named_twice = place_of(record) + 1 != reign.created;
        reign.members[usize::from(reign.created)] = changed;
        reign.created += 1;
        if unsettled {
            world.break_rule(Breach::L6);
        }
        if named_twice {
            world.break_rule(Breach::L1);
        }
    }

    fn crash(&self, world: &mut World, at: usize) {
        world.crashes += u8::from(self.crashes.is_some());
        let server = &mut world.servers[at];
        if self.fault == Some(Fault::VolatileVote) {
            server.disk.voted_for = 0;
        }
        server.follow();
        server.memory = server.disk;
        server.adopted = false;
        self.ack(world, at);
    }
}

impl World {
    fn campaign(&mut self, at: usize, term: u8, setup: &Setup) {
        let server = &mut self.servers[at];
        if setup.fault != Some(Fault::OldRoundCounted) || server.role == Role::Leader {
            server.heard = 0;
        }
        server.role = Role::Candidate;
        server.memory.term = term;
        server.memory.voted_for = at as u8 + 1;
    }

    fn wipe(&mut self, at: usize) {
        let server = &mut self.servers[at];
        *server = Server { generation: server.generation + 1, ..Default::default() };
    }

    fn commit_inherited(&mut self, at: usize) {
        let base = self.reigns[usize::from(self.servers[at].memory.term) - 1].base;
        self.reigns[usize::from(term_of(base)) - 1].committed = place_of(base) + 1;
        self.break_rule(Breach::L4);
    }

    /// The record that this one replaced.
    #[must_use]
    pub fn parent(&self, record: RecordId) -> RecordId {
        match record {
            NONE | FIRST => NONE,
            _ if place_of(record) > 0 => record - 1,
            _ => self.reigns[usize::from(term_of(record)) - 1].base,
        }
    }

    /// Whether the first record is the second one, or one of those that it descends from.
    #[must_use]
    pub fn contains(&self, ancestor: RecordId, mut record: RecordId) -> bool {
        while record > ancestor {
            record = self.parent(record);
        }
        record == ancestor
    }

    /// Whether a step broke that rule.
    #[must_use]
    pub fn has_broken(&self, breach: Breach) -> bool {
        self.broken >> breach as u32 & 1 == 1
    }

    fn break_rule(&mut self, breach: Breach) {
        self.broken |= 1 << breach as u32;
    }

    /// The servers that lead, with their terms.
    pub fn leaders(&self) -> impl Iterator<Item = (usize, u8)> + '_ {
        let leads = |at: &usize| self.servers[*at].role == Role::Leader;
        (0..SERVERS_MAX).filter(leads).map(|at| (at, self.servers[at].memory.term))
    }
}
