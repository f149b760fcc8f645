//! From the steps of a flow to the steps of an entry. What the program can't do is refused here, by name, and stays in
//! user space.

use rvs_dpif::{DpAction, Masked, SetField};
use rvs_flow::{DpPort, Present};
use rvs_packet::EtherType;

use crate::tier0::layout::{op, OPS, SET_ROOM};
use crate::tier0::set;

/// `enum op_kind`
const OUTPUT: u8 = 1;
const PUSH_VLAN: u8 = 2;
const POP_VLAN: u8 = 3;
const SET_VLAN: u8 = 4;
/// The frame itself leaves, not a copy.
const LAST: u8 = 1;

/// Of entries: not for SCTP.
const NOT_SCTP: u16 = 1;

/// A way out, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutPort {
    /// In the namespace in which the ports are.
    pub ifindex: u32,
    /// Of the device; longer frames are handed to user space, which knows what to do with them.
    pub mtu: u32,
}

/// Why a flow is not for the kernel. It goes on in user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A step that needs user space: a meter, recirculation, a punt, MPLS, ...
    Action,
    /// More steps than an entry has room for.
    TooManySteps,
    /// An output without a device here.
    NoDevice,
    /// The key or mask has fields that the program does not parse.
    Fields,
    /// All places of the ranked list of masks are taken.
    Masks,
    /// Every entry is taken or waits for its grace period.
    Full,
    /// The bucket of this key is full (other keys may have room).
    Bucket,
}

impl Refusal {
    pub const ALL: [Self; 7] = [
        Self::Action,
        Self::TooManySteps,
        Self::NoDevice,
        Self::Fields,
        Self::Masks,
        Self::Full,
        Self::Bucket,
    ];

    /// Name of the counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Action => "kcache_refused_action",
            Self::TooManySteps => "kcache_refused_steps",
            Self::NoDevice => "kcache_refused_no_device",
            Self::Fields => "kcache_refused_fields",
            Self::Masks => "kcache_refused_masks",
            Self::Full => "kcache_refused_full",
            Self::Bucket => "kcache_refused_bucket",
        }
    }
}

/// The steps of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    pub ops: [u64; OPS],
    /// Smallest MTU of the outputs; 0 without one.
    pub mtu: u32,
    pub flags: u16,
    /// Tags that are pushed; one of 0x88a8, which always counts against the MTU, twice.
    pub pushes: u16,
}

/// Translates the list up to its last output; what follows that has no effect. No frame of the flow has a layer of
/// `absent`.
pub(crate) fn steps(
    actions: &[DpAction],
    absent: Present,
    out: impl Fn(DpPort) -> Option<OutPort>,
) -> Result<Steps, Refusal> {
    let last = actions
        .iter()
        .rposition(|a| matches!(a, DpAction::Output(_)));
    let mut list = List {
        absent,
        ..List::default()
    };
    for (i, action) in actions.iter().enumerate() {
        // What follows the last output is looked at too: a punt there has an effect, and this tier can't do it.
        list.live = last.is_some_and(|last| i <= last);
        list.step(action, last == Some(i), &out)?;
    }
    Ok(list.steps)
}

#[derive(Default)]
struct List {
    steps: Steps,
    len: usize,
    /// An output follows, or this is it.
    live: bool,
    absent: Present,
}

impl List {
    fn step(
        &mut self,
        action: &DpAction,
        last: bool,
        out: impl Fn(DpPort) -> Option<OutPort>,
    ) -> Result<(), Refusal> {
        match action {
            DpAction::Output(port) => {
                let port = out(*port).ok_or(Refusal::NoDevice)?;
                let mtu = &mut self.steps.mtu;
                *mtu = if *mtu == 0 {
                    port.mtu
                } else {
                    port.mtu.min(*mtu)
                };
                let flags = if last { LAST } else { 0 };
                self.push(&[op(OUTPUT, flags, 0, port.ifindex)])
            }
            DpAction::PushVlan { tpid, tci } => {
                // The kernel has no other tags.
                if !matches!(*tpid, EtherType::VLAN | EtherType::QINQ) {
                    return Err(Refusal::Action);
                }
                self.steps.pushes += if *tpid == EtherType::QINQ { 2 } else { 1 };
                self.push(&[op(PUSH_VLAN, 0, tci.0, u32::from(tpid.0))])
            }
            DpAction::PopVlan => self.push(&[op(POP_VLAN, 0, 0, 0)]),
            DpAction::Set(SetField::Vlan(Masked { value, mask })) => {
                self.push(&[op(SET_VLAN, 0, *value, u32::from(*mask))])
            }
            DpAction::Set(field) => {
                if set::is_port(field) {
                    self.steps.flags |= NOT_SCTP;
                }
                for words in set::steps(field, self.absent).ok_or(Refusal::Action)? {
                    if self.live && self.len + SET_ROOM >= OPS {
                        return Err(Refusal::TooManySteps);
                    }
                    self.push(&words)?;
                }
                Ok(())
            }
            DpAction::OutputTruncated { .. }
            | DpAction::PushMpls { .. }
            | DpAction::PopMpls { .. }
            | DpAction::CopyTtlOut
            | DpAction::CopyTtlIn
            | DpAction::PushPbb { .. }
            | DpAction::PopPbb
            | DpAction::Announce(_)
            | DpAction::Priority(_)
            | DpAction::Meter(_)
            | DpAction::Recirc(_)
            | DpAction::Punt { .. }
            | DpAction::Clone(_)
            | DpAction::CheckPktLen { .. } => Err(Refusal::Action),
        }
    }

