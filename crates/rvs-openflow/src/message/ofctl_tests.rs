//! What we write and refuse, judged by `ovs-ofctl` of Open vSwitch 3.1. Skipped, loudly, where it is not installed.

use std::collections::{BTreeMap, HashMap};
use std::process::Command;

use rvs_flow::testing::Entropy;

use super::tests::{fix_length, mutate};
use super::{Dialect, Message};
use crate::testing;

/// A message under its transaction id.
struct Sample {
    xid: u32,
    said: String,
    ours: Result<(), String>,
    bytes: Vec<u8>,
}

fn samples(n: u32, mutated: bool) -> Vec<Sample> {
    let mut all = Vec::new();
    for xid in 0..n {
        let mut e = Entropy::seed(xid.into());
        // A stream of messages has no state: no table ids in the commands of 1.0.
        let d = Dialect {
            flow_mod_table_id: false,
            ..testing::dialect(&mut e)
        };
        let m = testing::message(&mut e, &d);
        // The text of these is not about themselves.
        if matches!(m, Message::Error(_) | Message::Hello(_)) {
            continue;
        }
        let mut bytes = d.encode(&m, xid).unwrap();
        if mutated {
            mutate(&mut e, &mut bytes);
            fix_length(&mut bytes);
        }
        let ours = d.decode(&bytes).map(|_| ());
        all.push(Sample {
            xid,
            said: format!("{m:?}"),
            ours: ours.map_err(|e| e.code.name().to_owned()),
            bytes,
        });
    }
    all
}

/// Which of the samples `ovs-ofctl` cannot decode, and why. `None` without `ovs-ofctl`.
fn ask(samples: &[Sample]) -> Option<HashMap<u32, String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stream");
    let stream: Vec<u8> = samples.iter().flat_map(|s| s.bytes.clone()).collect();
    std::fs::write(&path, stream).unwrap();
    let Ok(out) = Command::new("ovs-ofctl")
        .arg("ofp-parse")
        .arg(&path)
        .output()
    else {
        eprintln!("SKIPPED: ovs-ofctl is not installed");
        return None;
    };
    let text = String::from_utf8_lossy(&out.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let mut refused = HashMap::new();
    for (i, line) in lines.iter().enumerate() {
        let Some((_, rest)) = line.split_once("decode error: ") else {
            continue;
        };
        let name: String = rest
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        // The dump that follows starts with the header.
        let dump = lines[i..]
            .iter()
            .take(4)
            .find_map(|l| l.strip_prefix("00000000  "));
        let octets: Vec<&str> = dump.unwrap_or("").split([' ', '-']).take(8).collect();
        if let Ok(xid) = u32::from_str_radix(&octets.get(4..8).unwrap_or(&[]).concat(), 16) {
            refused.insert(xid, name);
        }
    }
    Some(refused)
}

/// What Open vSwitch 3.1 lacks of what we can say, and what it would not say itself.
fn lacks(error: &str, said: &str) -> bool {
    let any = |words: &[&str]| words.iter().any(|w| said.contains(w));
    match error {
        // It has neither PBB nor copy-TTL.
        "OFPBAC_BAD_TYPE" => any(&[
            "CopyTtl", "Pbb", // Our action sets hold every output.
            "write: [",
        ]),
        "OFPBAC_BAD_SET_TYPE" => any(&["InPhyPort", "PbbIsid", "PbbUca", "Ipv6Exthdr"]),
        "OFPBAC_BAD_SET_ARGUMENT" => any(&["field: EthType", "field: IpProto", "field: MplsBos"]),
        "OFPBMC_BAD_FIELD" => any(&["ipv6_exthdr", "pbb_isid", "pbb_uca"]),
        // An empty table description or table features reply is a message of one octet too few for it.
        "OFPBRC_BAD_LEN" => any(&["TableDesc([])", "TableFeatures([])"]),
        // Of 1.5 it has neither counters without instructions, nor what bundles can do, nor controllers' status.
        "OFPBRC_BAD_STAT" => any(&["FlowCounters", "BundleFeatures", "ControllerStatus"]),
        "OFPBRC_BAD_TYPE" => any(&["ControllerStatus"]),
        "OFPBIC_UNKNOWN_INST" => any(&["StatTrigger"]),
        // The last of the masks are for statistics that flows tell, and news of controllers.
        "OFPACFC_UNSUPPORTED" => any(&["Async"]) && !any(&["[None, None], [None, None]] }"]),
        // It takes OFPFMF_NO_ABBREV for unknown.
        "OFPMOFC_BAD_FLAGS" => any(&["FlowMonitor"]),
        // It wants one bucket of an indirect group to be inserted or removed, even by number.
        "OFPGMFC_INVALID_GROUP" => any(&["Bucket, command_bucket"]) && any(&["kind: Indirect"]),
        // It counts the tags of actions and action set together.
        "OFPBAC_BAD_TAG" => any(&["write: ["]),
        _ => false,
    }
}

