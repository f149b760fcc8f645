//! Where things lie in the arrays that the program and the daemon share: the Rust side of `bpf/kcache.h`, in words.
//!
//! Half words are named by the word they are in; the first is the low one (the program is little-endian only).

/// Words of a flow key that this tier knows: all but MPLS, PBB and packet marks.
pub(crate) const KEY_WORDS: usize = 15;
/// Masks of the ranked list.
pub(crate) const MASKS: usize = 16;
/// Slots of a bucket.
pub(crate) const WAYS: usize = 8;
/// Steps of an entry.
pub(crate) const OPS: usize = 15;

/// `struct config`
pub(crate) mod config {
    use super::{KEY_WORDS, MASKS};

    pub const HEARTBEAT: usize = 0;
    pub const SURVIVE: usize = 1;
    pub const SECRET: usize = 2;
    /// epoch, bucket_mask
    pub const EPOCH_BUCKETS: usize = 4;
    /// entries, punt_ifindex
    pub const ENTRIES_PUNT: usize = 5;
    /// n_masks, vlan_limit
    pub const MASKS_VLANS: usize = 6;
    /// Two words of places, one octet each.
    pub const ORDER: usize = 7;
    pub const MASK: usize = 9;
    /// A mask: its words, then width and exactness.
    pub const MASK_WORDS: usize = KEY_WORDS + 1;
    pub const WORDS: usize = MASK + MASKS * MASK_WORDS;
}

/// `struct entry`
pub(crate) mod entry {
    use super::{KEY_WORDS, OPS};

    pub const KEY: usize = 0;
    /// mask, epoch
    pub const MASK_EPOCH: usize = KEY_WORDS;
    /// mtu, then flags and pushes in 16 bits each
    pub const LIMITS: usize = KEY_WORDS + 1;
    pub const OP: usize = KEY_WORDS + 2;
    pub const WORDS: usize = OP + OPS;
}

/// `struct stat`
pub(crate) mod stat {
    pub const PACKETS: usize = 0;
    pub const BYTES: usize = 1;
    pub const USED: usize = 2;
    pub const TCP_FLAGS: usize = 3;
    pub const WORDS: usize = 4;
}

/// `struct port`
pub(crate) mod port {
    /// dp_port, ifindex
    pub const PORT_IFINDEX: usize = 0;
    pub const COST: usize = 1;
    pub const BURST: usize = 2;
    pub const TAT: usize = 3;
    /// The address of the other end, which may be given frames for it directly; 0: it may not.
    pub const FAR: usize = 4;
    pub const WORDS: usize = 5;
    /// Places.
    pub const PLACES: u32 = 4096;

    /// The two places of a device.
    pub const fn places(ifindex: u32) -> [u32; 2] {
        [
            ifindex & (PLACES - 1),
            ifindex.wrapping_mul(0x9e37_79b1) >> 20,
        ]
    }
}

/// `struct cpu`: counters, then what the parser found.
pub(crate) mod cpu {
    /// `enum counter`
    pub const COUNTERS: usize = 8;
    pub const KEY: usize = COUNTERS;
    /// The step that is next; of the parser alone 1 + its verdict.
    pub const AT: usize = KEY + super::KEY_WORDS + 2;
    /// Width, header, flags behind the key; then that step.
    pub const WORDS: usize = AT + 1;
}

/// Two half words.
pub(crate) const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Words of an entry that must be left behind a set, whatever its width.
pub(crate) const SET_ROOM: usize = 4;

/// A step: `struct op`.
pub(crate) const fn op(kind: u8, flags: u8, arg16: u16, arg32: u32) -> u64 {
    kind as u64 | (flags as u64) << 8 | (arg16 as u64) << 16 | (arg32 as u64) << 32
}

/// The hash of a key under the mask at `place`, as the program computes it. `words` are the leading 7, 11 or 15, masked.
pub(crate) fn hash(secret: [u64; 2], place: u8, words: &[u64]) -> u64 {
    const K1: u64 = 0x9e37_79b9_7f4a_7c15;
    const K2: u64 = 0xc2b2_ae3d_27d4_eb4f;
    let (mut a, mut b) = (secret[0].wrapping_add(u64::from(place)), secret[1]);
    for (i, word) in words.iter().enumerate() {
        let (lane, k) = if i % 2 == 0 {
            (&mut a, K1)
        } else {
            (&mut b, K2)
        };
        *lane = (*lane ^ word).wrapping_mul(k);
        *lane ^= *lane >> 32;
    }
    let h = (a ^ b).wrapping_mul(K1);
    h ^ (h >> 29)
}
