//! Tuple-space classifier: which rule of a table matches a key, and which bits of the key had to be looked at to know.
//!
//! Rules with the same mask form a *subtable*, a hash map from masked value to rules. A lookup asks the subtables in the
//! order of their highest priority and stops when none that is left can hold a better rule, so that it costs what the
//! masks cost, whatever the number of rules.
//!
//! Invariants
//! - *Soundness*: let `wc` be what a lookup of `key` un-wildcarded. Every key that agrees with `key` on `wc` gets the same
//!   answer at the same version. For each subtable that could have held a better rule, `wc` holds a proof that it does
//!   not: the bits of the stages up to the first that no rule shares, or the leading bits of a prefix that no rule has
//!   (together with the stages before it), or, for a match, the whole mask. A lookup only ever adds bits.
//! - *Versions*: a rule is visible from the version that added it until the version that removed it. A reader pinned to a
//!   version sees exactly that version, whatever is written after it. Indexes cover every rule that is physically there,
//!   which costs bits and never an answer. Writers come one at a time, with versions that never go back.
//! - *One answer*: among rules of the highest priority that match, [`layout::specificity`] of the masks decides, never the
//!   order of insertion or the shape of the tables.
//! - Hashes are keyed; the owner brings the seed. Nothing here reads a clock, allocates on lookup, or blocks.
//!
//! Readers use `&self`, the one writer `&mut self`; the owner of the table brings the lock or the snapshot.
#![forbid(unsafe_code)]

mod classifier;
pub mod layout;
mod lookup;
mod parts;
pub mod reference;
mod scan;
mod slab;
mod subtable;
mod trie;

pub use classifier::{Classifier, Config, RuleId, SubtableInfo, Version, WriteError, NEVER};
pub use layout::Layout;
pub use lookup::RuleRef;
pub use scan::{Cursor, Filter};
