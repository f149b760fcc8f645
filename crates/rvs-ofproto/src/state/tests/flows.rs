//! Flow-mods: commands, strictness, filters, versions, counters, timeouts.

use super::*;

#[test]
fn flows_are_added_changed_and_deleted() {
    let mut lab = Lab::new(Version::Of13);
    lab.all(&[
        "add table=0,priority=5,ip,nw_dst=10.0.0.0/8,actions=output:1",
        "add table=0,priority=6,ip,nw_dst=10.1.0.0/16,actions=output:2",
        "add table=3,arp,actions=goto_table:4",
        "mod ip,actions=output:3",
    ]);
    assert_eq!(
        lab.dump(),
        [
            "priority=5,ip,nw_dst=10.0.0.0/8 actions=output:3",
            "priority=6,ip,nw_dst=10.1.0.0/16 actions=output:3",
            "table=3, arp actions=goto_table:4",
        ]
    );
    lab.all(&["del ip,nw_dst=10.1.0.0/16", "del-strict table=3,arp"]);
    assert_eq!(
        lab.dump(),
        ["priority=5,ip,nw_dst=10.0.0.0/8 actions=output:3"]
    );
}
