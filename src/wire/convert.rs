//! Between the messages of the core and those of the wire, both ways.

use std::sync::Arc;
use std::time::Duration;

use super::proto::{self, reply, request};
use super::{UnknownRequest, WireError};
use crate::message::{
    Contention, Hearsay, Holder, Identity, Reason, Reply, ReplyBody, Request, RequestBody, RequestId, RequestKind,
    Verdict,
};
use crate::record::{Member, Record, RecordId};
use crate::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NameError, NodeId, Term, TraceContext, nanos};

impl From<&Request> for proto::Request {
    fn from(request: &Request) -> Self {
        let body = match &request.body {
            RequestBody::PreVote { last } => request::Body::PreVote(proto::PreVote { last: last.map(Into::into) }),
            RequestBody::RequestVote { last, transfer } => request::Body::RequestVote(proto::RequestVote {
                last: last.map(Into::into),
                transfer: transfer
                    .as_ref()
                    .map(|(leader, term)| proto::Transfer { leader: Some(leader.into()), term: term.0 }),
            }),
            RequestBody::AppendEntries { promise, record, committed, rank, election } => {
                request::Body::AppendEntries(proto::AppendEntries {
                    promise: nanos(*promise),
                    record: record.as_deref().map(Into::into),
                    committed: committed.map(Into::into),
                    rank: rank.map(u32::from),
                    election: context_to_wire(election),
                })
            }
            RequestBody::TimeoutNow => request::Body::TimeoutNow(proto::TimeoutNow {}),
            RequestBody::Resign => request::Body::Resign(proto::Resign {}),
        };
        proto::Request {
            from: Some((&*request.from).into()),
            to: text(request.to.as_str()),
            id: request.id.0,
            term: request.term.0,
            body: Some(body),
        }
    }
}

impl TryFrom<proto::Request> for Request {
    type Error = WireError;

    fn try_from(request: proto::Request) -> Result<Self, WireError> {
        read_request(request).map_err(|error| error.within("request"))
    }
}

fn read_request(request: proto::Request) -> Result<Request, WireError> {
    let from = read_identity(&required(request.from, "from")?).map_err(|error| error.within("from"))?;
    let to = node(&request.to, "to")?;
    let (id, term) = (RequestId(request.id), Term(request.term));
    let Some(body) = request.body else {
        return Err(WireError::UnknownKind(Box::new(UnknownRequest { from, to, id, term })));
    };
    Ok(Request { from: Arc::new(from), to, id, term, body: read_question(body)? })
}

fn read_question(body: request::Body) -> Result<RequestBody, WireError> {
    Ok(match body {
        request::Body::PreVote(body) => RequestBody::PreVote { last: body.last.map(Into::into) },
        request::Body::RequestVote(body) => {
            let transfer = body.transfer.map(read_transfer).transpose();
            let transfer = transfer.map_err(|error| error.within("transfer").within("request_vote"))?;
            RequestBody::RequestVote { last: body.last.map(Into::into), transfer }
        }
        request::Body::AppendEntries(body) => read_append(body).map_err(|error| error.within("append_entries"))?,
        request::Body::TimeoutNow(_) => RequestBody::TimeoutNow,
        request::Body::Resign(_) => RequestBody::Resign,
    })
}

fn read_transfer(transfer: proto::Transfer) -> Result<(Holder, Term), WireError> {
    Ok((read_holder(transfer.leader, "leader")?, Term(transfer.term)))
}

fn read_append(body: proto::AppendEntries) -> Result<RequestBody, WireError> {
    Ok(RequestBody::AppendEntries {
        promise: Duration::from_nanos(body.promise),
        record: read_record(body.record, "record")?,
        committed: body.committed.map(Into::into),
        rank: body.rank.map(|rank| small(rank, "rank")).transpose()?,
        election: context_from_wire(body.election),
    })
}