    fn push(&mut self, words: &[u64]) -> Result<(), Refusal> {
        if !self.live {
            return Ok(());
        }
        for word in words {
            *self
                .steps
                .ops
                .get_mut(self.len)
                .ok_or(Refusal::TooManySteps)? = *word;
            self.len += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rvs_dpif::PuntReason;
    use rvs_packet::VlanTci;

    fn out(port: DpPort) -> Option<OutPort> {
        (port.0 < 10).then_some(OutPort {
            ifindex: 100 + port.0,
            mtu: 1500 + port.0,
        })
    }

    #[test]
    fn the_last_output_takes_the_frame_and_ends_the_list() {
        let tag = DpAction::PushVlan {
            tpid: EtherType::VLAN,
            tci: VlanTci(5),
        };
        let list = [
            DpAction::Output(DpPort(2)),
            tag,
            DpAction::Output(DpPort(1)),
            DpAction::PopVlan,
        ];
        let steps = steps(&list, Present::NONE, out).unwrap();
        assert_eq!(steps.ops[0], op(OUTPUT, 0, 0, 102));
        assert_eq!(steps.ops[1], op(PUSH_VLAN, 0, 5, 0x8100));
        assert_eq!(steps.ops[2], op(OUTPUT, LAST, 0, 101));
        assert_eq!(steps.ops[3..], [0; OPS - 3]);
        assert_eq!((steps.mtu, steps.pushes), (1501, 1));
    }

    #[test]
    fn an_empty_list_drops() {
        assert_eq!(steps(&[], Present::NONE, out), Ok(Steps::default()));
        // Changing a frame that goes nowhere is dropping it.
        assert_eq!(
            steps(&[DpAction::PopVlan], Present::NONE, out).unwrap().ops,
            [0; OPS]
        );
    }

    #[test]
    fn what_the_program_can_not_do_is_refused() {
        let punt = DpAction::Punt {
            reason: PuntReason::Controller,
            cookie: 1,
        };
        let cases = [
            (vec![DpAction::Output(DpPort(1)), punt], Refusal::Action),
            (vec![DpAction::Recirc(1)], Refusal::Action),
            (vec![DpAction::Output(DpPort(10))], Refusal::NoDevice),
            (
                vec![DpAction::Output(DpPort(1)); OPS + 1],
                Refusal::TooManySteps,
            ),
            (
                vec![DpAction::PushVlan {
                    tpid: EtherType(0x9100),
                    tci: VlanTci(1),
                }],
                Refusal::Action,
            ),
        ];
        for (list, refusal) in cases {
            assert_eq!(steps(&list, Present::NONE, out), Err(refusal), "{list:?}");
        }
        assert!(steps(&vec![DpAction::Output(DpPort(1)); OPS], Present::NONE, out).is_ok());
    }

    #[test]
    fn rewrites_of_both_ip_versions_take_a_step_for_each_that_can_be_there() {
        let list = [
            DpAction::Set(SetField::NwTtl(9)),
            DpAction::Output(DpPort(1)),
        ];
        let both = steps(&list, Present::NONE, out).unwrap();
        assert_ne!(both.ops[6], 0);
        let one = steps(&list, Present::IPV6, out).unwrap();
        assert_eq!((one.ops[3], one.ops[4]), (op(OUTPUT, LAST, 0, 101), 0));
        assert_eq!(one.ops[..3], both.ops[..3]);
        assert_eq!((one.flags, both.flags), (0, 0));
    }

    #[test]
    fn a_rewrite_needs_room_for_the_longest() {
        let address = DpAction::Set(SetField::Ipv6Src(Masked::new([1; 16], [0xff; 16])));
        let port = DpAction::Set(SetField::TpSrc(Masked::new(1, 0xffff)));
        let last = DpAction::Output(DpPort(1));
        let fits = [address.clone(), address.clone(), port.clone(), last.clone()];
        let steps_of = |list: &[DpAction]| steps(list, Present::NONE, out);
        assert_eq!(steps_of(&fits).unwrap().flags, NOT_SCTP);
        let past = [address.clone(), address.clone(), last.clone(), port, last];
        assert_eq!(steps_of(&past), Err(Refusal::TooManySteps));
    }
}