#[test]
fn what_we_write_is_understood() {
    let samples = samples(4_000, false);
    let Some(refused) = ask(&samples) else { return };
    for s in &samples {
        assert_eq!(s.ours, Ok(()));
        if let Some(error) = refused.get(&s.xid) {
            assert!(
                lacks(error, &s.said),
                "{error}: {}: {:02x?}",
                s.said,
                s.bytes
            );
        }
    }
}

/// Faults that only we refuse, with the reason.
const STRICTER: &[(&str, &str)] = &[
    (
        "OFPBRC_BAD_LEN",
        "octets after the end of a message are a mistake, not an extension",
    ),
    (
        "OFPSCFC_BAD_FLAGS",
        "ovs-ofctl prints unknown flags; ovs-vswitchd refuses them",
    ),
    ("NXBRC_BAD_REASON", "ovs-ofctl prints unknown reasons"),
    (
        "NXBRC_MUST_BE_ZERO",
        "checked by ovs-vswitchd, not by its decoder",
    ),
    (
        "OFPPMFC_BAD_CONFIG",
        "unknown bits are to be refused (OpenFlow 1.4 section 7.5.4.8)",
    ),
    ("OFPTMFC_BAD_CONFIG", "likewise (section 7.5.4.9)"),
    ("OFPACFC_INVALID", "likewise (section 7.5.4.16)"),
    ("OFPMMFC_BAD_FLAGS", "likewise (section 7.5.4.13)"),
    ("OFPMMFC_BAD_BAND", "ovs-ofctl prints unknown bands"),
    (
        "OFPMOFC_BAD_COMMAND",
        "ovs-ofctl prints unknown commands of monitors",
    ),
    (
        "OFPMMFC_INVALID_METER",
        "checked by ovs-vswitchd, not by its decoder",
    ),
    ("OFPGMFC_INVALID_GROUP", "likewise"),
    ("OFPGMFC_BAD_TYPE", "in a description that ovs-ofctl prints"),
    (
        "OFPBFC_BAD_TYPE",
        "ovs-ofctl prints unknown bundle commands",
    ),
    ("OFPBFC_BAD_FLAGS", "likewise flags"),
    (
        "OFPBPC_BAD_TYPE",
        "ovs-ofctl skips properties that it does not know",
    ),
    ("OFPBPC_BAD_EXPERIMENTER", "likewise"),
    (
        "NXST_NOT_CONFIGURED",
        "it asks for IPFIX, which we do not export",
    ),
    (
        "OFPBPC_BAD_VALUE",
        "ovs-ofctl prints odd eviction flags and vacancies",
    ),
    ("OFPBRC_BAD_PORT", "reserved numbers that name no port"),
    ("OFPBRC_EPERM", "formats that nobody defined"),
    (
        "OFPBMC_BAD_FIELD",
        "in packet-ins ovs-ofctl skips unknown fields",
    ),
    ("OFPBMC_BAD_LEN", "likewise"),
    ("OFPBMC_BAD_PREREQ", "likewise"),
    (
        "OFPBMC_BAD_WILDCARDS",
        "it ignores unknown wildcards of 1.1 (section A.2.3)",
    ),
    ("OFPBMC_BAD_VALUE", "likewise"),
    (
        "OFPBAC_BAD_ARGUMENT",
        "unknown packet-in reasons, reserved octets of bundle",
    ),
    (
        "OFPBAC_BAD_SET_LEN",
        "learn of more bits than the field has: it finds out later",
    ),
    ("OFPBAC_BAD_SET_TYPE", "likewise"),
    (
        "NXTTMFC_BAD_OPT_LEN",
        "checked by ovs-vswitchd, not by its decoder",
    ),
    ("NXTTMFC_BAD_FIELD_IDX", "likewise"),
    (
        "OFPFMFC_BAD_COMMAND",
        "ovs-ofctl reads a table id in any command of 1.0",
    ),
];

