//! Bounds of one translation.

/// Resubmits to the same or an earlier table, groups, clones and patch ports nest this deep.
pub const MAX_DEPTH: u16 = 64;
/// All of that and resubmits to later tables, of which each leads on through every table once: what a thread's stack must
/// hold (see [`STACK`]).
pub const MAX_NESTED: u16 = 512;
/// Octets of stack that a thread is to have that translates, an unoptimised build included; it touches few of them.
pub const STACK: usize = 16 << 20;
/// Table lookups of one translation.
pub const MAX_RESUBMITS: u32 = 4096;
/// Datapath actions of one translation, nested ones included.
pub const MAX_ACTIONS: usize = 4096;
/// Sub-fields on the stack.
pub const MAX_STACK: usize = 4096;
/// Groups visited to find out whether a bucket is live.
pub const MAX_WATCHED: usize = 1024;
