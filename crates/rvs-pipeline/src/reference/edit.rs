//! Actions that change the frame.

use rvs_flow::field::{Field, FieldId};
use rvs_flow::key::TCI_PRESENT;
use rvs_flow::{OfPort, Present};
use rvs_openflow::Action;
use rvs_packet::edit::{self, Edit};
use rvs_packet::view::Lse;
use rvs_packet::{EtherType, IpProto, MacAddr, VlanTci};

use super::{get, has, set, Packet};

/// TTL of IPv4 or IPv6.
pub(super) fn nw_ttl(p: &Packet<'_>) -> Option<u8> {
    has(p, FieldId::IpTtl).then(|| p.key().flow.nw_ttl)
}

/// TTL of the outermost label.
pub(super) fn mpls_ttl(p: &Packet<'_>) -> Option<u8> {
    has(p, FieldId::MplsTtl).then(|| p.key().flow.mpls_lse[0].get() as u8)
}

/// Does what the action says to the frame or to the registers. Actions that do neither are not for this function.
pub(super) fn apply(p: &mut Packet<'_>, action: &Action) {
    use FieldId as F;
    match action {
        Action::PushVlan(tpid) => {
            let key = p.key().flow;
            let tci = key.vlan0_tci.get() & !TCI_PRESENT;
            push_vlan(p, *tpid, VlanTci(tci));
        }
        Action::PopVlan => pop_vlan(p),
        Action::PushMpls(ethertype) => push_mpls(p, *ethertype),
        Action::PopMpls(ethertype) if has(p, F::MplsLabel) => {
            edit::pop_mpls(&mut p.frame, *ethertype);
        }
        Action::PushPbb(_) => {
            let key = p.key().flow;
            let pcp = u32::from(VlanTci(key.vlan0_tci.get()).pcp());
            edit::push_pbb(&mut p.frame, pcp << 29 | key.pbb_isid.get() & 0xff_ffff);
            p.own_tags = 0;
        }
        Action::PopPbb if has(p, F::PbbIsid) => {
            edit::pop_pbb(&mut p.frame);
            p.own_tags = 0;
        }
        Action::SetField(v) => set_field(p, v.field, v.value, v.mask),
        Action::Load(v) => set(p, v.dst, v.value),
        Action::Move { src, dst } => {
            if let Some(v) = get(p, *src) {
                set(p, *dst, v);
            }
        }
        Action::SetVlanVid { vid, push } if *push || tagged(p) => whole(p, F::DlVlan, vid.get()),
        Action::SetVlanPcp { pcp, push } if *push || tagged(p) => whole(p, F::DlVlanPcp, *pcp),
        Action::SetEthSrc(m) => whole(p, F::EthSrc, m.to_u64()),
        Action::SetEthDst(m) => whole(p, F::EthDst, m.to_u64()),
        Action::SetNwSrc(a) => whole(p, F::Ipv4Src, u32::from_be_bytes(*a)),
        Action::SetNwDst(a) => whole(p, F::Ipv4Dst, u32::from_be_bytes(*a)),
        Action::SetNwTos(v) => set_field(p, F::NwTos, u128::from(*v), 0xfc),
        Action::SetNwEcn(v) => whole(p, F::IpEcn, *v),
        Action::SetNwTtl(v) => whole(p, F::IpTtl, *v),
        Action::SetTpSrc(v) => {
            for f in [F::TcpSrc, F::UdpSrc, F::SctpSrc] {
                whole(p, f, *v);
            }
        }
        Action::SetTpDst(v) => {
            for f in [F::TcpDst, F::UdpDst, F::SctpDst] {
                whole(p, f, *v);
            }
        }
        Action::SetTunnel(v) => whole(p, F::TunId, *v),
        Action::SetMplsLabel(v) => whole(p, F::MplsLabel, *v),
        Action::SetMplsTc(v) => whole(p, F::MplsTc, *v),
        Action::SetMplsTtl(v) => whole(p, F::MplsTtl, *v),
        Action::DecMplsTtl => {
            if let Some(ttl) = mpls_ttl(p) {
                whole(p, F::MplsTtl, ttl.saturating_sub(1));
            }
        }
        Action::DecNwTtl(_) => {
            if let Some(ttl) = nw_ttl(p) {
                whole(p, F::IpTtl, ttl.saturating_sub(1));
            }
        }
        Action::CopyTtlOut => {
            let key = p.key().flow;
            if key.present.has(Present::MPLS1) {
                whole(p, F::MplsTtl, key.mpls_lse[1].get() & 0xff);
            } else if key.present.has(Present::MPLS0) {
                edit::copy_ttl_out(&mut p.frame);
            }
        }
        Action::CopyTtlIn => copy_ttl_in(p),
        _ => {}
    }
}

