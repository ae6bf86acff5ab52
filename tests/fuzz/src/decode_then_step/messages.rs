//! Messages that are nearly right, in every way in which they can be wrong.

use std::sync::Arc;

use bytes::Bytes;
use hustings::message::{
    Hearsay, Holder, Identity, PROTOCOL_VERSION, Reason, Reply, ReplyBody, Request, RequestBody, RequestId,
    RequestKind, Verdict,
};
use hustings::node::Node;
use hustings::record::{Member, Record, RecordId};
use hustings::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Term, TraceContext};

use crate::cursor::Cursor;

/// The first is the node itself; the last is never a member.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "x"];

pub(super) fn name(at: usize) -> NodeId {
    NodeId::new(NAMES[at % NAMES.len()]).expect("a name")
}

pub(super) fn disk(at: usize) -> DiskId {
    DiskId(at as u128 + 1)
}

/// The first `members` names, each on its disk.
pub(super) fn first_record(members: usize) -> Record {
    Record::first((0..members).map(|at| Member { node: name(at), disk: disk(at), voter: true }).collect())
}

/// Draws messages to a node.
pub(super) struct Scribe<'a, 'b> {
    pub(super) node: &'a Node,
    pub(super) bytes: &'a mut Cursor<'b>,
}

impl Scribe<'_, '_> {
    pub(super) fn request(&mut self) -> Request {
        let from = Arc::new(self.identity());
        let to = self.node.config().node.clone();
        let (id, term) = (RequestId(self.bytes.number()), self.term());
        Request { from, to, id, term, body: self.question() }
    }

    fn question(&mut self) -> RequestBody {
        match self.bytes.byte() % 8 {
            0 => RequestBody::PreVote { last: self.last() },
            1 => RequestBody::RequestVote { last: self.last(), transfer: None },
            2 => {
                let transfer = Some((self.holder(), self.term()));
                RequestBody::RequestVote { last: self.last(), transfer }
            }
            3..=5 => RequestBody::AppendEntries {
                promise: self.bytes.duration(),
                record: self.record().map(Arc::new),
                committed: self.last(),
                rank: Some(self.bytes.byte()).filter(|rank| *rank < 250),
                election: TraceContext::NONE,
            },
            6 => RequestBody::TimeoutNow,
            _ => RequestBody::Resign,
        }
    }

    /// To one of the requests that the node has sent, or to none of them.
    pub(super) fn reply(&mut self, asked: &[Request]) -> Reply {
        let chosen = self.bytes.below(asked.len() + 1);
        let mut from = self.identity();
        let Some(request) = asked.iter().rev().nth(chosen) else {
            let kind = [RequestKind::PreVote, RequestKind::AppendEntries, RequestKind::Resign][self.bytes.below(3)];
            let (id, to) = (RequestId(self.bytes.number()), self.holder());
            return self.answer(from, to, id, kind);
        };
        if self.bytes.byte() < 224 {
            from.node = request.to.clone();
            from.disk = (0..NAMES.len()).find(|at| name(*at) == request.to).map_or(from.disk, disk);
        }
        let (id, kind, to) = (request.id, request.body.kind(), self.node.identity().holder());
        self.answer(from, to, id, kind)
    }

    /// Yes, to that request: what an honest voter says that owes nothing and whose disk is instant.
    pub(super) fn yes(&self, request: &Request) -> Reply {
        let at = (0..NAMES.len()).find(|at| name(*at) == request.to).unwrap_or(0);
        let body = match &request.body {
            RequestBody::PreVote { .. } | RequestBody::RequestVote { .. } => {
                ReplyBody::Vote { remainder: std::time::Duration::ZERO, record: None, hearsay: None }
            }
            RequestBody::AppendEntries { promise, .. } => ReplyBody::Append {
                promised: *promise,
                durable: self.node.hard_state().last(),
                contention: hustings::message::Contention::Contends,
            },
            RequestBody::TimeoutNow => ReplyBody::TimeoutNow { election: TraceContext::NONE },
            RequestBody::Resign => ReplyBody::None,
        };
        Reply {
            from: Arc::new(self.plain_identity(at)),
            to: self.node.identity().holder(),
            id: request.id,
            kind: request.body.kind(),
            term: request.term,
            verdict: Verdict::Granted,
            worked: std::time::Duration::ZERO,
            body,
        }
    }

    fn answer(&mut self, from: Identity, to: Holder, id: RequestId, kind: RequestKind) -> Reply {
        let term = self.term();
        let verdict = match self.bytes.byte() {
            0..=95 => Verdict::Granted,
            other => Verdict::Refused(Reason::ALL[usize::from(other) % Reason::ALL.len()]),
        };
        let body = match self.bytes.byte() % 8 {
            0..=3 => ReplyBody::Vote {
                remainder: self.bytes.duration(),
                record: self.record().map(Arc::new),
                hearsay: self.bytes.flag().then(|| Hearsay {
                    leader: name(self.bytes.below(NAMES.len())),
                    term: self.term(),
                    age: self.bytes.duration(),
                }),
            },
            4..=5 => ReplyBody::Append {
                promised: self.bytes.duration(),
                durable: self.last(),
                contention: hustings::message::Contention::Contends,
            },
            6 => ReplyBody::TimeoutNow { election: TraceContext::NONE },
            _ => ReplyBody::None,
        };
        let worked = self.bytes.duration();
        Reply { from: Arc::new(from), to, id, kind, term, verdict, worked, body }
    }

