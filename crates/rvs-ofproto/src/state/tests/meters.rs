//! Meter-mods.

use rvs_openflow::MeterId;

use super::*;
use crate::testing::Call;

#[test]
fn meters_are_added_changed_and_deleted() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&["add-meter meter=1,pktps,bands=type=drop,rate=10"]);
    assert_eq!(
        lab.run("add-meter meter=1,pktps,bands=type=drop,rate=10"),
        Err(ErrorCode::MmfcMeterExists)
    );
    assert_eq!(
        lab.run("mod-meter meter=2,pktps,bands=type=drop,rate=10"),
        Err(ErrorCode::MmfcUnknownMeter)
    );
    let number = lab.plant.up().meters.get(MeterId(1)).unwrap().dp;
    lab.plant.meters[&number]
        .as_ref()
        .unwrap()
        .charge(lab.now, 100);
    lab.pass(2000);
    lab.all(&["mod-meter meter=1,kbps,burst,bands=type=drop,rate=20,burst_size=5"]);
    // A changed meter keeps its number and its age; its buckets and counters are new.
    assert_eq!(lab.plant.up().meters.get(MeterId(1)).unwrap().dp, number);
    let stats = lab
        .state
        .meter_stats(lab.now, MeterId(1), &mut lab.plant)
        .unwrap();
    assert_eq!((stats[0].duration_sec, stats[0].total.packets), (2, 0));
    lab.all(&["del-meter meter=1", "del-meter meter=1"]);
    assert!(lab.plant.meters.is_empty());
    let gone = lab
        .state
        .meter_config(MeterId(1), &lab.plant)
        .map_err(|e| e.code);
    assert_eq!(gone, Err(ErrorCode::MmfcUnknownMeter));
    assert_eq!(
        lab.state.meter_config(MeterId::ALL, &lab.plant),
        Ok(Vec::new())
    );
}

#[test]
fn a_meter_takes_its_flows_with_it() {
    let mut lab = Lab::new(Version::Of13);
    let unknown = lab.run("add in_port=1,actions=meter:1,output:2");
    assert_eq!(unknown, Err(ErrorCode::MmfcInvalidMeter));
    lab.all(&[
        "add-meter meter=1,pktps,bands=type=drop,rate=10",
        "add-meter meter=2,pktps,bands=type=drop,rate=10",
        "add send_flow_rem,in_port=1,actions=meter:1,output:2",
        "add in_port=2,actions=meter:2,output:1",
    ]);
    lab.plant.take_calls();
    lab.all(&["del-meter meter=1"]);
    assert_eq!(lab.removed(), [(FlowRemovedReason::MeterDelete, 0)]);
    // Its number is free again when no cached flow can name it any more.
    let calls = lab.plant.take_calls();
    let at = |c: &Call| calls.iter().position(|x| x == c).unwrap();
    let published = calls
        .iter()
        .position(|c| matches!(c, Call::Publish(_)))
        .unwrap();
    let freed = calls
        .iter()
        .position(|c| matches!(c, Call::Meter(_, false)))
        .unwrap();
    assert!(published < at(&Call::Settle) && at(&Call::Settle) < freed);
    lab.all(&["del-meter meter=all"]);
    assert_eq!(lab.dump(), [""; 0]);
    assert!(lab.plant.meters.is_empty());
}

/// A meter is there before the first packet that is to pass it.
#[test]
fn a_new_meter_is_set_before_flows_use_it() {
    let mut lab = Lab::new(Version::Of13);
    let lines = ["add-meter meter=1,pktps,bands=type=drop,rate=10"];
    lab.bundle(&lines).unwrap();
    let calls = lab.plant.take_calls();
    let set = calls
        .iter()
        .position(|c| matches!(c, Call::Meter(_, true)))
        .unwrap();
    let published = calls
        .iter()
        .position(|c| matches!(c, Call::Publish(_)))
        .unwrap();
    assert!(set < published);
}

#[test]
fn a_failed_bundle_gives_meter_numbers_back() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&["add-meter meter=1,pktps,bands=type=drop,rate=10"]);
    let before: Vec<_> = lab.plant.meters.keys().copied().collect();
    let failed = lab.bundle(&[
        "del-meter meter=1",
        "add-meter meter=2,pktps,bands=type=drop,rate=10",
        "add-meter meter=1,kbps,bands=type=drop,rate=10",
        "add-meter meter=1,kbps,bands=type=drop,rate=10",
    ]);
    assert_eq!(failed, Err((3, ErrorCode::MmfcMeterExists)));
    assert_eq!(lab.plant.meters.keys().copied().collect::<Vec<_>>(), before);
    let config = lab.state.meter_config(MeterId::ALL, &lab.plant).unwrap();
    assert_eq!(config.len(), 1);
    assert_eq!(config[0].unit, rvs_openflow::MeterUnit::PacketsPerSecond);
    assert!(lab.state.meters.contains_key(&MeterId(1)) && lab.state.meters.len() == 1);
}

#[test]
fn meters_have_limits() {
    let limits = Limits {
        meters: 2,
        bands: 2,
        ..Limits::default()
    };
    let mut lab = Lab::with_limits(Version::Of13, limits);
    let band = ",type=drop,rate=5";
    let meter = |id, n: usize| format!("add-meter meter={id},pktps,bands={}", &band.repeat(n)[1..]);
    assert_eq!(lab.run(&meter(1, 3)), Err(ErrorCode::MmfcOutOfBands));
    assert_eq!(lab.run(&meter(1, 2)), Ok(()));
    assert_eq!(lab.run(&meter(2, 1)), Ok(()));
    assert_eq!(lab.run(&meter(3, 1)), Err(ErrorCode::MmfcOutOfMeters));
    assert_eq!(lab.plant.meters.len(), 2);
    lab.all(&["del-meter meter=2"]);
    lab.plant.max_meters = 1;
    assert_eq!(lab.run(&meter(3, 1)), Err(ErrorCode::MmfcOutOfMeters));
    let Ok(Mod::Meter(mut nothing)) = lab.parse(&meter(3, 1)) else {
        panic!("a meter");
    };
    nothing.meter.bands[0].rate = 0;
    let author = lab.author();
    let mods = [Mod::Meter(nothing)];
    let got = lab.state.apply(lab.now, &author, mods, &mut lab.plant);
    assert_eq!(got.map_err(|(_, e)| e.code), Err(ErrorCode::MmfcBadRate));
}

/// The switch's own meters are kept like others.
#[test]
fn virtual_meters_are_taken() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&[
        "add-meter meter=controller,pktps,bands=type=drop,rate=5",
        "add-meter meter=slowpath,pktps,bands=type=drop,rate=5",
    ]);
    assert_eq!(
        lab.state
            .meter_config(MeterId::CONTROLLER, &lab.plant)
            .unwrap()
            .len(),
        1
    );
    lab.all(&["del-meter meter=all"]);
    assert!(lab.plant.meters.is_empty());
}
