//! One call that sets up exporting: for programs without a telemetry set-up of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::export::{Closable, Courier, Destination, shut_down};
use super::settings::{Propagation, Resolved, Unusable};
use super::spans::{Provider, Spans, SpansBuilder};
use super::{ElectionSampler, Metrics};
use crate::message::Identity;

/// How long [`Guard::shutdown`] waits for the last spans to leave.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(3);

/// What [`init`] is to set up. A service's name alone will do.
#[derive(Debug, Clone)]
#[must_use]
pub struct Init {
    service: String,
    endpoint: Option<String>,
    /// In place of the variables `OTEL_EXPORTER_OTLP_*` with these ends.
    settings: BTreeMap<&'static str, String>,
    subscriber: bool,
}

impl Init {
    /// For that service. `OTEL_SERVICE_NAME` has the last word.
    pub fn new(service: impl Into<String>) -> Init {
        Init { service: service.into(), endpoint: None, settings: BTreeMap::new(), subscriber: true }
    }

    /// Exports there, whatever the environment says: `http://host:4317`. By HTTP the paths of the signals are appended.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Init {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Speaks OTLP over HTTP, whatever `OTEL_EXPORTER_OTLP_PROTOCOL` says.
    pub fn over_http(mut self) -> Init {
        self.settings.insert("PROTOCOL", "http/protobuf".to_owned());
        self
    }

    /// Trusts the certificates in that PEM file, and no others, whatever `OTEL_EXPORTER_OTLP_CERTIFICATE` says.
    pub fn trust(mut self, file: impl Into<String>) -> Init {
        self.settings.insert("CERTIFICATE", file.into());
        self
    }

    /// Shows that certificate, with that key, to a collector that asks for one, whatever
    /// `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE` and `_CLIENT_KEY` say. PEM files.
    pub fn identity(mut self, certificate: impl Into<String>, key: impl Into<String>) -> Init {
        self.settings.insert("CLIENT_CERTIFICATE", certificate.into());
        self.settings.insert("CLIENT_KEY", key.into());
        self
    }

    /// Leaves `tracing` alone: the application installs a subscriber of its own.
    pub fn without_subscriber(mut self) -> Init {
        self.subscriber = false;
        self
    }
}

impl Init {
    /// A variable, as set here or else by the environment.
    fn variable(&self, name: &str) -> Option<String> {
        if let Some(end) = name.strip_prefix("OTEL_EXPORTER_OTLP_") {
            if let Some(value) = self.settings.get(end) {
                return Some(value.clone());
            }
            let general = end.strip_prefix("TRACES_").or(end.strip_prefix("METRICS_"));
            if general.is_some_and(|general| self.settings.contains_key(general)) {
                return None;
            }
        }
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

impl<S: Into<String>> From<S> for Init {
    fn from(service: S) -> Init {
        Init::new(service)
    }
}

/// Why nothing could be set up. The process is as it was before.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// A setting leaves no way to export: an address that is none, a certificate that cannot be read, `https` without the
    /// feature `otlp-tls`. Values in whose place a default will do are among [`Resolved::notes`] and no error.
    #[error("{name}={value} {reason}")]
    Setting {
        /// The variable, or `endpoint` where it was an argument.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong, and what works.
        reason: String,
    },
    /// The exporter cannot be built for this endpoint.
    #[error("cannot export to {endpoint}: {reason}")]
    Exporter {
        /// The endpoint.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The thread that exports cannot be started.
    #[error("cannot start the exporting thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// What a program prints whose `main` returns an error: the sentence.
impl fmt::Debug for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl InitError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            InitError::Setting { .. } => "setting",
            InitError::Exporter { .. } => "exporter",
            InitError::Thread(_) => "thread",
        }
    }
}

impl From<Unusable> for InitError {
    fn from(Unusable { name, value, reason }: Unusable) -> InitError {
        InitError::Setting { name, value, reason }
    }
}

/// Keeps the exporting alive. [`Guard::shutdown`], or its drop, sends what is left and waits at most three seconds.
pub struct Guard {
    resolved: Resolved,
    exporting: Option<Arc<Exporting>>,
}

/// The providers: one of each signal for the application, and one of spans for each start of each node.
struct Exporting {
    nodes: Mutex<Nodes>,
    traces: Option<Traces>,
    meters: Option<SdkMeterProvider>,
    courier: Courier,
}

/// Where spans go, and the application's own.
struct Traces {
    destination: Destination,
    application: SdkTracerProvider,
}

#[derive(Default)]
struct Nodes {
    closed: bool,
    providers: BTreeMap<(String, String, u64), SdkTracerProvider>,
}

