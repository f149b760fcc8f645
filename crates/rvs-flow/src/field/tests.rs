#![allow(clippy::unwrap_used)]

use super::*;
use crate::key::FlowKey;

fn key() -> PipelineKey {
    PipelineKey::default()
}

#[test]
fn rows_are_indexed_by_their_id_and_names_are_unique() {
    let mut seen = std::collections::HashMap::new();
    for (i, f) in FIELDS.iter().enumerate() {
        assert_eq!(f.id as usize, i, "{}", f.name);
        for n in [f.name]
            .iter()
            .chain(f.aliases)
            .copied()
            .chain(f.oxms.iter().map(|o| o.name))
        {
            assert_eq!(seen.insert(n, f.id), None, "{n}");
            assert_eq!(Field::by_name(n).unwrap().id, f.id);
        }
    }
}

#[test]
fn layouts_lie_in_the_key_and_hold_the_width() {
    for f in &FIELDS {
        let l = f.layout;
        assert!(
            usize::from(l.byte + u16::from(l.len)) <= size_of::<PipelineKey>(),
            "{}",
            f.name
        );
        assert_eq!(l.mask & !ones(l.len * 8), 0, "{}", f.name);
        let width = 128 - (l.mask >> l.shift).leading_zeros() as u8;
        let port_of_16_bits = f.id == FieldId::InPort;
        assert!(width == f.match_bits || port_of_16_bits, "{}", f.name);
        assert!(u16::from(f.wire_len) * 8 >= u16::from(f.bits), "{}", f.name);
    }
}

#[test]
fn every_tlv_type_leads_back_to_its_field() {
    for f in &FIELDS {
        for o in f.oxms {
            assert_eq!(Field::by_oxm(o.oxm).unwrap().id, f.id, "{}", o.name);
        }
        assert!(
            f.oxms.windows(2).all(|w| w[0].since > w[1].since),
            "{}",
            f.name
        );
    }
    let unknown = OxmType {
        class: OxmType::BASIC,
        field: 127,
        experimenter: 0,
    };
    assert!(Field::by_oxm(unknown).is_none());
}

#[test]
fn the_header_follows_the_version() {
    let flags = Field::of(FieldId::TcpFlags);
    assert_eq!(
        flags.oxm_for(version::OF10).unwrap().name,
        "NXM_NX_TCP_FLAGS"
    );
    assert_eq!(
        flags.oxm_for(version::OF12).unwrap().name,
        "NXM_NX_TCP_FLAGS"
    );
    assert_eq!(
        flags.oxm_for(version::OF13).unwrap().name,
        "ONFOXM_ET_TCP_FLAGS"
    );
    assert_eq!(
        flags.oxm_for(version::OF15).unwrap().name,
        "OXM_OF_TCP_FLAGS"
    );
    assert!(Field::of(FieldId::PbbIsid).oxm_for(version::OF10).is_none());
    // OXM_OF_ETH_TYPE, two octets, no mask: openflow.h of 1.2 and later.
    let eth_type = Field::of(FieldId::EthType).oxm_for(version::OF13).unwrap();
    assert_eq!(eth_type.oxm.header(false, 2), 0x8000_0a02);
}

#[test]
fn every_field_reads_what_was_written_and_nothing_else_moves() {
    for f in &FIELDS {
        if f.is_vlan() || f.bits > 64 && f.format == Format::Decimal {
            continue;
        }
        let mut k = key();
        k.flow.present = Present(u32::MAX);
        let before = k;
        let pattern =
            0x0123_4567_89ab_cdef_0fed_cba9_8765_4321 & f.max() & (f.layout.mask >> f.layout.shift);
        f.set(&mut k, pattern);
        assert_eq!(f.get(&k), pattern, "{}", f.name);
        let mut m = Mask::none();
        f.unwildcard(&mut m);
        assert!(m.0.flow.present.has(f.present), "{}", f.name);
        for ((a, b), m) in before
            .as_bytes()
            .iter()
            .zip(k.as_bytes())
            .zip(m.0.as_bytes())
        {
            assert_eq!((a ^ b) & !m, 0, "{} wrote outside its mask", f.name);
        }
        f.set(&mut k, 0);
        assert_eq!(k, before, "{}", f.name);
    }
}

#[test]
fn a_field_of_an_absent_layer_reads_as_zero() {
    let mut k = key();
    k.flow.nw_src = [10, 0, 0, 1];
    k.flow.present = Present::ARP;
    assert_eq!(Field::of(FieldId::Ipv4Src).get(&k), 0);
    assert!(!Field::of(FieldId::Ipv4Src).exists_in(&k));
    assert_eq!(Field::of(FieldId::ArpSpa).get(&k), 0x0a00_0001);
}

