//! Patch ports: what goes on in the other bridge.

use super::*;

#[test]
fn a_patch_carries_the_packet_into_the_other_bridge_and_nothing_else() {
    let two = |id: u32, rules: Vec<_>| {
        let dev = |of: u32| Port::device(OfPort(of), DpPort(id * 10 + of), "d");
        let patch = Port::patch(OfPort(9), Some((BridgeId(3 - id), OfPort(9))), "patch");
        let mut b = Bridge::new(BridgeId(id), &format!("br{id}"));
        let ports = [dev(1), dev(2), patch].map(|p| (p, VlanMode::default()));
        b.ports = Arc::new(Ports::singles(ports).unwrap());
        b.tables = Arc::new(Tables::default().with(Arc::new(common::table_with(0, rules))));
        b
    };
    let lab = Lab::new([
        two(
            1,
            vec![flow(
                0,
                1,
                "",
                vec![Action::load(reg(0, 0, 15), 1), out(9), out(2)],
            )],
        ),
        two(
            2,
            vec![
                flow(0, 2, "reg0=1", vec![]),
                flow(0, 1, "in_port=9", vec![Action::SetEthDst(mac(9)), out(1)]),
            ],
        ),
    ]);
    let plain = ether(mac(2), mac(1), &[]);
    assert_eq!(
        lab.sent(&plain, 11),
        vec![(12, plain.clone()), (21, ether(mac(9), mac(1), &[]))]
    );
    let t = lab.translate(&lab.key(&Frame::from_slice(&plain), 11));
    assert_eq!(t.deps.bridges, vec![BridgeId(1), BridgeId(2)]);
    assert!(t
        .effects
        .iter()
        .any(|e| matches!(e, CachedEffect::PatchHit { .. })));
}

/// Two bridges joined by a patch; what comes in by port 1 is for `actions`.
fn joined(actions: Vec<Action>, down: bool) -> Lab {
    let two = |id: u32, down: bool| {
        let mut patch = Port::patch(OfPort(9), Some((BridgeId(3 - id), OfPort(9))), "patch");
        patch.config.down = down;
        let dev = Port::device(OfPort(1), DpPort(id), "d");
        let mut b = Bridge::new(BridgeId(id), &format!("br{id}"));
        b.ports = Arc::new(Ports::singles([dev, patch].map(|p| (p, VlanMode::default()))).unwrap());
        let back = flow(0, 1, "in_port=9", vec![out(1)]);
        let rules = vec![flow(0, 1, "in_port=1", actions.clone()), back];
        b.tables = Arc::new(Tables::default().with(Arc::new(common::table_with(0, rules))));
        b
    };
    Lab::new([two(1, false), two(2, down)])
}

#[test]
fn what_is_cut_does_not_go_through_a_patch() {
    let cut = Action::OutputTruncated {
        port: OfPort(9),
        max_len: 20,
    };
    let plain = ether(mac(2), mac(1), &[]);
    assert_eq!(joined(vec![cut.clone()], false).sent(&plain, 1), vec![]);
    let both = joined(vec![cut, out(9)], false);
    assert_eq!(both.sent(&plain, 1), vec![(2, plain.clone())]);
}

#[test]
fn a_patch_counts_what_its_other_end_does_not_take() {
    let lab = joined(vec![out(9)], true);
    let plain = ether(mac(2), mac(1), &[]);
    let t = lab.translate(&lab.key(&Frame::from_slice(&plain), 1));
    assert!(t.actions.is_empty(), "{:?}", t.actions);
    assert!(t
        .effects
        .iter()
        .any(|e| matches!(e, CachedEffect::PatchHit { .. })));
}
