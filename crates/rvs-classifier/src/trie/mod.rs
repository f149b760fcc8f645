//! A binary trie, compressed along paths, of the prefixes that the rules of a table have on one header field.
//!
//! It answers, for one value of the field: which prefix lengths have *some* rule whose prefix covers the value, and how
//! many leading bits had to be read to know. A subtable whose prefix length is not among them holds no match, whatever its
//! other fields say, and the answer stays the same for every value that shares those leading bits. So a packet to
//! 10.1.2.3 in a table with a /32 for 192.168.0.1 pins one bit of the address, not 32.
//!
//! Values are left-aligned in a `u128`. The trie holds every rule that is physically there, of any version: one prefix too
//! many costs mask bits, never a wrong answer.

mod jump;

use jump::Jump;

const NIL: u32 = u32::MAX;
/// Bits a node holds at most; longer paths are chains of nodes.
const SEGMENT: u8 = 32;
/// Nodes from the root to the longest prefix: one per bit, and a root that may be empty.
const MAX_DEPTH: usize = 129;
/// Nodes that are allocated together; a walk of a million prefixes should find all chunk headers in the nearest cache.
const CHUNK: usize = 1 << 15;

/// Sixteen octets, so that none lies across two cache lines.
#[derive(Clone, Copy)]
struct Node {
    /// Left-aligned; bits past the length are 0.
    bits: u32,
    /// How many bits (0 only at the root), and above [`LEN_BITS`] how many rules have a prefix that ends here.
    len_rules: u32,
    child: [u32; 2],
}

const LEN_BITS: u32 = 6;
/// Rules that a table may hold for its tries to count them.
pub(crate) const MAX_RULES: usize = 1 << (32 - LEN_BITS - 1);

impl Node {
    fn new(bits: u32, len: u8, rules: u32, child: [u32; 2]) -> Self {
        Self {
            bits,
            len_rules: rules << LEN_BITS | u32::from(len),
            child,
        }
    }

    #[inline]
    fn len(&self) -> u8 {
        (self.len_rules & ((1 << LEN_BITS) - 1)) as u8
    }

    #[inline]
    fn rules(&self) -> u32 {
        self.len_rules >> LEN_BITS
    }
}

/// Nodes by index, in chunks that never move.
struct Nodes {
    chunks: Vec<Vec<Node>>,
    /// The first free node; each links to the next by its first child.
    free: u32,
    used: usize,
}

impl Nodes {
    #[inline]
    fn get(&self, at: u32) -> Option<&Node> {
        self.chunks
            .get(at as usize / CHUNK)?
            .get(at as usize % CHUNK)
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        self.chunks
            .get_mut(at as usize / CHUNK)
            .and_then(|c| c.get_mut(at as usize % CHUNK))
            .expect("invariant: links lead to nodes that are in use")
    }

    fn insert(&mut self, node: Node) -> u32 {
        self.used += 1;
        if self.free != NIL {
            let at = self.free;
            let place = self.node_mut(at);
            let next = place.child[0];
            *place = node;
            self.free = next;
            return at;
        }
        if self.chunks.last().is_none_or(|c| c.len() == CHUNK) {
            self.chunks.push(Vec::new());
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let mut at = before;
        if let Some(chunk) = self.chunks.last_mut() {
            at += chunk.len();
            chunk.push(node);
        }
        at as u32
    }

    fn remove(&mut self, at: u32) {
        self.used -= 1;
        if self.used == 0 {
            *self = Self::default();
        } else {
            let next = self.free;
            self.node_mut(at).child[0] = next;
            self.free = at;
        }
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            free: NIL,
            used: 0,
        }
    }
}

/// What a walk found out about one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Bit `n - 1`: some rule has a prefix of length `n` that covers the value.
    lengths: u128,
    /// Leading bits that were read.
    bits: u8,
}

impl Walk {
    /// When no rule with a prefix of `len` bits covers the value: how many leading bits prove it.
    pub(crate) fn rules_out(self, len: u8) -> Option<u8> {
        debug_assert!((1..=128).contains(&len));
        (self.lengths >> (len - 1) & 1 == 0).then(|| self.bits.min(len))
    }
}

pub(crate) struct Trie {
    nodes: Nodes,
    root: u32,
    jump: Jump,
}

