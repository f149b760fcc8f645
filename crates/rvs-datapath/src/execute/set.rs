//! Rewriting fields.

use rvs_dpif::meter::remark_dscp;
use rvs_dpif::{DpAction, SetField};
use rvs_flow::{extract, DpPort, FlowKey, ParseLimits};
use rvs_packet::edit::{self, Edit};
use rvs_packet::view::Lse;
use rvs_packet::{Frame, VlanTci};

/// Applies the rewrites at the front of `actions` and returns what follows them. Those behind one another share one look
/// at where the headers are.
pub(super) fn fields<'a>(frame: &mut Frame, actions: &'a [DpAction]) -> &'a [DpAction] {
    let mut rest = actions;
    while let [DpAction::Set(field), after @ ..] = rest {
        if tag(frame, field) {
            rest = after;
            continue;
        }
        let mut edit = Edit::new(frame);
        while let [DpAction::Set(field), after @ ..] = rest {
            if !header(&mut edit, field) {
                break;
            }
            rest = after;
        }
    }
    rest
}

/// Rewrites a field of a tag; false when it is not one.
fn tag(frame: &mut Frame, field: &SetField) -> bool {
    match field {
        SetField::Vlan(m) => edit::set_vlan_tci(frame, 0, VlanTci(m.value), m.mask),
        SetField::MplsLse(m) => edit::set_mpls_lse(frame, Lse(m.value), m.mask),
        SetField::PbbIsid(m) => edit::set_pbb_tci(
            frame,
            m.value,
            m.mask & (FlowKey::PBB_ISID | FlowKey::PBB_UCA),
        ),
        _ => return false,
    };
    true
}

/// Rewrites a field of a header that an [`Edit`] knows; false when it is a tag's.
fn header(e: &mut Edit<'_>, field: &SetField) -> bool {
    match *field {
        SetField::EthSrc(m) => e.set_eth_src(m.value, m.mask),
        SetField::EthDst(m) => e.set_eth_dst(m.value, m.mask),
        SetField::Ipv4Src(m) => e.set_ipv4_src(m.value.into(), m.mask.into()),
        SetField::Ipv4Dst(m) => e.set_ipv4_dst(m.value.into(), m.mask.into()),
        SetField::Ipv6Src(m) => e.set_ipv6_src(m.value.into(), m.mask.into()),
        SetField::Ipv6Dst(m) => e.set_ipv6_dst(m.value.into(), m.mask.into()),
        SetField::Ipv6Label(m) => e.set_ipv6_flow_label(m.value, m.mask),
        SetField::NwTos(m) => e.set_ipv4_tos(m.value, m.mask) || e.set_ipv6_tclass(m.value, m.mask),
        SetField::NwTtl(v) => e.set_ipv4_ttl(v, 0xff) || e.set_ipv6_hop_limit(v, 0xff),
        SetField::TpSrc(m) => {
            e.set_tcp_src(m.value, m.mask)
                || e.set_udp_src(m.value, m.mask)
                || e.set_sctp_src(m.value, m.mask)
        }
        SetField::TpDst(m) => {
            e.set_tcp_dst(m.value, m.mask)
                || e.set_udp_dst(m.value, m.mask)
                || e.set_sctp_dst(m.value, m.mask)
        }
        SetField::IcmpType(m) => {
            e.set_icmp_type(m.value, m.mask) || e.set_icmpv6_type(m.value, m.mask)
        }
        SetField::IcmpCode(m) => {
            e.set_icmp_code(m.value, m.mask) || e.set_icmpv6_code(m.value, m.mask)
        }
        SetField::ArpOp(v) => e.set_arp_op(v, 0xffff),
        SetField::ArpSpa(m) => e.set_arp_spa(m.value.into(), m.mask.into()),
        SetField::ArpTpa(m) => e.set_arp_tpa(m.value.into(), m.mask.into()),
        SetField::ArpSha(m) => e.set_arp_sha(m.value, m.mask),
        SetField::ArpTha(m) => e.set_arp_tha(m.value, m.mask),
        SetField::NdTarget(m) => e.set_nd_target(m.value.into(), m.mask.into()),
        SetField::NdSll(m) => e.set_nd_sll(m.value, m.mask),
        SetField::NdTll(m) => e.set_nd_tll(m.value, m.mask),
        SetField::Vlan(_) | SetField::MplsLse(_) | SetField::PbbIsid(_) => return false,
    };
    true
}

/// Raises the drop precedence of an IP frame's DSCP.
pub(super) fn remark(frame: &mut Frame, levels: u8) {
    let key = extract(
        frame,
        DpPort::NONE,
        ParseLimits::new(ParseLimits::MAX_VLANS),
    );
    let new = remark_dscp(key.nw_tos, levels);
    let mut e = Edit::new(frame);
    let _ = e.set_ipv4_tos(new, 0xfc) || e.set_ipv6_tclass(new, 0xfc);
}