/// Sets up exporting by OTLP, over gRPC or HTTP, from a thread of its own, within a runtime or without one.
///
/// Reads `OTEL_EXPORTER_OTLP_ENDPOINT`, `_PROTOCOL` (`grpc`, which is the default, or `http/protobuf`), `_TIMEOUT`, `_HEADERS`,
/// `_COMPRESSION` (`gzip`, `none`), `_CERTIFICATE`, `_CLIENT_CERTIFICATE`, `_CLIENT_KEY`, `_INSECURE`, each with `_TRACES_` and
/// `_METRICS_` before the general one; `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER`,
/// `OTEL_PROPAGATORS`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_*`, `OTEL_SPAN_*_LIMIT`,
/// `OTEL_TRACES_SAMPLER`, `OTEL_METRIC_EXPORT_INTERVAL` and `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`.
/// [`Guard::resolved`] says what came of them, a log line too.
///
/// `https` addresses need the feature `otlp-tls`. Without `OTEL_EXPORTER_OTLP_CERTIFICATE` the system's certificates are
/// trusted; files are read once, here.
///
/// It installs the global tracer and meter providers of what is exported, the propagators, and, unless there is one already or
/// [`Init::without_subscriber`] was asked for, a `tracing` subscriber: the application's spans are exported, those of the
/// exporter's own machinery are not, and log lines go to standard error: those that `RUST_LOG` chooses, or else WARN and
/// ERROR. [`Guard::spans_for`] gives each node's election spans a provider of their own.
///
/// A collector that is away, slow or silent delays nothing: spans wait in a bounded queue, and are lost when it is full.
///
/// # Errors
/// [`InitError`]; nothing was installed.
pub fn init(service: impl Into<Init>) -> Result<Guard, InitError> {
    let init = service.into();
    let resolved = Resolved::from(&init.service, init.endpoint.as_deref(), |name| init.variable(name))?;
    let mut guard = Guard { exporting: exporting(&resolved)?.map(Arc::new), resolved };
    guard.install(init.subscriber);
    tracing::info!(name: "raft.telemetry.resolved", target: super::TARGET, "{}", guard.resolved);
    for note in guard.resolved.notes() {
        tracing::warn!(name: "raft.telemetry.setting", target: super::TARGET, "{note}");
    }
    Ok(guard)
}

/// The providers for what is exported at all.
fn exporting(resolved: &Resolved) -> Result<Option<Exporting>, InitError> {
    let traces = resolved.traces.clone().map(Destination::of).transpose()?;
    let metrics = resolved.metrics.clone().map(Destination::of).transpose()?;
    if traces.is_none() && metrics.is_none() {
        return Ok(None);
    }
    let courier = Courier::start()?;
    let resource = Resource::builder().with_service_name(resolved.service.clone()).build();
    let failed = |to: &Destination, error: &opentelemetry_otlp::ExporterBuildError| InitError::Exporter {
        endpoint: to.route.endpoint.clone(),
        reason: error.to_string(),
    };
    let traces = traces.map(|to| {
        let application = courier.provider(&to, resource.clone(), None).map_err(|error| failed(&to, &error))?;
        Ok::<_, InitError>(Traces { destination: to, application })
    });
    let meters =
        metrics.map(|to| courier.meters(&to, resource.clone()).map_err(|error| failed(&to, &error))).transpose()?;
    Ok(Some(Exporting { nodes: Mutex::default(), traces: traces.transpose()?, meters, courier }))
}

impl Guard {
    /// What was made of the environment: a line for a start-up log.
    #[must_use]
    pub fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// The election spans of that node, exported under a provider of its own: `service.name` is the node, `service.namespace`
    /// the cluster, `service.instance.id` the node and its incarnation, so that a viewer shows who voted. The builder takes the
    /// peers' addresses too.
    pub fn spans_for(&self, cluster: &str, node: &str) -> SpansBuilder {
        let exporting = self.exporting.clone();
        let (cluster, node) = (cluster.to_owned(), node.to_owned());
        let provider = move |who: &Identity| -> Option<Provider> {
            Some(Arc::new(exporting.as_ref()?.provider(&cluster, &node, who)?))
        };
        let builder = Spans::builder().providers(provider);
        match self.exporting.as_ref().and_then(|exporting| exporting.meters.clone()) {
            Some(meters) => builder.metrics(Metrics::with_provider(meters)),
            None => builder,
        }
    }

    /// Sends what is left, and waits at most three seconds for it. Returns whether everything has left. Spans that are
    /// still open are lost: stop the nodes first.
    pub fn shutdown(mut self) -> bool {
        self.close()
    }

