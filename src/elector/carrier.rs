//! Leadership on its way to others: a fence, and the election behind it, as pairs of text that fit any message.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::hash::BuildHasher;

use super::{Fence, Leadership};
use crate::types::{ClusterId, GroupId, Term, TraceContext};

/// The longest `baggage` that is read, in bytes, all headers of that name together: what W3C Baggage asks of everybody.
const BAGGAGE_LEN_MAX: usize = 8192;
/// The names of the pairs.
const TRACEPARENT: &str = "traceparent";
const BAGGAGE: &str = "baggage";
/// How the members of the baggage begin; the names of cluster and group follow, so that leaderships of several groups
/// travel side by side, and a map that merges two messages keeps both.
const FENCE: &str = "raft.fence.";
const ELECTION: &str = "raft.election.";

/// Why a message's pairs hold no fence that counts here. Refuse what the message asks for: nothing proves who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CarrierError {
    /// There is no fence in the baggage, or no baggage at all: the sender acts under no leadership.
    #[error("the baggage has no {name}")]
    Missing {
        /// The member that was looked for.
        name: String,
    },
    /// The member is there more than once with different values, so that nobody knows which counts.
    #[error("the baggage contradicts itself: {name} is {first} and {second}")]
    Contradicting {
        /// The member.
        name: String,
        /// The first fence.
        first: u64,
        /// Another one.
        second: u64,
    },
    /// The baggage is longer than W3C Baggage allows. It was not read.
    #[error("the baggage has more than {max} bytes")]
    TooLong {
        /// The most that is read, in bytes.
        max: usize,
    },
    /// A member is not what it should be, or the baggage is no text.
    #[error("{name} in the baggage is malformed")]
    Malformed {
        /// The member, or `baggage`.
        name: String,
    },
    /// There are fences, all of other clusters: fences of different clusters cannot be compared.
    #[error("the fence is one of another cluster: {found}")]
    WrongCluster {
        /// The first of them, as `cluster/group`.
        found: String,
    },
    /// There is a fence of this cluster, of another group: fences of different groups cannot be compared.
    #[error("the fence is one of another group: {found}")]
    WrongGroup {
        /// The first of them, as `cluster/group`.
        found: String,
    },
}

impl CarrierError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            CarrierError::Missing { .. } => "missing",
            CarrierError::Contradicting { .. } => "contradicting",
            CarrierError::TooLong { .. } => "too_long",
            CarrierError::Malformed { .. } => "malformed",
            CarrierError::WrongCluster { .. } => "wrong_cluster",
            CarrierError::WrongGroup { .. } => "wrong_group",
        }
    }
}

/// A message's pairs of text, for [`Leadership::inject`]: headers, the attributes of a queue's message, `_meta` of the
/// Model Context Protocol. Maps of strings are carriers, JSON objects are, and with the feature `grpc` HTTP header maps.
pub trait Carrier {
    /// The value of a pair, its name compared without regard to case; several of that name joined by commas.
    fn get(&self, name: &str) -> Option<String>;
    /// Replaces every pair of that name by this one.
    fn set(&mut self, name: &str, value: String);
}

impl Carrier for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        joined(self.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()))
    }
    fn set(&mut self, name: &str, value: String) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value);
    }
}

impl<S: BuildHasher> Carrier for HashMap<String, String, S> {
    fn get(&self, name: &str) -> Option<String> {
        joined(self.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()))
    }
    fn set(&mut self, name: &str, value: String) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value);
    }
}

impl Carrier for serde_json::Map<String, serde_json::Value> {
    fn get(&self, name: &str) -> Option<String> {
        let of_that_name = self.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        joined(of_that_name.filter_map(|(_, value)| value.as_str()))
    }
    fn set(&mut self, name: &str, value: String) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value.into());
    }
}

