//! Tables and ports: limits, eviction, vacancy, features, configuration.

use rvs_flow::OfPort;
use rvs_openflow::message::{
    Port, PortChange, PortConfig, PortFeatures, PortMod, PortState, TableConfig, TableMiss,
    TableProperty, TableReason, Vacancy,
};
use rvs_openflow::TableId;
use rvs_packet::MacAddr;
use rvs_pipeline::Miss;

use super::*;
use crate::testing::{port, Call};
use crate::TableLimit;

fn apply(lab: &mut Lab, m: Mod) -> Result<(), ErrorCode> {
    let author = lab.author();
    let got = lab.state.apply(lab.now, &author, [m], &mut lab.plant);
    got.map_err(|(_, e)| e.code)
}

impl Lab {
    fn limit(&mut self, table: u8, limit: Option<u32>, evict: bool) {
        let id = TableId(table);
        let limit = TableLimit {
            flows: limit,
            evicts: evict,
            name: Some("acl".into()),
            groups: Box::new([]),
        };
        self.state
            .set_table_limit(self.now, id, &limit, &mut self.plant);
    }
}

#[test]
fn a_full_table_refuses() {
    let mut lab = Lab::new(Version::Of13);
    lab.limit(0, Some(2), false);
    lab.all(&["add in_port=1,actions=drop", "add in_port=2,actions=drop"]);
    assert_eq!(
        lab.run("add in_port=3,actions=drop"),
        Err(ErrorCode::FmfcTableFull)
    );
    lab.all(&[
        "add in_port=2,actions=output:1",
        "add table=1,in_port=3,actions=drop",
    ]);
    assert_eq!(
        lab.bundle(&["del in_port=1", "add in_port=3,actions=drop"]),
        Ok(())
    );
    lab.limit(0, None, false);
    lab.all(&["add in_port=1,actions=drop"]);
    let stats = lab.state.table_stats(&mut lab.plant);
    assert_eq!(
        (stats.len(), stats[0].name.as_str(), stats[0].active),
        (254, "acl", 3)
    );
    assert_eq!((stats[0].max_entries, stats[1].active), (1_000_000, 1));
}

#[test]
fn the_bridge_holds_so_many_flows() {
    let limits = Limits {
        flows: 3,
        ..Limits::default()
    };
    let mut lab = Lab::with_limits(Version::Of13, limits);
    for n in 1..=3 {
        lab.all(&[&format!("add table={n},ip,actions=drop")]);
    }
    assert_eq!(
        lab.run("add ip,actions=drop"),
        Err(ErrorCode::FmfcTableFull)
    );
    for n in 1..=60 {
        assert!(lab
            .run(&format!("add priority={n},ip,actions=drop"))
            .is_err());
    }
    lab.all(&[
        "add table=3,ip,actions=output:1",
        "del table=2",
        "add ip,actions=drop",
    ]);
}

/// The database's eviction takes flows with timeouts alone, soonest first.
#[test]
fn a_full_table_evicts_what_expires_soonest() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&["add send_flow_rem,hard_timeout=50,in_port=1,actions=drop"]);
    lab.limit(0, Some(3), true);
    lab.all(&[
        "add send_flow_rem,idle_timeout=20,in_port=2,actions=drop",
        "add send_flow_rem,in_port=3,actions=drop",
        "add send_flow_rem,ip,actions=drop",
    ]);
    assert_eq!(lab.removed(), [(FlowRemovedReason::Eviction, 0)]);
    assert!(!lab.dump().iter().any(|f| f.contains("in_port=2")));
    lab.all(&["add arp,actions=drop"]);
    assert_eq!(
        lab.run("add tcp,actions=drop"),
        Err(ErrorCode::FmfcTableFull)
    );
    // A lower limit evicts at once.
    lab.all(&["del ip", "add hard_timeout=9,ip,actions=drop"]);
    lab.limit(0, Some(2), true);
    assert_eq!(lab.state.index.flows, 2);
}

