//! The match that shows a frame to people.

use rvs_packet::EtherType;

use super::Match;
use crate::field::{Field, FieldId};
use crate::key::{Mask, PipelineKey, Present};
use crate::port::OfPort;

impl Match<PipelineKey> {
    /// What is worth saying of a key: the fields of the layers that the frame has, whatever their value, and what is set
    /// of the pipeline's own state. Its text is the flow of a packet-in or trace.
    pub fn of_frame(key: &PipelineKey) -> Self {
        let mut mask = Mask::none();
        pipeline(key, &mut mask.0);
        link(key, &mut mask.0);
        let p = key.flow.present;
        let mut show = |fields: &[FieldId]| {
            fields
                .iter()
                .for_each(|f| Field::of(*f).unwildcard(&mut mask));
        };
        if p.any(Present::IP) {
            show(&[
                FieldId::IpProto,
                FieldId::NwTos,
                FieldId::IpEcn,
                FieldId::IpTtl,
                FieldId::IpFrag,
            ]);
        }
        if p.has(Present::IPV4) {
            show(&[FieldId::Ipv4Src, FieldId::Ipv4Dst]);
        }
        if p.has(Present::IPV6) {
            show(&[FieldId::Ipv6Src, FieldId::Ipv6Dst, FieldId::Ipv6Label]);
        }
        if p.has(Present::ARP) {
            show(&[
                FieldId::Ipv4Src,
                FieldId::Ipv4Dst,
                FieldId::IpProto,
                FieldId::ArpSha,
                FieldId::ArpTha,
            ]);
        }
        if p.any(Present::L4) {
            show(transport(key));
        }
        if p.has(Present::MPLS0) {
            show(&[
                FieldId::MplsLabel,
                FieldId::MplsTc,
                FieldId::MplsTtl,
                FieldId::MplsBos,
            ]);
        }
        if p.has(Present::PBB) {
            show(&[FieldId::PbbIsid, FieldId::PbbUca]);
        }
        Self::new(key, mask)
    }
}

/// State that is not the frame's: shown where it is not zero.
fn pipeline(key: &PipelineKey, m: &mut PipelineKey) {
    let all = |set: bool| if set { u32::MAX } else { 0 };
    let all64 = |set: bool| if set { u64::MAX } else { 0 };
    m.of_port = all(key.of_port != 0);
    m.conj_id = all(key.conj_id != 0);
    m.metadata = all64(key.metadata.get() != 0).into();
    for (m, reg) in m.regs.iter_mut().zip(key.regs) {
        *m = all(reg.get() != 0).into();
    }
    m.tun_id = all64(key.tun_id.get() != 0).into();
    m.actset_output = all(key.actset_output != 0 && key.actset_output != OfPort::UNSET.0);
    m.flow.pkt_mark = all(key.flow.pkt_mark != 0);
    m.flow.recirc_id = all(key.flow.recirc_id != 0);
}

fn link(key: &PipelineKey, m: &mut PipelineKey) {
    m.flow.dl_src = [0xff; 6];
    m.flow.dl_dst = [0xff; 6];
    m.flow.dl_type = u16::MAX.into();
    // No tag is worth saying, too.
    m.flow.vlan0_tci = u16::MAX.into();
    // Behind a tag, that there is no second one, too.
    if key.flow.present.has(Present::VLAN0) {
        m.flow.vlan1_tci = u16::MAX.into();
    }
    for (m, lse) in m.flow.mpls_lse.iter_mut().zip(key.flow.mpls_lse).skip(1) {
        *m = if lse.get() == 0 { 0 } else { u32::MAX }.into();
    }
}

fn transport(key: &PipelineKey) -> &'static [FieldId] {
    let p = key.flow.present;
    if p.has(Present::TCP) {
        &[FieldId::TcpSrc, FieldId::TcpDst, FieldId::TcpFlags]
    } else if !p.has(Present::ICMP) {
        &[FieldId::TcpSrc, FieldId::TcpDst]
    } else if EtherType(key.flow.dl_type.get()) == EtherType::IPV4 {
        &[FieldId::Icmpv4Type, FieldId::Icmpv4Code]
    } else if !p.has(Present::ND) {
        &[FieldId::Icmpv6Type, FieldId::Icmpv6Code]
    } else {
        &[
            FieldId::Icmpv6Type,
            FieldId::Icmpv6Code,
            FieldId::NdTarget,
            FieldId::NdSll,
            FieldId::NdTll,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::{extract_bytes, ParseLimits};
    use crate::port::DpPort;

    fn said(frame: &[u8], port: u32) -> String {
        let key = PipelineKey {
            flow: extract_bytes(frame, DpPort(port), ParseLimits::default()),
            of_port: port,
            ..PipelineKey::default()
        };
        Match::of_frame(&key).to_string()
    }

    #[test]
    fn frames_are_said_as_programs_expect() {
        let mut tcp = vec![0x50, 0x54, 0, 0, 0, 7, 0x50, 0x54, 0, 0, 0, 5, 8, 0];
        tcp.extend([
            0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 168, 0, 1, 192, 168, 0, 2,
        ]);
        tcp.extend([
            0, 8, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(
            said(&tcp, 1),
            "tcp,in_port=1,vlan_tci=0x0000,dl_src=50:54:00:00:00:05,dl_dst=50:54:00:00:00:07,\
             nw_src=192.168.0.1,nw_dst=192.168.0.2,nw_tos=0,nw_ecn=0,nw_ttl=64,nw_frag=no,tp_src=8,tp_dst=10,\
             tcp_flags=syn"
        );
        let mut arp = vec![0xff; 6];
        arp.extend([
            2, 0, 0, 0, 0, 1, 0x81, 0, 0x60, 5, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
        ]);
        arp.extend([2, 0, 0, 0, 0, 1, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 1, 2, 3, 5]);
        assert_eq!(
            said(&arp, 0),
            "arp,dl_vlan=5,dl_vlan_pcp=3,vlan_tci1=0x0000,dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff,\
             arp_spa=1.2.3.4,arp_tpa=1.2.3.5,arp_op=1,arp_sha=02:00:00:00:00:01,arp_tha=00:00:00:00:00:00"
        );
        // A broken header is not there.
        assert_eq!(
            said(&tcp[..20], 0),
            "ip,vlan_tci=0x0000,dl_src=50:54:00:00:00:05,dl_dst=50:54:00:00:00:07"
        );
    }
}
