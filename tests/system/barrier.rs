//! A barrier means it: once its reply is there, no packet takes an old way, in any tier.

use std::time::Duration;

use rvs_tests::lab::within;
use rvs_tests::wire::client;
use rvs_tests::{Lab, Peer};

/// Ten thousand changes of the rule of a cached flow, a packet right after each reply: not one may be stale.
/// `RVS_BARRIERS` is another number of changes (100,000 take some minutes).
pub fn no_stale_packet_after_a_barrier(lab: &Lab) {
    let peer = Peer::start(lab);
    let changes = std::env::var("RVS_BARRIERS").unwrap_or("10000".into());
    // Open vSwitch is known to answer before its cache follows: there the test is of itself, with a pause and fewer changes.
    let (changes, settle) = match peer.is_ovs() {
        true => ("200".to_owned(), "0.05"),
        false => (changes, "0"),
    };
    change_and_send(lab, &peer, &format!("{changes} {settle}"));
}

/// Changes as `arguments` tell: none may leave a packet on an old way. Returns what the program said.
pub fn change_and_send(lab: &Lab, peer: &Peer<'_>, arguments: &str) -> String {
    peer.wires(4);
    let mut run = lab.spawn(
        "barrier",
        &format!(
            "ip netns exec wire env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 {} {} {arguments}",
            client("barrier.py").display(),
            peer.mgmt().display()
        ),
    );
    let mut ended = None;
    within(Duration::from_secs(600), "the changes are done", || {
        ended = run.ended();
        ended.is_some()
    });
    print!("{}", run.out());
    assert_eq!(ended, Some(0), "{}{}", run.out(), run.err());
    run.out()
}
