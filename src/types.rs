//! The words of the protocol: identities, terms and points in time.

use std::fmt;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mutant::{self, Mutant};

/// The longest name that a cluster, a group or a node may have, in bytes.
pub const NAME_LEN_MAX: usize = 253;

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty. Nothing was created.
    #[error("a name must not be empty")]
    Empty,
    /// The name is too long. Nothing was created.
    #[error("the name of {len} bytes is longer than {NAME_LEN_MAX}: {start}...")]
    TooLong {
        /// How long it is, in bytes.
        len: usize,
        /// Its first characters.
        start: String,
    },
    /// The name holds white space, a control character or one of `/ \ = ,`. Nothing was created.
    #[error("the name {name:?} holds {character:?}: letters, digits and - _ . : @ are fine")]
    Character {
        /// The name.
        name: String,
        /// The first character that is not permitted.
        character: char,
    },
}

fn checked(name: &str) -> Result<Arc<str>, NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_LEN_MAX {
        let start = name.chars().take(20).collect();
        return Err(NameError::TooLong { len: name.len(), start });
    }
    let forbidden = |c: &char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '\\' | '=' | ',');
    match name.chars().find(forbidden) {
        Some(character) => Err(NameError::Character { name: name.to_owned(), character }),
        None => Ok(Arc::from(name)),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the name: 1 to 253 bytes, no white space, none of `/ \ = ,`.
            ///
            /// # Errors
            /// [`NameError`] says what is wrong with it.
            pub fn new(name: impl AsRef<str>) -> Result<Self, NameError> {
                checked(name.as_ref()).map(Self)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;
            fn try_from(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name!(
    /// The name of a cluster. Two clusters that can reach each other need two names.
    ClusterId
);
name!(
    /// The name of a group: one election of its own within a cluster. Most clusters have one, `main`.
    GroupId
);
name!(
    /// The name of a member. It outlives addresses, restarts and disks.
    NodeId
);

impl Default for GroupId {
    fn default() -> Self {
        GroupId(Arc::from("main"))
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number!(
    /// A term of office (Raft paper §5.1): rises by one with each election, and is the fencing token of its leader.
    Term, "T"
);
number!(
    /// How often the node has started on its disk: durable, raised by one at each start, the first is 1.
    Incarnation, "i"
);
number!(
    /// A hash of the first record (members and disks): tells two clusters of one name apart. 0 before the first record.
    Founding, ""
);

impl Founding {
    /// What an answer says that tells a stranger nothing: no record has it.
    pub const WITHHELD: Founding = Founding(u64::MAX);
}

impl Term {
    /// The next term, or `None` at the end of the numbers.
    #[must_use]
    pub fn next(self) -> Option<Term> {
        if mutant::on(Mutant::TermWraps) {
            return Some(Term(self.0.wrapping_add(1)));
        }
        self.0.checked_add(1).map(Term)
    }
}

/// The random name of a disk (of one hard state file), minted with the file. Node and disk together are a member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DiskId(pub u128);

impl DiskId {
    /// The disk of a volatile store, which has none.
    pub const NONE: DiskId = DiskId(0);
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<DiskId> for String {
    fn from(disk: DiskId) -> String {
        disk.to_string()
    }
}

impl TryFrom<String> for DiskId {
    type Error = std::num::ParseIntError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(DiskId)
    }
}

/// A point in time on this node's clock: nanoseconds since an origin that lies before its start.
///
/// The clock must count the time a machine sleeps (`CLOCK_BOOTTIME` on Linux), and never goes back. Two nodes' points
/// in time cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// Before everything.
    pub const ZERO: Time = Time(0);
    /// After everything: never.
    pub const NEVER: Time = Time(u64::MAX);

    /// How long it is from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `duration` before this one, at least [`Time::ZERO`].
    #[must_use]
    pub fn before(self, duration: Duration) -> Time {
        Time(self.0.saturating_sub(nanos(duration)))
    }
}

/// Saturates at [`Time::NEVER`].
impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(nanos(duration)))
    }
}

/// Milliseconds with up to three decimals: `153ms`, `0.24ms`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Millis(Duration::from_nanos(self.0)))
    }
}

