use rvs_flow::testing::Entropy;

use super::*;
use crate::message::{FlowCommand, FlowStats, GroupCommand};
use crate::model::{BandKind, ControllerAction, Selection};
use crate::testing;

/// What the text does not say is as the reader supposes it.
fn as_read(a: &Action) -> Action {
    match a {
        Action::Output { port, .. } if *port != OfPort::CONTROLLER => Action::Output {
            port: *port,
            max_len: 0,
        },
        Action::OutputReg { src, .. } => Action::OutputReg {
            src: *src,
            max_len: u16::MAX,
        },
        Action::Controller(c) => {
            let plain = ControllerAction {
                max_len: c.max_len,
                controller: crate::ControllerId(0),
                reason: crate::PacketInReason::Action,
                userdata: Box::new([]),
                pause: false,
                meter: None,
            };
            if **c == plain {
                Action::Output {
                    port: OfPort::CONTROLLER,
                    max_len: c.max_len,
                }
            } else {
                a.clone()
            }
        }
        Action::Clone(list) => Action::Clone(list.iter().map(as_read).collect()),
        _ => a.clone(),
    }
}

#[test]
fn what_is_printed_reads_back() {
    for seed in 0..20_000 {
        let mut e = Entropy::seed(seed);
        let d = testing::dialect(&mut e);
        let m = testing::match_in(&mut e, &d);
        let mut i = testing::instructions(&mut e, d.version, &m);
        i.apply = i.apply.iter().map(as_read).collect();
        i.write = i.write.iter().map(as_read).collect();
        // A meter at the head of the list is the instruction.
        if let (None, Some(Action::Meter(id))) = (i.meter, i.apply.first()) {
            i.meter = Some(*id);
            i.apply = i.apply[1..].into();
        }
        let words = Words::new(d.version);
        let text = words.instructions(&i).to_string();
        let back = words
            .parse_instructions(&text)
            .unwrap_or_else(|err| panic!("seed {seed}: {err}: {text}"));
        assert_eq!(back, i, "seed {seed}: {text}");
    }
}

#[test]
fn flows_read_back_with_their_statistics() {
    let mut f = FlowStats::new(
        crate::FlowMatch::parse("tcp,in_port=1,dl_vlan=5,tp_dst=80", &NoPortNames).unwrap(),
    );
    f.table = crate::TableId(3);
    f.priority = 10;
    f.cookie = 0x1f;
    f.duration_sec = 5;
    f.duration_nsec = 250_000_000;
    f.packets = 7;
    f.bytes = u64::MAX;
    f.idle_timeout = 60;
    f.flags = crate::message::FlowFlags::SEND_FLOW_REM;
    f.idle_age = Some(2);
    f.hard_age = Some(5);
    f.instructions = Instructions::apply([Action::PopVlan, Action::output(OfPort(2))]);
    let words = Words::default();
    let text = words.flow(&f, true).to_string();
    assert_eq!(
        text,
        "cookie=0x1f, duration=5.250s, table=3, n_packets=7, n_bytes=?, idle_timeout=60, \
         send_flow_rem idle_age=2, priority=10,tcp,in_port=1,dl_vlan=5,tp_dst=80 \
         actions=pop_vlan,output:2"
    );
    let m = parse_flow(&text, FlowCommand::Add, &words).unwrap();
    assert_eq!(
        (m.table, m.priority, m.new_cookie),
        (f.table, 10, Some(0x1f))
    );
    assert_eq!(m.matching, f.matching);
    assert_eq!(m.flags, f.flags);
    let any = FlowStats::new(crate::FlowMatch::any());
    assert_eq!(words.flow(&any, false).to_string(), "actions=drop");
}

#[test]
fn groups_read_back() {
    for seed in 0..3_000 {
        let mut e = Entropy::seed(seed);
        let d = testing::dialect(&mut e);
        let mut g = testing::group(&mut e, d.version);
        for b in &mut g.buckets {
            b.actions = b.actions.iter().map(as_read).collect();
        }
        if let Selection::Hash { fields, .. } = &mut g.selection {
            fields.sort_unstable_by_key(|(id, _)| *id);
        }
        let words = Words::new(d.version);
        let text = words.group(&g).to_string();
        let back = parse_group(&text, GroupCommand::Add, &words)
            .unwrap_or_else(|err| panic!("seed {seed}: {err}: {text}"));
        assert_eq!(back.group, g, "seed {seed}: {text}");
    }
}

#[test]
fn groups_as_people_write_them() {
    let w = Words::default();
    let g = |t: &str| parse_group(t, GroupCommand::Add, &w);
    let m =
        g("group_id=5,type=select,bucket=weight:3,output:1,bucket=actions=resubmit(,2),output:2")
            .unwrap();
    assert_eq!(
        w.group(&m.group).to_string(),
        "group_id=5,type=select,bucket=weight:3,actions=output:1,bucket=actions=resubmit(,2),output:2"
    );
    let m = g("group_id=1 type=ff bucket=watch_port:1,actions=1 bucket=watch_group:2,actions=2");
    assert_eq!(m.unwrap().group.buckets.len(), 2);
    assert!(g("type=all,bucket=output:1").is_err());
    assert!(g("group_id=1,bucket=output:1").is_err());
    assert!(g("group_id=1,type=all,selection_method=hash").is_err());
    assert!(g("group_id=1,type=select,selection_method=hash,fields(ip_src,tcp_dst=0xff00),bucket=output:1").is_ok());
    let del = parse_group("group_id=all", GroupCommand::Delete, &w).unwrap();
    assert_eq!(del.group.id, crate::GroupId::ALL);
}