fn tagged(p: &Packet<'_>) -> bool {
    p.key().flow.present.has(Present::VLAN0)
}

fn whole(p: &mut Packet<'_>, id: FieldId, value: impl Into<u128>) {
    set_field(p, id, value.into(), Field::of(id).max());
}

fn push_vlan(p: &mut Packet<'_>, tpid: EtherType, tci: VlanTci) {
    edit::push_vlan(&mut p.frame, tpid, tci);
    p.own_tags += 1;
}

fn pop_vlan(p: &mut Packet<'_>) {
    if tagged(p) {
        edit::pop_vlan(&mut p.frame);
        p.own_tags = p.own_tags.saturating_sub(1);
    }
}

fn push_mpls(p: &mut Packet<'_>, ethertype: EtherType) {
    let key = p.key().flow;
    let lse = if key.present.has(Present::MPLS0) {
        key.mpls_lse[0].get() & !0x100
    } else if key.present.any(Present::IP) {
        0x100 | u32::from(key.nw_ttl)
    } else {
        0x100
    };
    edit::push_mpls(&mut p.frame, ethertype, Lse(lse));
}

fn copy_ttl_in(p: &mut Packet<'_>) {
    let key = p.key().flow;
    if !key.present.has(Present::MPLS1) {
        if key.present.has(Present::MPLS0) {
            edit::copy_ttl_in(&mut p.frame);
        }
        return;
    }
    let [outer, inner, _] = key.mpls_lse.map(|l| l.get());
    let ethertype = EtherType(key.dl_type.get());
    edit::pop_mpls(&mut p.frame, ethertype);
    edit::set_mpls_lse(&mut p.frame, Lse(inner & !0xff | outer & 0xff), u32::MAX);
    edit::push_mpls(&mut p.frame, ethertype, Lse(outer));
}

/// Writes bits of a field. A field that the packet does not have stays absent.
pub(super) fn set_field(p: &mut Packet<'_>, id: FieldId, value: u128, mask: u128) {
    let field = Field::of(id);
    if field.is_vlan() {
        return set_vlan(p, id, value as u16, mask as u16);
    }
    if let FieldId::EthType | FieldId::IpProto | FieldId::MplsBos = id {
        return announce(p, id, value);
    }
    if !has(p, id) || matches!(id, FieldId::NdReserved | FieldId::NdOptionsType) {
        return;
    }
    let mut key = p.key();
    field.set_masked(&mut key, value, mask);
    if field.present != Present::NONE || matches!(id, FieldId::EthSrc | FieldId::EthDst) {
        return write(p, id, field.get(&key));
    }
    // A field of the pipeline's own.
    p.of_port = OfPort(key.of_port);
    p.fields = rvs_flow::PipelineKey {
        flow: Default::default(),
        ..key
    };
}

/// Writes what says how the rest is read.
fn announce(p: &mut Packet<'_>, id: FieldId, value: u128) {
    let present = p.key().flow.present;
    let tags = [Present::VLAN0, Present::VLAN1];
    match id {
        FieldId::EthType => {
            let tags = tags.into_iter().filter(|t| present.has(*t)).count();
            edit::set_eth_type(&mut p.frame, tags, EtherType(value as u16));
        }
        FieldId::IpProto if has(p, id) => {
            Edit::new(&mut p.frame).set_ip_proto(IpProto(value as u8));
        }
        FieldId::MplsBos if has(p, id) => {
            edit::set_mpls_lse(&mut p.frame, Lse((value as u32) << 8), Lse::BOS);
        }
        _ => {}
    }
}

