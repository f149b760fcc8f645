use super::*;
use crate::extract::{extract_bytes, ParseLimits};
use crate::testing::{any_words, flow_key, Entropy, P0};

/// Dumped by Open vSwitch 3.1 (`dpctl/dump-flows`) for this frame and the mask that its rules consulted.
#[test]
fn dumps_are_open_vswitch_s() {
    let eth = |t: u16| FlowKey {
        in_port: 1,
        dl_src: [2, 0, 0, 0, 0, 1],
        dl_dst: [2, 0, 0, 0, 0, 2],
        dl_type: t.into(),
        ..FlowKey::default()
    };
    let exact = Mask::<FlowKey>::exact().0;
    let base = FlowKey {
        in_port: exact.in_port,
        dl_type: exact.dl_type,
        ..FlowKey::default()
    };
    let tcp = FlowKey {
        present: Present::IPV4 | Present::TCP,
        nw_src: [10, 0, 0, 1],
        nw_dst: [10, 0, 0, 2],
        nw_proto: 6,
        nw_ttl: 64,
        tp_src: 1234.into(),
        tp_dst: 80.into(),
        tcp_flags: 2.into(),
        ..eth(0x0800)
    };
    let tcp_mask = FlowKey {
        nw_src: [255, 0, 0, 0],
        nw_proto: 255,
        nw_frag: 3,
        tp_dst: 0xfff0.into(),
        tcp_flags: 0x12.into(),
        ..base
    };
    let show = |k: &FlowKey, m: &FlowKey| OdpFlow::new(k, &Mask(*m)).to_string();
    assert_eq!(
        show(&tcp, &tcp_mask),
        "recirc_id(0),in_port(1),packet_type(ns=0,id=0),eth_type(0x0800),\
         ipv4(src=10.0.0.1/255.0.0.0,proto=6,frag=no),tcp(dst=80/0xfff0),tcp_flags(+syn-ack)"
    );
    assert_eq!(
        OdpFlow::new(&tcp, &Mask(tcp_mask)).verbose().to_string(),
        "skb_priority(0/0),skb_mark(0/0),ct_state(0/0),ct_zone(0/0),ct_mark(0/0),ct_label(0/0),\
         recirc_id(0),dp_hash(0/0),in_port(1),packet_type(ns=0,id=0),\
         eth(src=02:00:00:00:00:01/00:00:00:00:00:00,dst=02:00:00:00:00:02/00:00:00:00:00:00),\
         eth_type(0x0800),ipv4(src=10.0.0.1/255.0.0.0,dst=10.0.0.2/0.0.0.0,proto=6,tos=0/0,ttl=64/0,frag=no),\
         tcp(src=1234/0,dst=80/0xfff0),tcp_flags(+syn-ack)"
    );
    let tagged = FlowKey {
        present: Present::VLAN0,
        vlan0_tpid: 0x8100.into(),
        vlan0_tci: 0x7006.into(),
        ..eth(0x88cc)
    };
    let tag_mask = FlowKey {
        dl_src: [255, 255, 0, 0, 0, 0],
        vlan0_tci: 0x1fff.into(),
        ..base
    };
    assert_eq!(
        show(&tagged, &tag_mask),
        "recirc_id(0),in_port(1),packet_type(ns=0,id=0),eth(src=02:00:00:00:00:01/ff:ff:00:00:00:00),\
         eth_type(0x8100),vlan(vid=6,pcp=3/0x0),encap(eth_type(0x88cc))"
    );
    // A part that is 0 and does not count is not there.
    let plain = FlowKey {
        vlan0_tci: 0x1006.into(),
        ..tagged
    };
    assert_eq!(
        show(&plain, &tag_mask),
        "recirc_id(0),in_port(1),packet_type(ns=0,id=0),eth(src=02:00:00:00:00:01/ff:ff:00:00:00:00),\
         eth_type(0x8100),vlan(vid=6),encap(eth_type(0x88cc))"
    );
    let mpls = FlowKey {
        present: Present::MPLS0 | Present::MPLS1,
        mpls_lse: [
            Lse::new(3, 1, false, 64).0.into(),
            Lse::new(4, 0, true, 63).0.into(),
            0.into(),
        ],
        ..eth(0x8847)
    };
    let mpls_mask = FlowKey {
        mpls_lse: [0xffff_ff00.into(), 0.into(), 0.into()],
        ..base
    };
    assert_eq!(
        show(&mpls, &mpls_mask),
        "recirc_id(0),in_port(1),packet_type(ns=0,id=0),eth_type(0x8847),\
         mpls(label=3/0xfffff,tc=1/7,ttl=64/0x0,bos=0/1,label=4/0x0,tc=0/0,ttl=63/0x0,bos=1/0)"
    );
    let arp = FlowKey {
        present: Present::ARP,
        nw_src: [10, 0, 0, 1],
        nw_proto: 1,
        ..eth(0x0806)
    };
    let arp_mask = FlowKey {
        nw_src: exact.nw_src,
        nw_proto: 255,
        arp_tha: [255, 0, 0, 0, 0, 0],
        ..base
    };
    assert_eq!(
        show(&arp, &arp_mask),
        "recirc_id(0),in_port(1),packet_type(ns=0,id=0),eth_type(0x0806),\
         arp(sip=10.0.0.1,op=1,tha=00:00:00:00:00:00/ff:00:00:00:00:00)"
    );
    let mut target = [0; 16];
    target[..2].copy_from_slice(&[0x20, 1]);
    target[15] = 5;
    let nd = FlowKey {
        present: Present::IPV6 | Present::ICMP | Present::ND | Present::ND_TLL,
        ipv6_dst: target,
        nw_proto: 58,
        nw_ttl: 255,
        tp_src: 136.into(),
        nd_target: target,
        arp_tha: [2, 0, 0, 0, 0, 5],
        ..eth(0x86dd)
    };
    let mut low = [0; 16];
    low[15] = 15;
    let nd_mask = FlowKey {
        pkt_mark: 0xf,
        ipv6_dst: low,
        ipv6_label: 0xff.into(),
        nw_proto: 255,
        nw_tos: 255,
        nw_ttl: 255,
        nw_frag: 3,
        tp_src: exact.tp_src,
        tp_dst: exact.tp_dst,
        nd_target: exact.nd_target,
        arp_tha: exact.arp_tha,
        ..base
    };
    assert_eq!(
        show(&nd, &nd_mask),
        "skb_mark(0/0xf),recirc_id(0),in_port(1),packet_type(ns=0,id=0),eth_type(0x86dd),\
         ipv6(dst=2001::5/::f,label=0/0xff,proto=58,tclass=0,hlimit=255,frag=no),\
         icmpv6(type=136,code=0),nd(target=2001::5,tll=02:00:00:00:00:05)"
    );
    assert_eq!(
        show(&eth(0x05ff), &base),
        "recirc_id(0),in_port(1),packet_type(ns=0,id=0),eth_type(0/0xffff)"
    );
}

