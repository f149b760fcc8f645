use rvs_flow::field::{FieldId, NoPortNames};
use rvs_flow::{OfPort, SubField};
use rvs_packet::{EtherType, MacAddr};

use super::*;
use crate::model::{Learn, LearnDst, LearnSpec, LearnSrc, TableId};
use crate::oxm::FlowMatch;
use crate::text::Words;
use crate::wire::Writer;

fn hex(s: &str) -> Vec<u8> {
    let s: String = s.split_whitespace().collect();
    (0..s.len() / 2)
        .map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

fn pull(version: Version, bytes: &str) -> Result<String, ErrorCode> {
    let bytes = hex(bytes);
    let list = pull_actions(&mut Reader::new(&bytes, ErrorCode::BacBadLen), version);
    list.map(|l| Words::new(version).actions(&l).to_string())
        .map_err(|e| e.code)
}

#[test]
fn actions_of_every_family() {
    use Version::{Of10, Of11, Of13, Of14, Of15};
    for (version, bytes, text) in [
        (Of10, "0000 0008 0001 0000", "output:1"),
        (Of10, "0000 0008 fffd 0080", "CONTROLLER:128"),
        (Of10, "0001 0008 0005 0000", "mod_vlan_vid:5"),
        (Of10, "0003 0008 00000000", "strip_vlan"),
        (
            Of10,
            "0004 0010 001122334455 000000000000",
            "mod_dl_src:00:11:22:33:44:55",
        ),
        (Of10, "000b 0010 0001 000000000000 00000007", "enqueue:1:7"),
        (Of10, "ffff 0010 00002320 0001 0003 00000000", "resubmit:3"),
        (
            Of10,
            "ffff 0010 00002320 000e fff8 05 000000",
            "resubmit(,5)",
        ),
        (Of10, "ffff 0010 00002320 0012 000000000000", "dec_ttl"),
        (
            Of10,
            "ffff 0018 00002320 0007 001f 00010004 0000000000000009",
            "load:0x9->NXM_NX_REG0[]",
        ),
        (Of11, "0001 0008 0005 0000", "set_vlan_vid:5"),
        (Of11, "000b 0008 00000000", "copy_ttl_out"),
        (Of13, "0000 0010 fffffffa 0000 000000000000", "NORMAL"),
        (Of13, "0011 0008 8100 0000", "push_vlan:0x8100"),
        (
            Of13,
            "0019 0010 80000c02 1005 000000000000",
            "set_field:4101->vlan_vid",
        ),
        (
            Of13,
            "ffff 0018 4f4e4600 0c80 0000 0010 0000 0000 0000 0001000400010204",
            "",
        ),
        (
            Of13,
            "ffff 0020 4f4e4600 0c80 0000 0010 0000 0000 0000 00010004 00010204 00000000",
            "move:NXM_NX_REG0[0..15]->NXM_NX_REG1[0..15]",
        ),
        (Of14, "001a 0008 88e7 0000", "push_pbb:0x88e7"),
        (Of15, "001d 0008 00000003", "meter:3"),
        (
            Of15,
            "0019 0018 00010108 00000012 000000ff 00000000 00000000",
            "set_field:0x12/0xff->reg0",
        ),
        (
            Of15,
            "001c 0018 0010 0000 0000 0000 00010004 00010204 00000000",
            "move:NXM_NX_REG0[0..15]->NXM_NX_REG1[0..15]",
        ),
    ] {
        if text.is_empty() {
            assert_eq!(pull(version, bytes), Err(ErrorCode::BacBadLen));
        } else {
            assert_eq!(pull(version, bytes).as_deref(), Ok(text), "{bytes}");
        }
    }
}

#[test]
fn what_is_no_action_is_refused() {
    use ErrorCode as E;
    use Version::{Of10, Of12, Of13, Of15};
    for (version, bytes, code) in [
        (Of10, "0019 0008 00000000", E::BacBadType),
        (Of13, "001c 0008 00000000", E::BacBadType),
        (Of13, "ffff 0008 00001234", E::BacBadVendor),
        (
            Of13,
            "ffff 0010 00002320 fffe 000000000000",
            E::BacBadVendorType,
        ),
        // Nicira's stand-ins exist where the standard lacks the action.
        (
            Of13,
            "ffff 0010 00002320 0012 000000000000",
            E::BacBadVendorType,
        ),
        (
            Of15,
            "ffff 0018 00002320 0007 001f 00010004 0000000000000009",
            E::BacBadVendorType,
        ),
        (
            Of13,
            "0000 0010 ffffffff 0000 000000000000",
            E::BacBadOutPort,
        ),
        (
            Of13,
            "0000 0010 0000ff00 0000 000000000000",
            E::BacBadOutPort,
        ),
        (
            Of13,
            "0000 0018 00000001 0000 000000000000 0000000000000000",
            E::BacBadLen,
        ),
        (Of13, "0000 0008 00000001", E::BacBadLen),
        (Of13, "0011 0008 0800 0000", E::BacBadArgument),
        (Of13, "0013 0008 0800 0000", E::BacBadArgument),
        (Of13, "0016 0008 ffffff01", E::BacBadOutGroup),
        (Of10, "0008 0008 03 000000", E::BacBadArgument),
        (
            Of12,
            "0019 0010 80000a02 8100 000000000000",
            E::BacBadSetArgument,
        ),
        (
            Of12,
            "0019 0010 80000a02 05dc 000000000000",
            E::BacBadSetArgument,
        ),
        (
            Of15,
            "0019 0010 80000b04 0800 ff00 00000000",
            E::BacBadSetMask,
        ),
        (
            Of12,
            "0019 0010 8000fe02 0800 000000000000",
            E::BacBadSetType,
        ),
        (
            Of12,
            "0019 0010 80000c02 0005 000000000000",
            E::BacBadSetArgument,
        ),
        (
            Of12,
            "0019 0010 80000004 00000001 00000000",
            E::BacBadSetArgument,
        ),
        (
            Of12,
            "0019 0010 80000603 0000 000000000000",
            E::BacBadSetLen,
        ),
        (
            Of13,
            "0019 0018 80000d04 1005 1fff 00000000 0000000000000000",
            E::BacBadSetMask,
        ),
        (
            Of13,
            "ffff 0018 00002320 0007 07df 00010004 0000000000000009",
            E::BacBadSetLen,
        ),
        (
            Of13,
            "ffff 0018 00002320 0007 0000 00010004 0000000000000009",
            E::BacBadArgument,
        ),
        (
            Of13,
            "ffff 0010 00002320 0022 02 02 00000001",
            E::NxbacBadConjunction,
        ),
        (
            Of13,
            "ffff 0010 00002320 0023 000000000000",
            E::NxbacCtDatapathSupport,
        ),
        (
            Of13,
            "ffff 0010 00002320 0027 0001 0000000d",
            E::BacBadArgument,
        ),
    ] {
        assert_eq!(pull(version, bytes), Err(code), "{bytes}");
    }
}

fn check(m: &str, actions: &str, level: CheckLevel) -> Result<(), ErrorCode> {
    let m = FlowMatch::parse(m, &NoPortNames).unwrap();
    let list = Words::default().parse_actions(actions).unwrap();
    check_actions(&m, &list, level).map_err(|e| e.code)
}

#[test]
fn actions_fit_the_match_and_the_actions_before_them() {
    use CheckLevel::{Lenient, Strict};
    let odd = Err(ErrorCode::BacMatchInconsistent);
    for (m, actions, strict) in [
        ("ip", "mod_nw_src:10.0.0.1,dec_ttl", Ok(())),
        ("", "mod_nw_src:10.0.0.1", odd),
        ("ipv6", "mod_nw_src:10.0.0.1", odd),
        ("ipv6", "dec_ttl,mod_nw_tos:4", Ok(())),
        ("tcp", "mod_tp_dst:1", Ok(())),
        ("ip", "mod_tp_dst:1", odd),
        ("", "pop_vlan", odd),
        ("", "push_vlan:0x8100,pop_vlan", Ok(())),
        ("dl_vlan=5", "pop_vlan", Ok(())),
        ("dl_vlan=5", "pop_vlan,pop_vlan", odd),
        ("", "mod_vlan_vid:5,set_vlan_pcp:3", Ok(())),
        ("", "set_vlan_vid:5", odd),
        ("ip", "push_mpls:0x8847,set_mpls_ttl(3)", Ok(())),
        ("ip", "push_mpls:0x8847,dec_ttl", odd),
        ("mpls", "pop_mpls:0x0800,dec_ttl", Ok(())),
        ("ip", "pop_mpls:0x0800", odd),
        ("tcp", "fin_timeout(idle_timeout=3)", Ok(())),
        ("udp", "fin_timeout(idle_timeout=3)", odd),
        ("ip", "push_pbb:0x88e7,pop_pbb", Ok(())),
    ] {
        assert_eq!(check(m, actions, Strict), strict, "{m}: {actions}");
        assert_eq!(check(m, actions, Lenient), Ok(()), "{m}: {actions}");
    }
    // These are wrong in every version.
    for (m, actions, result) in [
        ("", "set_field:10.0.0.1->ip_dst", odd),
        ("ip", "set_field:10.0.0.1->ip_dst", Ok(())),
        ("ip", "set_field:80->tcp_dst", odd),
        ("", "set_field:5->vlan_vid", odd),
        ("", "push_vlan:0x8100,set_field:5->vlan_vid", Ok(())),
        ("", "set_field:6->ip_proto", odd),
        ("ip", "set_field:6->ip_proto,set_field:80->tcp_dst", Ok(())),
        (
            "",
            "set_field:0x800->eth_type,set_field:10.0.0.1->ip_dst",
            Ok(()),
        ),
        (
            "ip",
            "set_field:0x9999->eth_type,set_field:10.0.0.1->ip_dst",
            odd,
        ),
        ("", "move:NXM_OF_IP_SRC[]->NXM_NX_REG0[]", odd),
        ("arp", "move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[]", Ok(())),
        ("", "load:1->NXM_OF_IP_DST[]", odd),
        ("", "output:NXM_OF_TCP_DST[]", odd),
        ("", "clone(set_field:10.0.0.1->ip_dst)", odd),
        ("ip", "clone(push_mpls:0x8847),dec_ttl", Ok(())),
        (
            "dl_vlan=5",
            "push_vlan:0x8100,push_vlan:0x8100",
            Err(ErrorCode::BacBadTag),
        ),
        ("", "learn(table=1,NXM_OF_IP_SRC[]=NXM_OF_IP_DST[])", odd),
        ("ip", "learn(table=1,NXM_OF_IP_SRC[]=NXM_OF_IP_DST[])", odd),
        (
            "ip",
            "learn(table=1,eth_type=0x800,NXM_OF_IP_SRC[]=NXM_OF_IP_DST[])",
            Ok(()),
        ),
    ] {
        assert_eq!(check(m, actions, Lenient), result, "{m}: {actions}");
    }
}

#[test]
fn goto_leads_forward() {
    let check = |from: u8, to: u8| {
        let i = Words::default()
            .parse_instructions(&format!("goto_table:{to}"))
            .unwrap();
        check_instructions(&FlowMatch::any(), &i, TableId(from), CheckLevel::Strict)
            .map_err(|e| e.code)
    };
    assert_eq!(check(0, 1), Ok(()));
    assert_eq!(check(0, 253), Ok(()));
    assert_eq!(check(255, 0), Ok(()));
    for (from, to) in [(1, 1), (5, 3), (0, 254)] {
        assert_eq!(check(from, to), Err(ErrorCode::BicBadTableId));
    }
}

/// The same intent in the words of each version.
#[test]
fn versions_say_the_same_in_their_own_words() {
    let put = |version, a: Action| {
        let mut w = Writer::default();
        let m = FlowMatch::parse("tcp", &NoPortNames).unwrap();
        put_actions(&mut w, &[a], ListContext::of_flow(version, &m));
        let bytes = w.finish_part()?;
        let list = pull_actions(&mut Reader::new(&bytes, ErrorCode::BacBadLen), version).unwrap();
        let said = Words::new(version).actions(&list).to_string();
        Ok::<_, crate::EncodeError>(said)
    };
    let say = |version, a: &Action| put(version, a.clone()).unwrap();
    let mac = Action::SetEthDst(MacAddr([0, 0, 0, 0, 0, 1]));
    assert_eq!(say(Version::Of10, &mac), "mod_dl_dst:00:00:00:00:00:01");
    assert_eq!(
        say(Version::Of13, &mac),
        "set_field:00:00:00:00:00:01->eth_dst"
    );
    let port = Action::SetTpDst(80);
    assert_eq!(say(Version::Of11, &port), "mod_tp_dst:80");
    assert_eq!(say(Version::Of12, &port), "set_field:80->tcp_dst");
    let vid = Action::SetVlanVid {
        vid: rvs_packet::VlanId::new(5).unwrap(),
        push: true,
    };
    assert_eq!(say(Version::Of10, &vid), "mod_vlan_vid:5");
    assert_eq!(say(Version::Of11, &vid), "push_vlan:0x8100,set_vlan_vid:5");
    assert_eq!(
        say(Version::Of13, &vid),
        "push_vlan:0x8100,set_field:4101->vlan_vid"
    );
    let field = Action::set(FieldId::Ipv4Dst, 0x0a00_0001);
    assert_eq!(say(Version::Of10, &field), "mod_nw_dst:10.0.0.1");
    let load = Action::load(SubField::new(FieldId::Reg0, 0, 3).unwrap(), 5);
    assert_eq!(say(Version::Of14, &load), "load:0x5->NXM_NX_REG0[0..3]");
    assert_eq!(say(Version::Of15, &load), "set_field:0x5/0xf->reg0");
    let ecn = Action::SetNwEcn(2);
    assert_eq!(say(Version::Of10, &ecn), "load:0x2->NXM_NX_IP_ECN[]");
    let queue = Action::Enqueue {
        port: OfPort(1),
        queue: 2,
    };
    assert_eq!(say(Version::Of13, &queue), "set_queue:2,output:1,pop_queue");
    assert!(put(Version::Of10, Action::CopyTtlIn).is_err());
    assert!(put(Version::Of12, Action::PushPbb(EtherType::PBB)).is_err());
    assert!(put(Version::Of13, Action::Meter(crate::MeterId(1))).is_err());
}

#[test]
fn learn_values_are_as_wide_as_their_field() {
    let l = Learn {
        table: TableId(1),
        priority: 5,
        cookie: 0,
        idle_timeout: 0,
        hard_timeout: 0,
        fin_idle_timeout: 0,
        fin_hard_timeout: 0,
        send_flow_removed: false,
        delete_learned: false,
        limit: 0,
        result: None,
        specs: Box::new([LearnSpec {
            src: LearnSrc::Value(0x12_3456),
            dst: LearnDst::Match(SubField::new(FieldId::EthDst, 0, 23).unwrap()),
        }]),
    };
    let mut w = Writer::default();
    let a = Action::Learn(Box::new(l));
    put_actions(
        &mut w,
        std::slice::from_ref(&a),
        ListContext::new(Version::Of10),
    );
    let bytes = w.finish_body();
    // 24 bits travel in two words of 16, right-aligned.
    assert_eq!(bytes[32..38], hex("2018 0012 3456")[..]);
    let back = pull_actions(
        &mut Reader::new(&bytes, ErrorCode::BacBadLen),
        Version::Of10,
    );
    assert_eq!(back.unwrap(), [a]);
}

/// What 1.0 to 1.4 load in part is a set_field with a mask in 1.5, also of fields that are matched as a whole only. What a
/// set_field may not write is not said at all: one word that the reader refuses would cost it the whole answer.
#[test]
fn loads_of_older_versions_can_be_read_in_1_5() {
    let load = |field, first, last| Action::load(SubField::new(field, first, last).unwrap(), 1);
    for (action, said) in [
        (load(FieldId::IpTtl, 0, 3), true),
        (load(FieldId::MplsLabel, 4, 9), true),
        (load(FieldId::InPort, 0, 7), true),
        (load(FieldId::InPortOxm, 0, 7), false),
        (load(FieldId::InPortOxm, 0, 31), false),
    ] {
        let mut w = Writer::default();
        put_actions(
            &mut w,
            std::slice::from_ref(&action),
            ListContext::new(Version::Of15),
        );
        let written = w.finish_part();
        assert_eq!(written.is_ok(), said, "{action:?}");
        if let Ok(bytes) = written {
            let mut r = Reader::new(&bytes, ErrorCode::BacBadLen);
            assert!(pull_actions(&mut r, Version::Of15).is_ok(), "{action:?}");
        }
    }
}