    fn close(&mut self) -> bool {
        self.exporting.take().is_none_or(|exporting| shut_down(exporting.close(), SHUTDOWN_LIMIT))
    }

    fn install(&mut self, subscriber: bool) {
        // Where nothing is exported, contexts still travel, and log lines are still written.
        let traces = self.exporting.as_ref().and_then(|exporting| exporting.traces.as_ref());
        if let Some(meters) = self.exporting.as_ref().and_then(|exporting| exporting.meters.as_ref()) {
            global::set_meter_provider(meters.clone());
        }
        if let Some(traces) = traces {
            global::set_tracer_provider(traces.application.clone());
        }
        let propagators = self.resolved.propagators.iter().map(|propagation| match propagation {
            Propagation::TraceContext => {
                Box::new(TraceContextPropagator::new()) as Box<dyn TextMapPropagator + Send + Sync>
            }
            Propagation::Baggage => Box::new(BaggagePropagator::new()),
        });
        global::set_text_map_propagator(TextMapCompositePropagator::new(propagators.collect()));
        if !subscriber {
            return;
        }
        let tracer = traces.map(|traces| traces.application.tracer(self.resolved.service.clone()));
        let exported = tracer.map(|tracer| tracing_opentelemetry::layer().with_tracer(tracer).with_filter(quiet()));
        let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let shown =
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_filter(filter);
        if tracing_subscriber::registry().with(exported).with(shown).try_init().is_err() {
            self.resolved.notes.push("a tracing subscriber is there already, and was left alone".to_owned());
        }
    }
}

/// What the bridge exports. A call of the exporter would trace its own HTTP/2 frames: one span became 1,500. Election
/// spans do not come by the bridge.
fn quiet() -> Targets {
    let noisy = ["h2", "hyper", "hyper_util", "tonic", "tower", "reqwest", "opentelemetry", "opentelemetry_sdk"];
    let noisy = noisy.into_iter().chain(["opentelemetry_otlp", "hustings"]);
    Targets::new().with_default(LevelFilter::INFO).with_targets(noisy.map(|target| (target, LevelFilter::OFF)))
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("resolved", &self.resolved).finish_non_exhaustive()
    }
}

impl Exporting {
    /// The provider of that start of that node. One of an earlier start has nothing more to say.
    fn provider(&self, cluster: &str, node: &str, who: &Identity) -> Option<SdkTracerProvider> {
        let destination = &self.traces.as_ref()?.destination;
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if nodes.closed {
            return None;
        }
        let key = (cluster.to_owned(), node.to_owned(), who.incarnation.0);
        if let Some(provider) = nodes.providers.get(&key) {
            return Some(provider.clone());
        }
        let attributes = [
            KeyValue::new("service.name", node.to_owned()),
            KeyValue::new("service.namespace", cluster.to_owned()),
            KeyValue::new("service.instance.id", format!("{node}/{}", who.incarnation)),
        ];
        let resource = Resource::builder().with_attributes(attributes).build();
        // Elections are always sampled, also when a remote parent was not.
        let built = self.courier.provider(destination, resource, Some(ElectionSampler::new(Sampler::AlwaysOn)));
        let provider = built.inspect_err(|error| tell(&destination.route.endpoint, node, error)).ok()?;
        let earlier: Vec<_> = nodes.providers.keys().filter(|k| k.0 == key.0 && k.1 == key.1).cloned().collect();
        let earlier: Vec<_> =
            earlier.iter().filter_map(|key| nodes.providers.remove(key)).map(Closable::Tracers).collect();
        nodes.providers.insert(key, provider.clone());
        drop(nodes);
        if !earlier.is_empty() {
            // This is the node's thread: it waits for nothing.
            shut_down(earlier, Duration::ZERO);
        }
        Some(provider)
    }

    /// Every provider, to be shut down.
    fn close(&self) -> Vec<Closable> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.closed = true;
        let of_nodes = std::mem::take(&mut nodes.providers).into_values();
        let application = self.traces.iter().map(|traces| traces.application.clone());
        let tracers = of_nodes.chain(application).map(Closable::Tracers);
        tracers.chain(self.meters.clone().map(Closable::Meters)).collect()
    }
}

fn tell(endpoint: &str, node: &str, error: &opentelemetry_otlp::ExporterBuildError) {
    tracing::warn!(
        name: "raft.telemetry.exporter_missing",
        target: super::TARGET,
        node,
        endpoint,
        "the elections of this node leave no trace: {error}"
    );
}