#[cfg(feature = "grpc")]
impl Carrier for tonic::codegen::http::HeaderMap {
    fn get(&self, name: &str) -> Option<String> {
        joined(self.get_all(name).iter().filter_map(|value| value.to_str().ok()))
    }
    fn set(&mut self, name: &str, value: String) {
        use tonic::codegen::http::{HeaderName, HeaderValue};
        // Both are written here, and ASCII: neither can fail.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.insert(name, value);
        }
    }
}

fn joined<'a>(values: impl Iterator<Item = &'a str>) -> Option<String> {
    values.map(str::to_owned).reduce(|all, next| all + "," + &next)
}

impl Leadership {
    /// What a message should carry of this leadership, as pairs for a message that has none of them yet. Into headers or a
    /// map that is there already, [`Leadership::inject`] merges them.
    ///
    /// `baggage` holds the caller's own baggage (OpenTelemetry's, with the feature `telemetry`), the fence as
    /// `raft.fence.<cluster>.<group>` ([`Fence::from_carrier`] reads it back) and, if the election is traced, its
    /// `traceparent` as `raft.election.<cluster>.<group>`: that is how an act without a span of its own still leads back to
    /// the election.
    ///
    /// `traceparent` is that of the caller's current span, which [`Leadership::link`] joins to the election; without such a
    /// span there is none. It is never the election's: every act of a leadership that lasts for months would end up in one
    /// trace.
    #[must_use]
    pub fn carrier(&self) -> Vec<(&'static str, String)> {
        let baggage = merged(&super::caller_baggage(), &self.members());
        let parent = super::caller().to_traceparent().map(|header| (TRACEPARENT, header));
        parent.into_iter().chain([(BAGGAGE, baggage)]).collect()
    }

    /// Adds this leadership to what a message carries already: other members of its baggage stay, the same leadership is
    /// there once, and a `traceparent` that is there stays.
    ///
    /// ```no_run
    /// # fn example(lead: &hustings::elector::Leadership) {
    /// // `_meta` of a request of the Model Context Protocol.
    /// let mut meta = serde_json::Map::new();
    /// meta.insert("baggage".to_owned(), "user=alice".into());
    /// lead.inject(&mut meta);
    /// # }
    /// ```
    pub fn inject(&self, into: &mut impl Carrier) {
        let there = into.get(BAGGAGE).unwrap_or_default();
        // The caller's own baggage may have been injected before, by a propagator: a member is there once.
        let own = super::caller_baggage();
        let own = own.split(',').filter(|member| !there.split(',').any(|other| key(other) == key(member)));
        let own: Vec<&str> = own.filter(|member| !key(member).is_empty()).collect();
        let all = if own.is_empty() { there.clone() } else { format!("{there},{}", own.join(",")) };
        into.set(BAGGAGE, merged(&all, &self.members()));
        if into.get(TRACEPARENT).is_none()
            && let Some(parent) = super::caller().to_traceparent()
        {
            into.set(TRACEPARENT, parent);
        }
    }

    fn members(&self) -> Vec<(String, String)> {
        members(self.cluster(), self.group(), self.fence(), self.election_context())
    }
}

impl Fence {
    /// Reads the fence of a message's pairs (see [`Leadership::carrier`]), for a resource that the leaders of that cluster
    /// and that group act on. Names of pairs are compared without regard to case, and several `baggage` pairs are one; the
    /// same member may be there several times if it says the same. An `http::HeaderMap` can be given as it is.
    ///
    /// The pairs prove nothing by themselves: whoever can send a message can write any number. Authenticate the sender
    /// first; the fence orders honest leaders, and keeps no liar out.
    ///
    /// ```
    /// use hustings::elector::Fence;
    ///
    /// let headers = [("Baggage", "user=alice,raft.fence.planner.main=7")];
    /// let fence = Fence::from_carrier("planner", "main", headers)?;
    /// assert_eq!(fence.get(), 7);
    /// # Ok::<(), hustings::elector::CarrierError>(())
    /// ```
    ///
    /// # Errors
    /// [`CarrierError`] says what is wrong with the pairs. Whatever they hold, nothing panics, and no more than 8192 bytes
    /// of baggage are read.
    pub fn from_carrier<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        cluster: &str,
        group: &str,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Fence, CarrierError> {
        let mut read = Read { wanted: member_name(FENCE, cluster, group), cluster, fence: None, stranger: None };
        let mut len = 0_usize;
        for (name, value) in pairs {
            if name.as_ref().trim_ascii().eq_ignore_ascii_case(BAGGAGE.as_bytes()) {
                len = len.saturating_add(value.as_ref().len());
                if len > BAGGAGE_LEN_MAX {
                    return Err(CarrierError::TooLong { max: BAGGAGE_LEN_MAX });
                }
                let no_text = |_| CarrierError::Malformed { name: BAGGAGE.to_owned() };
                read.baggage(std::str::from_utf8(value.as_ref()).map_err(no_text)?)?;
            }
        }
        read.result()
    }

