//! Errors.

use rvs_tests::{eventually, Lab, Peer};

use super::has;

/// What is wrong gets the error that the specification names, and changes nothing.
pub fn refusals(lab: &Lab) {
    let peer = Peer::start(lab);
    peer.expects(&["OFPHFC_INCOMPATIBLE"]);
    peer.wires(2);
    let refused: &[(&str, &str, &str)] = &[
        (
            "13",
            "add-flow BR ip,actions=group:99",
            "OFPBAC_BAD_OUT_GROUP",
        ),
        (
            "13",
            "add-flow BR ip,actions=meter:99,output:1",
            "OFPMMFC_INVALID_METER",
        ),
        (
            "10",
            "add-flow BR check_overlap,priority=5,ip,nw_src=10.0.0.1,actions=drop",
            "OFPFMFC_OVERLAP",
        ),
        (
            "13",
            "add-flow BR check_overlap,priority=5,ip,nw_src=10.0.0.1,actions=drop",
            "OFPFMFC_OVERLAP",
        ),
        (
            "15",
            "add-flow BR check_overlap,priority=5,ip,nw_src=10.0.0.1,actions=drop",
            "OFPFMFC_OVERLAP",
        ),
        ("13", "mod-port BR 77 up", ""),
    ];
    peer.ofctl(
        "13",
        "add-flow BR priority=5,ip,nw_dst=10.0.0.2,actions=output:1",
    );
    let before = peer.ofctl("13", "--no-stats dump-flows BR");
    for (version, words, error) in refused {
        let said = peer.ofctl_fails(version, words, &[error]);
        assert!(
            !said.contains("timed out") && !said.contains("connection"),
            "{words}: {said}"
        );
    }
    // Not a word of which the switch may believe: the messages that ovs-ofctl itself would not send are in `wire` tests.
    assert_eq!(peer.ofctl("13", "--no-stats dump-flows BR"), before);
    has(
        "13",
        &peer.ofctl("13", "dump-groups BR"),
        &["OFPST_GROUP_DESC reply"],
    );
    // Versions that the bridge does not speak are refused with a reason.
    peer.vsctl("set bridge br1 protocols=OpenFlow13,OpenFlow14");
    eventually("1.0 is refused", || {
        peer.try_ofctl("10", "show BR").code != 0
    });
    peer.ofctl_fails("10", "show BR", &["version negotiation failed"]);
    peer.ofctl("13", "show BR");
    peer.ofctl("14", "show BR");
    peer.ofctl_fails("15", "show BR", &["version negotiation failed"]);
    peer.vsctl("clear bridge br1 protocols");
    eventually("1.0 is spoken again", || {
        peer.try_ofctl("10", "show BR").code == 0
    });
}
