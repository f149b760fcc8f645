//! A short cut into a large trie: for each value of the bits that follow the root's prefix, the node at which a walk
//! stands when it has read them. A walk of a million prefixes then takes six steps instead of twenty.
//!
//! The writer keeps it true: whatever changes in the trie refills the windows that can see the change, or, when that would
//! be many, drops the whole, and it is built again after enough further changes to pay for it.

use super::{Node, Nodes, NIL};

/// Bits after the root's prefix that index the short cut; few in tests, so that small tries reach past them.
const WINDOW: u8 = if cfg!(test) { 5 } else { 16 };
/// Nodes of a trie from which on a short cut (half a mebibyte) pays in time and is small beside them.
const WORTHWHILE: usize = if cfg!(test) { 8 } else { 32_768 };
/// Windows that one change may refill.
const REFILL: usize = 4096;
/// Bits of [`Entry::lengths`].
const LENGTHS: u32 = 24;

/// Where to resume a walk.
#[derive(Clone, Copy)]
struct Entry {
    node: u32,
    /// Bit `n`: a prefix of the root's length plus `n` was passed. Above [`LENGTHS`]: how many bits the nodes before hold.
    passed: u32,
}

#[derive(Default)]
pub(super) struct Jump {
    /// Empty when there is none.
    entries: Vec<Entry>,
    /// Length of the root's prefix.
    base: u8,
    /// Changes of the trie while there is none.
    changes: usize,
}

impl Jump {
    /// For a value that has the root's prefix: the node, how many bits come before it, and the lengths passed.
    #[inline]
    pub(super) fn find(&self, value: u128) -> Option<(u32, u8, u128)> {
        let window = (value << self.base >> (128 - u32::from(WINDOW))) as usize;
        let entry = self.entries.get(window)?;
        let lengths = u128::from(entry.passed & ((1 << LENGTHS) - 1)) << self.base >> 1;
        Some((entry.node, (entry.passed >> LENGTHS) as u8, lengths))
    }

    /// The trie has changed on the path of `value`, from the node that begins at bit `from` downwards.
    pub(super) fn changed(&mut self, nodes: &Nodes, root: u32, value: u128, from: u8) {
        if self.entries.is_empty() {
            self.changes += 1;
            if nodes.used > WORTHWHILE && self.changes > nodes.used / 8 {
                self.build(nodes, root);
            }
            return;
        }
        if from == 0 || nodes.used < WORTHWHILE / 2 {
            *self = Self::default();
            return;
        }
        if from >= self.base + WINDOW {
            return;
        }
        let (mut at, mut start, mut lengths) = (root, 0, 0);
        while let Some(node) = nodes.get(at).filter(|_| start < from) {
            start += node.len();
            lengths |= self.length_of(node, start);
            at = node.child[super::bit(value, start)];
        }
        // No node begins there, or so many windows see it that building anew is cheaper.
        let known = start - self.base + 1;
        if at == NIL || start != from || 1 << (WINDOW - known) > REFILL {
            *self = Self::default();
            return;
        }
        let window = (value << self.base >> (128 - u32::from(WINDOW))) as usize;
        self.fill(
            nodes,
            at,
            start,
            known,
            window & !0 << (WINDOW - known),
            lengths,
        );
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    fn build(&mut self, nodes: &Nodes, root: u32) {
        self.base = nodes.get(root).map_or(0, Node::len);
        self.entries = vec![
            Entry {
                node: NIL,
                passed: 0
            };
            1 << WINDOW
        ];
        self.changes = 0;
        self.fill(nodes, root, 0, 0, 0, 0);
    }

    /// Makes all windows that share the first `known` bits of `window` lead to node `at` or below it. The node begins at
    /// bit `start`, and `lengths` were passed before it. Recursion is at most as deep as a window is long.
    fn fill(&mut self, nodes: &Nodes, at: u32, start: u8, known: u8, window: usize, lengths: u32) {
        let entry = Entry {
            node: at,
            passed: lengths | u32::from(start) << LENGTHS,
        };
        if let Some(windows) = self
            .entries
            .get_mut(window..window + (1 << (WINDOW - known)))
        {
            windows.fill(entry);
        }
        let Some(node) = nodes.get(at) else {
            return;
        };
        let end = start + node.len();
        if end >= self.base + WINDOW {
            return;
        }
        let passed = end - self.base;
        let lengths = lengths | self.length_of(node, end);
        // The root's bits come before the window.
        let bits = if start < self.base {
            0
        } else {
            node.bits >> (start - self.base)
        };
        let window = window | (bits >> (32 - u32::from(WINDOW))) as usize;
        for (side, child) in node.child.into_iter().enumerate() {
            if child != NIL {
                let window = window | side << (WINDOW - 1 - passed);
                self.fill(nodes, child, end, passed + 1, window, lengths);
            }
        }
    }

    fn length_of(&self, node: &Node, end: u8) -> u32 {
        u32::from(node.rules() > 0) << (end - self.base)
    }
}
