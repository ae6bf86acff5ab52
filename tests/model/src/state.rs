//! What is in a state, and how it is packed: ten words, cheap to hash and to keep by the hundred million.

use std::hash::{Hash, Hasher};

/// The most servers.
pub const SERVERS_MAX: usize = 5;
/// The most disks that one server has, one after the other.
pub const DISKS_MAX: usize = 3;
/// The most terms.
pub const TERMS_MAX: usize = 4;
/// The most records that one leader creates, its no-op included.
pub const RECORDS_MAX: usize = 3;

/// Names a record: 0 is none, 1 the first, then three for each term, so that the later one is the greater.
///
/// The index is counted within the term. That orders records as the paper does, as long as a term has one leader, which
/// is checked beside it.
pub type RecordId = u8;
/// No record: what a new disk holds.
pub const NONE: RecordId = 0;
/// The first record, which every server was born with.
pub const FIRST: RecordId = 1;

/// The record of that place in that term.
#[must_use]
pub const fn record_id(term: u8, place: u8) -> RecordId {
    2 + (term - 1) * RECORDS_MAX as u8 + place
}

/// The term of a record; 0 for the first one and for none.
#[must_use]
pub const fn term_of(record: RecordId) -> u8 {
    if record <= FIRST { 0 } else { (record - 2) / RECORDS_MAX as u8 + 1 }
}

/// The place of a record in its term; its no-op has place 0.
#[must_use]
pub const fn place_of(record: RecordId) -> u8 {
    if record <= FIRST { 0 } else { (record - 2) % RECORDS_MAX as u8 }
}

/// What a disk holds, or the memory above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hard {
    /// The current term.
    pub term: u8,
    /// Who has the vote in it, as the server's number plus one; 0 for nobody.
    pub voted_for: u8,
    /// The newest record.
    pub record: RecordId,
    /// 0 as long as the disk is amnesiac; else one more than the term above which it votes.
    pub named: u8,
}

impl Hard {
    const BITS: u32 = 13;

    fn pack(self) -> u64 {
        u64::from(self.term)
            | u64::from(self.voted_for) << 3
            | u64::from(self.record) << 6
            | u64::from(self.named) << 10
    }

    fn unpack(bits: u64) -> Hard {
        let take = |at: u32, mask: u64| (bits >> at & mask) as u8;
        Hard { term: take(0, 7), voted_for: take(3, 7), record: take(6, 15), named: take(10, 7) }
    }

    /// Enters a term, if it is a later one: nobody has the vote in it yet.
    pub fn advance(&mut self, term: u8) {
        if term > self.term {
            self.term = term;
            self.voted_for = 0;
        }
    }
}

/// The role, which is volatile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Neither stands nor leads.
    #[default]
    Follower,
    /// Its RequestVote is out, with the term and the record of its memory.
    Candidate,
    /// In office.
    Leader,
}

/// A server: what it holds, and what it has heard in its present office.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Server {
    /// What it goes by.
    pub memory: Hard,
    /// What a restart would leave.
    pub disk: Hard,
    /// Its role.
    pub role: Role,
    /// Which of its disks it has.
    pub generation: u8,
    /// A candidate's grants (0 or 1), a leader's acks (one more than the place of the record that is durable there); two
    /// bits for each disk of each server.
    pub heard: u32,
    /// Whether its record was learned from a refusal; kept only where the setup asks for witnesses.
    pub adopted: bool,
}

/// How many bits `heard` has: two for each disk.
const HEARD: u32 = 2 * (SERVERS_MAX * DISKS_MAX) as u32;

impl Server {
    fn pack(self) -> u64 {
        let (memory, disk) = (self.memory.pack(), self.disk.pack());
        let role = self.role as u64;
        let at = 2 * Hard::BITS;
        let heard = u64::from(self.heard) << (at + 4);
        let adopted = u64::from(self.adopted) << (at + 4 + HEARD);
        memory | disk << Hard::BITS | role << at | u64::from(self.generation) << (at + 2) | heard | adopted
    }

