//! Datapath actions as `ovs-appctl dpctl/dump-flows` writes them.

use std::fmt::{self, Display, Formatter, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use rvs_flow::DpPort;

use crate::action::{Announce, DpAction, Masked, PuntReason, SetField};

/// Writes a list of actions; `drop` for an empty one. `port` gives a port the name it is shown by.
pub struct ActionText<'a> {
    pub actions: &'a [DpAction],
    pub port: &'a dyn Fn(DpPort) -> String,
}

impl Display for ActionText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.actions.is_empty() {
            return f.write_str("drop");
        }
        for (i, action) in self.actions.iter().enumerate() {
            if i > 0 {
                f.write_char(',')?;
            }
            self.one(f, action)?;
        }
        Ok(())
    }
}

impl ActionText<'_> {
    fn nested<'a>(&'a self, actions: &'a [DpAction]) -> ActionText<'a> {
        ActionText {
            actions,
            port: self.port,
        }
    }

    fn one(&self, f: &mut Formatter<'_>, action: &DpAction) -> fmt::Result {
        match action {
            DpAction::Output(p) => f.write_str(&(self.port)(*p)),
            DpAction::OutputTruncated { port, max_len } => {
                write!(f, "trunc({max_len}),{}", (self.port)(*port))
            }
            DpAction::PushVlan { tpid, tci } => {
                f.write_str("push_vlan(")?;
                if tpid.0 != 0x8100 {
                    write!(f, "tpid=0x{:04x},", tpid.0)?;
                }
                write!(f, "vid={},pcp={})", tci.vid(), tci.pcp())
            }
            DpAction::PopVlan => f.write_str("pop_vlan"),
            DpAction::PushMpls { ethertype, lse } => write!(
                f,
                "push_mpls(label={},tc={},ttl={},bos={},eth_type=0x{:x})",
                lse >> 12,
                lse >> 9 & 7,
                lse & 0xff,
                lse >> 8 & 1,
                ethertype.0
            ),
            DpAction::PopMpls { ethertype } => write!(f, "pop_mpls(eth_type=0x{:x})", ethertype.0),
            DpAction::PushPbb { isid } => write!(f, "push_pbb(isid={isid})"),
            DpAction::CopyTtlOut => f.write_str("copy_ttl_out"),
            DpAction::CopyTtlIn => f.write_str("copy_ttl_in"),
            DpAction::PopPbb => f.write_str("pop_pbb"),
            DpAction::Set(field) => write!(f, "set({field})"),
            DpAction::Announce(Announce::EthType { value, .. }) => {
                write!(f, "set(eth_type(0x{:04x}))", value.0)
            }
            DpAction::Announce(Announce::IpProto(p)) => write!(f, "set(proto={})", p.0),
            DpAction::Announce(Announce::MplsBos(b)) => {
                write!(f, "set(mpls(bos={}))", u8::from(*b))
            }
            DpAction::Priority(p) => write!(f, "set(skb_priority(0x{p:x}))"),
            DpAction::Meter(id) => write!(f, "meter({})", id.0),
            DpAction::Recirc(id) => write!(f, "recirc(0x{id:x})"),
            DpAction::Punt { reason, cookie } => {
                let why = match reason {
                    PuntReason::Controller => "controller",
                    PuntReason::SlowPath => "slow_path",
                    PuntReason::Protocol => "protocol",
                };
                write!(f, "userspace({why}(0x{cookie:x}))")
            }
            DpAction::Clone(inner) => write!(f, "clone({})", self.nested(inner)),
            DpAction::CheckPktLen {
                max_len,
                larger,
                otherwise,
            } => write!(
                f,
                "check_pkt_len(size={max_len},gt({}),le({}))",
                self.nested(larger),
                self.nested(otherwise)
            ),
        }
    }
}