#[test]
fn meters_read_back_and_as_people_write_them() {
    let m = parse_meter(
        "meter=3,pktps,burst,stats,bands=type=drop,rate=100,burst_size=10",
        false,
    )
    .unwrap();
    assert_eq!(
        Words::default().meter(&m).to_string(),
        "meter=3 pktps burst stats bands=\ntype=drop rate=100 burst_size=10\n"
    );
    let m = parse_meter(
        "meter=controller kbps band=type=dscp_remark,rate=5,prec_level=1,type=drop,rate=9",
        false,
    )
    .unwrap();
    assert_eq!(m.bands.len(), 2);
    assert_eq!(m.bands[0].kind, BandKind::DscpRemark { levels: 1 });
    for bad in [
        "kbps",
        "meter=1",
        "meter=1,kbps,pktps,bands=type=drop,rate=1",
        "meter=1,bands=rate=5",
        "meter=1,bands=type=drop,rate=1,burst_size=3",
        "meter=0,bands=type=drop,rate=1",
    ] {
        assert!(parse_meter(bad, false).is_err(), "{bad}");
    }
    for seed in 0..500 {
        let mut e = Entropy::seed(seed);
        let mut m = testing::meter(&mut e);
        if m.bands.is_empty() {
            continue;
        }
        for b in &mut m.bands {
            b.rate = b.rate.max(1);
            if !m.burst {
                b.burst = 0;
            }
        }
        let text = Words::default().meter(&m).to_string().replace('\n', " ");
        assert_eq!(parse_meter(&text, false).as_ref(), Ok(&m), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let w = Words::default();
    let flow = |t: &str| parse_flow(t, FlowCommand::Add, &w).map_err(|e| e.0);
    let err = |t: &str| flow(t).unwrap_err();
    assert_eq!(
        err("tcp_dst=80,actions=drop"),
        "tcp_dst needs eth_type=0x0800 or 0x86dd, which is not matched"
    );
    assert_eq!(
        err("ip"),
        "the flow has no actions; say actions=drop to drop"
    );
    assert_eq!(
        err("actions=outptu:1"),
        "outptu is neither an action nor a port"
    );
    assert_eq!(
        err("pirority=5,actions=drop"),
        "pirority is neither a match field nor a setting of a flow"
    );
    assert!(err("actions=goto_table:1,output:2").starts_with("actions after goto_table"));
    assert!(err("actions=drop,output:2").contains("drop stands alone"));
    assert!(err("actions=ct(commit)").contains("connection tracking"));
    assert!(err("actions=load:5->nw_proto").contains("cannot be written"));
    assert!(err("actions=load:0x1ff->reg0[0..7]").contains("does not fit"));
    assert!(err("actions=move:reg0[]->reg1[0..3]").contains("bits"));
    assert!(err("actions=set_field:1->nonsense").contains("nonsense"));
    assert!(err("cookie=1/1,actions=drop").contains("mask"));
    assert!(err("table=300,actions=drop").contains("too large"));
    assert!(err("actions=output:1,,set_field:10.0.0.1->ip_dst").contains("ip_dst"));
    assert!(parse_flow("actions=drop", FlowCommand::Delete, &w).is_err());
    let m = parse_flow("cookie=0x5/-1,table=3", FlowCommand::Delete, &w).unwrap();
    assert_eq!((m.cookie.value, m.cookie.mask), (5, u64::MAX));
}

#[test]
fn stat_triggers_as_people_write_them() {
    let w = Words::new(Version::Of15);
    let read = |t: &str| w.parse_instructions(t);
    for text in [
        "stat_trigger(packet_count=1000)",
        "output:2,stat_trigger(periodic,only_first,duration=1.5,idle_time=10,packet_count=7,byte_count=8),goto_table:3",
    ] {
        let back = read(text).unwrap();
        assert_eq!(w.instructions(&back).to_string(), text);
    }
    for (bad, why) in [
        ("stat_trigger", "needs a value"),
        ("stat_trigger(periodic)", "0 thresholds"),
        ("stat_trigger(packet_count=0)", "a threshold of 0"),
        ("stat_trigger(flow_count=5)", "\"flow_count\" is none of"),
        (
            "stat_trigger(duration=1.0000000001)",
            "is no number of seconds",
        ),
        ("stat_trigger(duration=-1)", "seconds"),
        (
            "goto_table:3,stat_trigger(packet_count=1)",
            "stat_trigger after goto_table",
        ),
    ] {
        let said = read(bad).unwrap_err().0;
        assert!(said.contains(why), "{bad}: {said}");
    }
    assert!(w.parse_actions("stat_trigger(packet_count=1)").is_err());
}

/// Reading garbage ends without a panic.
#[test]
fn mutated_texts_are_refused_or_read() {
    let w = Words::default();
    for seed in 0..20_000 {
        let mut e = Entropy::seed(seed);
        let m = testing::match_in(&mut e, &crate::Dialect::new(Version::Of13));
        let i = testing::instructions(&mut e, Version::Of13, &m);
        let mut text: Vec<u8> = format!("{m},actions={}", w.instructions(&i)).into_bytes();
        for _ in 0..1 + e.below(4) {
            let at = e.below(text.len());
            match e.below(3) {
                0 => text[at] = e.pick(b"(),=:->[]/0a \"."),
                1 => text.insert(at, e.pick(b"(),=:->[]/0a \".")),
                _ => {
                    text.remove(at);
                }
            }
        }
        let Ok(text) = String::from_utf8(text) else {
            continue;
        };
        let _ = parse_flow(&text, FlowCommand::Add, &w);
        let _ = parse_group(&text, GroupCommand::Add, &w);
        let _ = parse_meter(&text, false);
    }
}
