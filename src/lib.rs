//! Raft leader election with the election trace built in.

// floor 0/1: words and pure parts
pub mod config;
pub mod event;
pub mod message;
pub mod promise;
pub mod quorum;
pub mod record;
pub mod types;
// floor 2: the machine
pub mod node;
// ---- purity line ----
// floor 3: contracts at the edge
pub mod clock;
pub mod observer;
pub mod storage;
pub mod transport;
pub mod wire;
// floor 4: users of the machine
pub mod driver;
pub mod elector;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "telemetry")]
pub mod telemetry;
