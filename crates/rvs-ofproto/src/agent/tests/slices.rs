//! Long changes that no bundle asks for: they take their turns, and nobody hastens them.

use super::*;

/// What connections ask of the pipeline changes when they come and go; a long deletion under way is not ended for its sake.
#[test]
fn whoever_comes_or_goes_does_not_hasten_a_long_deletion() {
    let mut rig = Rig::new();
    let (c, old) = (rig.controller(Version::Of14), rig.controller(Version::Of10));
    let n = 5 * super::super::limits::TURN_CHANGES;
    for i in 0..n as u16 {
        let mut m = add_flow(i);
        m.flags = FlowFlags::SEND_FLOW_REM;
        rig.say(c, 1, &flow_mod(m));
    }
    rig.hear(c);
    let settings = |rig: &Rig| rig.plant.up().settings.miss;
    assert_eq!(settings(&rig), rvs_pipeline::Miss::Controller);
    let bytes = c.dialect.encode(&delete_all(), 1).unwrap();
    rig.agent.input(c.conn, &bytes);
    assert!(rig.agent.turn(rig.now, &mut rig.plant));
    rig.agent.disconnect(old.conn);
    let mut turns = 0;
    while rig.agent.turn(rig.now, &mut rig.plant) {
        turns += usize::from(rig.agent.state.is_busy());
    }
    assert!((4..100).contains(&turns), "{turns}");
    assert_eq!(settings(&rig), rvs_pipeline::Miss::Drop);
    assert_eq!(rig.hear(c).len(), n);
    assert!(rig.flows(c).is_empty());
}

/// What a lower limit leaves no room for goes turn by turn, the first to expire first; a flow that comes meanwhile takes the place
/// of one.
#[test]
fn a_lower_limit_evicts_in_slices() {
    const MOST: usize = 1000;
    let mut rig = Rig::new();
    let c = rig.controller(Version::Of14);
    let n = 5 * super::super::limits::TURN_CHANGES;
    for i in 0..n as u16 {
        let mut m = add_flow(i);
        m.hard_timeout = 10_000 - i;
        rig.say(c, 1, &flow_mod(m));
    }
    rig.hear(c);
    let flows = |rig: &Rig| rig.plant.up().table(TableId(0)).unwrap().read().len();
    let limit = crate::TableLimit {
        flows: Some(MOST as u32),
        evicts: true,
        ..crate::TableLimit::default()
    };
    let (now, state, plant) = (rig.now, &mut rig.agent.state, &mut rig.plant);
    state.set_table_limit(now, TableId(0), &limit, plant);
    let mut before = flows(&rig);
    assert!(n - before <= super::super::limits::TURN_CHANGES, "{before}");
    // Nothing is evicted but what makes room, one by one.
    let mut late = add_flow(0);
    (late.priority, late.hard_timeout) = (7, 20_000);
    rig.agent
        .input(c.conn, &c.dialect.encode(&flow_mod(late), 1).unwrap());
    let mut turns = 0;
    while rig.agent.turn(rig.now, &mut rig.plant) {
        turns += 1;
        let left = flows(&rig);
        assert!(before - left <= super::super::limits::TURN_CHANGES);
        before = left;
    }
    assert!((4..100).contains(&turns), "{turns}");
    assert_eq!((flows(&rig), rig.hear_now(c)), (MOST, vec![]));
    let timeouts: Vec<_> = rig.flows(c).iter().map(|f| f.hard_timeout).collect();
    let last = 10_000 - MOST as u16 + 1;
    assert!(timeouts.iter().all(|t| *t > last), "{last}");
}
