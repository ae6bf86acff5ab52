//! The election trace, from events to exported spans.

#[path = "telemetry/stage.rs"]
mod stage;

#[path = "telemetry/application.rs"]
mod application;
#[path = "telemetry/audit.rs"]
mod audit;
#[path = "telemetry/collective.rs"]
mod collective;
#[path = "telemetry/elections.rs"]
mod elections;
#[path = "telemetry/heartbeats.rs"]
mod heartbeats;
#[path = "telemetry/live.rs"]
mod live;
#[path = "telemetry/logs.rs"]
mod logs;
#[path = "telemetry/metrics.rs"]
mod metrics;
#[path = "telemetry/offices.rs"]
mod offices;
#[path = "telemetry/plays.rs"]
mod plays;
#[path = "telemetry/registry.rs"]
mod registry;
#[path = "telemetry/sampling.rs"]
mod sampling;
#[path = "telemetry/traps.rs"]
mod traps;
