//! MPLS label stack entries (RFC 3032 section 2.1).

/// One label stack entry as on the wire: label (20 bits), traffic class (3), bottom of stack (1), TTL (8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lse(pub u32);

impl Lse {
    pub const LEN: usize = 4;
    pub const LABEL_MASK: u32 = 0xffff_f000;
    pub const LABEL_SHIFT: u32 = 12;
    pub const TC_MASK: u32 = 0x0000_0e00;
    pub const TC_SHIFT: u32 = 9;
    pub const BOS: u32 = 0x0000_0100;
    pub const TTL_MASK: u32 = 0x0000_00ff;

    /// `label` is cut to 20 bits and `tc` to 3.
    pub const fn new(label: u32, tc: u8, bos: bool, ttl: u8) -> Self {
        Self(
            (label << Self::LABEL_SHIFT)
                | ((tc as u32 & 7) << Self::TC_SHIFT)
                | ((bos as u32) << 8)
                | ttl as u32,
        )
    }

    /// The entry at the start of `bytes` and what follows it; `None` when cut off.
    #[inline]
    pub const fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        match bytes.split_first_chunk() {
            Some((h, rest)) => Some((Self(u32::from_be_bytes(*h)), rest)),
            None => None,
        }
    }

    #[inline]
    pub const fn label(self) -> u32 {
        self.0 >> Self::LABEL_SHIFT
    }

    #[inline]
    pub const fn tc(self) -> u8 {
        ((self.0 >> Self::TC_SHIFT) & 7) as u8
    }

    #[inline]
    pub const fn bos(self) -> bool {
        self.0 & Self::BOS != 0
    }

    #[inline]
    pub const fn ttl(self) -> u8 {
        self.0 as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_round_trip() {
        let e = Lse::new(0xf_ffff, 5, true, 64);
        assert_eq!(
            (e.label(), e.tc(), e.bos(), e.ttl()),
            (0xf_ffff, 5, true, 64)
        );
        assert_eq!(Lse::new(16, 0, false, 0).0, 0x0001_0000);
        assert_eq!(
            Lse::split(&[0, 1, 0, 0, 9]),
            Some((Lse(0x1_0000), &[9u8][..]))
        );
    }

    /// CVE-2016-2074: a stack cut off after 0, 1, 2 or 3 octets has no entry there.
    #[test]
    fn truncated_entry_is_none() {
        for n in 0..4 {
            assert_eq!(Lse::split(&[0xcc; 4][..n]), None);
        }
    }
}