impl From<&Reply> for proto::Reply {
    fn from(reply: &Reply) -> Self {
        let body = match &reply.body {
            ReplyBody::None => None,
            ReplyBody::Vote { remainder, record, hearsay } => Some(reply::Body::Vote(proto::VoteReply {
                remainder: nanos(*remainder),
                record: record.as_deref().map(Into::into),
                hearsay: hearsay.as_ref().map(Into::into),
            })),
            ReplyBody::Append { promised, durable, contention } => Some(reply::Body::Append(proto::AppendReply {
                promised: nanos(*promised),
                durable: durable.map(Into::into),
                contention: contention_to_wire(*contention).into(),
            })),
            ReplyBody::TimeoutNow { election } => {
                Some(reply::Body::TimeoutNow(proto::TimeoutNowReply { election: context_to_wire(election) }))
            }
        };
        proto::Reply {
            from: Some((&*reply.from).into()),
            to: Some((&reply.to).into()),
            id: reply.id.0,
            kind: kind_to_wire(reply.kind).into(),
            term: reply.term.0,
            verdict: verdict_to_wire(&reply.verdict).into(),
            worked: nanos(reply.worked),
            body,
        }
    }
}

impl TryFrom<proto::Reply> for Reply {
    type Error = WireError;

    fn try_from(reply: proto::Reply) -> Result<Self, WireError> {
        read_reply(reply).map_err(|error| error.within("reply"))
    }
}

fn read_reply(reply: proto::Reply) -> Result<Reply, WireError> {
    let from = read_identity(&required(reply.from, "from")?).map_err(|error| error.within("from"))?;
    Ok(Reply {
        from: Arc::new(from),
        to: read_holder(reply.to, "to")?,
        id: RequestId(reply.id),
        kind: kind_from_wire(reply.kind)?,
        term: Term(reply.term),
        verdict: verdict_from_wire(reply.verdict),
        worked: Duration::from_nanos(reply.worked),
        body: reply.body.map_or(Ok(ReplyBody::None), read_answer)?,
    })
}

fn read_answer(body: reply::Body) -> Result<ReplyBody, WireError> {
    Ok(match body {
        reply::Body::Vote(body) => ReplyBody::Vote {
            remainder: Duration::from_nanos(body.remainder),
            record: read_record(body.record, "record").map_err(|error| error.within("vote"))?,
            hearsay: body
                .hearsay
                .as_ref()
                .map(read_hearsay)
                .transpose()
                .map_err(|error| error.within("hearsay").within("vote"))?,
        },
        reply::Body::Append(body) => ReplyBody::Append {
            promised: Duration::from_nanos(body.promised),
            durable: body.durable.map(Into::into),
            contention: contention_from_wire(body.contention),
        },
        reply::Body::TimeoutNow(body) => ReplyBody::TimeoutNow { election: context_from_wire(body.election) },
    })
}

fn read_hearsay(hearsay: &proto::Hearsay) -> Result<Hearsay, WireError> {
    Ok(Hearsay {
        leader: node(&hearsay.leader, "leader")?,
        term: Term(hearsay.term),
        age: Duration::from_nanos(hearsay.age),
    })
}

impl From<&Hearsay> for proto::Hearsay {
    fn from(hearsay: &Hearsay) -> Self {
        proto::Hearsay { leader: text(hearsay.leader.as_str()), term: hearsay.term.0, age: nanos(hearsay.age) }
    }
}

impl From<&Identity> for proto::Identity {
    fn from(identity: &Identity) -> Self {
        proto::Identity {
            version: u32::from(identity.version),
            cluster: text(identity.cluster.as_str()),
            founding: identity.founding.0,
            group: text(identity.group.as_str()),
            node: text(identity.node.as_str()),
            disk: disk_to_wire(identity.disk),
            incarnation: identity.incarnation.0,
            timing: identity.timing,
            priority: u32::from(identity.priority),
            amnesiac: identity.amnesiac,
        }
    }
}

fn read_identity(identity: &proto::Identity) -> Result<Identity, WireError> {
    Ok(Identity {
        // A version beyond the numbers is newer than any that is understood, and the largest one says so too.
        version: u16::try_from(identity.version).unwrap_or(u16::MAX),
        cluster: ClusterId::new(&identity.cluster).map_err(|reason| name_error("cluster", reason))?,
        founding: Founding(identity.founding),
        group: GroupId::new(&identity.group).map_err(|reason| name_error("group", reason))?,
        node: node(&identity.node, "node")?,
        disk: disk_from_wire(identity.disk),
        incarnation: Incarnation(identity.incarnation),
        timing: identity.timing,
        priority: small(identity.priority, "priority")?,
        amnesiac: identity.amnesiac,
    })
}

