//! The codec: every message survives the round trip, and no bytes do harm.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hustings::message::{
    Contention, Hearsay, Holder, Identity, Reason, Reply, ReplyBody, Request, RequestBody, RequestId, RequestKind,
    Verdict,
};
use hustings::record::{MEMBERS_MAX, Member, PROCLAIMED_LEN_MAX, Record, RecordId};
use hustings::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NAME_LEN_MAX, NodeId, Term, TraceContext};
use hustings::wire::{
    FRAME_LEN_MAX, RECORD_LEN_MAX, WireError, decode_reply, decode_request, encode_reply, encode_request,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

fn bytes_of_request(request: &Request) -> Vec<u8> {
    let mut buffer = Vec::new();
    encode_request(request, &mut buffer);
    buffer
}

fn bytes_of_reply(reply: &Reply) -> Vec<u8> {
    let mut buffer = Vec::new();
    encode_reply(reply, &mut buffer);
    buffer
}

// ---- arbitrary messages -----------------------------------------------------------------------------------------

/// Makes arbitrary messages, the extremes more often than chance would.
struct Maker(StdRng);

impl Maker {
    fn new(seed: u64) -> Maker {
        Maker(StdRng::seed_from_u64(seed))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    fn chance(&mut self) -> bool {
        self.0.random()
    }

    fn number(&mut self) -> u64 {
        match self.below(5) {
            0 => 0,
            1 => u64::MAX,
            2 => self.0.random_range(0..200),
            _ => self.0.random(),
        }
    }

    fn byte(&mut self) -> u8 {
        [0, 1, u8::MAX, self.0.random()][self.below(4)]
    }

    fn duration(&mut self) -> Duration {
        Duration::from_nanos(self.number())
    }

    fn name(&mut self) -> String {
        let len = [1, 3, 20, NAME_LEN_MAX][self.below(4)];
        let alphabet = b"abcxyzABC0123456789-_.:@";
        (0..len).map(|_| char::from(alphabet[self.below(alphabet.len())])).collect()
    }

    fn node(&mut self) -> NodeId {
        NodeId::new(self.name()).expect("a good name")
    }

    fn disk(&mut self) -> DiskId {
        if self.below(4) == 0 { DiskId::NONE } else { DiskId(self.0.random()) }
    }

    fn identity(&mut self) -> Arc<Identity> {
        Arc::new(Identity {
            version: [0, 1, u16::MAX, self.0.random()][self.below(4)],
            cluster: ClusterId::new(self.name()).expect("a good name"),
            founding: Founding(self.number()),
            group: GroupId::new(self.name()).expect("a good name"),
            node: self.node(),
            disk: self.disk(),
            incarnation: Incarnation(self.number()),
            timing: self.0.random(),
            priority: self.byte(),
            amnesiac: self.chance(),
        })
    }

    fn holder(&mut self) -> Holder {
        Holder { node: self.node(), disk: self.disk(), incarnation: Incarnation(self.number()) }
    }

    fn context(&mut self) -> TraceContext {
        if self.chance() {
            return TraceContext::NONE;
        }
        TraceContext { trace_id: self.0.random(), span_id: self.number(), flags: self.byte() }
    }

    fn record_id(&mut self) -> RecordId {
        RecordId { term: Term(self.number()), index: self.number() }
    }

    fn contention(&mut self) -> Contention {
        let at = self.below(Contention::ALL.len());
        Contention::ALL[at]
    }

    fn some_record_id(&mut self) -> Option<RecordId> {
        match self.below(3) {
            0 => None,
            1 => Some(RecordId::default()),
            _ => Some(self.record_id()),
        }
    }

    fn some_record(&mut self) -> Option<Arc<Record>> {
        if self.chance() {
            return None;
        }
        let members = [0, 1, 3, MEMBERS_MAX][self.below(4)];
        let member = |maker: &mut Maker| Member { node: maker.node(), disk: maker.disk(), voter: maker.chance() };
        let proclaimed = [0, 1, 40, PROCLAIMED_LEN_MAX][self.below(4)];
        Some(Arc::new(Record {
            id: self.record_id(),
            parent: self.record_id(),
            members: (0..members).map(|_| member(self)).collect(),
            proclaimed: Bytes::from(vec![self.byte(); proclaimed]),
        }))
    }

    fn request(&mut self) -> Request {
        let body = match self.below(5) {
            0 => RequestBody::PreVote { last: self.some_record_id() },
            1 => RequestBody::RequestVote {
                last: self.some_record_id(),
                transfer: self.chance().then(|| (self.holder(), Term(self.number()))),
            },
            2 => RequestBody::AppendEntries {
                promise: self.duration(),
                record: self.some_record(),
                committed: self.some_record_id(),
                rank: self.chance().then(|| self.byte()),
                election: self.context(),
            },
            3 => RequestBody::TimeoutNow,
            _ => RequestBody::Resign,
        };
        let (from, to) = (self.identity(), self.node());
        Request { from, to, id: RequestId(self.number()), term: Term(self.number()), body }
    }

    fn reply(&mut self) -> Reply {
        let body = match self.below(4) {
            0 => ReplyBody::None,
            1 => ReplyBody::Vote {
                remainder: self.duration(),
                record: self.some_record(),
                hearsay: self.chance().then(|| Hearsay {
                    leader: self.node(),
                    term: Term(self.number()),
                    age: self.duration(),
                }),
            },
            2 => ReplyBody::Append {
                promised: self.duration(),
                durable: self.some_record_id(),
                contention: self.contention(),
            },
            _ => ReplyBody::TimeoutNow { election: self.context() },
        };
        let verdict = match self.below(Reason::ALL.len() + 1) {
            0 => Verdict::Granted,
            n => Verdict::Refused(Reason::ALL[n - 1]),
        };
        let (from, to, kind) = (self.identity(), self.holder(), KINDS[self.below(KINDS.len())]);
        let (id, term, worked) = (RequestId(self.number()), Term(self.number()), self.duration());
        Reply { from, to, id, kind, term, verdict, worked, body }
    }
}

const KINDS: [RequestKind; 5] = [
    RequestKind::PreVote,
    RequestKind::RequestVote,
    RequestKind::AppendEntries,
    RequestKind::TimeoutNow,
    RequestKind::Resign,
];

#[test]
fn arbitrary_messages_survive_the_round_trip() {
    let mut maker = Maker::new(1);
    let mut longest = 0;
    for _ in 0..3000 {
        let request = maker.request();
        let bytes = bytes_of_request(&request);
        longest = longest.max(bytes.len());
        assert_eq!(decode_request(&bytes).as_ref(), Ok(&request));
        let reply = maker.reply();
        let bytes = bytes_of_reply(&reply);
        longest = longest.max(bytes.len());
        assert_eq!(decode_reply(&bytes).as_ref(), Ok(&reply));
    }
    assert!(longest > PROCLAIMED_LEN_MAX, "the extremes were met: {longest}");
    assert!(longest <= FRAME_LEN_MAX, "the largest messages fit: {longest}");
}

#[test]
fn the_largest_record_fits_its_bound() {
    let name = "n".repeat(NAME_LEN_MAX);
    let member = Member { node: NodeId::new(name).expect("a good name"), disk: DiskId(u128::MAX), voter: true };
    let id = RecordId { term: Term(u64::MAX), index: u64::MAX };
    let proclaimed = Bytes::from(vec![7; PROCLAIMED_LEN_MAX]);
    let record = Record { id, parent: id, members: vec![member; MEMBERS_MAX], proclaimed };
    let append = |record| RequestBody::AppendEntries {
        promise: Duration::ZERO,
        record,
        committed: None,
        rank: None,
        election: TraceContext::NONE,
    };
    let without = bytes_of_request(&golden_request(append(None))).len();
    let request = golden_request(append(Some(Arc::new(record))));
    let bytes = bytes_of_request(&request);
    assert!(bytes.len() - without <= RECORD_LEN_MAX);
    assert_eq!(decode_request(&bytes), Ok(request));
}

/// A record that is absent and the first record (0,0) are two facts.
#[test]
fn absent_and_zero_are_kept_apart() {
    for last in [None, Some(RecordId::default())] {
        let request = golden_request(RequestBody::PreVote { last });
        assert_eq!(decode_request(&bytes_of_request(&request)), Ok(request));
    }
    for rank in [None, Some(0)] {
        let body = RequestBody::AppendEntries {
            promise: Duration::ZERO,
            record: None,
            committed: None,
            rank,
            election: TraceContext::NONE,
        };
        let request = golden_request(body);
        assert_eq!(decode_request(&bytes_of_request(&request)), Ok(request));
    }
}

// ---- hostile and future bytes -------------------------------------------------------------------------------------

/// One field of each wire type, with numbers that no version has used.
fn unknown_fields() -> Vec<u8> {
    let mut bytes = vec![0x80, 0x7d, 0x96, 0x01]; // 2000: varint 150
    bytes.extend([0x89, 0x7d, 1, 2, 3, 4, 5, 6, 7, 8]); // 2001: 64 bits
    bytes.extend([0x92, 0x7d, 3, b'a', b'b', b'c']); // 2002: three bytes
    bytes.extend([0x9d, 0x7d, 1, 2, 3, 4]); // 2003: 32 bits
    bytes
}

#[test]
fn unknown_fields_are_ignored() {
    let mut maker = Maker::new(2);
    for _ in 0..200 {
        let (request, reply) = (maker.request(), maker.reply());
        let mut bytes = unknown_fields();
        bytes.extend(bytes_of_request(&request));
        bytes.extend(unknown_fields());
        assert_eq!(decode_request(&bytes), Ok(request));
        let mut bytes = unknown_fields();
        bytes.extend(bytes_of_reply(&reply));
        bytes.extend(unknown_fields());
        assert_eq!(decode_reply(&bytes), Ok(reply));
    }
}

#[test]
fn a_newer_version_is_decoded() {
    let mut request = golden_request(RequestBody::Resign);
    Arc::make_mut(&mut request.from).version = 999;
    let decoded = decode_request(&bytes_of_request(&request)).expect("it is decoded");
    assert_eq!(decoded.from.version, 999);
    // field 1 of field 1: a version beyond 16 bits counts as the newest of all
    let bytes = bytes_of_request(&golden_request(RequestBody::Resign));
    let mut newer = vec![0x0a, bytes[1] + 3, 0x08, 0xff, 0xff, 0xff, 0x7f];
    assert_eq!(bytes[2..4], [0x08, 0x01], "the version is the first field");
    newer.extend(&bytes[4..]);
    let decoded = decode_request(&newer).expect("it is decoded");
    assert_eq!(decoded.from.version, u16::MAX);
}

#[test]
fn a_message_cut_short_is_an_error_or_another_message_and_never_a_panic() {
    let mut maker = Maker::new(3);
    for _ in 0..40 {
        let bytes = bytes_of_request(&maker.request());
        for len in 0..bytes.len().min(2000) {
            let _ = decode_request(&bytes[..len]);
        }
        let bytes = bytes_of_reply(&maker.reply());
        for len in 0..bytes.len().min(2000) {
            let _ = decode_reply(&bytes[..len]);
        }
    }
    let whole = bytes_of_request(&golden_append());
    for len in 0..whole.len() {
        assert_ne!(decode_request(&whole[..len]), Ok(golden_append()), "cut at {len}");
    }
}

#[test]
fn random_and_flipped_bytes_never_panic() {
    let mut maker = Maker::new(4);
    for _ in 0..20_000 {
        let len = maker.below(120);
        let bytes: Vec<u8> = (0..len).map(|_| maker.0.random()).collect();
        let _ = (decode_request(&bytes), decode_reply(&bytes));
    }
    let (request, reply) = (bytes_of_request(&golden_append()), bytes_of_reply(&golden_reply(golden_vote_body())));
    for _ in 0..20_000 {
        for good in [&request, &reply] {
            let mut bytes = good.clone();
            for _ in 0..1 + maker.below(3) {
                let at = maker.below(bytes.len());
                bytes[at] = maker.0.random();
            }
            let _ = (decode_request(&bytes), decode_reply(&bytes));
        }
    }
}

#[test]
fn an_unknown_kind_says_whom_to_answer() {
    let mut bytes = bytes_of_request(&golden_request(RequestBody::Resign));
    assert_eq!(bytes.split_off(bytes.len() - 2), [0x62, 0], "the body is the last field");
    bytes.extend([0x82, 0x01, 0]); // 16: a body of tomorrow
    let Err(WireError::UnknownKind(unknown)) = decode_request(&bytes) else { panic!("an unknown kind") };
    let asked = golden_request(RequestBody::Resign);
    assert_eq!((&unknown.from, &unknown.to, unknown.id, unknown.term), (&*asked.from, &asked.to, asked.id, asked.term));
}

#[test]
fn an_unknown_verdict_is_a_refusal() {
    let reply = golden_reply(ReplyBody::None);
    let bytes = bytes_of_reply(&reply);
    let at = bytes.windows(2).position(|pair| pair == [0x30, 0x01]).expect("the verdict");
    for unknown in [0, 21, 100] {
        let mut bytes = bytes.clone();
        bytes[at + 1] = unknown;
        let verdict = decode_reply(&bytes).expect("a reply").verdict;
        assert_eq!(verdict, Verdict::Refused(Reason::Unsupported), "{unknown}");
    }
}

// ---- limits -------------------------------------------------------------------------------------------------------

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).expect("7 bits") | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).expect("7 bits"));
    bytes
}

