//! How spans leave the process: by gRPC, from a thread that nothing waits for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The runtime that the exporters' connections live in: a thread of its own, so that spans are exported whatever the
/// application's runtime does, or without one.
#[derive(Debug)]
pub(super) struct Courier {
    handle: Handle,
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
        Ok(Courier { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// A provider that exports to `endpoint` in the background.
    pub(super) fn provider(
        &self,
        endpoint: &str,
        resource: Resource,
        sampler: Option<Sampler>,
    ) -> Result<SdkTracerProvider, opentelemetry_otlp::ExporterBuildError> {
        let inside = self.handle.enter();
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        drop(inside);
        let exporter = Outbound {
            inner: Arc::new(exporter),
            runtime: self.handle.clone(),
            endpoint: endpoint.to_owned(),
            failing: AtomicBool::new(false),
        };
        let processor = BatchSpanProcessor::builder(exporter).build();
        let mut builder = SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor);
        if let Some(sampler) = sampler {
            builder = builder.with_sampler(sampler);
        }
        Ok(builder.build())
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

/// Shuts the providers down, each on a thread of its own, and waits at most `limit` for all of them. Returns whether they
/// were done in time: what they still held is exported then, and lost otherwise.
pub(super) fn shut_down(providers: Vec<SdkTracerProvider>, limit: Duration) -> bool {
    let (done, finished) = std::sync::mpsc::channel();
    let mut waiting = 0;
    for provider in providers {
        let done = done.clone();
        // On a runtime's own thread the exporter's shutdown would stall: never there.
        let close = move || {
            let closed = provider.shutdown_with_timeout(limit).is_ok();
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

/// The OTLP exporter, driven by the courier's runtime. The SDK's thread polls it without one, and keeps silent about
/// what fails.
struct Outbound {
    inner: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    endpoint: String,
    failing: AtomicBool,
}

impl Outbound {
    /// Says once that a collector is away, and once that it is back.
    fn tell(&self, result: &OTelSdkResult, spans: usize) {
        match result {
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => tracing::warn!(
                name: "raft.telemetry.export_failed",
                target: super::TARGET,
                endpoint = self.endpoint.as_str(),
                spans,
                "spans cannot be exported, and are lost until they can: {error}"
            ),
            Ok(()) if self.failing.swap(false, Ordering::Relaxed) => tracing::info!(
                name: "raft.telemetry.export_resumed",
                target: super::TARGET,
                endpoint = self.endpoint.as_str(),
                "spans are exported again"
            ),
            _ => {}
        }
    }
}

impl SpanExporter for Outbound {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (inner, spans) = (Arc::clone(&self.inner), batch.len());
        let task = self.runtime.spawn(async move { inner.export(batch).await });
        let result = match task.await {
            Ok(result) => result,
            Err(error) => Err(OTelSdkError::InternalFailure(error.to_string())),
        };
        self.tell(&result, spans);
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
        f.debug_struct("Outbound").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
