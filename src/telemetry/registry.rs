//! Every span, event of a span, link, attribute and metric, from one table: the code takes the metrics' names and units
//! from here, tests compare what was exported and what the sources name with it, and the page below is made of it.
//!
#![doc = include_str!("registry.md")]

mod attributes;
mod events;
mod links;
mod metrics;
mod page;
mod spans;

pub use attributes::ATTRIBUTES;
pub use events::{EVENT_ATTRIBUTES, EVENTS};
pub use links::LINKS;
pub use metrics::{METRIC_ATTRIBUTES, METRICS};
pub use page::page;
pub use spans::{ANY_SPAN_ATTRIBUTES, SPAN_ATTRIBUTES, SPANS};

/// Which side of a request a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// None: something that the node does by itself.
    Internal,
    /// Of the node that asks.
    Client,
    /// Of the node that is asked.
    Server,
}

/// What an attribute's value is when it is exported. Never an unsigned integer, which would arrive as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    /// A signed integer of 64 bits.
    Int,
    /// A floating-point number of 64 bits.
    Double,
    /// Yes or no.
    Bool,
    /// Text.
    Text,
    /// A list of texts.
    Texts,
}

/// A span. Two with one name differ in kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What it is below; empty for the root of a trace.
    pub parent: &'static str,
    /// When it is emitted, and what it covers.
    pub when: &'static str,
    /// Its attributes, beside [`SPAN_ATTRIBUTES`], [`ANY_SPAN_ATTRIBUTES`] and the mirrors of its links.
    pub attributes: &'static [&'static str],
    /// The types of links that it may bear.
    pub links: &'static [&'static str],
}

/// An event of a span: of the operation that it belongs to, else of a `raft.transition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanEvent {
    /// Its name.
    pub name: &'static str,
    /// When it is emitted.
    pub when: &'static str,
    /// Its attributes, beside [`EVENT_ATTRIBUTES`].
    pub attributes: &'static [&'static str],
}

/// A type of link between two traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The value of `raft.link.type`.
    pub name: &'static str,
    /// The attribute of the span that repeats the id of the other trace, for viewers that hide what links say.
    pub mirror: &'static str,
    /// The attributes of the link, beside `raft.link.type`.
    pub attributes: &'static [&'static str],
    /// From what to what, and when.
    pub when: &'static str,
}

/// An attribute of spans, events, links or metrics: one meaning and one type wherever it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub kind: Type,
    /// Its unit, as UCUM writes it; empty where there is none.
    pub unit: &'static str,
    /// All its values, where they are a closed set.
    pub values: &'static [&'static str],
    /// What it says, and when it is there.
    pub meaning: &'static str,
}

/// How a metric is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instrument {
    /// Counts up.
    Counter,
    /// A distribution.
    Histogram,
    /// A number that goes up and down.
    Gauge,
    /// A number that goes up and down and can be added up.
    UpDownCounter,
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it is measured.
    pub instrument: Instrument,
    /// Its unit, as UCUM writes it.
    pub unit: &'static str,
    /// Its attributes, beside those of every metric: `raft.cluster.id`, `raft.group.id`, `raft.node.id`.
    pub attributes: &'static [&'static str],
    /// What is measured, and when.
    pub meaning: &'static str,
}
