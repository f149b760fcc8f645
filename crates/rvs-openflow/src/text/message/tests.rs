//! The wording is that of Open vSwitch 3.1's log.

use super::*;
use crate::message::{BundleCommand, Hello, MultipartReply, MultipartRequest};
use crate::text::{parse_flow, parse_group};
use crate::ErrorCode;

/// The message as it is written out when it comes with transaction 7.
fn said(version: Version, m: &Message) -> String {
    let dialect = Dialect::new(version);
    wire_text(&dialect, &dialect.encode(m, 7).unwrap())
}

fn flow(version: Version, text: &str, command: FlowCommand) -> Message {
    let words = Words::new(version);
    Message::FlowMod(Box::new(parse_flow(text, command, &words).unwrap()))
}

#[test]
fn greetings_tell_their_versions() {
    let versions = VersionSet::from_bits(0x7e);
    assert_eq!(
        said(Version::Of15, &Message::Hello(Hello { versions })),
        "OFPT_HELLO (OF1.5) (xid=0x7):\n version bitmap: 0x01, 0x02, 0x03, 0x04, 0x05, 0x06"
    );
    assert_eq!(
        said(Version::Of10, &Message::BarrierRequest),
        "OFPT_BARRIER_REQUEST (xid=0x7):"
    );
}

#[test]
fn flow_mods_say_what_is_not_usual() {
    for (version, text, command, want) in [
        (
            Version::Of14,
            "idle_timeout=50,in_port=2,dl_vlan=9,actions=output:3",
            FlowCommand::Add,
            "OFPT_FLOW_MOD (OF1.4) (xid=0x7): ADD in_port=2,dl_vlan=9 idle:50 actions=output:3",
        ),
        (
            Version::Of14,
            "table=1,importance=4,cookie=0x12,in_port=3,actions=drop",
            FlowCommand::Add,
            "OFPT_FLOW_MOD (OF1.4) (xid=0x7): ADD table:1 in_port=3 cookie:0x12 importance:4 actions=drop",
        ),
        (
            Version::Of13,
            "table=3,priority=7,udp,out_port=2",
            FlowCommand::DeleteStrict,
            "OFPT_FLOW_MOD (OF1.3) (xid=0x7): DEL_STRICT table:3 priority=7,udp out_port:2 actions=drop",
        ),
        (
            Version::Of13,
            "cookie=0x33/-1",
            FlowCommand::Delete,
            "OFPT_FLOW_MOD (OF1.3) (xid=0x7): DEL table:255 cookie:0x33/0xffffffffffffffff actions=drop",
        ),
        (
            Version::Of10,
            "",
            FlowCommand::Delete,
            "OFPT_FLOW_MOD (xid=0x7): DEL actions=drop",
        ),
    ] {
        assert_eq!(said(version, &flow(version, text, command)), want);
    }
}

#[test]
fn what_is_in_a_bundle_or_an_error_follows_it() {
    let (v, flags) = (Version::Of14, BundleFlags(3));
    let control = |command| BundleControl {
        bundle: 0,
        command,
        flags,
    };
    assert_eq!(
        said(v, &Message::BundleControl(control(BundleCommand::OpenRequest))),
        "OFPT_BUNDLE_CONTROL (OF1.4) (xid=0x7):\n bundle_id=0 type=OPEN_REQUEST flags=atomic ordered"
    );
    let inner = flow(v, "dl_vlan=1,actions=drop", FlowCommand::Add);
    let message = Dialect::new(v).encode(&inner, 7).unwrap();
    let add = BundleAdd {
        bundle: 0,
        flags: BundleFlags(0),
        message: message.clone(),
    };
    let flow_mod = "OFPT_FLOW_MOD (OF1.4) (xid=0x7): ADD dl_vlan=1 actions=drop";
    assert_eq!(
        said(v, &Message::BundleAdd(add)),
        format!("OFPT_BUNDLE_ADD_MESSAGE (OF1.4) (xid=0x7):\n bundle_id=0 flags=0\n{flow_mod}")
    );
    let error = ErrorMessage::new(ErrorCode::BacBadOutGroup, v, &message);
    assert_eq!(
        said(v, &Message::Error(error)),
        format!("OFPT_ERROR (OF1.4) (xid=0x7): OFPBAC_BAD_OUT_GROUP\n{flow_mod}")
    );
}

#[test]
fn changes_of_groups_name_the_place_of_buckets() {
    let group = |text: &str, command| {
        let words = Words::new(Version::Of15);
        said(
            Version::Of15,
            &Message::GroupMod(Box::new(parse_group(text, command, &words).unwrap())),
        )
    };
    let head = "OFPT_GROUP_MOD (OF1.5) (xid=0x7):\n";
    assert_eq!(
        group("group_id=3,type=all,bucket=output:2", GroupCommand::Modify),
        format!("{head} MOD group_id=3,type=all,bucket=bucket_id:0,actions=output:2")
    );
    assert_eq!(
        group(
            "group_id=3,command_bucket_id=last,bucket=bucket_id:7,output:2",
            GroupCommand::InsertBucket
        ),
        format!("{head} INSERT_BUCKET command_bucket_id:last,group_id=3,bucket=bucket_id:7,actions=output:2")
    );
    assert_eq!(
        group("group_id=3,command_bucket_id=7", GroupCommand::RemoveBucket),
        format!("{head} REMOVE_BUCKET command_bucket_id:7,group_id=3")
    );
}