    /// The number as SQL's signed 64 bits, for a statement such as
    /// `UPDATE fence SET newest = ?1 WHERE id = ?2 AND newest <= ?1` in the transaction of the write: no row changed means
    /// that a newer leader has written, and the transaction is rolled back. Numbers beyond 2^63 - 1, which no cluster
    /// reaches, are that number.
    #[must_use]
    pub fn as_i64(self) -> i64 {
        i64::try_from(self.get()).unwrap_or(i64::MAX)
    }
}

fn members(cluster: &ClusterId, group: &GroupId, fence: Fence, election: TraceContext) -> Vec<(String, String)> {
    let name = |kind| member_name(kind, cluster.as_str(), group.as_str());
    let election = election.to_traceparent().map(|header| (name(ELECTION), header));
    [(name(FENCE), fence.to_string())].into_iter().chain(election).collect()
}

/// This leadership first, so that it survives a limit on the length, then every other member as it was.
fn merged(there: &str, ours: &[(String, String)]) -> String {
    let mut baggage = String::new();
    for (name, value) in ours {
        baggage.push_str(if baggage.is_empty() { "" } else { "," });
        baggage.push_str(name);
        baggage.push('=');
        baggage.push_str(value);
    }
    for member in there.split(',').filter(|member| !member.trim().is_empty()) {
        if !ours.iter().any(|(name, _)| name == key(member)) {
            baggage.push(',');
            baggage.push_str(member.trim());
        }
    }
    baggage
}

/// The name of a member of a baggage.
fn key(member: &str) -> &str {
    member.split('=').next().unwrap_or_default().trim()
}

fn member_name(kind: &str, cluster: &str, group: &str) -> String {
    let mut name = kind.to_owned();
    encode(cluster, &mut name);
    name.push('.');
    encode(group, &mut name);
    name
}

/// What was found of the fence that is looked for.
struct Read<'a> {
    wanted: String,
    cluster: &'a str,
    fence: Option<u64>,
    /// The first fence of another leadership.
    stranger: Option<(String, String)>,
}