fn field(number: usize, content: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(content.len()), content.to_vec()].concat()
}

fn identity(cluster: &[u8], group: &[u8], node: &[u8]) -> Vec<u8> {
    field(1, &[field(2, cluster), field(4, group), field(5, node)].concat())
}

fn refused(bytes: &[u8]) -> (&'static str, String) {
    let error = decode_request(bytes).expect_err("it is refused");
    (error.code(), error.field().unwrap_or_default().to_owned())
}

#[test]
fn limits_name_their_field() {
    let (long, from) = (vec![b'n'; NAME_LEN_MAX + 1], identity(b"c", b"g", b"n"));
    let to = field(2, b"m");
    let request = |from: &[u8], to: &[u8], body: &[u8]| refused(&[from, to, body].concat());
    let is = |code, field: &str| (code, field.to_owned());
    let resign = field(12, b"");

    assert_eq!(request(&identity(&long, b"g", b"n"), &to, &resign), is("too_long", "request.from.cluster"));
    assert_eq!(request(&identity(b"c", &long, b"n"), &to, &resign), is("too_long", "request.from.group"));
    assert_eq!(request(&identity(b"c", b"g", &long), &to, &resign), is("too_long", "request.from.node"));
    assert_eq!(request(&identity(b"c", b"", b"n"), &to, &resign), is("name", "request.from.group"));
    assert_eq!(request(&identity(b"c", b"g", b"a b"), &to, &resign), is("name", "request.from.node"));
    assert_eq!(request(&from, &field(2, &long), &resign), is("too_long", "request.to"));
    assert_eq!(request(&from, &field(2, b"a/b"), &resign), is("name", "request.to"));
    assert_eq!(request(&[], &to, &resign), is("missing", "request.from"));
    assert_eq!(request(&[&*from, &from].concat(), &to, &resign), is("too_many", "request.from"));
    assert_eq!(request(&from, &field(2, &[0xff, 0xfe]), &resign).0, "malformed");

    let append = |record: &[u8]| request(&from, &to, &field(10, &field(2, record)));
    let (id, parent) = (field(1, b""), field(2, b""));
    let member = field(3, &field(1, b"m"));
    let value = field(4, &vec![0; PROCLAIMED_LEN_MAX + 1]);
    assert_eq!(append(&[&*id, &parent, &value].concat()), is("too_long", "request.append_entries.record.proclaimed"));
    let many = [&*id, &parent, &member.repeat(MEMBERS_MAX + 1)].concat();
    assert_eq!(append(&many), is("too_many", "request.append_entries.record.members"));
    let long = field(3, &field(1, &long));
    assert_eq!(append(&[&*id, &parent, &long].concat()), is("too_long", "request.append_entries.record.members.node"));
    let nameless = field(3, b"");
    assert_eq!(append(&[&*id, &parent, &nameless].concat()), is("name", "request.append_entries.record.members.node"));
    assert_eq!(append(&parent), is("missing", "request.append_entries.record.id"));
    assert_eq!(append(&id), is("missing", "request.append_entries.record.parent"));
    let rank = request(&from, &to, &field(10, &[0x20, 0x80, 0x02]));
    assert_eq!(rank, is("out_of_range", "request.append_entries.rank"));

    let bytes = vec![0; FRAME_LEN_MAX + 1];
    assert_eq!(decode_request(&bytes), Err(WireError::FrameTooLong { len: bytes.len(), max: FRAME_LEN_MAX }));
    assert_eq!(decode_reply(&bytes), Err(WireError::FrameTooLong { len: bytes.len(), max: FRAME_LEN_MAX }));
}