#[test]
fn registers_overlap_as_open_vswitch_has_them() {
    let mut k = key();
    Field::of(FieldId::Xxreg1).set(&mut k, 0x0001_0002_0003_0004_0005_0006_0007_0008);
    assert_eq!(Field::of(FieldId::Reg4).get(&k), 0x0001_0002);
    assert_eq!(Field::of(FieldId::Xreg3).get(&k), 0x0005_0006_0007_0008);
    assert_eq!(FieldId::reg(15), Some(FieldId::Reg15));
    assert_eq!(FieldId::reg(16), None);
    assert_eq!(FieldId::xxreg(3), Some(FieldId::Xxreg3));
}

#[test]
fn writing_vlan_fields_makes_and_removes_the_tag() {
    let mut k = key();
    Field::of(FieldId::VlanPcp).set(&mut k, 5);
    assert_eq!(k.flow.vlan0_tci.get(), 0xb000);
    assert_eq!(k.flow.vlan0_tpid.get(), 0x8100);
    assert!(k.flow.present.has(Present::VLAN0));
    Field::of(FieldId::VlanVid).set_masked(&mut k, 7, 0xfff);
    assert_eq!(k.flow.vlan0_tci.get(), 0xb007);
    Field::of(FieldId::DlVlan).set(&mut k, 0xffff);
    assert_eq!(k.flow, FlowKey::default());

    k.flow.present = Present::VLAN0 | Present::VLAN1;
    k.flow.vlan0_tci = 0x1005.into();
    k.flow.vlan0_tpid = 0x88a8.into();
    k.flow.vlan1_tci = 0x1006.into();
    k.flow.vlan1_tpid = 0x8100.into();
    Field::of(FieldId::VlanTci).set(&mut k, 0);
    assert_eq!(
        (k.flow.vlan0_tci.get(), k.flow.vlan0_tpid.get()),
        (0x1006, 0x8100)
    );
    assert_eq!(k.flow.present, Present::VLAN0);
}

#[test]
fn in_port_has_two_numberings_over_one_port() {
    let mut k = key();
    Field::of(FieldId::InPort).set(&mut k, 0xfffe);
    assert_eq!(k.of_port, OfPort::LOCAL.0);
    assert_eq!(Field::of(FieldId::InPortOxm).get(&k), 0xffff_fffe);
    assert_eq!(Field::of(FieldId::InPort).get(&k), 0xfffe);
}

#[test]
fn unwildcarding_a_vlan_field_pins_the_absence_of_the_tag() {
    let mut m = Mask::none();
    Field::of(FieldId::DlVlan).unwildcard(&mut m);
    assert_eq!(m.0.flow.vlan0_tci.get(), 0x1fff);
    assert!(m.0.flow.present.has(Present::VLAN0));
    let mut m = Mask::none();
    Field::of(FieldId::TcpDst).unwildcard_with_prereqs(&mut m);
    assert_eq!(m.0.flow.dl_type.get(), 0xffff);
    assert_eq!((m.0.flow.nw_proto, m.0.flow.nw_frag), (0xff, 3));
    assert!(m.0.flow.present.has(Present::TCP | Present::IP));
}

#[test]
fn subfields_read_write_and_round_trip_as_text() {
    let s: SubField = "reg0[4..11]".parse().unwrap();
    assert_eq!((s.id(), s.ofs(), s.bits()), (FieldId::Reg0, 4, 8));
    assert_eq!(s.to_string(), "NXM_NX_REG0[4..11]");
    let mut k = key();
    s.set(&mut k, 0x1ab);
    assert_eq!(k.regs[0].get(), 0xab0);
    assert_eq!(s.get(&k), 0xab);
    let mut m = Mask::none();
    s.unwildcard(&mut m);
    assert_eq!(m.0.regs[0].get(), 0xff0);
    for f in &FIELDS {
        let whole = SubField::whole(f.id);
        assert_eq!(whole.to_string().parse(), Ok(whole));
        let top = u32::from(f.bits) - 1;
        let bit = SubField::new(f.id, top, top).unwrap();
        assert_eq!(bit.to_string().parse(), Ok(bit));
        assert!(SubField::new(f.id, 0, top + 1).is_err());
    }
    assert_eq!(
        "reg0[4..32]".parse::<SubField>().unwrap_err().to_string(),
        "reg0 has bits 0 to 31, so 4..32 is not part of it"
    );
    for bad in [
        "reg0[",
        "reg0[5..4]",
        "reg0[..]",
        "reg0[a]",
        "reg0]",
        "reg16[]",
        "reg0[+1]",
        "",
    ] {
        assert!(bad.parse::<SubField>().is_err(), "{bad}");
    }
}