impl Trie {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Nodes::default(),
            root: NIL,
            jump: Jump::default(),
        }
    }

    pub(crate) fn walk(&self, value: u128) -> Walk {
        let mut out = Walk::default();
        // What is left of the value, and how much was read.
        let (mut rest, mut at) = (value, 0u8);
        let mut next = self.root;
        if let Some((node, before, lengths)) = self.jump_from_root(value) {
            (next, at, rest) = (node, before, value << before);
            out.lengths = lengths;
        }
        while let Some(node) = self.nodes.get(next) {
            let same = common(node, (rest >> 96) as u32);
            if same < node.len() {
                out.bits = at + same + 1;
                return out;
            }
            at += same;
            rest <<= same;
            out.bits = at;
            if node.rules() > 0 {
                out.lengths |= 1 << (at - 1);
            }
            if node.child == [NIL; 2] {
                return out;
            }
            // Some longer prefix exists, so that the next bit decides.
            out.bits = at + 1;
            next = node.child[(rest >> 127) as usize];
        }
        out
    }

    /// Adds a rule whose prefix is the first `len` bits of `value`, 1..=128.
    pub(crate) fn insert(&mut self, value: u128, len: u8) {
        let mut at = 0u8;
        let mut parent = None;
        let mut next = self.root;
        while let Some(node) = self.nodes.get(next).copied() {
            let same = common(&node, segment(value, at)).min(len - at);
            if same < node.len() {
                let upper = self.split(next, node, same);
                self.set_link(parent, upper);
                if at + same == len {
                    self.nodes.node_mut(upper).len_rules += 1 << LEN_BITS;
                } else {
                    let rest = self.chain(value, at + same, len);
                    self.nodes.node_mut(upper).child[bit(value, at + same)] = rest;
                }
                self.jump.changed(&self.nodes, self.root, value, at);
                return;
            }
            at += same;
            if at == len {
                self.nodes.node_mut(next).len_rules += 1 << LEN_BITS;
                if node.rules() == 0 {
                    self.jump
                        .changed(&self.nodes, self.root, value, at - node.len());
                }
                return;
            }
            let side = bit(value, at);
            parent = Some((next, side));
            next = node.child[side];
        }
        let rest = self.chain(value, at, len);
        self.set_link(parent, rest);
        self.jump.changed(&self.nodes, self.root, value, at);
    }

    /// Takes back one `insert` of the same prefix.
    pub(crate) fn remove(&mut self, value: u128, len: u8) {
        let mut path = [(NIL, 0u8); MAX_DEPTH];
        let mut depth = 0;
        let mut at = 0u8;
        let mut next = self.root;
        loop {
            let Some(node) = self.nodes.get(next).copied() else {
                debug_assert!(false, "a prefix is removed that was never added");
                return;
            };
            path[depth] = (next, at);
            depth += 1;
            at += node.len();
            if at >= len {
                break;
            }
            next = node.child[bit(value, at)];
        }
        let last = self.nodes.node_mut(next);
        debug_assert!(last.rules() > 0);
        last.len_rules = last.len_rules.saturating_sub(1 << LEN_BITS);
        if last.rules() == 0 {
            let from = self.prune(&path[..depth]);
            self.jump.changed(&self.nodes, self.root, value, from);
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.nodes
            .chunks
            .iter()
            .map(|c| c.capacity() * size_of::<Node>())
            .sum::<usize>()
            + self.jump.memory_bytes()
    }

    /// Frees the nodes at the end of a path that say nothing any more, and joins the last that stays with its only child.
    /// The path is of nodes and the bits before each. Returns the bits before the highest node that has changed.
    fn prune(&mut self, mut path: &[(u32, u8)]) -> u8 {
        while let Some((&(node, from), above)) = path.split_last() {
            let n = *self.nodes.node_mut(node);
            match n.child {
                _ if n.rules() > 0 => return from,
                [NIL, NIL] => {
                    self.nodes.remove(node);
                    match above.last() {
                        Some(&(parent, _)) => {
                            let link = self.nodes.node_mut(parent).child.iter_mut();
                            link.filter(|c| **c == node).for_each(|c| *c = NIL);
                        }
                        None => self.root = NIL,
                    }
                    path = above;
                }
                [only, NIL] | [NIL, only] => {
                    let child = *self.nodes.node_mut(only);
                    if n.len() + child.len() <= SEGMENT {
                        // A node of 32 bits has no room for a child: the shift is below 32.
                        let bits = n.bits | child.bits >> n.len();
                        *self.nodes.node_mut(node) =
                            Node::new(bits, n.len() + child.len(), child.rules(), child.child);
                        self.nodes.remove(only);
                    }
                    return from;
                }
                _ => return from,
            }
        }
        0
    }

    /// [`Jump::find`] for a value that has the root's prefix.
    #[inline]
    fn jump_from_root(&self, value: u128) -> Option<(u32, u8, u128)> {
        let root = self.nodes.get(self.root)?;
        if common(root, segment(value, 0)) < root.len() {
            return None;
        }
        self.jump.find(value)
    }

    /// Cuts `node` (at index `at`) after `keep` bits; returns the new upper part, which has the lower as its only child.
    fn split(&mut self, at: u32, node: Node, keep: u8) -> u32 {
        debug_assert!(keep < node.len());
        let lower = Node::new(
            node.bits << keep,
            node.len() - keep,
            node.rules(),
            node.child,
        );
        let mut upper = Node::new(node.bits & head(keep), keep, 0, [NIL; 2]);
        upper.child[(lower.bits >> 31) as usize] = at;
        *self.nodes.node_mut(at) = lower;
        self.nodes.insert(upper)
    }

    /// Nodes for the bits `from..len` of `value`, `from < len`; the last one holds a rule. Returns the first.
    fn chain(&mut self, value: u128, from: u8, len: u8) -> u32 {
        let mut end = len;
        let mut below: Option<u32> = None;
        while end > from {
            // Whole segments at the lower end, what is left over at the top.
            let start = from.max(end.saturating_sub(SEGMENT));
            let mut node = Node::new(
                segment(value, start) & head(end - start),
                end - start,
                u32::from(below.is_none()),
                [NIL; 2],
            );
            if let Some(child) = below {
                node.child[bit(value, end)] = child;
            }
            below = Some(self.nodes.insert(node));
            end = start;
        }
        below.unwrap_or(NIL)
    }

    fn set_link(&mut self, parent: Option<(u32, usize)>, to: u32) {
        match parent {
            Some((node, side)) => self.nodes.node_mut(node).child[side] = to,
            None => self.root = to,
        }
    }
}

