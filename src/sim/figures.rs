//! What a run measures of the liveness properties.

/// Measured figures of one run. Times are in election timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// V1: from the freeze of a graph with a quorum-connected node to an exclusive leader.
    pub settled: Option<f64>,
    /// V11: from the healing of all links to an exclusive leader.
    pub healed: Option<f64>,
    /// V7: from a transfer to the next exclusive leader.
    pub handed_over: Option<f64>,
    /// V9: from the order to write on a failing disk to the end of the office.
    pub resigned: Option<f64>,
    /// V12: changes of the leader in a run with losses.
    pub changes: Option<usize>,
    /// V10: the most that one process has kept, in characters of its debug form.
    pub kept_max: usize,
}
