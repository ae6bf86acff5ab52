//! What backends answer, in one form.

use serde_json::Value;

/// A span as a backend shows it. Attribute values carry their type in front: `int 3`, `text ok`.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) service: String,
    pub(crate) name: String,
    /// In nanoseconds, or microseconds where the backend has no more.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) is_error: bool,
    attributes: Vec<(String, String)>,
}

impl Span {
    fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.attribute(key)?.strip_prefix("text ")
    }

    pub(crate) fn int(&self, key: &str) -> Option<i64> {
        self.attribute(key)?.strip_prefix("int ")?.parse().ok()
    }

    /// The type under which an attribute arrived.
    pub(crate) fn kind_of(&self, key: &str) -> Option<&str> {
        Some(self.attribute(key)?.split_once(' ')?.0)
    }
}

/// A trace of Jaeger's query API.
pub(crate) fn of_jaeger(trace: &Value) -> Vec<Span> {
    let services = &trace["processes"];
    let tag = |tag: &Value| {
        let kind = match text(&tag["type"]).as_str() {
            "string" => "text".to_owned(),
            "int64" => "int".to_owned(),
            other => other.to_owned(),
        };
        let value = tag["value"].as_str().map_or_else(|| tag["value"].to_string(), str::to_owned);
        (text(&tag["key"]), format!("{kind} {value}"))
    };
    let span = |span: &Value| {
        let start = span["startTime"].as_u64().unwrap_or_default();
        let attributes: Vec<(String, String)> = list(&span["tags"]).iter().map(tag).collect();
        let parent = list(&span["references"]).iter().find(|reference| reference["refType"] == "CHILD_OF");
        Span {
            trace: text(&span["traceID"]),
            id: text(&span["spanID"]),
            parent: parent.map(|parent| text(&parent["spanID"])),
            service: text(&services[text(&span["processID"])]["serviceName"]),
            name: text(&span["operationName"]),
            start,
            end: start + span["duration"].as_u64().unwrap_or_default(),
            is_error: attributes.iter().any(|(key, value)| key == "error" && value == "bool true"),
            attributes,
        }
    };
    list(&trace["spans"]).iter().map(span).collect()
}

/// A trace of Tempo's API: other wrappers than OTLP's JSON, and ids in base64.
pub(crate) fn of_tempo(id: &str, trace: &Value) -> Vec<Span> {
    let mut spans = Vec::new();
    for batch in list(&trace["batches"]) {
        collect(batch, "scopeSpans", &mut spans);
    }
    for span in &mut spans {
        // Each id is of one trace here, and only compared.
        id.clone_into(&mut span.trace);
    }
    spans
}

/// A trace of Zipkin's API: names in small letters. Every value is a text there; a number is told by its looks.
pub(crate) fn of_zipkin(trace: &Value) -> Vec<Span> {
    let typed = |value: String| match value.parse::<i64>() {
        Ok(number) => format!("int {number}"),
        Err(_) => format!("text {value}"),
    };
    let span = |span: &Value| {
        let start = span["timestamp"].as_u64().unwrap_or_default();
        let tags = span["tags"].as_object().into_iter().flatten();
        Span {
            trace: text(&span["traceId"]),
            id: text(&span["id"]),
            parent: span["parentId"].as_str().map(str::to_owned),
            service: text(&span["localEndpoint"]["serviceName"]),
            name: text(&span["name"]),
            start,
            end: start + span["duration"].as_u64().unwrap_or_default(),
            is_error: !span["tags"]["error"].is_null(),
            attributes: tags.map(|(key, value)| (key.clone(), typed(text(value)))).collect(),
        }
    };
    list(trace).iter().map(span).collect()
}

/// A line of the collector's file: OTLP as JSON.
pub(crate) fn of_otlp(line: &Value) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in list(&line["resourceSpans"]) {
        collect(resource, "scopeSpans", &mut spans);
    }
    spans
}

fn collect(resource: &Value, scopes: &str, spans: &mut Vec<Span>) {
    let service = attributes(&resource["resource"]["attributes"]);
    let service = service.iter().find(|(key, _)| key == "service.name").map(|(_, value)| value.clone());
    let service = service.and_then(|value| value.strip_prefix("text ").map(str::to_owned)).unwrap_or_default();
    for span in list(&resource[scopes]).iter().flat_map(|scope| list(&scope["spans"])) {
        let parent = text(&span["parentSpanId"]);
        spans.push(Span {
            trace: text(&span["traceId"]),
            id: text(&span["spanId"]),
            parent: Some(parent).filter(|parent| !parent.is_empty()),
            service: service.clone(),
            name: text(&span["name"]),
            start: number(&span["startTimeUnixNano"]),
            end: number(&span["endTimeUnixNano"]),
            is_error: span["status"]["code"] == 2 || span["status"]["code"] == "STATUS_CODE_ERROR",
            attributes: attributes(&span["attributes"]),
        });
    }
}

fn attributes(pairs: &Value) -> Vec<(String, String)> {
    let typed = |value: &Value| {
        let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else { return String::new() };
        let kind = match kind.as_str() {
            "stringValue" => "text",
            "intValue" => "int",
            "doubleValue" => "double",
            "boolValue" => "bool",
            _ => "other",
        };
        // Integers of 64 bits are text in OTLP's JSON.
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{kind} {value}")
    };
    list(pairs).iter().map(|pair| (text(&pair["key"]), typed(&pair["value"]))).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}
