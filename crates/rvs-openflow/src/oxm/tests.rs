use rvs_flow::field::{FieldId, NoPortNames};
use rvs_flow::testing::Entropy;

use super::*;
use crate::testing::as_of10;

fn hex(s: &str) -> Vec<u8> {
    let s: String = s.split_whitespace().collect();
    (0..s.len() / 2)
        .map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

fn text(t: &str) -> FlowMatch {
    FlowMatch::parse(t, &NoPortNames).unwrap()
}

/// TLVs of an OXM match, without envelope.
fn oxm(tlvs: &str) -> Result<FlowMatch, ErrorCode> {
    let bytes = hex(tlvs);
    pull_oxm_list(&mut Reader::new(&bytes, ErrorCode::BmcBadLen)).map_err(|e| e.code)
}

#[test]
fn each_fault_of_a_match_has_its_error() {
    use ErrorCode as E;
    // Fields in an order in which prerequisites come first.
    assert_eq!(
        oxm("80000a02 0800 80001401 06 80001c02 0050"),
        Ok(text("tcp,tp_dst=80"))
    );
    assert_eq!(oxm("80001401 06 80000a02 0800"), Err(E::BmcBadPrereq));
    assert_eq!(
        oxm("80000a02 0800 80001401 11 80001c02 0050"),
        Err(E::BmcBadPrereq)
    );
    assert_eq!(oxm("80000a02 0800 80000a02 0800"), Err(E::BmcDupField));
    assert_eq!(
        oxm("00010004 00000001 80010008 0000000000000001"),
        Err(E::BmcDupField)
    );
    assert_eq!(oxm("80000b04 0800 ff00"), Err(E::BmcBadMask));
    assert_eq!(
        oxm("80000a02 0800 80001708 0a000001 ffffff00"),
        Err(E::BmcBadWildcards)
    );
    assert_eq!(oxm("80000c02 2000"), Err(E::BmcBadValue));
    assert_eq!(oxm("80000a02 0800 80001001 40"), Err(E::BmcBadValue));
    assert_eq!(oxm("80000004 0000ff00"), Err(E::BmcBadValue));
    assert_eq!(oxm("80000004 00ff"), Err(E::BmcBadLen));
    assert_eq!(oxm("80000002 00ff"), Err(E::BmcBadLen));
    assert_eq!(oxm("8000"), Err(E::BmcBadLen));
    assert_eq!(oxm("8000fe04 00000000"), Err(E::BmcBadField));
    assert_eq!(oxm("ffff5602 0000"), Err(E::BmcBadLen));
    assert_eq!(oxm("ffff5606 12345678 0000"), Err(E::BmcBadField));
}

#[test]
fn every_way_to_match_a_tag() {
    for (tlvs, means) in [
        ("", ""),
        ("80000c02 0000", "vlan_tci=0x0000/0x1fff"),
        ("80000d04 1000 1000", "vlan_tci=0x1000/0x1000"),
        ("80000c02 1005", "dl_vlan=5"),
        ("80000c02 1005 80000e01 03", "dl_vlan=5,dl_vlan_pcp=3"),
        ("80000d04 1000 1000 80000e01 03", "dl_vlan_pcp=3"),
        ("00000802 0000", "vlan_tci=0x0000"),
        ("00000802 f005", "dl_vlan=5,dl_vlan_pcp=7"),
        ("00000904 1000 1000", "vlan_tci=0x1000/0x1000"),
        ("00000904 1005 1fff", "dl_vlan=5"),
        ("00000904 f000 f000", "dl_vlan_pcp=7"),
    ] {
        let m = oxm(tlvs).unwrap();
        assert_eq!(m.to_string(), means, "{tlvs}");
        for version in [Version::Of12, Version::Of15] {
            let mut w = Writer::default();
            put_oxm_list(&mut w, &m, version);
            let bytes = w.finish_body();
            let back = pull_oxm_list(&mut Reader::new(&bytes, ErrorCode::BmcBadLen));
            // What matches no tag at all comes back in the standard's words.
            let (back, means) = (back.unwrap().to_string(), means.to_owned());
            let standard = means.replace("tci=0x0000", "tci=0x0000/0x1fff");
            let want = if tlvs == "00000802 0000" {
                standard
            } else {
                means
            };
            assert_eq!(back, want, "{tlvs}");
        }
    }
    // A priority needs a tag.
    assert_eq!(oxm("80000e01 03"), Err(ErrorCode::BmcBadPrereq));
}

fn of10(wildcards: u32, set: impl Fn(&mut [u8])) -> FlowMatch {
    let mut b = vec![0; 40];
    b[..4].copy_from_slice(&wildcards.to_be_bytes());
    set(&mut b);
    pull_match10(&mut Reader::new(&b, ErrorCode::BrcBadLen)).unwrap()
}

#[test]
fn a_match_of_of10_is_normalised() {
    const ALL: u32 = 0x3f_ffff;
    assert_eq!(of10(ALL, |_| {}), FlowMatch::any());
    // Prefixes: the count is of wildcarded bits, 32 and more are all.
    let m = of10(ALL & !(1 << 4) & !(0x3f << 8) | 8 << 8, |b| {
        b[22..24].copy_from_slice(&[8, 0]);
        b[28..32].copy_from_slice(&[10, 1, 2, 3]);
    });
    assert_eq!(m, text("ip,nw_src=10.1.2.0/24"));
    // An address without an Ethernet type is ignored, a port without a protocol too.
    let m = of10(ALL & !(0x3f << 8) & !(1 << 7), |b| {
        b[28..32].copy_from_slice(&[10, 1, 2, 3]);
        b[39] = 80;
    });
    assert_eq!(m, FlowMatch::any());
    // Untagged, whatever the priority says.
    let m = of10(ALL & !(1 << 1) & !(1 << 20), |b| {
        b[18..20].copy_from_slice(&[0xff, 0xff]);
        b[20] = 3;
    });
    assert_eq!(m, text("dl_vlan=0xffff"));
    // A priority alone needs a tag.
    let m = of10(ALL & !(1 << 20), |b| b[20] = 3);
    assert_eq!(m, text("dl_vlan_pcp=3"));
    // ARP's operation and addresses share the fields of IP.
    let m = of10(ALL & !(1 << 4) & !(1 << 5) & !(0x3f << 14), |b| {
        b[22..24].copy_from_slice(&[8, 6]);
        b[25] = 2;
        b[32..36].copy_from_slice(&[10, 0, 0, 1]);
    });
    assert_eq!(m, text("arp,arp_op=2,arp_tpa=10.0.0.1"));
}

#[test]
fn what_fits_of10_survives_it() {
    assert!(fits_of10(&text(
        "tcp,in_port=1,dl_vlan=5,nw_src=10.0.0.0/8,tp_dst=80"
    )));
    assert!(!fits_of10(&text("reg0=1")));
    assert!(!fits_of10(&text("ip,nw_src=10.0.0.1/255.0.0.255")));
    assert!(!fits_of10(&text("ipv6,ipv6_src=::1")));
    for seed in 0..5_000 {
        let mut m = rvs_flow::testing::matching(&mut Entropy::seed(seed));
        // "Without a tag" says the same in one bit as in sixteen.
        if m.field(FieldId::VlanTci).0 & 0x1000 == 0 && m.field(FieldId::VlanTci).1 & 0x1000 != 0 {
            m.set_exact(FieldId::DlVlan, 0xffff).unwrap();
        }
        let once = as_of10(&m);
        assert!(fits_of10(&once), "{once}");
        assert!(m.is_more_specific(&once), "{m} became {once}");
        assert_eq!(fits_of10(&m), once == m);
    }
}

#[test]
fn cookies_travel_beside_nxm() {
    let cookie = CookieMask {
        value: 0x12,
        mask: 0xff,
    };
    let m = text("mpls,mpls_ttl=9");
    for c in [
        None,
        Some(cookie),
        Some(CookieMask {
            value: 5,
            mask: u64::MAX,
        }),
    ] {
        let mut w = Writer::default();
        let len = put_nxm(&mut w, &m, c);
        let bytes = w.finish_body();
        assert_eq!(bytes.len() % 8, 0);
        let back = pull_nxm(&mut Reader::new(&bytes, ErrorCode::BmcBadLen), len);
        assert_eq!(back.unwrap(), (m, c));
    }
    let twice = hex("00013c08 0000000000000001 00013c08 0000000000000001");
    let err = pull_nxm(&mut Reader::new(&twice, ErrorCode::BmcBadLen), 24).unwrap_err();
    assert_eq!(err.code, ErrorCode::BmcDupField);
    // In OXM there is no such field: it is the MPLS TTL with octets too many.
    assert_eq!(oxm("00013c08 0000000000000001"), Err(ErrorCode::BmcBadLen));
}

#[test]
fn experimenter_fields_have_long_headers() {
    let m = text("tcp,tcp_flags=+syn");
    let mut w = Writer::default();
    put_oxm_list(&mut w, &m, Version::Of13);
    let bytes = w.finish_body();
    assert!(
        bytes.ends_with(&hex("ffff5508 4f4e4600 0002 0002")),
        "{bytes:02x?}"
    );
    let back = pull_oxm_list(&mut Reader::new(&bytes, ErrorCode::BmcBadLen)).unwrap();
    assert_eq!(back, m);
    let mut w = Writer::default();
    put_oxm_list(&mut w, &m, Version::Of15);
    assert!(w.finish_body().ends_with(&hex("80005504 0002 0002")));
    assert_eq!(m.field(FieldId::TcpFlags).0, 2);
}
