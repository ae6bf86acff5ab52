//! How spans and metrics leave the process: by gRPC, from a thread that nothing waits for.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::ElectionSampler;

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

    /// A provider that exports to `endpoint` in the background.
    pub(super) fn provider(
        &self,
        endpoint: &str,
        resource: Resource,
        sampler: Option<ElectionSampler<Sampler>>,
    ) -> Result<SdkTracerProvider, ExporterBuildError> {
        let inside = self.handle.enter();
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        drop(inside);
        let exporter =
            Outbound { inner: Arc::new(exporter), runtime: self.handle.clone(), news: News::new("spans", endpoint) };
        let processor = BatchSpanProcessor::builder(exporter).build();
        let mut builder = SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor);
        if let Some(sampler) = sampler {
            builder = builder.with_sampler(sampler);
        }
        Ok(builder.build())
    }

    /// A meter provider that exports to `endpoint` in the background, as often as `OTEL_METRIC_EXPORT_INTERVAL` says.
    pub(super) fn meters(&self, endpoint: &str, resource: Resource) -> Result<SdkMeterProvider, ExporterBuildError> {
        let inside = self.handle.enter();
        let exporter = opentelemetry_otlp::MetricExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        drop(inside);
        let exporter = Measurements {
            inner: exporter,
            runtime: self.handle.clone(),
            closed: Arc::clone(&self.closed),
            news: News::new("metrics", endpoint),
        };
        let reader = PeriodicReader::builder(exporter).build();
        Ok(SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build())
    }
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
    (0..waiting).all(|_| {
        let rest = until.saturating_duration_since(std::time::Instant::now());
        finished.recv_timeout(rest).unwrap_or(false)
    })
}

/// Says once that a collector is away, and once that it is back: the SDK keeps silent about what fails.
#[derive(Debug)]
struct News {
    signal: &'static str,
    endpoint: String,
    failing: AtomicBool,
}

impl News {
    fn new(signal: &'static str, endpoint: &str) -> News {
        News { signal, endpoint: endpoint.to_owned(), failing: AtomicBool::new(false) }
    }

    fn tell(&self, result: &OTelSdkResult) {
        let signal = self.signal;
        match result {
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => tracing::warn!(
                name: "raft.telemetry.export_failed",
                target: super::TARGET,
                endpoint = self.endpoint.as_str(),
                signal,
                "{signal} cannot be exported, and are lost until they can: {error}"
            ),
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

/// The OTLP exporter of spans, driven by the courier's runtime: the SDK's thread polls it without one.
struct Outbound {
    inner: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    news: News,
}

impl SpanExporter for Outbound {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let inner = Arc::clone(&self.inner);
        let task = self.runtime.spawn(async move { inner.export(batch).await });
        let result = match task.await {
            Ok(result) => result,
            Err(error) => Err(OTelSdkError::InternalFailure(error.to_string())),
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
    news: News,
}

impl PushMetricExporter for Measurements {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let mut export = pin!(self.inner.export(metrics));
        let result = poll_fn(|context| {
            let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
            if *closed {
                return Poll::Ready(Err(OTelSdkError::AlreadyShutdown));
            }
            let _inside = self.runtime.enter();
            export.as_mut().poll(context)
        });
        let result = result.await;
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