/// Faults that only `ovs-ofctl` refuses, with the reason, besides what it [`lacks`].
const LAXER: &[(&str, &str)] = &[
    (
        "NXTTMFC_BAD_OPT_LEN",
        "maps in a reply are the switch's own",
    ),
    ("NXTTMFC_BAD_FIELD_IDX", "likewise"),
    ("OFPBPC_BAD_LEN", "a continuation is opaque"),
    (
        "OFPGMFC_INVALID_GROUP",
        "the one bucket of an indirect group cannot be removed: the group knows",
    ),
    (
        "OFPBRC_BAD_LEN",
        "lengths of 1.5's meter features, monitors and padding",
    ),
    ("OFPBMC_BAD_LEN", "padding of OXS"),
    (
        "OFPFMFC_BAD_FLAGS",
        "unknown flags in a reply are the switch's own",
    ),
];

#[test]
fn we_refuse_what_it_refuses() {
    let samples = samples(20_000, true);
    let Some(refused) = ask(&samples) else { return };
    let mut odd: BTreeMap<(String, String), &Sample> = BTreeMap::new();
    let (mut both, mut same) = (0, 0);
    for s in &samples {
        match (&s.ours, refused.get(&s.xid)) {
            (Ok(()), None) => {}
            (Err(a), Some(b)) => {
                both += 1;
                same += u32::from(a == b);
            }
            (Err(a), None) if STRICTER.iter().any(|(e, _)| e == a) => {}
            (Ok(()), Some(b)) if LAXER.iter().any(|(e, _)| e == b) || lacks(b, &s.said) => {}
            // A mutation may turn an action or field into one that it lacks.
            (Ok(()), Some(b)) if b.starts_with("OFPBAC_BAD_TYPE") || b.ends_with("FIELD") => {}
            (Ok(()), Some(b)) if b == "OFPBAC_BAD_SET_TYPE" => {}
            (ours, theirs) => {
                let key = (format!("{ours:?}"), format!("{theirs:?}"));
                odd.insert(key, s);
            }
        }
    }
    for ((ours, theirs), s) in &odd {
        eprintln!("{ours} but {theirs}: {}: {:02x?}", s.said, s.bytes);
    }
    assert!(odd.is_empty(), "{} kinds of differences", odd.len());
    // Of a message with two faults each may name another first.
    assert!(
        same * 100 >= both * 85,
        "{same} of {both} with the same error"
    );
}

/// A flow-mod as `ovs-ofctl` prints it, from the match on.
fn as_printed(m: &super::FlowMod, version: crate::Version) -> (String, String) {
    let words = crate::text::Words::new(version);
    let priority = match m.priority {
        0x8000 => String::new(),
        p => format!("priority={p}"),
    };
    let matching = m.matching.to_string();
    let comma = if priority.is_empty() || matching.is_empty() {
        ""
    } else {
        ","
    };
    (
        format!("{priority}{comma}{matching}"),
        words.instructions(&m.instructions).to_string(),
    )
}

