//! Leadership on its way to others: a fence, and the election behind it, as pairs of text that fit any message.

use std::fmt::Write as _;

use super::{Fence, Leadership};
use crate::types::{ClusterId, GroupId, Term, TraceContext};

/// The longest `baggage` that is read, in bytes, all headers of that name together: what W3C Baggage asks of everybody.
const BAGGAGE_LEN_MAX: usize = 8192;
/// The names of the pairs.
const TRACEPARENT: &str = "traceparent";
const BAGGAGE: &str = "baggage";
/// The members of the baggage.
const CLUSTER: &str = "raft.cluster.id";
const GROUP: &str = "raft.group.id";
const TERM: &str = "raft.term";
const FENCE: &str = "raft.fence";
const ELECTION: &str = "raft.election";

/// Why a message's pairs hold no fence that counts here. Refuse what the message asks for: nothing proves who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CarrierError {
    /// There is no such member in the baggage, or no baggage at all: the sender acts under no leadership.
    #[error("the baggage has no {name}")]
    Missing {
        /// The member.
        name: &'static str,
    },
    /// A member is there more than once, so that nobody knows which counts.
    #[error("the baggage has {name} more than once")]
    Repeated {
        /// The member.
        name: &'static str,
    },
    /// The baggage is longer than W3C Baggage allows. It was not read.
    #[error("the baggage has more than {max} bytes")]
    TooLong {
        /// The most that is read, in bytes.
        max: usize,
    },
    /// A member is not what it should be.
    #[error("{name} in the baggage is malformed")]
    Malformed {
        /// The member.
        name: &'static str,
    },
    /// The fence is one of another cluster: fences of different clusters cannot be compared.
    #[error("the fence is one of another cluster")]
    WrongCluster,
    /// The fence is one of another group: fences of different groups cannot be compared.
    #[error("the fence is one of another group")]
    WrongGroup,
}

impl CarrierError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            CarrierError::Missing { .. } => "missing",
            CarrierError::Repeated { .. } => "repeated",
            CarrierError::TooLong { .. } => "too_long",
            CarrierError::Malformed { .. } => "malformed",
            CarrierError::WrongCluster => "wrong_cluster",
            CarrierError::WrongGroup => "wrong_group",
        }
    }
}

impl Leadership {
    /// What a message should carry of this leadership, as pairs for HTTP headers, the attributes of a queue's message, or
    /// `_meta` of the Model Context Protocol.
    ///
    /// `baggage` holds the cluster, the group, the term, the fence ([`Fence::from_carrier`] reads it back) and, if the
    /// election is traced, its `traceparent` as `raft.election`. Where a header of that name is sent already, append
    /// this one to it after a comma.
    ///
    /// `traceparent` is that of the caller's current span, so that the receiver goes on with the caller's trace, which
    /// [`Leadership::link`] joins to the election. Without such a span it is that of the election itself: a receiver that
    /// traces then adds to the election's own trace, and a leadership that lasts makes that trace long. Without either the
    /// pair is left out.
    ///
    /// ```no_run
    /// # fn example(lead: &hustings::elector::Leadership) {
    /// // `_meta` of a request of the Model Context Protocol.
    /// let meta: serde_json::Map<String, serde_json::Value> =
    ///     lead.carrier().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    /// # drop(meta);
    /// # }
    /// ```
    #[must_use]
    pub fn carrier(&self) -> Vec<(&'static str, String)> {
        pairs(self.cluster(), self.group(), self.fence(), self.election_context(), super::caller())
    }
}

