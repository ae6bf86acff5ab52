//! What a member still lacks before traffic, or the next step of a rollout, may rely on it.

use std::fmt;

use serde::Serialize;

macro_rules! unready {
    ($($(#[$doc:meta])* $name:ident $code:literal $words:literal,)*) => {
        /// Why a member is not ready: the first of these that holds.
        ///
        /// Ready is a member whose loss the others could bear *because* it takes part: its disk is named, with a vote, by
        /// a record that is known to be committed; since its start it has heard a leader with the same timing, or is
        /// established as one; and since its start it has itself reached a quorum.
        ///
        /// What counts as reaching another voter is an answer of that voter to a question of this node: a reply that names
        /// the cluster, its founding and the node that was asked, whatever its verdict on the question. A connection alone
        /// counts for nothing, since anybody may be at its other end, and so does being asked: a member whose list is wrong
        /// is called by all the others. Where nobody campaigns and another leads, a node has no questions; until it has
        /// reached a quorum it then asks one that changes nothing (a pre-vote without a record) each election timeout. All
        /// this goes through [`Transport::call`](super::Transport::call): a transport that never reports connections needs
        /// nothing more.
        ///
        /// Once heard and once reached is enough: a member that loses its leader stays ready, since to take it out of
        /// service, or to stop a rollout for good, would cure nothing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Unready { $($(#[$doc])* $name,)* }

        impl Unready {
            /// Every reason, the ones that are told first before the others.
            pub const ALL: &[Unready] = &[$(Unready::$name,)*];

            /// A stable name for programs.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Unready::$name => $code,)* }
            }

            /// The reason as a sentence.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Unready::$name => $words,)* }
            }
        }
    };
}

unready! {
    /// It has left.
    Stopped "stopped" "it has stopped",
    /// It was told to leave.
    Stopping "stopping" "it is leaving",
    /// A write failed.
    StorageFailed "storage_failed" "a write of its state failed, so that it does not vote",
    /// The driver's loop is late.
    Stalled "stalled" "its loop stands still",
    /// The record of the members does not list it.
    NotAMember "not_a_member" "the record does not list it as a member: the leader must add it",
    /// The first record is not there yet.
    WaitsForMembers "waits_for_members" "the cluster is not founded yet: it waits for all members of its list",
    /// A member refuses it, or is refused, for its timing, and no leader was heard.
    OtherTiming "other_timing" "another member has other timing, so that the two refuse each other",
    /// The record names another disk of it, or its own disk does not know yet that it is named.
    DiskUnnamed "disk_unnamed" "its disk has no vote until a leader has named it in a committed record",
    /// It is a member without a vote.
    NotAVoter "not_a_voter" "it is a member without a vote",
    /// No leader was heard since the start.
    NoLeaderHeard "no_leader_heard" "it has heard no leader since its start",
    /// The newest record that is committed is not known yet.
    RecordUnknown "record_unknown" "it does not know yet which record is committed",
    /// It has not reached a quorum itself since its start.
    QuorumUnreached "quorum_unreached" "it has not reached a quorum of the members itself since its start: look at its list of peers",
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.sentence())
    }
}
