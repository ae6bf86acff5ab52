//! Parts of sentences.

use std::fmt;

use crate::event::{PersistCause, Revocation};
use crate::record::RecordId;
use crate::types::{Millis, NodeId, Term, Time, TraceContext};

/// How long ago, or when if the present is unknown. `last heard` takes an *ago*, a duration does not.
pub(super) struct Ago {
    pub(super) what: &'static str,
    pub(super) then: Time,
    pub(super) now: Option<Time>,
}

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(now) = self.now else {
            return write!(f, "{} at {}", self.what, self.then);
        };
        let ago = if self.what == "last heard" { " ago" } else { "" };
        write!(f, "{} {}{ago}", self.what, Millis(now.since(self.then)))
    }
}

pub(super) struct Ballot(pub(super) bool);

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "pre-vote" } else { "vote" })
    }
}

pub(super) struct Of(pub(super) Option<Term>);

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |term| write!(f, " of {term}"))
    }
}

pub(super) struct Under(pub(super) Option<Term>);

impl fmt::Display for Under {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |term| write!(f, " under {term}"))
    }
}

pub(super) struct Work(pub(super) bool);

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { ", work still runs" } else { "" })
    }
}

/// What the user asked for is told by what follows.
pub(super) struct Unasked(pub(super) Revocation);

impl fmt::Display for Unasked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Revocation::Resigning | Revocation::Transferring | Revocation::ShuttingDown => Ok(()),
            cause => write!(f, " ({})", cause.code()),
        }
    }
}

pub(super) struct Last(pub(super) Option<RecordId>);

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(record) => write!(f, ", last {record}"),
            None => f.write_str(", no record"),
        }
    }
}

pub(super) struct Trace<'a>(pub(super) &'a TraceContext);

impl fmt::Display for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_valid() { write!(f, " trace {:032x}", self.0.trace_id) } else { Ok(()) }
    }
}

pub(super) struct Names<'a>(pub(super) &'a [NodeId]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, self.0, " ")
    }
}

pub(super) struct Causes<'a>(pub(super) &'a [PersistCause]);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, self.0, ", ")
    }
}

fn listed<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T], between: &str) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(between)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

/// Text of the outside, with line breaks and control characters escaped: an event stays one line.
pub(super) struct OneLine<'a>(pub(super) &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}