/// Flows are divided by what they match; the group with most flows makes room, whatever expires sooner elsewhere.
#[test]
fn the_largest_group_makes_room() {
    let mut lab = Lab::new(Version::Of13);
    let grouped = TableLimit {
        flows: Some(4),
        evicts: true,
        groups: Box::new(["NXM_OF_IN_PORT[]".parse().unwrap()]),
        ..TableLimit::default()
    };
    let plain = TableLimit {
        groups: Box::new([]),
        ..grouped.clone()
    };
    let id = TableId(0);
    lab.state
        .set_table_limit(lab.now, id, &grouped, &mut lab.plant);
    lab.all(&[
        "add idle_timeout=5,in_port=1,ip,actions=drop",
        "add idle_timeout=30,in_port=2,ip,actions=drop",
        "add idle_timeout=20,in_port=2,arp,actions=drop",
        "add idle_timeout=40,in_port=2,ipv6,actions=drop",
        "add in_port=1,arp,actions=drop",
    ]);
    let left = lab.dump().join(" ");
    assert!(left.contains("idle_timeout=5") && !left.contains("idle_timeout=20"));
    // Without groups what expires soonest goes.
    lab.state
        .set_table_limit(lab.now, id, &plain, &mut lab.plant);
    lab.all(&["add in_port=3,actions=drop"]);
    assert!(!lab.dump().join(" ").contains("idle_timeout=5"));
}

/// A name of the database's is no controller's to change.
#[test]
fn the_database_names_tables_first() {
    let mut lab = Lab::new(Version::Of15);
    lab.limit(1, None, false);
    let name = |lab: &mut Lab, to: &str| {
        let features = lab.state.table_features(Version::Of15, &lab.plant);
        let mut one = features[1].clone();
        (one.command, one.name) = (1, to.to_owned());
        apply(lab, Mod::TableFeatures(vec![one]))
    };
    assert_eq!(name(&mut lab, "other"), Err(ErrorCode::TffcEperm));
    assert_eq!(name(&mut lab, "acl"), Ok(()));
    let none = TableLimit::default();
    lab.state
        .set_table_limit(lab.now, TableId(1), &none, &mut lab.plant);
    assert_eq!(name(&mut lab, "other"), Ok(()));
}

/// OpenFlow 1.4's eviction goes by importance.
#[test]
fn a_full_table_evicts_the_least_important() {
    let mut lab = Lab::new(Version::Of14);
    lab.limit(0, Some(3), false);
    let on = TableConfig {
        table: TableId(0),
        eviction: true,
        ..TableConfig::default()
    };
    apply(&mut lab, Mod::Table(on)).unwrap();
    lab.all(&[
        "add importance=7,in_port=1,actions=drop",
        "add importance=3,send_flow_rem,in_port=2,actions=drop",
        "add importance=5,hard_timeout=1,in_port=3,actions=drop",
        "add importance=9,ip,actions=drop",
    ]);
    assert_eq!(lab.removed(), [(FlowRemovedReason::Eviction, 0)]);
    // An eviction in a bundle that fails has not happened, and the order is as before.
    let failed = lab.bundle(&["add arp,actions=drop", "add arp,actions=group:1"]);
    assert_eq!(failed, Err((1, ErrorCode::BacBadOutGroup)));
    lab.all(&["add arp,actions=drop"]);
    assert!(!lab.dump().iter().any(|f| f.contains("in_port=3")));
    apply(
        &mut lab,
        Mod::Table(TableConfig {
            eviction: false,
            ..on
        }),
    )
    .unwrap();
    assert_eq!(
        lab.run("add tcp,actions=drop"),
        Err(ErrorCode::FmfcTableFull)
    );
}