#[test]
fn flows_are_printed_as_it_prints_them() {
    let mut flows = Vec::new();
    for s in samples(12_000, false) {
        let version = crate::Version::from_wire(s.bytes[0]).unwrap();
        if let Ok((_, Message::FlowMod(m))) = Dialect::new(version).decode(&s.bytes) {
            flows.push((s, as_printed(&m, version)));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stream");
    let stream: Vec<u8> = flows.iter().flat_map(|(s, _)| s.bytes.clone()).collect();
    std::fs::write(&path, stream).unwrap();
    let Ok(out) = Command::new("ovs-ofctl")
        .arg("ofp-parse")
        .arg(&path)
        .output()
    else {
        eprintln!("SKIPPED: ovs-ofctl is not installed");
        return;
    };
    let text = String::from_utf8_lossy(&out.stdout);
    let lines: HashMap<u32, &str> = text
        .lines()
        .filter_map(|l| {
            let (_, rest) = l.split_once("(xid=0x")?;
            let (xid, rest) = rest.split_once("): ")?;
            Some((u32::from_str_radix(xid, 16).ok()?, rest))
        })
        .collect();
    let mut compared = 0;
    for (s, (rule, actions)) in &flows {
        let Some(line) = lines.get(&s.xid).filter(|l| !l.contains("decode error")) else {
            continue;
        };
        let (head, printed) = line.split_once("actions=").unwrap();
        compared += 1;
        assert_eq!(printed, actions, "{}", s.said);
        // The match of 1.1 has no IPv6; what we keep of one it leaves out.
        let of11 = s.bytes[0] == crate::Version::Of11.wire();
        let same = rule.is_empty() || head.contains(&format!(" {rule} "));
        assert!(same || of11 && rule.contains('6'), "{head} lacks {rule}");
    }
    assert!(compared > 500, "{compared}");
}

/// Flows as people write them: read by both, sent and printed, they come out the same.
const TEXTS: &[&str] = &[
    "actions=drop",
    "priority=7,in_port=1,actions=2",
    "table=3,ip,nw_src=10.0.0.0/8,actions=mod_nw_dst:10.1.1.1,output:3",
    "tcp,tp_dst=80,cookie=0x12,idle_timeout=30,hard_timeout=60,send_flow_rem,actions=mod_tp_dst:8080,NORMAL",
    "udp,tp_src=53,actions=mod_tp_src:54,LOCAL",
    "arp,arp_op=1,actions=FLOOD",
    "arp,actions=load:0x2->NXM_OF_ARP_OP[],move:NXM_OF_ARP_OP[]->NXM_NX_REG0[0..15]",
    "dl_vlan=5,actions=strip_vlan,output:1",
    "actions=mod_vlan_vid:7,mod_vlan_pcp:3,ALL",
    "dl_vlan=5,actions=set_field:4103->vlan_vid,IN_PORT",
    "dl_vlan=5,actions=set_field:7->vlan_vid,1",
    "actions=controller",
    "actions=CONTROLLER:128",
    "actions=controller(max_len=64,id=3)",
    "actions=controller(reason=invalid_ttl,userdata=01.02.03,pause)",
    "actions=enqueue:1:2",
    "actions=enqueue(LOCAL,9)",
    "actions=set_queue:5,output:1,pop_queue",
    "actions=load:0x5->NXM_NX_REG0[],load:1->reg1[3],resubmit(,4)",
    "actions=resubmit:3,resubmit(4),resubmit(5,6)",
    "actions=move:NXM_OF_IN_PORT[]->NXM_NX_REG2[0..15],output:NXM_NX_REG2[0..15]",
    "actions=set_field:0x1234->reg4,set_field:00:11:22:33:44:55->eth_dst,1",
    "ip,actions=dec_ttl,dec_ttl(1,2),mod_nw_tos:32,mod_nw_ttl:9,1",
    "ipv6,actions=set_field:::1->ipv6_dst,2",
    "mpls,actions=set_mpls_ttl(9),dec_mpls_ttl,pop_mpls:0x0800,3",
    "ip,actions=push_mpls:0x8847,set_mpls_label(99),set_mpls_tc(5),3",
    "actions=set_tunnel:0x5,1",
    "actions=set_tunnel64:0x500000000,1",
    "actions=note:01.02.03.04.05.06.07",
    "actions=note:0102",
    "actions=exit",
    "actions=push:NXM_NX_REG0[],pop:NXM_NX_REG1[]",
    "actions=clone(output:1,clone(output:2)),3",
    "tcp,actions=fin_timeout(idle_timeout=5,hard_timeout=6),1",
    "actions=conjunction(5,1/3),conjunction(6,2/2)",
    "actions=multipath(symmetric_l4,1024,hrw,8,0,NXM_NX_REG0[0..7]),1",
    "actions=bundle(eth_src,50,active_backup,ofport,members:1,2,3)",
    "actions=bundle_load(symmetric_l3l4+udp,0,hrw,ofport,NXM_NX_REG0[],members:1)",
    "actions=learn(table=2,idle_timeout=10,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
    "actions=learn(table=2,priority=5,cookie=0x7,limit=3,result_dst=reg0[1],eth_type=0x800,nw_proto=6,load:7->reg3[0..7],send_flow_rem,delete_learned)",
    "actions=learn(table=2,eth_type=0x800,ip_dst=10.0.0.1,NXM_NX_REG0[0..3]=0x5,load:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[])",
    "actions=check_pkt_larger(1500)->NXM_NX_REG0[0],1",
    "actions=output(port=1,max_len=100)",
    "in_port=LOCAL,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=drop",
    "tcp,tcp_flags=+syn-ack,actions=1",
    "ip,nw_frag=later,actions=1",
    "reg0=0x5/0xf,metadata=0x10,tun_id=7,actions=1",
];

#[test]
fn texts_are_read_as_it_reads_them() {
    use crate::message::{FlowCommand, FlowFormat};
    use crate::text::{parse_flow, Words};
    use crate::Version;
    for (name, version) in [
        ("OpenFlow10", Version::Of10),
        ("OpenFlow13", Version::Of13),
        ("OpenFlow15", Version::Of15),
    ] {
        let mut d = Dialect::new(version);
        d.flow_format = FlowFormat::Nxm;
        d.flow_mod_table_id = true;
        for text in TEXTS {
            let Ok(out) = Command::new("ovs-ofctl")
                .args(["-O", name, "parse-flow", text])
                .output()
            else {
                eprintln!("SKIPPED: ovs-ofctl is not installed");
                return;
            };
            let printed = String::from_utf8_lossy(&out.stdout).into_owned();
            let Some((head, actions)) = printed.lines().find_map(|l| l.split_once("actions="))
            else {
                continue;
            };
            let m = parse_flow(text, FlowCommand::Add, &Words::new(version)).unwrap();
            let bytes = d.encode(&Message::FlowMod(Box::new(m)), 1).unwrap();
            let (_, Message::FlowMod(m)) = d.decode(&bytes).unwrap() else {
                panic!()
            };
            let (rule, ours) = as_printed(&m, version);
            assert_eq!(ours, actions, "{text} in {name}");
            assert!(
                rule.is_empty() || head.contains(&format!(" {rule} ")),
                "{text}: {head} lacks {rule}"
            );
        }
    }
}

/// Group descriptions and meter configurations, line by line.
#[test]
fn groups_and_meters_are_printed_as_it_prints_them() {
    use super::Reply;
    let mut all = Vec::new();
    for xid in 0..3_000u32 {
        let mut e = Entropy::seed(xid.into());
        let d = Dialect::new(e.pick(&crate::Version::ALL));
        let words = crate::text::Words::new(d.version);
        let (reply, text) = if d.version < crate::Version::Of13 || e.one_in(2) {
            let g = testing::group(&mut e, d.version);
            let text = words.group(&g).to_string();
            (Reply::GroupDesc(vec![g]), text)
        } else {
            let m = testing::meter(&mut e);
            let text = words.meter(&m).to_string();
            (Reply::MeterConfig(vec![m]), text)
        };
        all.push((d.encode_reply(xid, &reply).unwrap().concat(), text));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stream");
    let stream: Vec<u8> = all.iter().flat_map(|(b, _)| b.clone()).collect();
    std::fs::write(&path, stream).unwrap();
    let Ok(out) = Command::new("ovs-ofctl")
        .arg("ofp-parse")
        .arg(&path)
        .output()
    else {
        eprintln!("SKIPPED: ovs-ofctl is not installed");
        return;
    };
    let printed = String::from_utf8_lossy(&out.stdout);
    let mut compared = 0;
    for (xid, (_, text)) in all.iter().enumerate() {
        let start = printed.find(&format!("(xid={xid:#x})")).unwrap();
        let block = printed[start..].lines().skip(1).take(text.lines().count());
        let block: Vec<&str> = block.map(str::trim).collect();
        // Groups with actions that it lacks are not printed.
        if block.concat().contains("decode error") || block.concat().contains("00000000 ") {
            continue;
        }
        let ours: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(block, ours);
        compared += 1;
    }
    assert!(compared > 2_000, "{compared}");
}
