//! Holds what is emitted against the table of what may be.

use std::collections::BTreeSet;

use hustings::telemetry::registry::{
    ANY_SPAN_ATTRIBUTES, ATTRIBUTES, EVENT_ATTRIBUTES, EVENTS, Kind, LINKS, SPAN_ATTRIBUTES, SPANS, Type,
};
use opentelemetry::trace::{Event, SpanId, SpanKind};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;

use super::stage::attribute;

/// The texts of a list are checked one by one.
fn values(value: &Value) -> Vec<String> {
    match value {
        Value::Array(Array::String(texts)) => texts.iter().map(ToString::to_string).collect(),
        value => vec![value.to_string()],
    }
}

fn type_of(value: &Value) -> Option<Type> {
    Some(match value {
        Value::I64(_) => Type::Int,
        Value::F64(_) => Type::Double,
        Value::Bool(_) => Type::Bool,
        Value::String(_) => Type::Text,
        Value::Array(Array::String(_)) => Type::Texts,
        _ => return None,
    })
}

fn kind_of(kind: &SpanKind) -> Option<Kind> {
    Some(match kind {
        SpanKind::Internal => Kind::Internal,
        SpanKind::Client => Kind::Client,
        SpanKind::Server => Kind::Server,
        _ => return None,
    })
}

/// What was emitted, and what of it is not as the table says.
#[derive(Default)]
pub(crate) struct Audit {
    pub(crate) wrong: BTreeSet<String>,
    /// `span kind`, `span kind: attribute`, `span kind -> link`, and so on.
    pub(crate) seen: BTreeSet<String>,
}

impl Audit {
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.insert(what());
        }
    }

    /// Takes what was exported. A span that is not of this crate is one of the application.
    pub(crate) fn of(spans: &[SpanData]) -> Audit {
        let mut audit = Audit::default();
        for span in spans {
            match span.name.starts_with("raft.") {
                true => audit.span(span),
                false => audit.application(span),
            }
        }
        audit
    }

    /// That everything is as the table says.
    pub(crate) fn assert_known(&self) {
        assert!(self.wrong.is_empty(), "not as the table says: {:#?}", self.wrong);
    }

    fn span(&mut self, span: &SpanData) {
        let name = format!("{} {:?}", span.name, span.span_kind);
        let entry = SPANS.iter().find(|e| e.name == span.name && Some(e.kind) == kind_of(&span.span_kind));
        let Some(entry) = entry else {
            self.wrong.insert(format!("{name} is not in the table"));
            return;
        };
        self.seen.insert(name.clone());
        let is_root = span.parent_span_id == SpanId::INVALID;
        self.expect(entry.parent.is_empty() <= is_root, || format!("{name} is no root"));
        let (mut relations, mut mirrors) = (Vec::new(), Vec::new());
        for link in &span.links.links {
            let relation = link.attributes[0].value.to_string();
            self.expect(entry.links.contains(&relation.as_str()), || format!("{name} -> {relation}"));
            self.seen.insert(format!("{name} -> {relation}"));
            self.link(&name, &link.attributes);
            mirrors.push(format!("raft.link.{relation}"));
            relations.push(relation);
        }
        for common in SPAN_ATTRIBUTES {
            self.expect(attribute(span, common).is_some(), || format!("{name} lacks {common}"));
        }
        for KeyValue { key, value, .. } in &span.attributes {
            let key = key.as_str();
            let listed = [SPAN_ATTRIBUTES, ANY_SPAN_ATTRIBUTES, entry.attributes].concat().contains(&key);
            self.expect(listed || mirrors.iter().any(|mirror| mirror == key), || format!("{name} bears {key}"));
            self.seen.insert(format!("{name}: {key}"));
            self.seen.insert(format!("any: {key}"));
            self.value(&name, key, value);
        }
        for event in &span.events.events {
            self.event(event);
        }
    }

    fn event(&mut self, event: &Event) {
        let name = event.name.as_ref();
        let Some(entry) = EVENTS.iter().find(|entry| entry.name == name) else {
            self.wrong.insert(format!("event {name} is not in the table"));
            return;
        };
        self.seen.insert(format!("event {name}"));
        for KeyValue { key, value, .. } in &event.attributes {
            let key = key.as_str();
            let listed = [EVENT_ATTRIBUTES, entry.attributes].concat().contains(&key);
            self.expect(listed, || format!("event {name} bears {key}"));
            self.seen.insert(format!("event {name}: {key}"));
            self.value(name, key, value);
        }
    }

    fn link(&mut self, name: &str, attributes: &[KeyValue]) {
        let relation = attributes[0].value.to_string();
        let Some(entry) = LINKS.iter().find(|entry| entry.name == relation) else {
            self.wrong.insert(format!("link {relation} is not in the table"));
            return;
        };
        self.seen.insert(format!("link {relation}"));
        for KeyValue { key, value, .. } in attributes {
            let key = key.as_str();
            let listed = key == "raft.link.type" || entry.attributes.contains(&key);
            self.expect(listed, || format!("link {relation} bears {key}"));
            self.seen.insert(format!("link {relation}: {key}"));
            self.value(name, key, value);
        }
    }

    /// The application's own spans: whatever they say of elections is in the table, too.
    fn application(&mut self, span: &SpanData) {
        for link in &span.links.links {
            self.link("the application's", &link.attributes);
        }
        for KeyValue { key, value, .. } in &span.attributes {
            if key.as_str().starts_with("raft.") {
                self.seen.insert(format!("application: {key}"));
                self.value("the application's", key.as_str(), value);
            }
        }
    }

    fn value(&mut self, on: &str, key: &str, value: &Value) {
        let Some(entry) = ATTRIBUTES.iter().find(|entry| entry.name == key) else {
            self.wrong.insert(format!("{key} is not in the table"));
            return;
        };
        let found = type_of(value);
        self.expect(found == Some(entry.kind), || format!("{key} on {on} is {found:?} and not {:?}", entry.kind));
        for value in values(value).into_iter().filter(|_| !entry.values.is_empty()) {
            self.expect(entry.values.contains(&value.as_str()), || format!("{key} on {on} is {value:?}"));
        }
    }

    /// What the table promises.
    pub(crate) fn promised() -> BTreeSet<String> {
        let mut promised = BTreeSet::new();
        for span in SPANS {
            let kind = match span.kind {
                Kind::Internal => SpanKind::Internal,
                Kind::Client => SpanKind::Client,
                Kind::Server => SpanKind::Server,
            };
            let name = format!("{} {kind:?}", span.name);
            promised.extend(span.attributes.iter().map(|key| format!("{name}: {key}")));
            promised.extend(span.links.iter().map(|link| format!("{name} -> {link}")));
            promised.insert(name);
        }
        promised.extend(ANY_SPAN_ATTRIBUTES.iter().map(|key| format!("any: {key}")));
        for event in EVENTS {
            promised.insert(format!("event {}", event.name));
            let attributes = EVENT_ATTRIBUTES.iter().chain(event.attributes);
            promised.extend(attributes.map(|key| format!("event {}: {key}", event.name)));
        }
        for link in LINKS {
            promised.insert(format!("link {}", link.name));
            promised.extend(link.attributes.iter().map(|key| format!("link {}: {key}", link.name)));
        }
        promised
    }
}
