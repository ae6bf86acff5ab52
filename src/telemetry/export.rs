//! How spans and metrics leave the process: by gRPC or HTTP, from a thread that nothing waits for.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use opentelemetry_otlp::{Compression, ExporterBuildError, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::ElectionSampler;
use super::settings::{Protocol, Route, Unusable};

mod http;
#[cfg_attr(not(feature = "otlp-tls"), path = "export/no_tls.rs")]
mod tls;

use http::{Poster, Reason};
use tls::Trust;

/// Where one signal goes, its certificates read.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) route: Route,
    trust: Option<Arc<Trust>>,
}

impl Destination {
    pub(super) fn of(route: Route) -> Result<Destination, Unusable> {
        let trust = Trust::of(&route)?.map(Arc::new);
        Ok(Destination { route, trust })
    }
}

/// The runtime that the exporters' connections live in: a thread of its own, so that spans are exported whatever the
/// application's runtime does, or without one.
#[derive(Debug)]
pub(super) struct Courier {
    handle: Handle,
    /// Whether the runtime is gone. Held while something is polled in it: its timers panic afterwards.
    closed: Arc<RwLock<bool>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Courier {
    pub(super) fn start() -> std::io::Result<Courier> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            let _ = runtime.block_on(stopped);
            // A call that hangs must not keep the thread.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("hustings-otlp".to_owned()).spawn(run)?;
        Ok(Courier { handle, closed: Arc::default(), stop: Some(stop), thread: Some(thread) })
    }

    /// A provider that exports there in the background.
    pub(super) fn provider(
        &self,
        to: &Destination,
        resource: Resource,
        sampler: Option<ElectionSampler<Sampler>>,
    ) -> Result<SdkTracerProvider, ExporterBuildError> {
        let reason = Reason::default();
        let inside = self.handle.enter();
        let builder = opentelemetry_otlp::SpanExporter::builder();
        let exporter = match to.route.protocol {
            Protocol::Grpc => by_grpc(builder.with_tonic(), to).build(),
            Protocol::Http => by_http(builder.with_http(), to, self.poster(to, &reason)).build(),
        }?;
        drop(inside);
        let exporter = Outbound {
            inner: Arc::new(exporter),
            runtime: self.handle.clone(),
            timeout: to.route.timeout,
            news: News::new("spans", to, reason),
        };
        let processor = BatchSpanProcessor::builder(exporter).build();
        let mut builder = SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor);
        if let Some(sampler) = sampler {
            builder = builder.with_sampler(sampler);
        }
        Ok(builder.build())
    }

    /// A meter provider that exports there in the background, as often as `OTEL_METRIC_EXPORT_INTERVAL` says.
    pub(super) fn meters(&self, to: &Destination, resource: Resource) -> Result<SdkMeterProvider, ExporterBuildError> {
        let reason = Reason::default();
        let inside = self.handle.enter();
        let builder = opentelemetry_otlp::MetricExporter::builder();
        let exporter = match to.route.protocol {
            Protocol::Grpc => by_grpc(builder.with_tonic(), to).build(),
            Protocol::Http => by_http(builder.with_http(), to, self.poster(to, &reason)).build(),
        }?;
        drop(inside);
        let exporter = Measurements {
            inner: exporter,
            runtime: self.handle.clone(),
            closed: Arc::clone(&self.closed),
            timeout: to.route.timeout,
            news: News::new("metrics", to, reason),
        };
        let reader = PeriodicReader::builder(exporter).build();
        Ok(SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build())
    }

    fn poster(&self, to: &Destination, reason: &Reason) -> Poster {
        Poster::new(self.handle.clone(), to.trust.clone(), Arc::clone(reason))
    }
}

fn by_grpc<B: WithExportConfig + WithTonicConfig>(builder: B, to: &Destination) -> B {
    let mut builder = builder.with_endpoint(&to.route.endpoint).with_timeout(to.route.timeout);
    if to.route.gzip {
        builder = WithTonicConfig::with_compression(builder, Compression::Gzip);
    }
    match &to.trust {
        Some(trust) => trust.equip(builder),
        None => builder,
    }
}

fn by_http<B: WithExportConfig + WithHttpConfig>(builder: B, to: &Destination, poster: Poster) -> B {
    let builder = builder
        .with_endpoint(&to.route.endpoint)
        .with_timeout(to.route.timeout)
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_http_client(poster);
    if to.route.gzip { WithHttpConfig::with_compression(builder, Compression::Gzip) } else { builder }
}