impl Display for SetField {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::EthSrc(m) => masked(f, "eth(src=", m, |v| v.to_string(), |v| v.0 == [0xff; 6]),
            Self::EthDst(m) => masked(f, "eth(dst=", m, |v| v.to_string(), |v| v.0 == [0xff; 6]),
            Self::Vlan(m) => masked(
                f,
                "vlan(tci=",
                m,
                |v| format!("0x{v:x}"),
                |v| *v == u16::MAX,
            ),
            Self::Ipv4Src(m) => masked(
                f,
                "ipv4(src=",
                m,
                |v| Ipv4Addr::from(*v).to_string(),
                |v| *v == [0xff; 4],
            ),
            Self::Ipv4Dst(m) => masked(
                f,
                "ipv4(dst=",
                m,
                |v| Ipv4Addr::from(*v).to_string(),
                |v| *v == [0xff; 4],
            ),
            Self::Ipv6Src(m) => masked(
                f,
                "ipv6(src=",
                m,
                |v| Ipv6Addr::from(*v).to_string(),
                |v| *v == [0xff; 16],
            ),
            Self::Ipv6Dst(m) => masked(
                f,
                "ipv6(dst=",
                m,
                |v| Ipv6Addr::from(*v).to_string(),
                |v| *v == [0xff; 16],
            ),
            Self::Ipv6Label(m) => masked(
                f,
                "ipv6(label=",
                m,
                |v| format!("0x{v:x}"),
                |v| *v == 0xf_ffff,
            ),
            Self::NwTos(m) => masked(f, "ip(tos=", m, |v| format!("0x{v:x}"), |v| *v == 0xff),
            Self::NwTtl(v) => write!(f, "ip(ttl={v})"),
            Self::TpSrc(m) => masked(f, "l4(src=", m, u16::to_string, |v| *v == u16::MAX),
            Self::TpDst(m) => masked(f, "l4(dst=", m, u16::to_string, |v| *v == u16::MAX),
            Self::IcmpType(m) => masked(f, "icmp(type=", m, u8::to_string, |v| *v == 0xff),
            Self::IcmpCode(m) => masked(f, "icmp(code=", m, u8::to_string, |v| *v == 0xff),
            Self::ArpOp(v) => write!(f, "arp(op={v})"),
            Self::ArpSpa(m) => masked(
                f,
                "arp(sip=",
                m,
                |v| Ipv4Addr::from(*v).to_string(),
                |v| *v == [0xff; 4],
            ),
            Self::ArpTpa(m) => masked(
                f,
                "arp(tip=",
                m,
                |v| Ipv4Addr::from(*v).to_string(),
                |v| *v == [0xff; 4],
            ),
            Self::ArpSha(m) => masked(f, "arp(sha=", m, |v| v.to_string(), |v| v.0 == [0xff; 6]),
            Self::ArpTha(m) => masked(f, "arp(tha=", m, |v| v.to_string(), |v| v.0 == [0xff; 6]),
            Self::NdTarget(m) => masked(
                f,
                "nd(target=",
                m,
                |v| Ipv6Addr::from(*v).to_string(),
                |v| *v == [0xff; 16],
            ),
            Self::NdSll(m) => masked(f, "nd(sll=", m, |v| v.to_string(), |v| v.0 == [0xff; 6]),
            Self::NdTll(m) => masked(f, "nd(tll=", m, |v| v.to_string(), |v| v.0 == [0xff; 6]),
            Self::MplsLse(m) => masked(
                f,
                "mpls(lse=",
                m,
                |v| format!("0x{v:x}"),
                |v| *v == u32::MAX,
            ),
            Self::PbbIsid(m) => masked(
                f,
                "pbb(isid=",
                m,
                |v| format!("0x{v:x}"),
                |v| *v == 0xff_ffff,
            ),
        }
    }
}

fn masked<T>(
    f: &mut Formatter<'_>,
    head: &str,
    m: &Masked<T>,
    text: impl Fn(&T) -> String,
    whole: impl Fn(&T) -> bool,
) -> fmt::Result {
    write!(f, "{head}{}", text(&m.value))?;
    if !whole(&m.mask) {
        write!(f, "/{}", text(&m.mask))?;
    }
    f.write_char(')')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rvs_packet::{EtherType, MacAddr, VlanTci};

    #[test]
    fn actions_read_as_the_tools_write_them() {
        let actions = [
            DpAction::Set(SetField::EthDst(Masked::new(
                MacAddr([2, 0, 0, 0, 0, 1]),
                MacAddr::BROADCAST,
            ))),
            DpAction::PushVlan {
                tpid: EtherType::VLAN,
                tci: VlanTci(0xa064),
            },
            DpAction::Output(DpPort(2)),
            DpAction::PopVlan,
            DpAction::Clone([DpAction::Output(DpPort(3))].into()),
        ];
        let text = ActionText {
            actions: &actions,
            port: &|p| p.to_string(),
        }
        .to_string();
        assert_eq!(
            text,
            "set(eth(dst=02:00:00:00:00:01)),push_vlan(vid=100,pcp=5),2,pop_vlan,clone(3)"
        );
        assert_eq!(
            ActionText {
                actions: &[],
                port: &|p| p.to_string()
            }
            .to_string(),
            "drop"
        );
    }
}