/// A duration as the notation writes it: `153ms`, `0.24ms`, at most three decimals, no trailing zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_nanos().saturating_add(500) / 1000;
        let (whole, part) = (micros / 1000, micros % 1000);
        if part == 0 {
            return write!(f, "{whole}ms");
        }
        let decimals = format!("{part:03}");
        write!(f, "{whole}.{}ms", decimals.trim_end_matches('0'))
    }
}

/// A duration in nanoseconds, saturating.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A trace context on its way between nodes: the W3C trace id, span id and flags.
///
/// The core carries it and never reads it. It is untrusted input of fixed size, with no effect on the protocol.
/// Serialized as its `traceparent`, empty without one: JSON has no 128-bit numbers, and people search for the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct TraceContext {
    /// 128-bit trace id; 0 when there is none.
    pub trace_id: u128,
    /// 64-bit id of the parent span; 0 when there is none.
    pub span_id: u64,
    /// Trace flags; bit 0 is *sampled*.
    pub flags: u8,
}

impl TraceContext {
    /// No context.
    pub const NONE: TraceContext = TraceContext { trace_id: 0, span_id: 0, flags: 0 };

    /// Whether it names a trace and a span.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.trace_id != 0 && self.span_id != 0
    }

    /// Reads a `traceparent` header ([W3C Trace Context](https://www.w3.org/TR/trace-context/#traceparent-header)).
    /// Anything that is not one gives `None`.
    #[must_use]
    pub fn from_traceparent(text: &str) -> Option<TraceContext> {
        let mut parts = text.trim().split('-');
        let version = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32)?;
        let span_id = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(parts.next()?, 2)?).ok()?;
        let more = parts.next().is_some();
        let context = TraceContext { trace_id, span_id, flags };
        (version != 0xff && !(version == 0 && more) && context.is_valid()).then_some(context)
    }

    /// The `traceparent` header, or `None` without a valid context.
    #[must_use]
    pub fn to_traceparent(&self) -> Option<String> {
        self.is_valid().then(|| format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags))
    }
}

impl From<TraceContext> for String {
    fn from(context: TraceContext) -> String {
        context.to_traceparent().unwrap_or_default()
    }
}

impl From<String> for TraceContext {
    fn from(text: String) -> TraceContext {
        TraceContext::from_traceparent(&text).unwrap_or_default()
    }
}

fn hex(text: &str, len: usize) -> Option<u128> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (text.len() == len && text.bytes().all(lower)).then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(NodeId::new("planner-0").is_ok());
        assert_eq!(NodeId::new(""), Err(NameError::Empty));
        assert!(matches!(NodeId::new("a b"), Err(NameError::Character { character: ' ', .. })));
        assert!(matches!(NodeId::new("x".repeat(254)), Err(NameError::TooLong { len: 254, .. })));
    }

    #[test]
    fn millis_drop_trailing_zeros() {
        let shown = |us| Millis(Duration::from_micros(us)).to_string();
        assert_eq!(shown(153_000), "153ms");
        assert_eq!(shown(240), "0.24ms");
        assert_eq!(shown(1_001), "1.001ms");
    }

    #[test]
    fn traceparent_round_trips_and_refuses_nonsense() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::from_traceparent(text).expect("a valid header");
        assert_eq!(context.to_traceparent().as_deref(), Some(text));
        assert_eq!((String::from(context), TraceContext::from(text.to_owned())), (text.to_owned(), context));
        assert_eq!(
            (String::from(TraceContext::NONE), TraceContext::from(String::new())),
            (String::new(), TraceContext::NONE)
        );
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            &text.to_uppercase(),
            &format!("{text}-x"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::from_traceparent(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn terms_end_without_wrapping() {
        assert_eq!(Term(1).next(), Some(Term(2)));
        assert_eq!(Term(u64::MAX).next(), None);
    }
}