    fn plain_identity(&self, at: usize) -> Identity {
        let own = self.node.identity();
        Identity {
            version: PROTOCOL_VERSION,
            cluster: own.cluster.clone(),
            founding: own.founding,
            group: own.group.clone(),
            node: name(at),
            disk: disk(at),
            incarnation: Incarnation(1),
            timing: own.timing,
            priority: 100,
            amnesiac: false,
        }
    }

    fn identity(&mut self) -> Identity {
        let at = match self.bytes.byte() {
            member @ 0..=239 => 1 + usize::from(member) % 4,
            rare => usize::from(rare) % NAMES.len(),
        };
        let mut identity = self.plain_identity(at);
        let odd = self.bytes.byte();
        if odd < 192 {
            return identity;
        }
        match odd % 16 {
            0 => identity.version = self.bytes.u16(),
            1 => identity.cluster = ClusterId::new("other").expect("a name"),
            2 => identity.founding = Founding(self.bytes.number()),
            3 => identity.group = GroupId::new("other").expect("a name"),
            4 => identity.disk = DiskId(u128::from(self.bytes.number())),
            5 => identity.incarnation = Incarnation(self.bytes.number()),
            6 => identity.timing ^= 1,
            7 => identity.priority = self.bytes.byte(),
            8 | 9 => identity.amnesiac = true,
            10 | 11 => {
                identity.disk = DiskId(u128::from(self.bytes.number()));
                identity.amnesiac = true;
            }
            12 | 13 => identity.founding = Founding(0),
            14 => identity.incarnation = Incarnation(2),
            _ => {
                identity.founding = first_record(NAMES.len() - 1).founding();
            }
        }
        identity
    }

    fn holder(&mut self) -> Holder {
        match self.bytes.byte() % 4 {
            0 => self.node.identity().holder(),
            1 => self.node.promises().current().map_or_else(|| self.identity().holder(), |promise| promise.to.clone()),
            _ => self.identity().holder(),
        }
    }

    /// Around the node's own, mostly.
    fn term(&mut self) -> Term {
        let own = self.node.term().0;
        Term(match self.bytes.byte() {
            near @ 0..=191 => own.saturating_add(u64::from(near % 8)).saturating_sub(3),
            small @ 192..=223 => u64::from(small - 192),
            far @ 224..=247 => own.saturating_add(1 << (u32::from(far - 224) * 2)),
            _ => self.bytes.number(),
        })
    }

    fn last(&mut self) -> Option<RecordId> {
        let own = self.node.hard_state().last();
        let around = own.unwrap_or_default();
        match self.bytes.byte() {
            0..=95 => own,
            96..=111 => None,
            112..=143 => Some(RecordId { term: self.node.term(), index: around.index.saturating_add(1) })
                .filter(|id| id.index > 0),
            144..=175 => Some(RecordId { index: around.index.saturating_sub(1), ..around }),
            176..=223 => Some(RecordId { term: self.term(), index: around.index }),
            _ => Some(RecordId { term: self.term(), index: self.bytes.number() }),
        }
    }

    fn record(&mut self) -> Option<Record> {
        let kind = self.bytes.byte();
        if kind < 96 {
            return None;
        }
        let own = self.node.hard_state().record.as_deref().cloned();
        let mut record = match kind % 4 {
            0 => first_record(1 + self.bytes.below(5)),
            _ => own.unwrap_or_else(|| first_record(3)),
        };
        let parent = record.id;
        match self.bytes.byte() % 8 {
            0 => {}
            1..=3 => record.id = RecordId { term: self.term(), index: parent.index.saturating_add(1) },
            4 => record.id = RecordId { term: parent.term, index: parent.index.saturating_add(1) },
            5 => record.id = RecordId { term: self.term(), index: self.bytes.number() },
            6 => record.id = RecordId { term: self.node.term(), index: parent.index.saturating_add(2) },
            _ => record.id = self.last().unwrap_or_default(),
        }
        record.parent = if self.bytes.byte() < 224 { parent } else { self.last().unwrap_or_default() };
        for _ in 0..self.bytes.byte() % 4 {
            self.spoil(&mut record);
        }
        Some(record)
    }

    fn spoil(&mut self, record: &mut Record) {
        let how = self.bytes.byte();
        let at = self.bytes.below(record.members.len().max(1));
        match how % 8 {
            0 if at < record.members.len() => {
                record.members.remove(at);
            }
            1 => {
                let new = self.bytes.below(NAMES.len());
                record.members.push(Member { node: name(new), disk: disk(new), voter: self.bytes.flag() });
            }
            2 => record.members.iter_mut().skip(at).take(1).for_each(|member| member.voter = !member.voter),
            3 => {
                let disk = DiskId(u128::from(self.bytes.number()));
                record.members.iter_mut().skip(at).take(1).for_each(|member| member.disk = disk);
            }
            4 => record.members.clear(),
            5 => record.members.reverse(),
            6 => record.members.iter_mut().for_each(|member| member.voter = false),
            _ => record.proclaimed = Bytes::copy_from_slice(self.bytes.take(3)),
        }
    }
}
