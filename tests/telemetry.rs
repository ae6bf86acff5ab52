//! The election trace, from events to exported spans.

#[path = "telemetry/stage.rs"]
mod stage;

#[path = "telemetry/elections.rs"]
mod elections;
#[path = "telemetry/live.rs"]
mod live;
#[path = "telemetry/logs.rs"]
mod logs;
#[path = "telemetry/offices.rs"]
mod offices;
#[path = "telemetry/traps.rs"]
mod traps;
