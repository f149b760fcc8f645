//! Properties of matches, and the second opinion on their text: `ovs-ofctl` of Open vSwitch 3.1.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::fs;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::field::{NoPortNames, OxmType, Prereq};
use crate::testing::{any_words, drawn, key_in_match, matches, matching, pipeline_keys, Entropy};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn text_round_trips(m in matches()) {
        let text = m.to_string();
        prop_assert_eq!(Match::parse(&text, &NoPortNames), Ok(m), "{}", text);
    }

    #[test]
    fn fields_round_trip(m in matches()) {
        for form in [FieldForm::Nxm, FieldForm::Oxm] {
            let mut back = Match::any();
            for (f, v, mask) in m.fields(form) {
                prop_assert_eq!(f.check_prereq(back.value(), back.mask()), Ok(()));
                back.set(f.id, v, mask).unwrap();
            }
            // Half a priority cannot be said in OXM.
            let pcp = m.mask().0.flow.vlan0_tci.get() & PCP_MASK;
            if form == FieldForm::Nxm || pcp == 0 || pcp == PCP_MASK && m.field(FieldId::VlanPcp).1 == 7
                && m.value().flow.vlan0_tci.get() & TCI_PRESENT != 0 {
                prop_assert_eq!(back, m, "{}", m);
            }
        }
    }

    #[test]
    fn matches_are_canonical_and_have_their_prerequisites(m in matches()) {
        prop_assert_eq!(m, Match::new(m.value(), *m.mask()));
        prop_assert_eq!(m.check_prerequisites(), Ok(()));
        let mut n = m;
        prop_assert!(!n.normalize());
        prop_assert_eq!(n, m);
    }

    #[test]
    fn a_key_in_a_match_matches(m in matches(), key in pipeline_keys()) {
        let inside = key_in_match(&m, &key);
        prop_assert!(m.matches(&inside));
        prop_assert_eq!(m.matches(&key), inside == key);
    }

    #[test]
    fn overlap_is_a_common_key(a in matches(), b in matches(), key in pipeline_keys()) {
        let mut both = a;
        prop_assert_eq!(both.intersect(&b), a.overlaps(&b));
        prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
        if a.overlaps(&b) {
            let common = key_in_match(&both, &key);
            prop_assert!(a.matches(&common) && b.matches(&common));
            prop_assert!(both.is_more_specific(&a) && both.is_more_specific(&b));
        } else {
            prop_assert!(!(a.matches(&key) && b.matches(&key)));
        }
    }

    /// The algebra of masks, bit by bit (CVE-2022-32166 was a comparison that read past its mask).
    #[test]
    fn masks_against_a_bitwise_model(
        a in drawn(any_words::<PipelineKey>), b in drawn(any_words::<PipelineKey>),
        m in drawn(any_words::<PipelineKey>), n in drawn(any_words::<PipelineKey>),
    ) {
        let (m, n) = (Mask(m), Mask(n));
        let bits = |k: &PipelineKey| -> Vec<bool> {
            k.words().iter().flat_map(|w| (0..64).map(move |i| w >> i & 1 == 1)).collect()
        };
        let (av, bv, mv, nv) = (bits(&a), bits(&b), bits(&m.0), bits(&n.0));
        let same = (0..av.len()).all(|i| !mv[i] || av[i] == bv[i]);
        prop_assert_eq!(m.same(&a, &b), same);
        prop_assert_eq!(m.apply(&a) == m.apply(&b), same);
        prop_assert_eq!(m.is_subset_of(&n), (0..mv.len()).all(|i| !mv[i] || nv[i]));
        let (x, y) = (Match::new(&a, m), Match::new(&b, n));
        let overlap = (0..av.len()).all(|i| !(mv[i] && nv[i]) || av[i] == bv[i]);
        prop_assert_eq!(x.overlaps(&y), overlap);
        let specific = (0..av.len()).all(|i| !nv[i] || mv[i] && av[i] == bv[i]);
        prop_assert_eq!(x.is_more_specific(&y), specific);
    }

    #[test]
    fn no_text_panics(text in "[a-z0-9_=/,:.()\\[\\]+|\" -]{0,60}") {
        let _ = Match::parse(&text, &NoPortNames);
        let _ = text.parse::<crate::SubField>();
    }
}

/// What `ovs-ofctl` prints for one input file, or `None` (said aloud) where it is not installed.
fn ovs_ofctl(args: &[&str], input: &str) -> Option<Vec<String>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), input).unwrap();
    let stdin = Stdio::from(fs::File::open(file.path()).unwrap());
    let mut command = Command::new("ovs-ofctl");
    command.args(args).stdin(stdin);
    if args == ["parse-flows"] {
        command.arg(file.path());
    }
    let out = command.output();
    let Ok(out) = out else {
        eprintln!("SKIPPED: ovs-ofctl is not installed, so no comparison with Open vSwitch");
        return None;
    };
    let text = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    assert!(
        out.status.success(),
        "{:?} {}",
        lines.last(),
        String::from_utf8_lossy(&out.stderr)
    );
    Some(lines)
}

