//! What the `OTEL_*` variables ask for, those included that the Rust SDK does not read.

use std::fmt;

/// Where a local collector listens for OTLP over gRPC.
const ENDPOINT_DEFAULT: &str = "http://localhost:4317";

/// What [`init`](super::init) made of its argument and of the environment. Shows as a line or a few, for a start-up log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Where spans go; `None` where none are exported.
    pub(super) endpoint: Option<String>,
    /// Where metrics go; `None` where none are exported.
    pub(super) metrics: Option<String>,
    pub(super) service: String,
    pub(super) propagators: Vec<Propagation>,
    pub(super) delay: Option<String>,
    /// Milliseconds between two exports of metrics, where it is said.
    pub(super) interval: Option<String>,
    /// What was asked for and cannot be had, and why nothing is exported.
    pub(super) notes: Vec<String>,
}

/// The propagators that are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Propagation {
    TraceContext,
    Baggage,
}

impl Resolved {
    /// The endpoint that spans go to; `None` where none are exported.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// The endpoint that metrics go to; `None` where none are exported.
    #[must_use]
    pub fn metrics_endpoint(&self) -> Option<&str> {
        self.metrics.as_deref()
    }

    /// The `service.name` of the application's own spans. Election spans bear their node's name.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    pub(super) fn from(service: &str, endpoint: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Resolved {
        let set = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let mut notes = Vec::new();
        let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if disabled {
            notes.push("OTEL_SDK_DISABLED=true".to_owned());
        }
        let mut goes_to = |signal: &str| {
            let exports = !disabled && exports(signal, &set, &mut notes);
            exports.then(|| with_scheme(&endpoint.map_or_else(|| wanted(signal, &set), str::to_owned)))
        };
        let (traces, metrics) = (goes_to("TRACES"), goes_to("METRICS"));
        if traces.is_some() || metrics.is_some() {
            note_protocols(&set, &mut notes);
        }
        Resolved {
            endpoint: traces,
            metrics,
            service: set("OTEL_SERVICE_NAME").unwrap_or_else(|| service.to_owned()),
            propagators: propagators(&set, &mut notes),
            delay: set("OTEL_BSP_SCHEDULE_DELAY"),
            interval: set("OTEL_METRIC_EXPORT_INTERVAL"),
            notes,
        }
    }
}

/// Where the environment sends a signal: the variable of the signal goes before the general one.
fn wanted(signal: &str, set: &impl Fn(&str) -> Option<String>) -> String {
    set(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))
        .or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"))
        .unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned())
}

fn note_protocols(set: &impl Fn(&str) -> Option<String>, notes: &mut Vec<String>) {
    let names = ["", "_TRACES", "_METRICS"].map(|signal| format!("OTEL_EXPORTER_OTLP{signal}_PROTOCOL"));
    for name in names {
        if let Some(other) = set(&name).filter(|protocol| protocol != "grpc") {
            notes.push(format!("{name}={other} is not built in: gRPC is spoken"));
        }
    }
}

/// Without a scheme an endpoint is a host and a port, as people write them.
fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") }
}

/// Whether a signal is exported; the other exporters that were asked for cannot be had.
fn exports(signal: &str, set: &impl Fn(&str) -> Option<String>, notes: &mut Vec<String>) -> bool {
    let name = format!("OTEL_{signal}_EXPORTER");
    let exporters = set(&name).unwrap_or_else(|| "otlp".to_owned());
    if exporters.eq_ignore_ascii_case("none") {
        notes.push(format!("{name}=none"));
        return false;
    }
    for other in exporters.split(',').map(str::trim).filter(|exporter| *exporter != "otlp") {
        notes.push(format!("{name}={other} is not built in: otlp is used"));
    }
    true
}