impl Fence {
    /// Reads the fence of a message's pairs (see [`Leadership::carrier`]), for a resource that the leaders of that cluster
    /// and that group act on. Names of pairs are compared without regard to case, and several `baggage` pairs are one.
    ///
    /// The pairs prove nothing by themselves: whoever can send a message can write any number. Authenticate the sender
    /// first; the fence orders honest leaders, and keeps no liar out.
    ///
    /// ```
    /// use hustings::elector::Fence;
    ///
    /// let headers = [("Baggage", "raft.cluster.id=planner,raft.group.id=main,raft.term=7,raft.fence=7")];
    /// let fence = Fence::from_carrier("planner", "main", headers)?;
    /// assert_eq!(fence.get(), 7);
    /// # Ok::<(), hustings::elector::CarrierError>(())
    /// ```
    ///
    /// # Errors
    /// [`CarrierError`] says what is wrong with the pairs. Whatever they hold, nothing panics, and no more than 8192 bytes
    /// of baggage are read.
    pub fn from_carrier<K: AsRef<str>, V: AsRef<str>>(
        cluster: &str,
        group: &str,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Fence, CarrierError> {
        let mut read = Read::default();
        let mut len = 0_usize;
        for (name, value) in pairs {
            if name.as_ref().trim().eq_ignore_ascii_case(BAGGAGE) {
                len = len.saturating_add(value.as_ref().len());
                if len > BAGGAGE_LEN_MAX {
                    return Err(CarrierError::TooLong { max: BAGGAGE_LEN_MAX });
                }
                read.baggage(value.as_ref())?;
            }
        }
        read.fence(cluster, group)
    }
}

fn pairs(
    cluster: &ClusterId,
    group: &GroupId,
    fence: Fence,
    election: TraceContext,
    caller: TraceContext,
) -> Vec<(&'static str, String)> {
    let mut baggage = String::new();
    let number = fence.get().to_string();
    let election_header = election.to_traceparent();
    let members = [(CLUSTER, cluster.as_str()), (GROUP, group.as_str()), (TERM, &number), (FENCE, &number)];
    for (name, value) in members.into_iter().chain(election_header.as_deref().map(|header| (ELECTION, header))) {
        if !baggage.is_empty() {
            baggage.push(',');
        }
        baggage.push_str(name);
        baggage.push('=');
        encode(value, &mut baggage);
    }
    let parent = if caller.is_valid() { caller.to_traceparent() } else { election_header };
    parent.map(|header| (TRACEPARENT, header)).into_iter().chain([(BAGGAGE, baggage)]).collect()
}

/// The members of the baggage that count here, as they came.
#[derive(Default)]
struct Read {
    cluster: Option<String>,
    group: Option<String>,
    term: Option<String>,
    fence: Option<String>,
}

impl Read {
    /// Takes the members that are known. Whatever else an application puts into its baggage is not looked at.
    fn baggage(&mut self, baggage: &str) -> Result<(), CarrierError> {
        for member in baggage.split(',') {
            let Some((name, value)) = member.split_once('=') else { continue };
            let (name, slot) = match name.trim() {
                CLUSTER => (CLUSTER, &mut self.cluster),
                GROUP => (GROUP, &mut self.group),
                TERM => (TERM, &mut self.term),
                FENCE => (FENCE, &mut self.fence),
                _ => continue,
            };
            // What follows a semicolon are properties of the member: none is known.
            let value = value.split(';').next().unwrap_or_default().trim();
            let value = decode(value).ok_or(CarrierError::Malformed { name })?;
            if slot.replace(value).is_some() {
                return Err(CarrierError::Repeated { name });
            }
        }
        Ok(())
    }

    fn fence(self, cluster: &str, group: &str) -> Result<Fence, CarrierError> {
        let there = |value: Option<String>, name: &'static str| {
            value.filter(|v| !v.is_empty()).ok_or(CarrierError::Missing { name })
        };
        if there(self.cluster, CLUSTER)? != cluster {
            return Err(CarrierError::WrongCluster);
        }
        if there(self.group, GROUP)? != group {
            return Err(CarrierError::WrongGroup);
        }
        let fence = number(&there(self.fence, FENCE)?).ok_or(CarrierError::Malformed { name: FENCE })?;
        // A fence is a term: two numbers that differ were not written by one hand.
        match self.term.map(|term| number(&term)) {
            None => Ok(Fence(Term(fence))),
            Some(Some(term)) if term == fence => Ok(Fence(Term(fence))),
            Some(_) => Err(CarrierError::Malformed { name: TERM }),
        }
    }
}

/// A term in which somebody can lead: digits only, and not zero.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number > 0)
}

/// Percent-encodes what a baggage member may not hold (RFC 3986, and `:` and `@` of host names).
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'@' => into.push(byte.into()),
            // Writing to a string cannot fail.
            other => drop(write!(into, "%{other:02X}")),
        }
    }
}

