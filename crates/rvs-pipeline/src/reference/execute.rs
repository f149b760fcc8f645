//! Datapath actions on a frame, for judging translations.

use rvs_dpif::limits::RECIRCULATIONS;
use rvs_dpif::{Announce, DpAction, SetField};
use rvs_flow::{extract, DpPort, FlowKey, ParseLimits};
use rvs_packet::edit::{self, Edit};
use rvs_packet::view::Lse;
use rvs_packet::{Frame, VlanTci};

/// What leaves the datapath.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// In order.
    pub outputs: Vec<(DpPort, Vec<u8>)>,
    /// Copies handed up, with their cookies.
    pub punts: Vec<(u64, Vec<u8>)>,
    /// A frame has recirculated more often than [`RECIRCULATIONS`] and went no further.
    pub too_deep: bool,
}

/// Runs `actions` on `frame`. A frame that recirculates is parsed and given to `again`, which says what to do with it.
pub fn execute(
    actions: &[DpAction],
    frame: &Frame,
    in_port: DpPort,
    again: &mut dyn FnMut(FlowKey) -> Vec<DpAction>,
) -> Executed {
    let mut out = Executed::default();
    run(actions, &mut frame.clone(), in_port, 0, again, &mut out);
    out
}

fn run(
    actions: &[DpAction],
    frame: &mut Frame,
    in_port: DpPort,
    rounds: u8,
    again: &mut dyn FnMut(FlowKey) -> Vec<DpAction>,
    out: &mut Executed,
) {
    for action in actions {
        match action {
            DpAction::Output(port) => out.outputs.push((*port, frame.bytes().to_vec())),
            DpAction::OutputTruncated { port, max_len } => {
                let len = frame.len().min(usize::from(*max_len));
                out.outputs.push((*port, frame.bytes()[..len].to_vec()));
            }
            DpAction::Punt { cookie, .. } => out.punts.push((*cookie, frame.bytes().to_vec())),
            DpAction::Recirc(id) => {
                if rounds == RECIRCULATIONS {
                    out.too_deep = true;
                    continue;
                }
                let mut key = extract(frame, in_port, ParseLimits::new(0));
                key.recirc_id = *id;
                let actions = again(key);
                run(
                    &actions,
                    &mut frame.clone(),
                    in_port,
                    rounds + 1,
                    again,
                    out,
                );
            }
            DpAction::Clone(inner) => run(inner, &mut frame.clone(), in_port, rounds, again, out),
            DpAction::CheckPktLen {
                max_len,
                larger,
                otherwise,
            } => {
                let list = if frame.len() > usize::from(*max_len) {
                    larger
                } else {
                    otherwise
                };
                run(list, frame, in_port, rounds, again, out);
            }
            DpAction::Meter(_) | DpAction::Priority(_) => {}
            DpAction::PushVlan { tpid, tci } => {
                edit::push_vlan(frame, *tpid, *tci);
            }
            DpAction::PopVlan => {
                edit::pop_vlan(frame);
            }
            DpAction::PushMpls { ethertype, lse } => {
                edit::push_mpls(frame, *ethertype, Lse(*lse));
            }
            DpAction::PopMpls { ethertype } => {
                edit::pop_mpls(frame, *ethertype);
            }
            DpAction::CopyTtlOut => {
                edit::copy_ttl_out(frame);
            }
            DpAction::CopyTtlIn => {
                edit::copy_ttl_in(frame);
            }
            DpAction::PushPbb { isid } => {
                edit::push_pbb(frame, *isid);
            }
            DpAction::PopPbb => {
                edit::pop_pbb(frame);
            }
            DpAction::Announce(what) => match *what {
                Announce::EthType { tags, value } => {
                    edit::set_eth_type(frame, tags.into(), value);
                }
                Announce::IpProto(proto) => {
                    Edit::new(frame).set_ip_proto(proto);
                }
                Announce::MplsBos(last) => {
                    edit::set_mpls_lse(frame, Lse::new(0, 0, last, 0), Lse::BOS);
                }
            },
            DpAction::Set(field) => set(frame, field),
        }
    }
}

fn set(frame: &mut Frame, field: &SetField) {
    match field {
        SetField::Vlan(m) => {
            edit::set_vlan_tci(frame, 0, VlanTci(m.value), m.mask);
            return;
        }
        SetField::MplsLse(m) => {
            edit::set_mpls_lse(frame, Lse(m.value), m.mask);
            return;
        }
        SetField::PbbIsid(m) => {
            edit::set_pbb_tci(frame, m.value, m.mask);
            return;
        }
        _ => {}
    }
    let mut e = Edit::new(frame);
    match field {
        SetField::EthSrc(m) => e.set_eth_src(m.value, m.mask),
        SetField::EthDst(m) => e.set_eth_dst(m.value, m.mask),
        SetField::Ipv4Src(m) => e.set_ipv4_src(m.value.into(), m.mask.into()),
        SetField::Ipv4Dst(m) => e.set_ipv4_dst(m.value.into(), m.mask.into()),
        SetField::Ipv6Src(m) => e.set_ipv6_src(m.value.into(), m.mask.into()),
        SetField::Ipv6Dst(m) => e.set_ipv6_dst(m.value.into(), m.mask.into()),
        SetField::Ipv6Label(m) => e.set_ipv6_flow_label(m.value, m.mask),
        SetField::NwTos(m) => e.set_ipv4_tos(m.value, m.mask) || e.set_ipv6_tclass(m.value, m.mask),
        SetField::NwTtl(v) => e.set_ipv4_ttl(*v, 0xff) || e.set_ipv6_hop_limit(*v, 0xff),
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
        SetField::ArpOp(v) => e.set_arp_op(*v, 0xffff),
        SetField::ArpSpa(m) => e.set_arp_spa(m.value.into(), m.mask.into()),
        SetField::ArpTpa(m) => e.set_arp_tpa(m.value.into(), m.mask.into()),
        SetField::ArpSha(m) => e.set_arp_sha(m.value, m.mask),
        SetField::ArpTha(m) => e.set_arp_tha(m.value, m.mask),
        SetField::NdTarget(m) => e.set_nd_target(m.value.into(), m.mask.into()),
        SetField::NdSll(m) => e.set_nd_sll(m.value, m.mask),
        SetField::NdTll(m) => e.set_nd_tll(m.value, m.mask),
        SetField::Vlan(_) | SetField::MplsLse(_) | SetField::PbbIsid(_) => false,
    };
}