impl From<&Holder> for proto::Holder {
    fn from(holder: &Holder) -> Self {
        proto::Holder {
            node: text(holder.node.as_str()),
            disk: disk_to_wire(holder.disk),
            incarnation: holder.incarnation.0,
        }
    }
}

fn read_holder(holder: Option<proto::Holder>, field: &str) -> Result<Holder, WireError> {
    let holder = required(holder, field)?;
    Ok(Holder {
        node: node(&holder.node, "node").map_err(|error| error.within(field))?,
        disk: disk_from_wire(holder.disk),
        incarnation: Incarnation(holder.incarnation),
    })
}

impl From<RecordId> for proto::RecordId {
    fn from(id: RecordId) -> Self {
        proto::RecordId { term: id.term.0, index: id.index }
    }
}

impl From<proto::RecordId> for RecordId {
    fn from(id: proto::RecordId) -> Self {
        RecordId { term: Term(id.term), index: id.index }
    }
}

impl From<&Record> for proto::Record {
    fn from(record: &Record) -> Self {
        let member = |member: &Member| proto::Member {
            node: text(member.node.as_str()),
            disk: disk_to_wire(member.disk),
            voter: member.voter,
        };
        proto::Record {
            id: Some(record.id.into()),
            parent: Some(record.parent.into()),
            members: record.members.iter().map(member).collect(),
            proclaimed: record.proclaimed.clone(),
        }
    }
}

fn read_record(record: Option<proto::Record>, field: &str) -> Result<Option<Arc<Record>>, WireError> {
    let read = |record: proto::Record| {
        let members = record.members.iter().map(read_member).collect::<Result<_, _>>();
        Ok(Arc::new(Record {
            id: required(record.id, "id")?.into(),
            parent: required(record.parent, "parent")?.into(),
            members: members.map_err(|error: WireError| error.within("members"))?,
            proclaimed: record.proclaimed,
        }))
    };
    record.map(read).transpose().map_err(|error: WireError| error.within(field))
}

fn read_member(member: &proto::Member) -> Result<Member, WireError> {
    Ok(Member { node: node(&member.node, "node")?, disk: disk_from_wire(member.disk), voter: member.voter })
}

fn disk_to_wire(disk: DiskId) -> Option<proto::DiskId> {
    let (high, low) = split(disk.0);
    (disk != DiskId::NONE).then_some(proto::DiskId { high, low })
}

fn disk_from_wire(disk: Option<proto::DiskId>) -> DiskId {
    disk.map_or(DiskId::NONE, |disk| DiskId(joined(disk.high, disk.low)))
}

fn context_to_wire(context: &TraceContext) -> Option<proto::TraceContext> {
    let (trace_id_high, trace_id_low) = split(context.trace_id);
    let (span_id, flags) = (context.span_id, u32::from(context.flags));
    (*context != TraceContext::NONE).then_some(proto::TraceContext { trace_id_high, trace_id_low, span_id, flags })
}

/// A trace context has no effect on the protocol: what is wrong with one refuses no message.
fn context_from_wire(context: Option<proto::TraceContext>) -> TraceContext {
    context.map_or(TraceContext::NONE, |context| TraceContext {
        trace_id: joined(context.trace_id_high, context.trace_id_low),
        span_id: context.span_id,
        flags: context.flags.to_le_bytes()[0],
    })
}

fn kind_to_wire(kind: RequestKind) -> proto::RequestKind {
    match kind {
        RequestKind::PreVote => proto::RequestKind::PreVote,
        RequestKind::RequestVote => proto::RequestKind::RequestVote,
        RequestKind::AppendEntries => proto::RequestKind::AppendEntries,
        RequestKind::TimeoutNow => proto::RequestKind::TimeoutNow,
        RequestKind::Resign => proto::RequestKind::Resign,
    }
}