#[test]
fn statistics_are_named_by_who_defined_them() {
    let asked = |v, r| said(v, &Message::MultipartRequest(MultipartRequest::new(r)));
    assert_eq!(
        asked(Version::Of13, Request::Group(GroupId::ALL)),
        "OFPST_GROUP request (OF1.3) (xid=0x7): group_id=ALL"
    );
    assert_eq!(
        asked(Version::Of10, Request::GroupDesc(GroupId(5))),
        "NXST_GROUP_DESC request (xid=0x7): group_id=5"
    );
    let none = Message::MultipartReply(MultipartReply::new(Reply::GroupDesc(Vec::new())));
    assert_eq!(
        said(Version::Of13, &none),
        "OFPST_GROUP_DESC reply (OF1.3) (xid=0x7):"
    );
}

#[test]
fn news_of_controllers_are_told_in_one_line_each() {
    let of = |reason| ControllerStatus {
        short_id: 7,
        role: Role::Primary,
        reason,
        up: false,
        uri: "tls:192.0.2.1".to_owned(),
    };
    let news = Message::ControllerStatus(Box::new(of(ControllerReason::Channel)));
    let line = "uri=tls:192.0.2.1 channel=down role=primary short_id=7 reason=";
    assert_eq!(
        said(Version::Of15, &news),
        format!("OFPT_CONTROLLER_STATUS (OF1.5) (xid=0x7): {line}channel_status")
    );
    let all = Reply::ControllerStatus(vec![of(ControllerReason::Request)]);
    let all = Message::MultipartReply(MultipartReply::new(all));
    assert_eq!(
        said(Version::Of15, &all),
        format!("OFPST_CONTROLLER_STATUS reply (OF1.5) (xid=0x7):\n {line}request")
    );
}

/// Word for word what `ovs-ofctl ofp-print` of Open vSwitch 3.1 says.
#[test]
fn what_can_not_be_read_is_said_as_such() {
    const ERROR: &str = "OFPT_ERROR (OF1.3) (xid=0x7): OFPBRC_BAD_STAT";
    for (octets, want) in [
        ("", "OpenFlow message is empty".to_owned()),
        (
            "04",
            "OpenFlow packet too short (only 1 bytes):\n\
             00000000  04                                              |.               |"
                .to_owned(),
        ),
        (
            "040e000800000009",
            "***decode error: OFPBRC_BAD_LEN***\n\
             00000000  04 0e 00 08 00 00 00 09-                        |........        |"
                .to_owned(),
        ),
        (
            "0463000800000009",
            "***decode error: OFPBRC_BAD_TYPE***\n\
             00000000  04 63 00 08 00 00 00 09-                        |.c......        |"
                .to_owned(),
        ),
        (
            "040d002000000001ffffffff0000000100080000000000000063000800000000",
            "OFPT_PACKET_OUT (OF1.3) (xid=0x1): ***decode error: OFPBAC_BAD_TYPE***\n\
             00000000  04 0d 00 20 00 00 00 01-ff ff ff ff 00 00 00 01 |... ............|\n\
             00000010  00 08 00 00 00 00 00 00-00 63 00 08 00 00 00 00 |.........c......|"
                .to_owned(),
        ),
        (
            "0401001c0000000700010002040e0068000000020000000000000000",
            format!(
                "{ERROR}\nOFPT_FLOW_MOD (OF1.3) (xid=0x2):\n\
                 (***truncated to 16 bytes from 104***)\n\
                 00000000  04 0e 00 68 00 00 00 02-00 00 00 00 00 00 00 00 |...h............|"
            ),
        ),
        (
            "0401001c000000070001000204120068000000020001000000000000",
            format!(
                "{ERROR}\nOFPST_FLOW request (OF1.3) (xid=0x2):\n\
                 (***truncated to 16 bytes from 104***)\n\
                 00000000  04 12 00 68 00 00 00 02-00 01 00 00 00 00 00 00 |...h............|"
            ),
        ),
        (
            "040100180000000700010002040e000800000009aabbccdd",
            format!(
                "{ERROR}\n(***only uses 8 bytes out of 12***)\n\
                 00000000  04 0e 00 08 00 00 00 09-aa bb cc dd             |............    |"
            ),
        ),
        (
            "0401000c0000000700010002",
            format!("{ERROR}\nOpenFlow message is empty"),
        ),
    ] {
        let bytes = crate::message::tests::hex(octets);
        assert_eq!(wire_text(&Dialect::new(Version::Of13), &bytes), want);
    }
}

#[test]
fn counters_say_why_they_come() {
    let mut f = crate::message::FlowStats::new(crate::FlowMatch::any());
    (f.duration_sec, f.packets, f.bytes, f.idle_age) = (5, 10, 600, Some(2));
    let mut reply = |triggered| {
        f.triggered = triggered;
        let body = Reply::FlowCounters(vec![f.clone()]);
        said(
            Version::Of15,
            &Message::MultipartReply(MultipartReply { more: false, body }),
        )
    };
    let text = "OFPST_FLOW_STATS reply (OF1.5) (xid=0x7):\n duration=5s, table=0, n_packets=10, n_bytes=600, idle_age=2,";
    assert_eq!(reply(true), format!("{text} reason=stat_trigger"));
    assert_eq!(reply(false), text);
}
