#![allow(clippy::unwrap_used)]

use super::*;
use crate::field::NoPortNames;

fn m(text: &str) -> Match<PipelineKey> {
    Match::parse(text, &NoPortNames).unwrap()
}

fn refused(text: &str) -> String {
    Match::parse(text, &NoPortNames).unwrap_err().to_string()
}

/// What goes in, what comes out, both verified with ovs-ofctl 3.1.
#[test]
fn text_is_open_vswitch_s() {
    let cases = [
        (
            "tcp,in_port=1,dl_vlan=10,nw_src=10.0.0.0/8,tp_dst=80",
            "tcp,in_port=1,dl_vlan=10,nw_src=10.0.0.0/8,tp_dst=80",
        ),
        ("tp_dst=80,tcp", "tcp,tp_dst=80"),
        ("ip,nw_proto=6,tp_dst=80", "tcp,tp_dst=80"),
        ("dl_type=0x800,nw_proto=17,tp_dst=53", "udp,tp_dst=53"),
        (
            "tcp dl_vlan=4\tnw_src:1.2.3.4",
            "tcp,dl_vlan=4,nw_src=1.2.3.4",
        ),
        ("ip,nw_src=10.0.0.7/8", "ip,nw_src=10.0.0.0/8"),
        ("ip,nw_src=*", "ip"),
        (
            "arp,nw_src=1.2.3.4,nw_proto=2",
            "arp,arp_spa=1.2.3.4,arp_op=2",
        ),
        ("icmp,tp_src=8", "icmp,icmp_type=8"),
        (
            "icmp6,icmpv6_type=135,nd_target=::1",
            "icmp6,icmp_type=135,nd_target=::1",
        ),
        ("ip,ip_dscp=5,nw_proto=47", "ip,nw_proto=47,nw_tos=20"),
        ("xreg0=5", "reg0=0,reg1=0x5"),
        ("packet_type=(0,0)", ""),
        ("eth()", ""),
        (
            "packet_type=(1,0x800),nw_src=1.2.3.4",
            "packet_type=(1,0x800),nw_src=1.2.3.4",
        ),
        ("in_port=65534", "in_port=LOCAL"),
        ("in_port=controller", "in_port=CONTROLLER"),
        ("in_port=65280", "in_port=65280"),
        ("dl_type=0x5ff", "dl_type=0x05ff"),
        ("ip,ip_frag=not_later", "ip,nw_frag=not_later"),
        (
            "tcp,tcp_flags=0x800/0xf00",
            "tcp,tcp_flags=-ns-[200]-[400]+[800]",
        ),
        (
            "mplsm,mpls_label=0xfffff,mpls_bos=1,mpls_ttl=4",
            "mplsm,mpls_label=1048575,mpls_ttl=4,mpls_bos=1",
        ),
        (
            "ipv6,ipv6_label=0x5/0xff",
            "ipv6,ipv6_label=0x00005/0x000ff",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(m(text).to_string(), want, "{text}");
        assert_eq!(m(want), m(text), "{text}");
    }
}

/// The eleven forms of the Open vSwitch design document, "VLAN Matching".
#[test]
fn vlan_forms() {
    let cases = [
        ("", 0x0000, 0x0000, ""),
        ("dl_vlan=0xffff", 0x0000, 0xffff, "vlan_tci=0x0000"),
        ("vlan_tci=0", 0x0000, 0xffff, "vlan_tci=0x0000"),
        ("vlan_vid=0", 0x0000, 0x1fff, "vlan_tci=0x0000/0x1fff"),
        ("dl_vlan=5", 0x1005, 0x1fff, "dl_vlan=5"),
        ("vlan_vid=0x1005", 0x1005, 0x1fff, "dl_vlan=5"),
        ("dl_vlan_pcp=3", 0x7000, 0xf000, "dl_vlan_pcp=3"),
        (
            "dl_vlan=5,dl_vlan_pcp=3",
            0x7005,
            0xffff,
            "dl_vlan=5,dl_vlan_pcp=3",
        ),
        (
            "vlan_vid=0x1005,vlan_pcp=3",
            0x7005,
            0xffff,
            "dl_vlan=5,dl_vlan_pcp=3",
        ),
        (
            "vlan_tci=0x1000/0x1000",
            0x1000,
            0x1000,
            "vlan_tci=0x1000/0x1000",
        ),
        (
            "vlan_vid=0x1000/0x1000",
            0x1000,
            0x1000,
            "vlan_tci=0x1000/0x1000",
        ),
        (
            "vlan_vid=0x0005/0x0fff",
            0x0005,
            0x0fff,
            "vlan_tci=0x0005/0x0fff",
        ),
        (
            "vlan_tci=0x2005/0xefff",
            0x2005,
            0xefff,
            "vlan_tci=0x2005/0xefff",
        ),
        (
            "vlan_tci=0x0123/0x1123",
            0x0123,
            0x1123,
            "vlan_tci=0x0123/0x1123",
        ),
        ("dl_vlan=0", 0x1000, 0x1fff, "dl_vlan=0"),
    ];
    for (text, tci, mask, out) in cases {
        let got = m(text);
        assert_eq!(got.value().flow.vlan0_tci.get(), tci, "{text}");
        assert_eq!(got.mask().0.flow.vlan0_tci.get(), mask, "{text}");
        assert_eq!(got.to_string(), out, "{text}");
    }
}

#[test]
fn refusals_name_the_term_and_the_cure() {
    let cases = [
        (
            "tcp_dst=80,ip",
            "tcp_dst needs ip_proto=6, which is not matched",
        ),
        (
            "nw_src=1.2.3.4",
            "ip_src needs eth_type=0x0800, which is not matched",
        ),
        (
            "udp,tcp_dst=80",
            "tcp_dst needs ip_proto=6, which is not matched",
        ),
        (
            "tcp,ip_frag=later,tp_dst=80",
            "tcp_dst needs ip_frag=not_later, which is not matched",
        ),
        (
            "icmp6,icmpv6_type=133,nd_target=::1",
            "nd_target needs icmpv6_type=135 or 136, which is not matched",
        ),
        ("tcp,udp", "udp contradicts an earlier term"),
        (
            "dl_vlan=0xffff,dl_vlan_pcp=2",
            "dl_vlan_pcp contradicts an earlier term",
        ),
        (
            "tcp,nw_src=1.2.3.4,nw_src=1.2.3.5",
            "nw_src contradicts an earlier term",
        ),
        ("TCP", "TCP is not a match field"),
        ("igmp", "igmp is not a match field"),
        ("in_port", "in_port needs a value"),
        ("tcp=1", "tcp takes no value"),
        (
            "packet_type=(1,0x800",
            "packet_type=(1,0x800: parenthesis or quote is not closed",
        ),
        ("dl_vlan=4096", "dl_vlan: 4096 is not in the field's range"),
        ("ip,nw_tos=3", "0x3 is no value of nw_tos"),
    ];
    for (text, want) in cases {
        assert_eq!(refused(text), want, "{text}");
    }
}

#[test]
fn presence_of_a_layer_is_matched_with_its_fields() {
    let present = |text: &str| m(text).mask().0.flow.present;
    assert_eq!(present("tcp"), Present::IPV4);
    assert_eq!(present("ip"), Present::NONE);
    assert_eq!(present("tcp6,tp_dst=80"), Present::IPV6 | Present::TCP);
    assert_eq!(present("arp,arp_spa=1.2.3.4"), Present::ARP);
    assert_eq!(
        present("icmp6,icmp_type=135,icmp_code=0,nd_target=::1,nd_sll=1:2:3:4:5:6"),
        Present::IPV6 | Present::ICMP | Present::ND | Present::ND_SLL
    );
    assert_eq!(present("mpls,mpls_label=3"), Present::MPLS0);
    let mut x = m("tcp,tp_dst=80");
    x.set(FieldId::TcpDst, 0, 0).unwrap();
    assert_eq!(x, m("tcp"));
}

#[test]
fn overlap_and_specificity() {
    let (wide, narrow) = (m("ip"), m("tcp,tp_dst=80"));
    assert!(narrow.is_more_specific(&wide) && !wide.is_more_specific(&narrow));
    assert!(wide.overlaps(&narrow) && narrow.is_more_specific(&narrow));
    assert!(m("tcp").overlaps(&m("in_port=1")));
    assert!(!m("tcp").overlaps(&m("udp")));
    assert!(!m("tcp,tp_dst=80").overlaps(&m("tcp,tp_dst=81")));
    let mut x = m("ip");
    assert!(x.intersect(&m("in_port=1")));
    assert_eq!(x, m("ip,in_port=1"));
    assert!(!x.intersect(&m("arp")));
}

#[test]
fn normalizing_drops_what_has_no_prerequisite() {
    let mut x = Match::any();
    x.set_exact(FieldId::Ipv4Src, 1).unwrap();
    x.set_exact(FieldId::TcpDst, 80).unwrap();
    x.set_exact(FieldId::IpProto, 6).unwrap();
    x.set_exact(FieldId::DlVlan, 5).unwrap();
    x.set_exact(FieldId::Reg0, 5).unwrap();
    assert!(x.check_prerequisites().is_err());
    assert!(x.normalize());
    assert_eq!(x, m("dl_vlan=5,reg0=5"));
    assert!(!x.normalize());
    assert_eq!(x.check_prerequisites(), Ok(()));
}

#[test]
fn wildcarding_vlan_fields() {
    let mut x = m("dl_vlan=5,dl_vlan_pcp=3");
    x.set(FieldId::DlVlan, 0, 0).unwrap();
    assert_eq!(x, m("dl_vlan_pcp=3"));
    x.set(FieldId::VlanPcp, 0, 0).unwrap();
    assert_eq!(x, Match::any());
}

#[test]
fn fields_come_apart_and_together() {
    let text = "tcp,in_port=LOCAL,dl_vlan=5,dl_vlan_pcp=3,nw_src=10.0.0.0/8,nw_tos=32,tp_dst=80,reg1=0x1/0xf,metadata=0x5";
    for form in [FieldForm::Nxm, FieldForm::Oxm] {
        let mut back = Match::any();
        for (f, v, mask) in m(text).fields(form) {
            f.check_prereq(back.value(), back.mask()).unwrap();
            back.set(f.id, v, mask).unwrap();
        }
        assert_eq!(back, m(text), "{form:?}");
    }
}

#[test]
fn port_names_are_resolved_and_quoted() {
    struct Ports;
    impl crate::field::PortNames for Ports {
        fn port_by_name(&self, name: &str) -> Option<OfPort> {
            ["eth0", "veth-r"]
                .iter()
                .position(|n| *n == name)
                .map(|i| OfPort(i as u32 + 1))
        }
        fn name_of(&self, port: OfPort) -> Option<std::borrow::Cow<'_, str>> {
            ["eth0", "veth-r"]
                .get(port.0 as usize - 1)
                .map(|n| (*n).into())
        }
    }
    for (text, want) in [
        ("in_port=eth0", "in_port=eth0"),
        ("in_port=veth-r", "in_port=\"veth-r\""),
    ] {
        let got = Match::parse(text, &Ports).unwrap();
        assert_eq!(got.display(&Ports).to_string(), want);
        assert_eq!(Match::parse(want, &Ports).unwrap(), got);
    }
    assert!(Match::parse("in_port=eth1", &Ports).is_err());
}