impl Drop for Courier {
    fn drop(&mut self) {
        *self.closed.write().unwrap_or_else(PoisonError::into_inner) = true;
        drop(self.stop.take());
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

/// A provider that can be shut down.
pub(super) enum Closable {
    Tracers(SdkTracerProvider),
    Meters(SdkMeterProvider),
}

impl Closable {
    fn close(&self, limit: Duration) -> bool {
        match self {
            Closable::Tracers(provider) => provider.shutdown_with_timeout(limit).is_ok(),
            Closable::Meters(provider) => provider.shutdown_with_timeout(limit).is_ok(),
        }
    }
}

/// Shuts the providers down, each on a thread of its own, and waits at most `limit` for all of them. Returns whether they
/// were done in time: what they still held is exported then, and lost otherwise.
pub(super) fn shut_down(providers: Vec<Closable>, limit: Duration) -> bool {
    let (done, finished) = std::sync::mpsc::channel();
    let mut waiting = 0;
    for provider in providers {
        let done = done.clone();
        // On a runtime's own thread the exporter's shutdown would stall: never there.
        let close = move || {
            let closed = provider.close(limit);
            let _ = done.send(closed);
        };
        if thread::Builder::new().name("hustings-otlp-close".to_owned()).spawn(close).is_ok() {
            waiting += 1;
        }
    }
    let until = std::time::Instant::now() + limit;
    // One that fails at once is no reason to leave the others alone.
    (0..waiting).fold(true, |complete, _| {
        let rest = until.saturating_duration_since(std::time::Instant::now());
        finished.recv_timeout(rest).unwrap_or(false) && complete
    })
}

/// Says once that a collector is away, and once that it is back: the SDK keeps silent about what fails.
#[derive(Debug)]
struct News {
    signal: &'static str,
    endpoint: String,
    failing: AtomicBool,
    /// By HTTP the exporter says no more than that it failed; this says why.
    reason: Reason,
}

impl News {
    fn new(signal: &'static str, to: &Destination, reason: Reason) -> News {
        News { signal, endpoint: to.route.endpoint.clone(), failing: AtomicBool::new(false), reason }
    }

    /// Jaeger and Tempo take traces only: who sends both there has lost nothing, and hears of it once.
    fn is_not_taken(&self, result: &OTelSdkResult) -> bool {
        let Err(OTelSdkError::InternalFailure(error)) = result else { return false };
        let not_taken = error.ends_with("gRPC code: Unimplemented") || error.ends_with("status code: 404");
        if not_taken && !self.failing.swap(true, Ordering::Relaxed) {
            let signal = self.signal;
            tracing::info!(
                name: "raft.telemetry.not_taken",
                target: super::TARGET,
                endpoint = self.endpoint.as_str(),
                signal,
                "{} takes no {signal}: none are exported",
                self.endpoint
            );
        }
        not_taken
    }

    fn tell(&self, result: &OTelSdkResult) {
        let signal = self.signal;
        match result {
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner).take();
                let reason = reason.unwrap_or_else(|| error.to_string());
                tracing::warn!(
                    name: "raft.telemetry.export_failed",
                    target: super::TARGET,
                    endpoint = self.endpoint.as_str(),
                    signal,
                    "{signal} cannot be exported to {}, and are lost until they can: {reason}",
                    self.endpoint
                );
            }
            Ok(()) if self.failing.swap(false, Ordering::Relaxed) => tracing::info!(
                name: "raft.telemetry.export_resumed",
                target: super::TARGET,
                endpoint = self.endpoint.as_str(),
                signal,
                "{signal} are exported again"
            ),
            _ => {}
        }
    }
}

/// The exporter's own limit begins with a connection, and ends none that is under way.
async fn within(limit: Duration, export: impl Future<Output = OTelSdkResult>) -> OTelSdkResult {
    tokio::time::timeout(limit, export).await.unwrap_or(Err(OTelSdkError::Timeout(limit)))
}

/// The OTLP exporter of spans, driven by the courier's runtime: the SDK's thread polls it without one.
struct Outbound {
    inner: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    timeout: Duration,
    news: News,
}

impl SpanExporter for Outbound {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let inner = Arc::clone(&self.inner);
        let limit = self.timeout;
        let task = self.runtime.spawn(async move { within(limit, inner.export(batch)).await });
        let result = match task.await {
            Ok(result) => result,
            Err(_) => Err(OTelSdkError::InternalFailure("given up at the shutdown".to_owned())),
        };
        self.news.tell(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Called before the first export: nobody else holds it.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.set_resource(resource);
        }
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("news", &self.news).finish_non_exhaustive()
    }
}

/// The OTLP exporter of metrics. Its measurements are lent, so that it is polled here, within the courier's runtime.
struct Measurements {
    inner: opentelemetry_otlp::MetricExporter,
    runtime: Handle,
    closed: Arc<RwLock<bool>>,
    timeout: Duration,
    news: News,
}

impl PushMetricExporter for Measurements {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let mut export = pin!(within(self.timeout, self.inner.export(metrics)));
        let result = poll_fn(|context| {
            let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
            if *closed {
                return Poll::Ready(Err(OTelSdkError::AlreadyShutdown));
            }
            let _inside = self.runtime.enter();
            export.as_mut().poll(context)
        });
        let result = result.await;
        if self.news.is_not_taken(&result) {
            return Ok(());
        }
        self.news.tell(&result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

impl fmt::Debug for Measurements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measurements").field("news", &self.news).finish_non_exhaustive()
    }
}