/// Takes the percent-encoding back. `None` where it is broken, or gives no text.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => (nibble(rest.next()?)? << 4) | nibble(rest.next()?)?,
            other => other,
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

    const ELECTED: TraceContext = TraceContext { trace_id: 0xabc, span_id: 0xdef, flags: 1 };
    const CALLING: TraceContext = TraceContext { trace_id: 0x123, span_id: 0x456, flags: 1 };

    #[test]
    fn what_leaves_is_what_is_read() {
        for (cluster, group) in [("planner", "main"), ("größe;%\"", "a;b%2C")] {
            let (cluster_id, group_id) = ids(cluster, group);
            let pairs = pairs(&cluster_id, &group_id, Fence(Term(u64::MAX)), ELECTED, CALLING);
            assert!(pairs.iter().all(|(_, value)| value.is_ascii()), "it fits a header: {pairs:?}");
            let fence = Fence::from_carrier(cluster, group, pairs).expect("it was written here");
            assert_eq!(fence.get(), u64::MAX);
        }
    }

    #[test]
    fn the_caller_s_trace_goes_on_and_the_election_travels_beside_it() {
        let (cluster, group) = ids("planner", "main");
        let carried = |election, caller| pairs(&cluster, &group, Fence(Term(7)), election, caller);
        let header = |context: TraceContext| context.to_traceparent().expect("valid");
        let with_both = carried(ELECTED, CALLING);
        assert_eq!(with_both[0], ("traceparent", header(CALLING)));
        let members = "raft.cluster.id=planner,raft.group.id=main,raft.term=7,raft.fence=7";
        assert_eq!(with_both[1], ("baggage", format!("{members},raft.election={}", header(ELECTED))));
        assert_eq!(carried(ELECTED, TraceContext::NONE)[0], ("traceparent", header(ELECTED)));
        assert_eq!(carried(TraceContext::NONE, TraceContext::NONE), [("baggage", members.to_owned())]);
    }

    #[test]
    fn strangers_in_the_baggage_and_in_the_headers_do_no_harm() {
        let headers = [
            ("content-type", "text/plain".to_owned()),
            ("BAGGAGE", "user=x%2, = ,,a=b;p=1 , raft.fence = 7 ;ttl=3,raft.fences=9".to_owned()),
            ("Baggage ", "raft.cluster.id=plan%6Eer,raft.group.id=main".to_owned()),
        ];
        assert_eq!(Fence::from_carrier("planner", "main", headers).map(Fence::get), Ok(7));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let to = "raft.cluster.id=planner,raft.group.id=main";
        let missing = |name| Err(CarrierError::Missing { name });
        let malformed = |name| Err(CarrierError::Malformed { name });
        assert_eq!(Fence::from_carrier("p", "m", [("fence", "7")]).map(Fence::get), missing(CLUSTER));
        assert_eq!(read(""), missing(CLUSTER));
        assert_eq!(read("raft.cluster.id=planner"), missing(GROUP));
        assert_eq!(read(to), missing(FENCE));
        assert_eq!(read(&format!("{to},raft.fence=")), missing(FENCE));
        assert_eq!(read("raft.cluster.id=other,raft.group.id=main,raft.fence=7"), Err(CarrierError::WrongCluster));
        assert_eq!(read("raft.cluster.id=planner,raft.group.id=b,raft.fence=7"), Err(CarrierError::WrongGroup));
        assert_eq!(read(&format!("{to},raft.fence=7,raft.fence=8")), Err(CarrierError::Repeated { name: FENCE }));
        assert_eq!(read(&format!("{to},raft.fence=7,raft.term=8")), malformed(TERM));
        for bad in
            ["0", "-1", "+7", " ", "7.0", "0x7", "7e3", "18446744073709551616", "٧", "%37%", "%zz", "%", "%ff", "7 8"]
        {
            let found = read(&format!("{to},raft.fence={bad}"));
            assert!(
                matches!(found, Err(CarrierError::Malformed { .. } | CarrierError::Missing { .. })),
                "{bad}: {found:?}"
            );
        }
        assert_eq!(read(&format!("{to},raft.fence=%37")), Ok(7), "a proxy may have encoded it");
    }

    #[test]
    fn what_is_too_long_is_not_read() {
        let long = format!("raft.cluster.id=planner,raft.group.id=main,raft.fence=7,x={}", "y".repeat(BAGGAGE_LEN_MAX));
        assert_eq!(read(&long), Err(CarrierError::TooLong { max: BAGGAGE_LEN_MAX }));
        let many = std::iter::repeat_n(("baggage", "a=b,".repeat(512)), 5);
        assert_eq!(Fence::from_carrier("planner", "main", many), Err(CarrierError::TooLong { max: BAGGAGE_LEN_MAX }));
    }

    /// Whatever comes: an answer, and no panic.
    #[test]
    fn nonsense_gives_an_error() {
        let pieces = [
            "raft.fence",
            "raft.term",
            "=",
            ",",
            ";",
            "%",
            "%f",
            "%C3%28",
            "7",
            "\0",
            "ä",
            " ",
            "raft.cluster.id=planner",
        ];
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