/// Fields that it has not, and texts that it writes but does not read: a mask of an IPv6 address that starts with a
/// decimal digit is taken for a prefix length.
fn open_vswitch_reads(m: &Match<PipelineKey>) -> bool {
    let unknown = [FieldId::PbbIsid, FieldId::PbbUca, FieldId::Ipv6Exthdr];
    let wide = [FieldId::Ipv6Src, FieldId::Ipv6Dst, FieldId::NdTarget];
    unknown.iter().all(|f| m.field(*f).1 == 0)
        && wide.iter().all(|f| {
            let mask = m.field(*f).1;
            let prefix = mask.leading_ones() + mask.trailing_zeros() >= 128;
            let digit = (mask >> 112)
                .checked_ilog2()
                .is_some_and(|b| mask >> (112 + b / 4 * 4) < 10);
            prefix || !digit
        })
}

#[test]
fn text_agrees_with_open_vswitch() {
    let mut ours: Vec<_> = (0..4000).map(|s| matching(&mut Entropy::seed(s))).collect();
    ours.retain(open_vswitch_reads);
    ours.sort_by_key(ToString::to_string);
    ours.dedup();
    let mut input = String::new();
    for m in &ours {
        writeln!(input, "{m} actions=drop").unwrap();
    }
    let Some(lines) = ovs_ofctl(&["parse-flows"], &input) else {
        return;
    };
    let theirs: Vec<_> = lines
        .iter()
        .filter_map(|l| l.split_once(": ADD "))
        .map(|l| l.1)
        .collect();
    assert_eq!(theirs.len(), ours.len());
    eprintln!("{} different matches compared", ours.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        let sep = if ours.is_any() { "" } else { " " };
        assert_eq!(format!("{ours}{sep}actions=drop"), theirs);
    }
}

/// Numbers and names of every TLV type: written by number and written by name they are the same match.
#[test]
fn tlv_numbers_agree_with_open_vswitch() {
    let (mut input, mut names) = (String::new(), Vec::new());
    for f in crate::field::FIELDS.iter() {
        // Fields that Open vSwitch has not; the text syntax has no numbers for experimenters.
        if matches!(
            f.id,
            FieldId::InPhyPort | FieldId::PbbIsid | FieldId::PbbUca | FieldId::Ipv6Exthdr
        ) {
            continue;
        }
        for o in f
            .oxms
            .iter()
            .filter(|o| o.oxm.class != OxmType::EXPERIMENTER)
        {
            let header = o.oxm.header(false, f.wire_len);
            let digits = usize::from(f.wire_len) * 2;
            let value: u128 = match f.id {
                FieldId::EthType => 0x0800,
                FieldId::VlanVid => 0x1001,
                FieldId::Icmpv6Type => 135,
                _ => 0,
            };
            let prereq = prereq_text(f.prereq);
            writeln!(input, "{prereq}{header:08x}({value:0digits$x})").unwrap();
            writeln!(input, "{prereq}{}({value:0digits$x})", o.name).unwrap();
            names.push(o.name);
        }
    }
    let Some(lines) = ovs_ofctl(&["--strict", "parse-nxm"], &input) else {
        return;
    };
    assert_eq!(lines.len(), names.len() * 2);
    for (pair, name) in lines.chunks(2).zip(names) {
        assert_eq!(pair[0], pair[1], "{name}");
        assert!(!pair[0].is_empty(), "{name}");
    }
}

fn prereq_text(p: Prereq) -> &'static str {
    match p {
        Prereq::None | Prereq::Ethernet => "",
        Prereq::Vlan => "OXM_OF_VLAN_VID_W(1000/1000),",
        Prereq::Pbb => "NXM_OF_ETH_TYPE(88e7),",
        Prereq::Mpls => "NXM_OF_ETH_TYPE(8847),",
        Prereq::Arp => "NXM_OF_ETH_TYPE(0806),",
        Prereq::Ipv4 | Prereq::Ip => "NXM_OF_ETH_TYPE(0800),",
        Prereq::Ipv6 => "NXM_OF_ETH_TYPE(86dd),",
        Prereq::Tcp => "NXM_OF_ETH_TYPE(0800),NXM_OF_IP_PROTO(06),",
        Prereq::Udp => "NXM_OF_ETH_TYPE(0800),NXM_OF_IP_PROTO(11),",
        Prereq::Sctp => "NXM_OF_ETH_TYPE(0800),NXM_OF_IP_PROTO(84),",
        Prereq::Icmpv4 => "NXM_OF_ETH_TYPE(0800),NXM_OF_IP_PROTO(01),",
        Prereq::Icmpv6 => "NXM_OF_ETH_TYPE(86dd),NXM_OF_IP_PROTO(3a),",
        Prereq::Nd | Prereq::NdSolicit => {
            "NXM_OF_ETH_TYPE(86dd),NXM_OF_IP_PROTO(3a),NXM_NX_ICMPV6_TYPE(87),"
        }
        Prereq::NdAdvert => "NXM_OF_ETH_TYPE(86dd),NXM_OF_IP_PROTO(3a),NXM_NX_ICMPV6_TYPE(88),",
    }
}
