//! The election trace: the events of the core, folded into OpenTelemetry spans and `tracing` log lines.
//!
//! [`Spans`] is an [`Observer`](crate::observer::Observer) and a [`Propagator`](crate::observer::Propagator): hand one to
//! a node, and each election it stands for, votes in or wins becomes a trace. [`Metrics`], which it holds, measures.
//! [`registry`] lists everything that is emitted. All this speaks the OpenTelemetry *API*
//! only, so an application's own provider decides where spans go. With the feature `otlp`, `init` builds one.
//!
//! # The application's own spans
//!
//! An application that uses `tracing` with the layer of `tracing-opentelemetry` joins its spans to the election that
//! allowed them: [`Leadership::link`](crate::elector::Leadership::link) adds a link `authorized_by`, and says by a
//! [`LinkOutcome`] whether it was kept. [`Leadership::inject`](crate::elector::Leadership::inject) adds fence and election to a message, and
//! [`Fence::from_carrier`](crate::elector::Fence::from_carrier) reads the fence there. The election that
//! [`Elector::campaign_now`](crate::elector::Elector::campaign_now) orders, and a transfer, link to the caller's current
//! span as `triggered_by`.
//!
//! # Who the agent is
//!
//! Attributes that say which program acts (`gen_ai.agent.id`, `gen_ai.agent.name`, `gen_ai.agent.version`,
//! `service.instance.id`) belong on the *resource* of the application's provider: set them there, once, or by
//! `OTEL_RESOURCE_ATTRIBUTES`. They never stand on the spans of an election, which say which *node* acts
//! (`raft.node.id`, `raft.node.incarnation`): an agent may be served by many nodes, and a node's election is not an
//! agent's act. With one provider for both, elections bear the application's resource; with one for each node
//! (`telemetry::init`) they bear the node's.
//!
//! ```
//! use hustings::telemetry::Spans;
//! use opentelemetry::KeyValue;
//! use opentelemetry_sdk::Resource;
//! use opentelemetry_sdk::trace::SdkTracerProvider;
//!
//! let resource = Resource::builder()
//!     .with_service_name("planner")
//!     .with_attributes([
//!         KeyValue::new("service.instance.id", "planner-0/3"),
//!         KeyValue::new("gen_ai.agent.id", "agent-7"),
//!         KeyValue::new("gen_ai.agent.name", "planner"),
//!         KeyValue::new("gen_ai.agent.version", "1.4.2"),
//!     ])
//!     .build();
//! let provider = SdkTracerProvider::builder().with_resource(resource).build();
//! let spans = Spans::builder().provider(provider.clone()); // and the layer: `.with_tracer(provider.tracer("planner"))`
//! # drop(spans);
//! ```
//!
//! Nothing here has an effect on the protocol: without a provider, with a dead collector or with a hostile
//! `traceparent` the election is the same.

mod bridge;
mod keys;
mod metrics;
pub mod registry;
#[cfg(feature = "otel-sdk")]
mod sampler;
mod spans;

#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod init;
#[cfg(feature = "otlp")]
mod settings;

#[cfg(feature = "otlp")]
pub use init::{Guard, Init, InitError, init};

pub use crate::observer::log::TARGET;
pub use bridge::{LinkOutcome, TRACING_OPENTELEMETRY_VERSION};
pub(crate) use bridge::{caller, caller_baggage, link};
pub use metrics::Metrics;
#[cfg(feature = "otel-sdk")]
pub use sampler::ElectionSampler;
#[cfg(feature = "otlp")]
pub use settings::Resolved;
pub use spans::{ELECTIONS_PER_MINUTE, Spans, SpansBuilder};

/// The release of the `opentelemetry` crate whose API and global this crate uses. Another release in the application has
/// another global, and a provider that is installed there is not seen here.
pub const OPENTELEMETRY_VERSION: &str = "0.33";

/// The name of the instrumentation scope of every span.
pub const SCOPE: &str = "hustings";

/// The semantic conventions that general attributes (`server.address`, `rpc.system.name`) follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.39.0";

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_one_of_the_manifest() {
        let manifest = include_str!("../Cargo.toml");
        let line = manifest.lines().find(|line| line.starts_with("opentelemetry = ")).expect("a dependency");
        assert!(line.contains(&format!("version = \"{}.", super::OPENTELEMETRY_VERSION)), "{line}");
    }
}