    fn unpack(bits: u64) -> Server {
        let at = 2 * Hard::BITS;
        let role = match bits >> at & 3 {
            0 => Role::Follower,
            1 => Role::Candidate,
            _ => Role::Leader,
        };
        Server {
            memory: Hard::unpack(bits),
            disk: Hard::unpack(bits >> Hard::BITS),
            role,
            generation: (bits >> (at + 2) & 3) as u8,
            heard: (bits >> (at + 4) & ((1 << HEARD) - 1)) as u32,
            adopted: bits >> (at + 4 + HEARD) & 1 == 1,
        }
    }

    /// What was heard from that disk.
    #[must_use]
    pub fn heard_from(&self, server: usize, generation: u8) -> u8 {
        (self.heard >> slot(server, generation) & 3) as u8
    }

    /// Notes what was heard from that disk; what was heard before stays.
    pub fn hear(&mut self, server: usize, generation: u8, what: u8) {
        if what > self.heard_from(server, generation) {
            self.heard &= !(3 << slot(server, generation));
            self.heard |= u32::from(what) << slot(server, generation);
        }
    }

    /// Leaves its office, and with it what it heard there.
    pub fn follow(&mut self) {
        self.role = Role::Follower;
        self.heard = 0;
    }
}

fn slot(server: usize, generation: u8) -> u32 {
    2 * (server as u32 * DISKS_MAX as u32 + u32::from(generation))
}

/// The members of a record: who votes, and which disk of each server counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Members(u16);

/// The bits of the voters.
const VOTERS: u16 = (1 << SERVERS_MAX) - 1;
/// How many bits [`Members`] has.
const MEMBERS: usize = 3 * SERVERS_MAX;

impl Members {
    /// The first `voters` servers vote, each on its first disk.
    #[must_use]
    pub fn first(voters: u8) -> Members {
        Members((1 << voters) - 1)
    }

    /// Whether that server votes.
    #[must_use]
    pub fn is_voter(self, server: usize) -> bool {
        self.0 >> server & 1 == 1
    }

    /// How many vote.
    #[must_use]
    pub fn voters(self) -> u32 {
        self.voter_set().count_ones()
    }

    /// The voters, a bit for each.
    #[must_use]
    pub fn voter_set(self) -> u16 {
        self.0 & VOTERS
    }

    /// The disk that counts for that server.
    #[must_use]
    pub fn generation(self, server: usize) -> u8 {
        (self.0 >> (SERVERS_MAX + 2 * server) & 3) as u8
    }

    /// Whether that disk of that server votes.
    #[must_use]
    pub fn names(self, server: usize, generation: u8) -> bool {
        self.is_voter(server) && self.generation(server) == generation
    }

    /// The same, with that server as a voter or not.
    #[must_use]
    pub fn with_voter(self, server: usize, votes: bool) -> Members {
        Members(self.0 & !(1 << server) | u16::from(votes) << server)
    }

    /// The same, with that disk of that server.
    #[must_use]
    pub fn with_disk(self, server: usize, generation: u8) -> Members {
        Members(self.0 & !(3 << (SERVERS_MAX + 2 * server)) | u16::from(generation) << (SERVERS_MAX + 2 * server))
    }
}

/// What the leader of a term did: its records, which were sent to everyone as they were made, and what it committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reign {
    /// Who led, as the server's number plus one; 0 for nobody.
    pub leader: u8,
    /// How many of its records are committed.
    pub committed: u8,
    /// How many records it created.
    pub created: u8,
    /// The record that its no-op replaced.
    pub base: RecordId,
    /// The members of each of its records.
    pub members: [Members; RECORDS_MAX],
}

impl Reign {
    fn pack(self) -> u64 {
        let members = (0..RECORDS_MAX).fold(0, |bits, at| bits | u64::from(self.members[at].0) << (MEMBERS * at));
        let counts = u64::from(self.leader) | u64::from(self.committed) << 3 | u64::from(self.created) << 5;
        members | (counts | u64::from(self.base) << 7) << (MEMBERS * RECORDS_MAX)
    }