impl Read<'_> {
    /// Takes the member that is wanted. Whatever else an application puts into its baggage is not looked at.
    fn baggage(&mut self, baggage: &str) -> Result<(), CarrierError> {
        for member in baggage.split(',') {
            let Some((name, value)) = member.split_once('=') else { continue };
            let name = name.trim();
            if name != self.wanted {
                self.stranger = self.stranger.take().or_else(|| leadership_of(name));
                continue;
            }
            // What follows a semicolon are properties of the member: none is known.
            let value = value.split(';').next().unwrap_or_default().trim();
            let malformed = || CarrierError::Malformed { name: self.wanted.clone() };
            let second = decode(value).as_deref().and_then(number).ok_or_else(malformed)?;
            match self.fence.replace(second) {
                Some(first) if first != second => {
                    return Err(CarrierError::Contradicting { name: self.wanted.clone(), first, second });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn result(self) -> Result<Fence, CarrierError> {
        match (self.fence, self.stranger) {
            (Some(fence), _) => Ok(Fence(Term(fence))),
            (None, None) => Err(CarrierError::Missing { name: self.wanted }),
            (None, Some((cluster, group))) => {
                let found = format!("{cluster}/{group}");
                let same = cluster == self.cluster;
                Err(if same { CarrierError::WrongGroup { found } } else { CarrierError::WrongCluster { found } })
            }
        }
    }
}

/// The cluster and the group that a member of the baggage names, if it is a fence.
fn leadership_of(name: &str) -> Option<(String, String)> {
    let (cluster, group) = name.strip_prefix(FENCE)?.split_once('.')?;
    Some((unescape(cluster, b'~')?, unescape(group, b'~')?))
}

/// A term in which somebody can lead: digits only, and not zero.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number > 0)
}

/// Writes a name so that it fits the name of a baggage member, which is a token (RFC 9110), and holds no dot. A tilde and two
/// digits stand for what does not fit: propagators take percent signs back on their way, and a dot ends the name.
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => into.push(byte.into()),
            // Writing to a string cannot fail.
            other => drop(write!(into, "~{other:02X}")),
        }
    }
}

/// Takes the percent-encoding of a value back, which a proxy may have added. `None` where it is broken, or gives no text.
fn decode(text: &str) -> Option<String> {
    unescape(text, b'%')
}