#[test]
fn missing_prerequisites_are_named() {
    let mut v = key();
    let mut m = Mask::none();
    let tcp_dst = Field::of(FieldId::TcpDst);
    let text = |v: &PipelineKey, m: &Mask<PipelineKey>| {
        tcp_dst.check_prereq(v, m).map_err(|e| e.to_string())
    };
    assert_eq!(
        text(&v, &m).unwrap_err(),
        "tcp_dst needs eth_type=0x0800 or 0x86dd, which is not matched"
    );
    v.flow.dl_type = 0x0800.into();
    m.0.flow.dl_type = 0xffff.into();
    assert_eq!(
        text(&v, &m).unwrap_err(),
        "tcp_dst needs ip_proto=6, which is not matched"
    );
    v.flow.nw_proto = 6;
    m.0.flow.nw_proto = 0xff;
    assert_eq!(text(&v, &m), Ok(()));
    v.flow.nw_frag = crate::key::FRAG_LATER;
    m.0.flow.nw_frag = crate::key::FRAG_LATER;
    assert_eq!(
        text(&v, &m).unwrap_err(),
        "tcp_dst needs ip_frag=not_later, which is not matched"
    );
}

#[test]
fn values_round_trip_as_text() {
    let cases = [
        (FieldId::EthSrc, "00:11:22:33:44:55"),
        (FieldId::EthSrc, "01:00:00:00:00:00/01:00:00:00:00:00"),
        (FieldId::Ipv4Src, "10.0.0.0/8"),
        (FieldId::Ipv4Src, "10.0.0.0/255.0.255.0"),
        (FieldId::Ipv6Src, "2001:db8::/32"),
        (FieldId::Ipv6Src, "::0.1.0.2"),
        (FieldId::Ipv6Dst, "1:0:0:2::/ffff:0:0:ffff::"),
        (FieldId::IpFrag, "not_later"),
        (FieldId::TcpFlags, "+syn-ack"),
        (FieldId::TcpFlags, "syn|ack|[200]"),
        (FieldId::TcpFlags, "0"),
        (FieldId::Reg0, "0x10/0xf0"),
        (FieldId::Reg0, "0"),
        (FieldId::UdpDst, "53"),
        (FieldId::UdpDst, "0x10/0xfff0"),
        (FieldId::InPort, "LOCAL"),
        (FieldId::InPortOxm, "12"),
        (FieldId::PacketType, "(1,0x800)"),
        (FieldId::Xxreg0, "0x123456789abcdef00fedcba987654321"),
    ];
    for (id, text) in cases {
        let f = Field::of(id);
        let (v, m) = f.parse_value(text, &NoPortNames).unwrap();
        assert_eq!(f.display(v, m, &NoPortNames).to_string(), text);
    }
}

#[test]
fn values_out_of_range_are_refused_with_what_is_expected() {
    let cases = [
        (FieldId::Reg0, "4294967296"),
        (FieldId::Reg0, "-1"),
        (FieldId::Reg0, "010"),
        (FieldId::Reg0, "0x"),
        (FieldId::Reg0, "1/0x100000000"),
        (FieldId::DlVlan, "4096"),
        (FieldId::VlanVid, "0x2000"),
        (FieldId::IpDscp, "64"),
        (FieldId::ArpOp, "300"),
        (FieldId::MplsLabel, "1048576"),
        (FieldId::Icmpv4Type, "3/0xf"),
        (FieldId::TcpFlags, "+syn-syn"),
        (FieldId::TcpFlags, "+foo"),
        (FieldId::TcpFlags, "0x1002"),
        (FieldId::Ipv4Src, "10.0.0.0/33"),
        (FieldId::Ipv6Src, "::/129"),
        (FieldId::EthSrc, "1:2:3:4:5"),
        (FieldId::InPort, "70000"),
        (FieldId::InPort, "nobody"),
        (FieldId::IpFrag, "maybe"),
        (FieldId::PacketType, "(1)"),
    ];
    for (id, text) in cases {
        let e = Field::of(id).parse_value(text, &NoPortNames).unwrap_err();
        assert!(e.to_string().contains(text), "{e}");
    }
}
