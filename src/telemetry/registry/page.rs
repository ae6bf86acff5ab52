//! The table as a page.

use std::fmt::Write as _;

use super::{
    ANY_SPAN_ATTRIBUTES, ATTRIBUTES, Attribute, EVENT_ATTRIBUTES, EVENTS, Instrument, Kind, LINKS, METRIC_ATTRIBUTES,
    METRICS, SPAN_ATTRIBUTES, SPANS, Type,
};

/// The table as Markdown: `registry.md` beside the sources is this text.
#[must_use]
pub fn page() -> String {
    let mut page = String::from("# Registry\n\n");
    spans(&mut page);
    events(&mut page);
    links(&mut page);
    attributes(&mut page);
    metrics(&mut page);
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

impl Kind {
    /// As OpenTelemetry writes it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Kind::Internal => "INTERNAL",
            Kind::Client => "CLIENT",
            Kind::Server => "SERVER",
        }
    }
}

impl Type {
    /// As OpenTelemetry writes it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Type::Int => "int",
            Type::Double => "double",
            Type::Bool => "boolean",
            Type::Text => "string",
            Type::Texts => "string[]",
        }
    }
}

impl Instrument {
    /// As OpenTelemetry writes it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Instrument::Counter => "counter",
            Instrument::Histogram => "histogram",
            Instrument::Gauge => "gauge",
            Instrument::UpDownCounter => "updowncounter",
        }
    }
}

fn spans(page: &mut String) {
    section(page, "Spans", &["span", "kind", "below", "when", "attributes", "links"]);
    for span in SPANS {
        let parent = if span.parent.is_empty() { "*root*" } else { span.parent };
        row(
            page,
            &[&name(span.name), span.kind.code(), parent, span.when, &names(span.attributes), &names(span.links)],
        );
    }
    let every = format!(
        "Every span has {} as well, one for which something had to be left out {}, and one with links the mirror of each.",
        names(SPAN_ATTRIBUTES),
        names(ANY_SPAN_ATTRIBUTES)
    );
    line(page, &every);
}

fn events(page: &mut String) {
    section(page, "Events of spans", &["event", "when", "attributes"]);
    for event in EVENTS {
        row(page, &[&name(event.name), event.when, &names(event.attributes)]);
    }
    line(page, &format!("Every event has {} as well.", names(EVENT_ATTRIBUTES)));
}

fn links(page: &mut String) {
    section(page, "Links", &["type", "mirrored in", "from what to what", "attributes"]);
    for link in LINKS {
        row(page, &[&name(link.name), &name(link.mirror), link.when, &names(link.attributes)]);
    }
    line(page, "Every link has `raft.link.type` as well.");
}

fn attributes(page: &mut String) {
    section(page, "Attributes", &["attribute", "type", "unit", "what it says"]);
    for Attribute { name: attribute, kind, unit, values, meaning } in ATTRIBUTES {
        let closed = if values.is_empty() { String::new() } else { format!("; one of {}", names(values)) };
        row(page, &[&name(attribute), kind.code(), &unit_of(unit), &format!("{meaning}{closed}")]);
    }
    page.push('\n');
}

fn metrics(page: &mut String) {
    section(page, "Metrics", &["metric", "instrument", "unit", "what is measured", "attributes"]);
    for metric in METRICS {
        let instrument = metric.instrument.code();
        row(page, &[&name(metric.name), instrument, &unit_of(metric.unit), metric.meaning, &names(metric.attributes)]);
    }
    line(page, &format!("Every metric has {} as well.", names(METRIC_ATTRIBUTES)));
}

fn section(page: &mut String, title: &str, columns: &[&str]) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "## {title}\n\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
}

fn row(page: &mut String, cells: &[&str]) {
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

fn line(page: &mut String, text: &str) {
    let _ = writeln!(page, "\n{text}\n");
}

fn name(name: &str) -> String {
    format!("`{name}`")
}

fn names(names: &[&str]) -> String {
    names.iter().map(|one| name(one)).collect::<Vec<_>>().join(" ")
}

fn unit_of(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { name(unit) }
}