fn unescape(text: &str, escape: u8) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte == escape {
            true => (nibble(rest.next()?)? << 4) | nibble(rest.next()?)?,
            false => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn nibble(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(cluster: &str, group: &str) -> (ClusterId, GroupId) {
        (ClusterId::new(cluster).expect("a name"), GroupId::new(group).expect("a name"))
    }

    fn read(baggage: &str) -> Result<u64, CarrierError> {
        Fence::from_carrier("planner", "main", [("baggage", baggage)]).map(Fence::get)
    }

    fn baggage_of(cluster: &str, group: &str, fence: u64, there: &str) -> String {
        let (cluster, group) = ids(cluster, group);
        merged(there, &members(&cluster, &group, Fence(Term(fence)), ELECTED))
    }

    const ELECTED: TraceContext = TraceContext { trace_id: 0xabc, span_id: 0xdef, flags: 1 };

    #[test]
    fn what_leaves_is_what_is_read() {
        for (cluster, group) in [("planner", "main"), ("größe;%\"", "a;b%2C"), ("a.b~", "c.d:e@f")] {
            let baggage = baggage_of(cluster, group, u64::MAX, "user=alice");
            assert!(baggage.is_ascii(), "it fits a header: {baggage:?}");
            let fence = Fence::from_carrier(cluster, group, [("baggage", &baggage)]).expect("it was written here");
            assert_eq!(fence.get(), u64::MAX);
            let found = Fence::from_carrier("other", group, [("baggage", &baggage)]);
            assert_eq!(found, Err(CarrierError::WrongCluster { found: format!("{cluster}/{group}") }));
        }
    }

    /// An agent that leads one group acts for the leader of another; and a retry adds what is there already.
    #[test]
    fn two_leaderships_travel_side_by_side_and_one_stands_once() {
        let both = baggage_of("worker", "main", 3, &baggage_of("planner", "main", 7, "user=alice"));
        assert_eq!(read(&both), Ok(7));
        assert_eq!(Fence::from_carrier("worker", "main", [("baggage", &both)]).map(Fence::get), Ok(3));
        assert!(both.ends_with("user=alice"), "{both}");
        assert_eq!(baggage_of("worker", "main", 3, &both).matches("raft.fence.worker.main").count(), 1);
        assert_eq!(read(&format!("{both},{both}")), Ok(7), "whoever appends instead of merging says it twice");
        let newer = baggage_of("planner", "main", 8, "");
        let name = "raft.fence.planner.main".to_owned();
        assert_eq!(read(&format!("{both},{newer}")), Err(CarrierError::Contradicting { name, first: 7, second: 8 }));
    }

    #[test]
    fn every_kind_of_carrier_keeps_what_it_holds() {
        fn check(mut carrier: impl Carrier) {
            carrier.set("Baggage", "user=alice".to_owned());
            let merged = merged(&carrier.get("baggage").expect("it was set"), &[("a".to_owned(), "1".to_owned())]);
            carrier.set("baggage", merged);
            assert_eq!(carrier.get("BAGGAGE").as_deref(), Some("a=1,user=alice"));
        }
        check(BTreeMap::new());
        check(HashMap::new());
        check(serde_json::Map::new());
        #[cfg(feature = "grpc")]
        check(tonic::codegen::http::HeaderMap::new());
    }

    #[cfg(feature = "grpc")]
    #[test]
    fn a_header_map_can_be_read_as_it_is() {
        let mut headers = tonic::codegen::http::HeaderMap::new();
        headers.append("baggage", tonic::codegen::http::HeaderValue::from_static("raft.fence.planner.main=7"));
        assert_eq!(Fence::from_carrier("planner", "main", &headers).map(Fence::get), Ok(7));
    }

    #[test]
    fn strangers_in_the_baggage_and_in_the_headers_do_no_harm() {
        let headers = [
            ("content-type", "text/plain"),
            ("BAGGAGE", "user=x%2, = ,,a=b;p=1 , raft.fence.planner.main = 7 ;ttl=3,raft.fences=9"),
            ("Baggage ", "raft.fence.other.main=9,raft.fence.planner.other=9"),
        ];
        assert_eq!(Fence::from_carrier("planner", "main", headers).map(Fence::get), Ok(7));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let name = || "raft.fence.planner.main".to_owned();
        assert_eq!(read(""), Err(CarrierError::Missing { name: name() }));
        assert_eq!(read("raft.fence=7"), Err(CarrierError::Missing { name: name() }));
        let found = || "planner/b".to_owned();
        assert_eq!(read("raft.fence.planner.b=7"), Err(CarrierError::WrongGroup { found: found() }));
        let no_text = Fence::from_carrier("planner", "main", [("baggage", [0xff_u8])]);
        assert_eq!(no_text, Err(CarrierError::Malformed { name: "baggage".to_owned() }));
        for bad in [
            "",
            "0",
            "-1",
            "+7",
            " ",
            "7.0",
            "0x7",
            "7e3",
            "18446744073709551616",
            "٧",
            "%37%",
            "%zz",
            "%",
            "%ff",
            "7 8",
        ] {
            let found = read(&format!("raft.fence.planner.main={bad}"));
            assert_eq!(found, Err(CarrierError::Malformed { name: name() }), "{bad}");
        }
        assert_eq!(read("raft.fence.planner.main=%37"), Ok(7), "a proxy may have encoded it");
    }

    #[test]
    fn sql_gets_a_signed_number() {
        assert_eq!((Fence(Term(7)).as_i64(), Fence(Term(u64::MAX)).as_i64()), (7, i64::MAX));
    }

    #[test]
    fn what_is_too_long_is_not_read() {
        let long = format!("raft.fence.planner.main=7,x={}", "y".repeat(BAGGAGE_LEN_MAX));
        assert_eq!(read(&long), Err(CarrierError::TooLong { max: BAGGAGE_LEN_MAX }));
        let many = std::iter::repeat_n(("baggage", "a=b,".repeat(512)), 5);
        assert_eq!(Fence::from_carrier("planner", "main", many), Err(CarrierError::TooLong { max: BAGGAGE_LEN_MAX }));
    }

    /// Whatever comes: an answer, and no panic.
    #[test]
    fn nonsense_gives_an_error() {
        let pieces = ["raft.fence.", "planner", "=", ",", ";", "%", "%f", "~", "7", "\0", "ä", " ", "."];
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                text.push_str(pieces[usize::try_from(seed % 13).expect("small")]);
            }
            // No group is among the pieces: nothing can be accepted.
            assert!(read(&text).is_err(), "{text:?}");
        }
    }
}
