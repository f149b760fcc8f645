//! The VLAN tag that the kernel takes off a frame before a packet socket sees it, put back where it was.

use rvs_packet::Frame;

const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;
/// Octets of both addresses: the outermost tag stands behind them.
const ADDRESSES: usize = 12;

/// Inserts the tag `tci` outermost; the offload offsets move along.
///
/// Without a `tpid` (kernels before 3.14 don't tell it) the tag is an S-tag when another tag follows, since that is the only
/// order that IEEE 802.1Q-2022 (9.5) knows, else a C-tag.
pub fn restore_tag(frame: &mut Frame, tci: u16, tpid: Option<u16>) {
    let tpid = tpid.unwrap_or_else(|| {
        let tagged = frame
            .bytes()
            .get(ADDRESSES..ADDRESSES + 2)
            .is_some_and(|b| {
                matches!(u16::from_be_bytes([b[0], b[1]]), ETH_P_8021Q | ETH_P_8021AD)
            });
        if tagged {
            ETH_P_8021AD
        } else {
            ETH_P_8021Q
        }
    });
    frame.insert(ADDRESSES, 4);
    if let Some(tag) = frame.bytes_mut().get_mut(ADDRESSES..ADDRESSES + 4) {
        tag[..2].copy_from_slice(&tpid.to_be_bytes());
        tag[2..].copy_from_slice(&tci.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use rvs_packet::Csum;

    use super::*;

    fn frame(ethertype: u16) -> Frame {
        let mut b = vec![0xffu8; 12];
        b.extend(ethertype.to_be_bytes());
        b.extend([0; 46]);
        Frame::from_slice(&b)
    }

    #[test]
    fn the_tag_comes_back_outermost_with_its_tpid() {
        let mut f = frame(0x8100);
        restore_tag(&mut f, 0xe064, Some(0x9100));
        assert_eq!(
            &f.bytes()[10..20],
            &[0xff, 0xff, 0x91, 0, 0xe0, 0x64, 0x81, 0, 0, 0]
        );
        assert_eq!(f.len(), 64);
    }

    #[test]
    fn an_unknown_tpid_is_guessed_from_what_follows() {
        for (inner, tpid) in [(0x0800, 0x8100), (0x8100, 0x88a8), (0x88a8, 0x88a8)] {
            let mut f = frame(inner);
            restore_tag(&mut f, 100, None);
            assert_eq!(u16::from_be_bytes([f.bytes()[12], f.bytes()[13]]), tpid);
        }
    }

    #[test]
    fn the_partial_checksum_moves_with_the_payload() {
        let mut f = frame(0x0800);
        f.offload.csum = Csum::Partial {
            start: 34,
            offset: 6,
        };
        restore_tag(&mut f, 1, Some(0x8100));
        assert_eq!(
            f.offload.csum,
            Csum::Partial {
                start: 38,
                offset: 6
            }
        );
    }

    #[test]
    fn a_frame_shorter_than_its_addresses_gets_its_tag_at_the_end() {
        let mut f = Frame::from_slice(&[1; 10]);
        restore_tag(&mut f, 1, None);
        assert_eq!(f.len(), 14);
    }
}
