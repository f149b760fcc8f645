//! A node above the leaves: sixteen ways for the next four bits, and the prefixes that end among these.

use super::{add, take, Bits, Entry, Node, LEAF};

/// Bits that a node decides.
const STRIDE: u8 = 4;

/// Prefixes that share the first `depth` bits and are longer than that. There are more than half a leaf of them. What a walk
/// asks for lies in the node above, beside the link, so that a step touches one cache line.
pub(super) struct Inner<V> {
    below: Box<Below<V>>,
    /// Any value with these bits.
    path: V,
    /// Which of the prefixes up to [`STRIDE`] bits after `depth` some rule has: bit `1 << n | p` for the `n` bits `p`.
    ends: u32,
    /// In the same way, which of them some rule's prefix is or begins with.
    begins: u32,
    /// A multiple of [`STRIDE`].
    depth: u8,
}

struct Below<V> {
    /// The prefixes in `ends`.
    short: Vec<Entry<V>>,
    /// Longer ones, by their bits after `depth`.
    children: [Node<V>; 1 << STRIDE],
}

impl<V: Bits> Inner<V> {
    fn new(path: V, depth: u8) -> Self {
        debug_assert!(depth % STRIDE == 0);
        Self {
            below: Box::new(Below {
                short: Vec::new(),
                children: Default::default(),
            }),
            path,
            ends: 0,
            begins: 0,
            depth,
        }
    }

    /// Of the prefixes of a full leaf.
    pub(super) fn of(list: Vec<Entry<V>>) -> Self {
        let path = list.first().map_or(V::default(), |e| e.value);
        let shared = list.iter().map(|e| shares(path, e.value, e.len())).min();
        let mut inner = Self::new(path, shared.map_or(0, whole_strides));
        for e in list {
            if e.len() <= inner.depth + STRIDE {
                inner.below.short.push(e);
            } else if let Node::Leaf(child) = &mut inner.below.children[e.value.four(inner.depth)] {
                child.push(e);
            }
        }
        inner.mark();
        inner
    }

    /// One step of a walk: the child to go on with, or how many bits were read in all. Adds the lengths that end here.
    #[inline]
    pub(super) fn step(&self, value: V, lengths: &mut V) -> Result<&Node<V>, u8> {
        let same = self.path.common(value);
        if same < self.depth {
            return Err(same + 1);
        }
        let way = value.four(self.depth);
        let full = 1 << STRIDE | way;
        let ends = |n: u8| self.ends >> (full >> (STRIDE - n)) & 1;
        let here = ends(1) | ends(2) << 1 | ends(3) << 2 | ends(4) << 3;
        *lengths = *lengths | V::lengths(here, self.depth);
        let child = &self.below.children[way];
        if !child.is_empty() {
            return Ok(child);
        }
        let begins = |n: u8| self.begins >> (full >> (STRIDE - n)) & 1 == 1;
        let known = (1..=STRIDE).take_while(|n| begins(*n)).count() as u8;
        if known == STRIDE {
            return Err(self.depth + STRIDE);
        }
        // The next bit is read if there is a prefix on its other side.
        let other = full >> (STRIDE - known - 1) ^ 1;
        Err(self.depth + known + (self.begins >> other & 1) as u8)
    }

    /// Adds a rule's prefix here, or returns the child that it belongs to.
    pub(super) fn insert(&mut self, value: V, len: u8) -> Option<&mut Node<V>> {
        let shared = shares(self.path, value, len);
        if shared < self.depth {
            // A node of what is shared takes this one's place.
            let above = Self::new(value, whole_strides(shared));
            let old = std::mem::replace(self, above);
            let way = old.path.four(self.depth);
            self.below.children[way] = Node::Inner(old);
            self.mark();
        }
        let way = value.four(self.depth);
        if len <= self.depth + STRIDE {
            add(&mut self.below.short, value, len, usize::MAX);
            self.mark();
            return None;
        }
        if self.begins >> (1 << STRIDE | way) & 1 == 0 {
            self.begins |= begun(1 << STRIDE | way);
        }
        Some(&mut self.below.children[way])
    }

    /// See [`Node::remove`].
    pub(super) fn remove(&mut self, value: V, len: u8) -> bool {
        let vanished = if len <= self.depth + STRIDE {
            take(&mut self.below.short, value, len)
        } else {
            self.below.children[value.four(self.depth)].remove(value, len)
        };
        if vanished {
            self.mark();
        }
        vanished
    }

    /// What does the same when few prefixes are left (a leaf) or all of them lie one way (that child).
    pub(super) fn simpler(&mut self) -> Option<Node<V>> {
        let mut left = self.below.short.len();
        let mut below = None;
        for (way, child) in self.below.children.iter().enumerate() {
            match child {
                Node::Leaf(list) => left += list.len(),
                Node::Inner(_) if below.is_none() => below = Some(way),
                Node::Inner(_) => return None,
            }
        }
        match below {
            Some(way) => (left == 0).then(|| std::mem::take(&mut self.below.children[way])),
            None if left <= LEAF / 2 => {
                let mut all = Vec::with_capacity(left);
                all.append(&mut self.below.short);
                for child in &mut self.below.children {
                    if let Node::Leaf(list) = child {
                        all.append(list);
                    }
                }
                Some(Node::Leaf(all))
            }
            None => None,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Below<V>>()
            + self.below.short.capacity() * size_of::<Entry<V>>()
            + self
                .below
                .children
                .iter()
                .map(Node::memory_bytes)
                .sum::<usize>()
    }

    /// Makes the marks say what there is.
    fn mark(&mut self) {
        let depth = self.depth;
        let place = |e: &Entry<V>| {
            (1 << STRIDE | e.value.four(depth)) >> (STRIDE - (e.len() - depth).min(STRIDE))
        };
        self.ends = self
            .below
            .short
            .iter()
            .fold(0, |ends, e| ends | 1 << place(e));
        self.begins = self
            .below
            .short
            .iter()
            .fold(0, |all, e| all | begun(place(e)));
        for (way, child) in self.below.children.iter().enumerate() {
            if !child.is_empty() {
                self.begins |= begun(1 << STRIDE | way);
            }
        }
    }
}

/// The marks of a place and of all above it.
fn begun(place: usize) -> u32 {
    (0..=STRIDE)
        .map(|up| place >> up)
        .take_while(|place| *place > 0)
        .fold(0, |marks, place| marks | 1 << place)
}

/// Bits that a prefix shares with a path, less than its length.
fn shares<V: Bits>(path: V, value: V, len: u8) -> u8 {
    path.common(value).min(len - 1)
}

fn whole_strides(bits: u8) -> u8 {
    bits / STRIDE * STRIDE
}
