//! What the `OTEL_*` variables ask for, those included that the Rust SDK does not read.

use std::fmt;

mod environment;
mod route;

pub(super) use environment::{Environment, Unusable};
pub(super) use route::{Protocol, Route, Signal};

/// What [`init`](super::init) made of its argument and of the environment. Shows as a line or a few, for a start-up log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// How spans leave; `None` where none are exported.
    pub(super) traces: Option<Route>,
    /// How metrics leave; `None` where none are exported.
    pub(super) metrics: Option<Route>,
    pub(super) service: String,
    pub(super) propagators: Vec<Propagation>,
    /// Milliseconds between two exports of spans, where it is said.
    delay: Option<u64>,
    /// Milliseconds between two exports of metrics, where it is said.
    interval: Option<u64>,
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
    /// Where spans go: an address, by HTTP with the whole path. `None` where none are exported.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.traces.as_ref().map(|route| route.endpoint.as_str())
    }

    /// Where metrics go: an address, by HTTP with the whole path. `None` where none are exported.
    #[must_use]
    pub fn metrics_endpoint(&self) -> Option<&str> {
        self.metrics.as_ref().map(|route| route.endpoint.as_str())
    }

    /// The `service.name` of the application's own spans. Election spans bear their node's name.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// What was asked for and cannot be had: each names the variable, its value, and what works instead.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().map(String::as_str)
    }

    pub(super) fn from(
        service: &str,
        endpoint: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Resolved, Unusable> {
        let mut env = Environment::new(&variable);
        let disabled = env.truth("OTEL_SDK_DISABLED").unwrap_or(false);
        if disabled {
            env.note("OTEL_SDK_DISABLED=true".to_owned());
        }
        let mut route = |signal: Signal| {
            let exports = !disabled && exports(signal, &mut env);
            exports.then(|| Route::of(signal, endpoint, &mut env)).transpose()
        };
        let (traces, metrics) = (route(Signal::Traces)?, route(Signal::Metrics)?);
        let delay = env.number("OTEL_BSP_SCHEDULE_DELAY", "a number of milliseconds", 5_000);
        let interval = env.number("OTEL_METRIC_EXPORT_INTERVAL", "a number of milliseconds", 60_000);
        if traces.is_some() || metrics.is_some() {
            check_what_the_sdk_reads(&mut env);
        }
        Ok(Resolved {
            delay: delay.filter(|_| traces.is_some()),
            interval: interval.filter(|_| metrics.is_some()),
            traces,
            metrics,
            service: env.set("OTEL_SERVICE_NAME").unwrap_or_else(|| service.to_owned()),
            propagators: propagators(&mut env),
            notes: env.into_notes(),
        })
    }
}

/// Whether a signal is exported; the other exporters that were asked for cannot be had.
fn exports(signal: Signal, env: &mut Environment<'_>) -> bool {
    let name = format!("OTEL_{}_EXPORTER", signal.name());
    let exporters = env.set(&name).unwrap_or_else(|| "otlp".to_owned());
    if exporters.eq_ignore_ascii_case("none") {
        env.note(format!("{name}=none"));
        return false;
    }
    for other in exporters.split(',').map(str::trim).filter(|exporter| *exporter != "otlp") {
        env.note(format!("{name}={other} is not built in (otlp and none are): otlp is used"));
    }
    true
}

/// The SDK reads these by itself, and says nothing of a value that it cannot use.
fn check_what_the_sdk_reads(env: &mut Environment<'_>) {
    env.number("OTEL_BSP_MAX_QUEUE_SIZE", "a number of spans", 2_048);
    env.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "a number of spans", 512);
    for (name, default) in [("ATTRIBUTE", 128), ("EVENT", 128), ("LINK", 128)] {
        env.number(&format!("OTEL_SPAN_{name}_COUNT_LIMIT"), "a number", default);
    }
    let ratio = env.set("OTEL_TRACES_SAMPLER_ARG").and_then(|text| text.parse::<f64>().ok());
    let sampler = env.set("OTEL_TRACES_SAMPLER");
    match sampler.as_deref() {
        None
        | Some("always_on" | "always_off" | "parentbased_always_on" | "parentbased_always_off") => {}
        Some("traceidratio" | "parentbased_traceidratio") if ratio.is_some_and(|r| (0.0..=1.0).contains(&r)) => {}
        Some(name @ ("traceidratio" | "parentbased_traceidratio")) => {
            let argument = env.set("OTEL_TRACES_SAMPLER_ARG").unwrap_or_default();
            env.note(format!(
                "OTEL_TRACES_SAMPLER={name} with OTEL_TRACES_SAMPLER_ARG={argument}: a share from 0.0 to 1.0 works; all are kept"
            ));
        }
        Some(other) => env.note(format!(
            "OTEL_TRACES_SAMPLER={other} is not built in (always_on, always_off, traceidratio and each with parentbased_ \
             are): parentbased_always_on is used"
        )),
    }
    let temporality = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    env.one_of(temporality, &["cumulative", "delta", "lowmemory"], "cumulative");
    if let Some(other) = env.set("OTEL_LOGS_EXPORTER").filter(|value| value != "none") {
        env.note(format!("OTEL_LOGS_EXPORTER={other} is not built in: logs are left to tracing subscribers"));
    }
}

fn propagators(env: &mut Environment<'_>) -> Vec<Propagation> {
    let wanted = env.set("OTEL_PROPAGATORS").unwrap_or_else(|| "tracecontext,baggage".to_owned());
    let mut propagators = Vec::new();
    for name in wanted.split(',').map(str::trim) {
        let propagation = match name {
            "tracecontext" => Propagation::TraceContext,
            "baggage" => Propagation::Baggage,
            "none" => continue,
            other => {
                env.note(format!("OTEL_PROPAGATORS: {other} is not built in (tracecontext, baggage and none are)"));
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
        match (&self.traces, &self.metrics) {
            (Some(traces), Some(metrics)) if traces == metrics => {
                write!(f, "traces and metrics go to {} ({traces})", traces.endpoint)?;
            }
            (Some(traces), Some(metrics)) if traces.to_string() == metrics.to_string() => {
                write!(f, "traces go to {}, metrics to {} ({traces})", traces.endpoint, metrics.endpoint)?;
            }
            (Some(traces), Some(metrics)) => {
                write!(f, "traces go to {} ({traces}), metrics to {} ({metrics})", traces.endpoint, metrics.endpoint)?;
            }
            (Some(traces), None) => write!(f, "traces go to {} ({traces})", traces.endpoint)?,
            (None, Some(metrics)) => write!(f, "metrics go to {} ({metrics})", metrics.endpoint)?,
            (None, None) => f.write_str("nothing is exported")?,
        }
        write!(f, ", service {}", self.service)?;
        if let Some(delay) = self.delay {
            write!(f, ", traces every {delay} ms")?;
        }
        if let Some(interval) = self.interval {
            write!(f, ", metrics every {interval} ms")?;
        }
        for note in &self.notes {
            write!(f, "; {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