    fn unpack(bits: u64) -> Reign {
        let take = |at: usize, mask: u64| (bits >> (MEMBERS * RECORDS_MAX + at) & mask) as u8;
        let mut members = [Members::default(); RECORDS_MAX];
        for (at, members) in members.iter_mut().enumerate() {
            members.0 = (bits >> (MEMBERS * at) & ((1 << MEMBERS) - 1)) as u16;
        }
        Reign { leader: take(0, 7), committed: take(3, 3), created: take(5, 3), base: take(7, 15), members }
    }
}

/// Everything, spread out to be worked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct World {
    /// The servers; those beyond the setup's number stay at their default.
    pub servers: [Server; SERVERS_MAX],
    /// The reign of each term, the first at place 0.
    pub reigns: [Reign; TERMS_MAX],
    /// How many crashes there were, where they are counted.
    pub crashes: u8,
    /// What was broken in a step, a bit for each [`Breach`](crate::Breach).
    pub broken: u16,
}

/// A [`World`], packed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct State([u64; SERVERS_MAX + TERMS_MAX + 1]);

impl World {
    /// Packs it.
    #[must_use]
    pub fn pack(&self) -> State {
        let mut words = [0; SERVERS_MAX + TERMS_MAX + 1];
        for (at, server) in self.servers.iter().enumerate() {
            words[at] = server.pack();
        }
        for (at, reign) in self.reigns.iter().enumerate() {
            words[SERVERS_MAX + at] = reign.pack();
        }
        words[SERVERS_MAX + TERMS_MAX] = u64::from(self.crashes) | u64::from(self.broken) << 8;
        State(words)
    }

    /// The same world with the servers renamed: `to[i]` is the new number of server `i`.
    #[must_use]
    pub fn renamed(&self, to: &[u8; SERVERS_MAX]) -> World {
        let name = |who: u8| if who == 0 { 0 } else { to[usize::from(who) - 1] + 1 };
        let mut world = *self;
        for (at, server) in self.servers.iter().enumerate() {
            let mut renamed = *server;
            renamed.memory.voted_for = name(server.memory.voted_for);
            renamed.disk.voted_for = name(server.disk.voted_for);
            renamed.heard = 0;
            for (from, to) in to.iter().enumerate() {
                let disks = server.heard >> slot(from, 0) & 63;
                renamed.heard |= disks << slot(usize::from(*to), 0);
            }
            world.servers[usize::from(to[at])] = renamed;
        }
        for (at, reign) in self.reigns.iter().enumerate() {
            world.reigns[at].leader = name(reign.leader);
            for (place, members) in reign.members.iter().enumerate() {
                let mut renamed = Members::default();
                for (from, to) in to.iter().enumerate() {
                    let to = usize::from(*to);
                    renamed = renamed.with_voter(to, members.is_voter(from)).with_disk(to, members.generation(from));
                }
                world.reigns[at].members[place] = renamed;
            }
        }
        world
    }
}

impl State {
    /// Spreads it out.
    #[must_use]
    pub fn unpack(&self) -> World {
        let mut world = World::default();
        for (at, server) in world.servers.iter_mut().enumerate().filter(|(at, _)| self.0[*at] != 0) {
            *server = Server::unpack(self.0[at]);
        }
        for (at, reign) in world.reigns.iter_mut().enumerate().filter(|(at, _)| self.0[SERVERS_MAX + at] != 0) {
            *reign = Reign::unpack(self.0[SERVERS_MAX + at]);
        }
        let rest = self.0[SERVERS_MAX + TERMS_MAX];
        world.crashes = rest as u8;
        world.broken = (rest >> 8) as u16;
        world
    }

    /// Whether a step broke that rule.
    #[must_use]
    pub fn has_broken(&self, breach: crate::Breach) -> bool {
        self.0[SERVERS_MAX + TERMS_MAX] >> (8 + breach as u32) & 1 == 1
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.0
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.unpack().fmt(f)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for word in self.0 {
            state.write_u64(word);
        }
    }
}
