//! Bounds that both sides of the treaty keep. The slow path stays inside them; the caches refuse what does not.

/// Masks of one input port in one worker, and so subtables that a lookup asks at most. One place of them is kept for
/// the exact mask ([`rvs_flow::Mask::exact`]): a port with one mask less than this must fall back to exact flows.
pub const MASKS_PER_PORT: usize = 64;
/// Masks of one worker, exact ones not counted.
pub const MASKS_PER_WORKER: usize = 512;
/// Flows of one worker.
pub const FLOWS_PER_WORKER: usize = 256 * 1024;
/// Times that one frame may be recirculated.
pub const RECIRCULATIONS: u8 = 8;
/// How deep lists of actions may nest in one another (clones, length checks).
pub const ACTION_NESTING: u8 = 16;