/// Leading bits that a node shares with a segment of a value.
#[inline]
fn common(node: &Node, segment: u32) -> u8 {
    ((node.bits ^ segment).leading_zeros() as u8).min(node.len())
}

/// The 32 bits of `value` from bit `at` on; 0 past its end.
#[inline]
fn segment(value: u128, at: u8) -> u32 {
    (value.checked_shl(u32::from(at)).unwrap_or(0) >> 96) as u32
}

#[inline]
fn bit(value: u128, at: u8) -> usize {
    (segment(value, at) >> 31) as usize
}

/// The first `n` bits of a segment.
fn head(n: u8) -> u32 {
    !u32::MAX.checked_shr(u32::from(n)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn top(value: u128, len: u8) -> u128 {
        value & !u128::MAX.checked_shr(u32::from(len)).unwrap_or(0)
    }

    /// Values that share long prefixes, so that nodes split and join.
    fn value() -> impl Strategy<Value = u128> {
        prop_oneof![
            any::<u128>(),
            (0u8..128).prop_map(|b| 1 << b),
            (0u128..4, 0u8..126).prop_map(|(v, s)| v << s),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_list_of_prefixes(
            ops in prop::collection::vec((value(), 1u8..=128, prop::bool::weighted(0.7), any::<u16>()), 1..100),
            probes in prop::collection::vec(value(), 1..20),
        ) {
            let mut trie = Trie::new();
            let mut list: Vec<(u128, u8)> = Vec::new();
            for (v, len, add, pick) in ops {
                if add || list.is_empty() {
                    trie.insert(v, len);
                    list.push((top(v, len), len));
                } else {
                    let (v, len) = list.swap_remove(pick as usize % list.len());
                    trie.remove(v, len);
                }
                let near = list.iter().map(|&(v, len)| v ^ 1u128.checked_shl(127 - u32::from(len.min(127))).unwrap_or(0));
                for p in probes.iter().copied().chain(near) {
                    let walk = trie.walk(p);
                    for n in 1..=128u8 {
                        let covered = list.iter().any(|&(v, len)| len == n && top(p, n) == v);
                        match walk.rules_out(n) {
                            None => prop_assert!(covered),
                            Some(bits) => {
                                // No prefix of that length is compatible with the bits that were read.
                                prop_assert!(bits <= n);
                                prop_assert!(!list.iter().any(|&(v, len)| len == n && top(v, bits) == top(p, bits)));
                            }
                        }
                    }
                }
            }
            for (v, len) in list {
                trie.remove(v, len);
            }
            prop_assert!(trie.nodes.used == 0 && trie.root == NIL);
        }
    }

    #[test]
    fn reads_no_more_bits_than_needed() {
        let mut trie = Trie::new();
        let addr = |s: u32| u128::from(s) << 96;
        trie.insert(addr(0xc0a8_0001), 32);
        assert_eq!(trie.walk(addr(0x0a01_0203)).rules_out(32), Some(1));
        assert_eq!(trie.walk(addr(0xc0a8_0001)).rules_out(32), None);
        assert_eq!(trie.walk(addr(0xc0a8_0001)).rules_out(24), Some(24));
        assert_eq!(trie.walk(addr(0xc0a8_0000)).rules_out(32), Some(32));
        trie.insert(addr(0xc0a8_0000), 16);
        assert_eq!(trie.walk(addr(0xc0a8_8000)).rules_out(32), Some(17));
        assert_eq!(trie.walk(addr(0xc0a8_8000)).rules_out(16), None);
    }
}