#[test]
fn a_claimed_length_is_not_believed() {
    // `request.to` of 2^62 bytes, of which none follows
    let bytes = [0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    assert_eq!(refused(&bytes).0, "malformed");
}

// ---- the format itself --------------------------------------------------------------------------------------------

fn golden_holder() -> Holder {
    Holder { node: NodeId::new("n1").expect("a name"), disk: DiskId(0x0102), incarnation: Incarnation(4) }
}

fn golden_identity() -> Arc<Identity> {
    Arc::new(Identity {
        version: 1,
        cluster: ClusterId::new("c").expect("a name"),
        founding: Founding(2),
        group: GroupId::new("g").expect("a name"),
        node: NodeId::new("n1").expect("a name"),
        disk: DiskId(1 << 64 | 2),
        incarnation: Incarnation(4),
        timing: 5,
        priority: 6,
        amnesiac: true,
    })
}

fn golden_request(body: RequestBody) -> Request {
    let to = NodeId::new("n2").expect("a name");
    Request { from: golden_identity(), to, id: RequestId(7), term: Term(u64::MAX), body }
}

fn golden_record() -> Arc<Record> {
    let member = Member { node: NodeId::new("n1").expect("a name"), disk: DiskId(9), voter: true };
    let (id, parent) = (RecordId { term: Term(3), index: 2 }, RecordId::default());
    Arc::new(Record { id, parent, members: vec![member], proclaimed: Bytes::from_static(b"at 7300") })
}

const GOLDEN_CONTEXT: TraceContext = TraceContext { trace_id: 1 << 64 | 2, span_id: 3, flags: 1 };

fn golden_append() -> Request {
    golden_request(RequestBody::AppendEntries {
        promise: Duration::from_millis(150),
        record: Some(golden_record()),
        committed: Some(RecordId::default()),
        rank: Some(0),
        election: GOLDEN_CONTEXT,
    })
}

fn golden_reply(body: ReplyBody) -> Reply {
    Reply {
        from: golden_identity(),
        to: golden_holder(),
        id: RequestId(7),
        kind: RequestKind::PreVote,
        term: Term(8),
        verdict: Verdict::Granted,
        worked: Duration::from_micros(90),
        body,
    }
}

fn golden_vote_body() -> ReplyBody {
    ReplyBody::Vote {
        remainder: Duration::from_millis(3),
        record: Some(golden_record()),
        hearsay: Some(Hearsay {
            leader: NodeId::new("n3").expect("a name"),
            term: Term(2),
            age: Duration::from_millis(1),
        }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes it");
        text
    })
}

/// A change here breaks rolling upgrades: a running cluster speaks these bytes.
#[test]
fn the_bytes_of_one_message_of_each_kind_are_pinned() {
    let last = Some(RecordId { term: Term(3), index: 2 });
    let request = |body| hex(&bytes_of_request(&golden_request(body)));
    let reply = |body| hex(&bytes_of_reply(&golden_reply(body)));
    let pinned = [
        ("pre-vote", request(RequestBody::PreVote { last })),
        ("vote", request(RequestBody::RequestVote { last, transfer: Some((golden_holder(), Term(2))) })),
        ("append", hex(&bytes_of_request(&golden_append()))),
        ("timeout now", request(RequestBody::TimeoutNow)),
        ("resign", request(RequestBody::Resign)),
        ("no reply body", reply(ReplyBody::None)),
        ("vote reply", reply(golden_vote_body())),
        (
            "append reply",
            reply(ReplyBody::Append {
                promised: Duration::from_millis(150),
                durable: last,
                contention: Contention::Contends,
            }),
        ),
        ("timeout now reply", reply(ReplyBody::TimeoutNow { election: GOLDEN_CONTEXT })),
    ];
    let found = pinned.map(|(name, hex)| format!("{name} {hex}")).join("\n");
    assert_eq!(found, include_str!("wire/golden.txt").trim());
}

/// Every verdict's number on the wire, in the order of [`Reason::ALL`].
#[test]
fn the_numbers_of_the_verdicts_are_pinned() {
    let number = |verdict| {
        let bytes = bytes_of_reply(&Reply { verdict, ..golden_reply(ReplyBody::None) });
        let at = bytes.windows(3).position(|window| window[..2] == [8, 0x30]).expect("the verdict follows the term");
        bytes[at + 2]
    };
    assert_eq!(number(Verdict::Granted), 1);
    for (reason, expected) in Reason::ALL.iter().zip(2..) {
        assert_eq!(number(Verdict::Refused(*reason)), expected, "{reason:?}");
    }
}

/// A member that says nothing of contention is one of an earlier version: it contends. What a later version says stands back.
#[test]
fn the_contention_of_other_versions_is_understood() {
    let of = |contention| {
        let body = ReplyBody::Append { promised: Duration::ZERO, durable: None, contention };
        bytes_of_reply(&golden_reply(body))
    };
    let read = |bytes: &[u8]| match decode_reply(bytes).expect("a reply").body {
        ReplyBody::Append { contention, .. } => contention,
        other => panic!("{other:?}"),
    };
    assert_eq!(of(Contention::Contends).split_off(of(Contention::Contends).len() - 2), [0x4a, 0], "nothing is said");
    for (number, contention) in (0..).zip(Contention::ALL) {
        assert_eq!(read(&of(*contention)), *contention);
        if number > 0 {
            assert_eq!(of(*contention).last(), Some(&number), "{contention:?}");
        }
    }
    let mut later = of(Contention::StorageStalled);
    *later.last_mut().expect("its number") = 9;
    assert_eq!(read(&later), Contention::Idle);
}