#[test]
fn nested_tags_names_and_malformed_headers() {
    let mut frame = P0[..12].to_vec();
    frame.extend([0x88, 0xa8, 0x60, 6, 0x81, 0, 0x20, 7]);
    frame.extend(&P0[12..]);
    frame[34] = 0x4f;
    frame[22] = 0x4f;
    let key = extract_bytes(&frame, DpPort(3), ParseLimits::new(2));
    let mask = Mask::exact();
    let name = |p: DpPort| Some(format!("veth{p}"));
    assert_eq!(
        OdpFlow::new(&key, &mask).with_names(&name).to_string(),
        "skb_priority(0),skb_mark(0),ct_state(-new-est-rel-rpl-inv-trk-snat-dnat),ct_zone(0),ct_mark(0),\
         ct_label(0),recirc_id(0),dp_hash(0),in_port(veth3),packet_type(ns=0,id=0),\
         eth(src=00:01:01:01:01:00,dst=00:02:02:02:02:00),eth_type(0x88a8),vlan(vid=6,pcp=3),\
         encap(eth_type(0x8100),vlan(vid=7,pcp=1),encap(eth_type(0x0800),malformed(l3)))"
    );
}

#[test]
fn presence_alone_names_the_types() {
    let key = extract_bytes(&P0, DpPort(1), ParseLimits::default());
    let mask = Mask(FlowKey {
        present: Present::UDP,
        tp_dst: u16::MAX.into(),
        ..FlowKey::default()
    });
    assert_eq!(
        OdpFlow::new(&key, &mask).to_string(),
        "recirc_id(0),in_port(1/0),packet_type(ns=0,id=0),eth_type(0x0800),ipv4(proto=17),udp(dst=53)"
    );
}

/// The states of a connection that there is not: bit by bit where they are matched, 0 in a frame's own key.
#[test]
fn a_frame_has_no_state() {
    let key = FlowKey::default();
    let exact = Mask::exact();
    let flow = OdpFlow::new(&key, &exact);
    assert!(flow.verbose().to_string().contains("ct_state(-new-est"));
    assert!(flow.bare().to_string().contains("ct_state(0),ct_zone(0)"));
}

#[test]
fn every_key_under_every_mask_has_balanced_text() {
    for seed in 0..20_000 {
        let mut e = Entropy::seed(seed);
        let (key, mask) = (flow_key(&mut e), Mask(any_words::<FlowKey>(&mut e)));
        for text in [
            OdpFlow::new(&key, &mask).to_string(),
            OdpFlow::new(&key, &mask).verbose().to_string(),
        ] {
            let count = |c| text.matches(c).count();
            assert_eq!(count('('), count(')'), "{text}");
            assert!(
                !["(,", ",,", ",)", "()"]
                    .iter()
                    .any(|bad| text.contains(bad)),
                "{text}"
            );
        }
    }
}