#[test]
fn vacancy_is_told_of_once_per_crossing() {
    let mut lab = Lab::new(Version::Of14);
    lab.limit(0, Some(10), false);
    let config = TableConfig {
        table: TableId(0),
        vacancy_events: true,
        vacancy: Some(Vacancy {
            down: 30,
            up: 60,
            current: 0,
        }),
        ..TableConfig::default()
    };
    apply(&mut lab, Mod::Table(config)).unwrap();
    let mut told = Vec::new();
    for n in 0..9 {
        lab.all(&[&format!("add priority={n},ip,actions=drop")]);
        for e in lab.state.take_events() {
            let Event::TableStatus(s) = e else {
                panic!("{e:?}")
            };
            told.push((n, s.reason, s.table.vacancy.unwrap().current));
        }
    }
    assert_eq!(told, [(7, TableReason::VacancyDown, 20)]);
    lab.all(&["del-strict priority=0,ip", "del-strict priority=1,ip"]);
    assert_eq!(lab.state.take_events(), []);
    lab.all(&["del ip"]);
    let events = lab.state.take_events();
    assert!(matches!(&events[..], [Event::TableStatus(s)] if s.reason == TableReason::VacancyUp));
}

#[test]
fn table_misses_of_old_versions_are_configured() {
    let mut lab = Lab::new(Version::Of11);
    let config = TableConfig {
        table: TableId::ALL,
        miss: TableMiss::Continue,
        ..TableConfig::default()
    };
    apply(&mut lab, Mod::Table(config)).unwrap();
    assert_eq!(lab.plant.up().miss(TableId(200)), Miss::Continue);
    let one = TableConfig {
        table: TableId(3),
        miss: TableMiss::Drop,
        ..config
    };
    apply(&mut lab, Mod::Table(one)).unwrap();
    assert_eq!(lab.plant.up().miss(TableId(3)), Miss::Drop);
    let desc = lab.state.table_desc(&lab.plant);
    assert_eq!(
        (desc[3].miss, desc[4].miss),
        (TableMiss::Drop, TableMiss::Continue)
    );
    // From 1.3 on a flow says it.
    lab.version = Version::Of13;
    apply(
        &mut lab,
        Mod::Table(TableConfig {
            miss: TableMiss::Controller,
            ..one
        }),
    )
    .unwrap();
    assert_eq!(lab.plant.up().miss(TableId(3)), Miss::Drop);
    let beyond = TableConfig {
        table: TableId(254),
        ..one
    };
    assert_eq!(
        apply(&mut lab, Mod::Table(beyond)),
        Err(ErrorCode::TmfcBadTable)
    );
}

/// What is read can be written; what no table can do, or can do without, can't.
#[test]
fn table_features_read_back_and_may_rename() {
    let mut lab = Lab::new(Version::Of13);
    let read = lab.state.table_features(Version::Of13, &lab.plant);
    assert_eq!(read.len(), 254);
    let mut named = read.clone();
    named[5].name = "out".into();
    assert_eq!(apply(&mut lab, Mod::TableFeatures(named.clone())), Ok(()));
    assert_eq!(lab.state.table_features(Version::Of13, &lab.plant), named);
    let mut wrong = read.clone();
    wrong[0].max_entries = 5;
    assert_eq!(
        apply(&mut lab, Mod::TableFeatures(wrong)),
        Err(ErrorCode::TffcEperm)
    );
    let few = Mod::TableFeatures(read[..3].to_vec());
    assert_eq!(apply(&mut lab, few), Err(ErrorCode::TffcEperm));
    let mut twice = read.clone();
    twice[1].table = TableId(0);
    assert_eq!(
        apply(&mut lab, Mod::TableFeatures(twice)),
        Err(ErrorCode::NxtffcDupTable)
    );
    lab.version = Version::Of15;
    let mut modify = lab.state.table_features(Version::Of15, &lab.plant)[5..6].to_vec();
    modify[0].command = 1;
    modify[0].name = String::new();
    assert_eq!(apply(&mut lab, Mod::TableFeatures(modify.clone())), Ok(()));
    modify[0].command = 3;
    assert_eq!(
        apply(&mut lab, Mod::TableFeatures(modify)),
        Err(ErrorCode::TffcEperm)
    );
}