fn propagators(set: &impl Fn(&str) -> Option<String>, notes: &mut Vec<String>) -> Vec<Propagation> {
    let wanted = set("OTEL_PROPAGATORS").unwrap_or_else(|| "tracecontext,baggage".to_owned());
    let mut propagators = Vec::new();
    for name in wanted.split(',').map(str::trim) {
        let propagation = match name {
            "tracecontext" => Propagation::TraceContext,
            "baggage" => Propagation::Baggage,
            "none" => continue,
            other => {
                notes.push(format!("OTEL_PROPAGATORS: {other} is not built in"));
                continue;
            }
        };
        if !propagators.contains(&propagation) {
            propagators.push(propagation);
        }
    }
    propagators
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.endpoint, &self.metrics) {
            (Some(traces), Some(metrics)) if traces == metrics => {
                write!(f, "traces and metrics go to {traces} (OTLP over gRPC)")?;
            }
            (Some(traces), Some(metrics)) => {
                write!(f, "traces go to {traces}, metrics to {metrics} (OTLP over gRPC)")?;
            }
            (Some(traces), None) => write!(f, "traces go to {traces} (OTLP over gRPC)")?,
            (None, Some(metrics)) => write!(f, "metrics go to {metrics} (OTLP over gRPC)")?,
            (None, None) => f.write_str("nothing is exported")?,
        }
        write!(f, ", service {}", self.service)?;
        if let Some(delay) = self.delay.as_ref().filter(|_| self.endpoint.is_some()) {
            write!(f, ", traces every {delay} ms")?;
        }
        if let Some(interval) = self.interval.as_ref().filter(|_| self.metrics.is_some()) {
            write!(f, ", metrics every {interval} ms")?;
        }
        for note in &self.notes {
            write!(f, "; {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(variables: &[(&str, &str)]) -> Resolved {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Resolved::from("planner", None, variable)
    }

    #[test]
    fn nothing_set_means_a_local_collector() {
        let plain = resolved(&[]);
        assert_eq!(plain.endpoint(), Some("http://localhost:4317"));
        assert_eq!(
            plain.to_string(),
            "traces and metrics go to http://localhost:4317 (OTLP over gRPC), service planner"
        );
        assert_eq!(plain.propagators, [Propagation::TraceContext, Propagation::Baggage]);
    }

    #[test]
    fn the_endpoint_of_traces_goes_first_and_a_scheme_may_be_left_out() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317");
        assert_eq!(resolved(&[general]).endpoint(), Some("http://a:4317"));
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "b:4317");
        assert_eq!(resolved(&[general, traces]).endpoint(), Some("http://b:4317"));
        let metrics = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://m:1");
        let both = resolved(&[general, metrics]);
        assert_eq!((both.endpoint(), both.metrics_endpoint()), (Some("http://a:4317"), Some("https://m:1")));
        assert!(both.to_string().starts_with("traces go to http://a:4317, metrics to https://m:1 ("), "{both}");
        assert_eq!(resolved(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).endpoint(), Some("http://localhost:4317"));
        let given = Resolved::from("planner", Some("c:1"), |_| Some("http://a:4317".to_owned()));
        assert_eq!(given.endpoint(), Some("http://c:1"));
    }

    #[test]
    fn it_can_be_switched_off_and_says_by_what() {
        let off = resolved(&[("OTEL_SDK_DISABLED", "TRUE")]);
        assert_eq!(off.endpoint(), None);
        assert_eq!(off.to_string(), "nothing is exported, service planner; OTEL_SDK_DISABLED=true");
        assert_eq!(off.metrics_endpoint(), None);
        let metrics_only = resolved(&[("OTEL_TRACES_EXPORTER", "none")]);
        assert_eq!(metrics_only.endpoint(), None);
        assert_eq!(
            metrics_only.to_string(),
            "metrics go to http://localhost:4317 (OTLP over gRPC), service planner; OTEL_TRACES_EXPORTER=none"
        );
        assert_eq!(resolved(&[("OTEL_METRICS_EXPORTER", "none")]).metrics_endpoint(), None);
        assert!(resolved(&[("OTEL_SDK_DISABLED", "no")]).endpoint().is_some());
    }

    #[test]
    fn what_cannot_be_had_is_said() {
        let odd = resolved(&[
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_PROPAGATORS", "b3,tracecontext"),
            ("OTEL_SERVICE_NAME", "other"),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
        ]);
        assert_eq!(odd.propagators, [Propagation::TraceContext]);
        assert_eq!(
            odd.to_string(),
            "traces and metrics go to http://localhost:4317 (OTLP over gRPC), service other, traces every 200 ms, \
             metrics every 5000 ms; \
             OTEL_TRACES_EXPORTER=zipkin is not built in: otlp is used; \
             OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf is not built in: gRPC is spoken; \
             OTEL_PROPAGATORS: b3 is not built in"
        );
    }
}