/// Writes a whole field that the frame has.
fn write(p: &mut Packet<'_>, id: FieldId, v: u128) {
    use FieldId as F;
    let mac = MacAddr::from_u64(v as u64);
    let all = MacAddr::BROADCAST;
    let v4 = std::net::Ipv4Addr::from(v as u32);
    let v6 = std::net::Ipv6Addr::from(v);
    let (ones4, ones6) = (
        std::net::Ipv4Addr::BROADCAST,
        std::net::Ipv6Addr::from(u128::MAX),
    );
    let (byte, short) = (v as u8, v as u16);
    match id {
        F::MplsLabel => {
            edit::set_mpls_lse(&mut p.frame, Lse((v as u32) << 12), 0xffff_f000);
            return;
        }
        F::MplsTc => {
            edit::set_mpls_lse(&mut p.frame, Lse((v as u32) << 9), 0xe00);
            return;
        }
        F::MplsTtl => {
            edit::set_mpls_lse(&mut p.frame, Lse(v as u32), 0xff);
            return;
        }
        F::PbbIsid => {
            edit::set_pbb_tci(&mut p.frame, v as u32, 0x00ff_ffff);
            return;
        }
        F::PbbUca => {
            edit::set_pbb_tci(&mut p.frame, (v as u32) << 27, 1 << 27);
            return;
        }
        _ => {}
    }
    let mut e = Edit::new(&mut p.frame);
    match id {
        F::EthSrc => e.set_eth_src(mac, all),
        F::EthDst => e.set_eth_dst(mac, all),
        F::Ipv4Src => e.set_ipv4_src(v4, ones4),
        F::Ipv4Dst => e.set_ipv4_dst(v4, ones4),
        F::Ipv6Src => e.set_ipv6_src(v6, ones6),
        F::Ipv6Dst => e.set_ipv6_dst(v6, ones6),
        F::Ipv6Label => e.set_ipv6_flow_label(v as u32, 0xf_ffff),
        F::NwTos => e.set_ipv4_tos(byte, 0xfc) || e.set_ipv6_tclass(byte, 0xfc),
        F::IpDscp => e.set_ipv4_tos(byte << 2, 0xfc) || e.set_ipv6_tclass(byte << 2, 0xfc),
        F::IpEcn => e.set_ipv4_tos(byte, 3) || e.set_ipv6_tclass(byte, 3),
        F::IpTtl => e.set_ipv4_ttl(byte, 0xff) || e.set_ipv6_hop_limit(byte, 0xff),
        F::TcpSrc => e.set_tcp_src(short, 0xffff),
        F::TcpDst => e.set_tcp_dst(short, 0xffff),
        F::UdpSrc => e.set_udp_src(short, 0xffff),
        F::UdpDst => e.set_udp_dst(short, 0xffff),
        F::SctpSrc => e.set_sctp_src(short, 0xffff),
        F::SctpDst => e.set_sctp_dst(short, 0xffff),
        F::Icmpv4Type => e.set_icmp_type(byte, 0xff) || e.set_icmpv6_type(byte, 0xff),
        F::Icmpv4Code => e.set_icmp_code(byte, 0xff) || e.set_icmpv6_code(byte, 0xff),
        F::Icmpv6Type => e.set_icmpv6_type(byte, 0xff) || e.set_icmp_type(byte, 0xff),
        F::Icmpv6Code => e.set_icmpv6_code(byte, 0xff) || e.set_icmp_code(byte, 0xff),
        F::ArpOp => e.set_arp_op(u16::from(byte), 0xffff),
        F::ArpSpa => e.set_arp_spa(v4, ones4),
        F::ArpTpa => e.set_arp_tpa(v4, ones4),
        F::ArpSha => e.set_arp_sha(mac, all),
        F::ArpTha => e.set_arp_tha(mac, all),
        F::NdTarget => e.set_nd_target(v6, ones6),
        F::NdSll => e.set_nd_sll(mac, all),
        F::NdTll => e.set_nd_tll(mac, all),
        _ => false,
    };
}

/// The views of the outermost tag: writing a VID or priority makes a tag, taking the presence bit away removes it.
fn set_vlan(p: &mut Packet<'_>, id: FieldId, value: u16, mask: u16) {
    let (value, mask) = match id {
        FieldId::VlanPcp | FieldId::DlVlanPcp => {
            (value << 13 | TCI_PRESENT, mask << 13 | TCI_PRESENT)
        }
        FieldId::DlVlan if value == 0xffff => (0, 0xffff),
        FieldId::DlVlan => (value & 0xfff | TCI_PRESENT, mask & 0xfff | TCI_PRESENT),
        FieldId::VlanVid if mask & TCI_PRESENT == 0 => {
            (value & 0xfff | TCI_PRESENT, mask & 0xfff | TCI_PRESENT)
        }
        FieldId::VlanVid => (value & 0x1fff, mask & 0x1fff),
        _ => (value, mask),
    };
    let present = value & mask & TCI_PRESENT != 0;
    let bits = mask & !TCI_PRESENT;
    match (tagged(p), mask & TCI_PRESENT != 0) {
        (true, true) if !present => pop_vlan(p),
        (true, _) => {
            edit::set_vlan_tci(&mut p.frame, 0, VlanTci(value & bits), bits);
        }
        (false, true) if present => push_vlan(p, EtherType::VLAN, VlanTci(value & bits)),
        (false, _) => {}
    }
}