fn kind_from_wire(kind: i32) -> Result<RequestKind, WireError> {
    Ok(match proto::RequestKind::try_from(kind) {
        Ok(proto::RequestKind::PreVote) => RequestKind::PreVote,
        Ok(proto::RequestKind::RequestVote) => RequestKind::RequestVote,
        Ok(proto::RequestKind::AppendEntries) => RequestKind::AppendEntries,
        Ok(proto::RequestKind::TimeoutNow) => RequestKind::TimeoutNow,
        Ok(proto::RequestKind::Resign) => RequestKind::Resign,
        Ok(proto::RequestKind::Unspecified) | Err(_) => {
            let value = u64::from(kind.cast_unsigned());
            return Err(WireError::OutOfRange { field: "kind".to_owned(), value });
        }
    })
}

fn verdict_to_wire(verdict: &Verdict) -> proto::Verdict {
    let Verdict::Refused(reason) = verdict else {
        return proto::Verdict::Granted;
    };
    match reason {
        Reason::StaleTerm => proto::Verdict::StaleTerm,
        Reason::AlreadyVoted => proto::Verdict::AlreadyVoted,
        Reason::LeaderAlive => proto::Verdict::LeaderAlive,
        Reason::RestartQuarantine => proto::Verdict::RestartQuarantine,
        Reason::RecordBehind => proto::Verdict::RecordBehind,
        Reason::NotAMember => proto::Verdict::NotAMember,
        Reason::NotAVoter => proto::Verdict::NotAVoter,
        Reason::WrongCluster => proto::Verdict::WrongCluster,
        Reason::DuplicateNode => proto::Verdict::DuplicateNode,
        Reason::Amnesiac => proto::Verdict::Amnesiac,
        Reason::Unsupported => proto::Verdict::Unsupported,
        Reason::StorageError => proto::Verdict::StorageError,
        Reason::Stopping => proto::Verdict::Stopping,
        Reason::Overloaded => proto::Verdict::Overloaded,
        Reason::Resigned => proto::Verdict::Resigned,
        Reason::NotLeader => proto::Verdict::NotLeader,
        Reason::Unverified => proto::Verdict::Unverified,
        Reason::WorkRunning => proto::Verdict::WorkRunning,
        Reason::StorageStalled => proto::Verdict::StorageStalled,
    }
}

fn contention_to_wire(contention: Contention) -> proto::Contention {
    match contention {
        Contention::Contends => proto::Contention::Contends,
        Contention::Idle => proto::Contention::Idle,
        Contention::Unfit => proto::Contention::Unfit,
        Contention::WorkRunning => proto::Contention::WorkRunning,
        Contention::StorageStalled => proto::Contention::StorageStalled,
    }
}

/// Nothing said is what members say that know of no contention. A later version may have another reason to stand back.
fn contention_from_wire(contention: i32) -> Contention {
    let same = |known: &&Contention| i32::from(contention_to_wire(**known)) == contention;
    Contention::ALL.iter().find(same).copied().unwrap_or(Contention::Idle)
}

/// A reason that a later version may have is still a refusal: what is not understood is never a yes.
fn verdict_from_wire(verdict: i32) -> Verdict {
    match proto::Verdict::try_from(verdict) {
        Ok(proto::Verdict::Granted) => Verdict::Granted,
        Ok(known) => {
            let same = |reason: &&Reason| verdict_to_wire(&Verdict::Refused(**reason)) == known;
            Verdict::Refused(Reason::ALL.iter().find(same).copied().unwrap_or(Reason::Unsupported))
        }
        Err(_) => Verdict::Refused(Reason::Unsupported),
    }
}

fn required<T>(value: Option<T>, field: &str) -> Result<T, WireError> {
    value.ok_or_else(|| WireError::Missing { field: field.to_owned() })
}

fn node(name: &str, field: &str) -> Result<NodeId, WireError> {
    NodeId::new(name).map_err(|reason| name_error(field, reason))
}

fn name_error(field: &str, reason: NameError) -> WireError {
    WireError::Name { field: field.to_owned(), reason }
}

fn small(value: u32, field: &str) -> Result<u8, WireError> {
    u8::try_from(value).map_err(|_| WireError::OutOfRange { field: field.to_owned(), value: u64::from(value) })
}

fn text(name: &str) -> String {
    name.to_owned()
}

fn split(value: u128) -> (u64, u64) {
    let [high, low] = [value >> 64, value & u128::from(u64::MAX)];
    (u64::try_from(high).unwrap_or(u64::MAX), u64::try_from(low).unwrap_or(u64::MAX))
}

fn joined(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}