/// What a table is said to do can be set, and nothing else: the last leads nowhere, and in 1.5 a meter is no instruction.
#[test]
fn table_features_are_taken_as_they_are_told() {
    use rvs_openflow::message::TableProperty::{Instructions, NextTables};
    for (version, refused) in [
        (Version::Of13, ErrorCode::TffcEperm),
        (Version::Of15, ErrorCode::TffcBadFeatures),
    ] {
        let mut lab = Lab::new(version);
        let read = lab.state.table_features(version, &lab.plant);
        assert_eq!(apply(&mut lab, Mod::TableFeatures(read.clone())), Ok(()));
        for table in [0, 252, 253] {
            let told = |p: &TableProperty| match p {
                Instructions { types, .. } => Some(types.clone()),
                _ => None,
            };
            let told = read[table].properties.iter().find_map(told).unwrap();
            let miss = false;
            for one in 0..8 {
                let mut given = read.clone();
                given[table].properties = vec![Instructions {
                    miss,
                    types: vec![one],
                }];
                let want = told.contains(&one).then_some(()).ok_or(refused);
                let got = apply(&mut lab, Mod::TableFeatures(given));
                assert_eq!(got, want, "{one} of table {table} in {version:?}");
            }
            for next in [0, 251, 252, 253, 254, 255] {
                let mut given = read.clone();
                given[table].properties = vec![NextTables {
                    miss,
                    tables: vec![next],
                }];
                let leads = usize::from(next) > table && next < 254;
                let got = apply(&mut lab, Mod::TableFeatures(given));
                assert_eq!(got.is_ok(), leads, "{next} after {table} in {version:?}");
            }
        }
    }
}

fn port_mod(number: u32, config: u32, mask: u32) -> PortMod {
    PortMod {
        number: OfPort(number),
        mac: port(number).mac,
        config: PortConfig(config),
        mask: PortConfig(mask),
        advertise: PortFeatures(0),
    }
}

