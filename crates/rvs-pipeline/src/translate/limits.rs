//! Bounds of one translation.

/// Resubmits, gotos, groups, clones and patch ports nest this deep.
pub const MAX_DEPTH: u16 = 64;
/// Table lookups of one translation.
pub const MAX_RESUBMITS: u32 = 4096;
/// Datapath actions of one translation, nested ones included.
pub const MAX_ACTIONS: usize = 4096;
/// Copies that leave.
pub const MAX_OUTPUTS: usize = 1024;
/// Sub-fields on the stack.
pub const MAX_STACK: usize = 4096;
/// Groups visited to find out whether a bucket is live.
pub const MAX_WATCHED: usize = 1024;
