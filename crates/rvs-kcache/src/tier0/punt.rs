//! What stands in front of a frame that the program hands up: 16 octets in the place of an Ethernet header.

use rvs_flow::DpPort;

/// Why the program handed a frame up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PuntedFor {
    /// No entry decides it.
    Miss,
    /// Headers that the program leaves to user space.
    Unparsed,
    /// Longer than an output of its entry takes.
    TooBig,
}

/// The header of a punted frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Punt {
    pub in_port: DpPort,
    pub reason: PuntedFor,
}

impl Punt {
    /// Octets in front of the frame.
    pub const LEN: usize = 16;
    const VERSION: u8 = 1;
    /// IEEE 802 local experimental Ethertype 1.
    const TYPE: [u8; 2] = [0x88, 0xb5];

    /// Splits what the punt device received. `None`: this was not punted by this program (anybody who can send on the
    /// punt device can send anything).
    pub fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, frame) = bytes.split_first_chunk::<{ Self::LEN }>()?;
        let [0x02, Self::VERSION, reason, 0, p0, p1, p2, p3, 0, 0, 0, 0, t0, t1, 0, 0] = *head
        else {
            return None;
        };
        let reason = match reason {
            0 => PuntedFor::Miss,
            1 => PuntedFor::Unparsed,
            2 => PuntedFor::TooBig,
            _ => return None,
        };
        let in_port = DpPort(u32::from_be_bytes([p0, p1, p2, p3]));
        ([t0, t1] == Self::TYPE).then_some((Self { in_port, reason }, frame))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HEAD: [u8; 16] = [2, 1, 1, 0, 0, 0, 1, 5, 0, 0, 0, 0, 0x88, 0xb5, 0, 0];

    #[test]
    fn the_header_is_split_off() {
        let bytes = [&HEAD[..], &[7; 60]].concat();
        let (punt, frame) = Punt::split(&bytes).unwrap();
        assert_eq!(
            punt,
            Punt {
                in_port: DpPort(0x105),
                reason: PuntedFor::Unparsed
            }
        );
        assert_eq!(frame, [7; 60]);
        assert_eq!(Punt::split(&HEAD).unwrap().1, [0u8; 0]);
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        for at in [0, 1, 2, 3, 8, 11, 12, 13, 14, 15] {
            let mut other = HEAD;
            other[at] ^= 0x40;
            assert_eq!(Punt::split(&other), None, "octet {at}");
        }
        assert_eq!(Punt::split(&HEAD[..15]), None);
    }
}