#[test]
fn ports_are_configured() {
    let mut lab = Lab::new(Version::Of10);
    lab.state.set_ports(vec![port(1), port(2)]);
    lab.state.take_events();
    let flood = PortConfig::NO_FLOOD.0;
    let m = port_mod(1, flood, flood);
    assert_eq!(apply(&mut lab, Mod::Port(Box::new(m.clone()))), Ok(()));
    assert!(lab.plant.up().ports.get(OfPort(1)).unwrap().config.no_flood);
    assert!(lab.state.port_config(OfPort(1)).no_flood);
    assert!(lab
        .plant
        .take_calls()
        .iter()
        .any(|c| matches!(c, Call::Publish(c) if c.all)));
    let events = lab.state.take_events();
    let [Event::PortStatus(s)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((s.change, s.port.config.0), (PortChange::Modify, flood));
    // The same again is nothing new.
    assert_eq!(apply(&mut lab, Mod::Port(Box::new(m.clone()))), Ok(()));
    assert_eq!(
        (lab.plant.take_calls(), lab.state.take_events()),
        (vec![], vec![])
    );
    // Down, and what the switch then reports.
    let down = PortConfig::PORT_DOWN.0;
    assert_eq!(
        apply(&mut lab, Mod::Port(Box::new(port_mod(1, down, down)))),
        Ok(())
    );
    assert_eq!(
        lab.plant.take_calls()[1..],
        [Call::PortUp(OfPort(1), false)]
    );
    let mut reported = port(1);
    reported.config = PortConfig::PORT_DOWN;
    lab.state.take_events();
    lab.state.set_ports(vec![reported, port(2)]);
    assert_eq!(lab.state.take_events(), []);
    assert_eq!(lab.state.port(OfPort(1)).unwrap().config.0, down | flood);

    let wrong = PortMod {
        mac: MacAddr([9; 6]),
        ..m.clone()
    };
    assert_eq!(
        apply(&mut lab, Mod::Port(Box::new(wrong))),
        Err(ErrorCode::PmfcBadHwAddr)
    );
    let absent = PortMod {
        number: OfPort(9),
        ..m
    };
    assert_eq!(
        apply(&mut lab, Mod::Port(Box::new(absent))),
        Err(ErrorCode::PmfcBadPort)
    );
}

#[test]
fn a_port_mod_in_a_failed_bundle_has_not_happened() {
    let mut lab = Lab::new(Version::Of14);
    lab.state.set_ports(vec![port(1)]);
    lab.state.take_events();
    let down = PortConfig::PORT_DOWN.0;
    let mods = [
        Mod::Port(Box::new(port_mod(1, down, down))),
        Mod::Port(Box::new(port_mod(7, down, down))),
    ];
    let author = lab.author();
    assert!(lab
        .state
        .apply(lab.now, &author, mods, &mut lab.plant)
        .is_err());
    assert_eq!(
        (lab.plant.take_calls(), lab.state.take_events()),
        (vec![], vec![])
    );
    assert_eq!(lab.state.port(OfPort(1)), Some(port(1)));
}

#[test]
fn controllers_hear_how_ports_change() {
    let mut lab = Lab::new(Version::Of13);
    let heard = |lab: &mut Lab, ports: Vec<Port>| -> Vec<(PortChange, u32)> {
        lab.state.set_ports(ports);
        let events = lab.state.take_events();
        let status = |e| match e {
            Event::PortStatus(s) => {
                let live = s.port.state.has(PortState::LIVE);
                assert!(!live || s.change != PortChange::Add, "not live yet");
                (s.change, s.port.number.0)
            }
            Event::PortLive(s) if s.port.state.has(PortState::LIVE) => (s.change, s.port.number.0),
            other => panic!("{other:?}"),
        };
        events.into_iter().map(status).collect()
    };
    use PortChange::{Add, Delete, Modify};
    assert_eq!(
        heard(&mut lab, vec![port(2), port(1)]),
        [(Add, 1), (Modify, 1), (Add, 2), (Modify, 2)]
    );
    assert_eq!(heard(&mut lab, vec![port(2), port(1)]), []);
    let mut other = port(2);
    other.current_speed = 7;
    assert_eq!(heard(&mut lab, vec![other]), [(Delete, 1), (Modify, 2)]);
    let mut renamed = port(2);
    renamed.name = "eth9".into();
    assert_eq!(
        heard(&mut lab, vec![renamed]),
        [(Delete, 2), (Add, 2), (Modify, 2)]
    );
}

#[test]
fn settings_are_published_when_they_change() {
    let mut lab = Lab::new(Version::Of13);
    lab.state.set_miss(Miss::Controller, &mut lab.plant);
    lab.state.set_miss(Miss::Controller, &mut lab.plant);
    lab.state
        .set_config(rvs_pipeline::FragMode::Drop, true, &mut lab.plant);
    assert_eq!(lab.plant.take_calls().len(), 2);
    let settings = lab.plant.up().settings.clone();
    assert_eq!(settings.miss, Miss::Controller);
    assert!(settings.invalid_ttl_to_controller);
    assert_eq!(lab.state.config(), (rvs_pipeline::FragMode::Drop, true));
}

#[test]
fn a_reset_leaves_nothing_or_a_learning_switch() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&[
        "add-group group_id=1,type=all,bucket=actions=output:1",
        "add-meter meter=1,pktps,bands=type=drop,rate=10",
        "add in_port=1,actions=group:1",
        "add table=9,in_port=1,actions=meter:1,output:1",
    ]);
    lab.state.reset(lab.now, true, &mut lab.plant);
    assert_eq!(lab.dump(), ["priority=0 actions=NORMAL"]);
    assert!(lab.plant.up().groups.is_empty() && lab.plant.meters.is_empty());
    // A switch that starts finds the flow there.
    let mut later = Ofproto::new(BRIDGE, hasher());
    later.adopt(lab.now, &lab.plant);
    assert_eq!(later.index.flows, 1);
    lab.state.reset(lab.now, false, &mut lab.plant);
    assert_eq!(lab.dump(), [""; 0]);
}
