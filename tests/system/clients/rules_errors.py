"""The error for each message that is malformed or asks for what cannot be. Each row: what, wire versions, message (of a version),
type and code, or experimenter (type) and code."""

from openflow import *  # noqa: F401,F403

NEW = (4, 5, 6)
FRAME = bytes.fromhex("020000000002 020000000001 88b5") + bytes(46)
REQUEST, ACTION, INSTRUCTION, MATCH, FLOW, GROUP, PORT, TABLES, QUEUE, CONFIG, ROLE, METER, FEATURES, PROPERTY, ASYNC, MONITOR, BUNDLE = range(1, 18)


def matching(*fields, **more):
    return lambda v: flow_mod(v, match(*fields, **more))


def doing(*actions, m=match(), **more):
    return lambda v: flow_mod(v, m, apply(*actions), **more)


def then(octets, m=match(), **more):
    return lambda v: flow_mod(v, m, octets, **more)


def ten(*actions, m=None, **more):
    return lambda v: flow_mod(v, m, b"".join(actions), **more)


def raw(kind, body=b""):
    return lambda v: message(v, kind, body)


def ask(kind, body=b""):
    return lambda v: multipart(v, kind, body)


def oxs(field, value):
    return struct.pack("!HBB", 0x8002, field << 1, len(value)) + value


def stat_trigger(flags, *thresholds):
    stats = b"".join(thresholds)
    stats = padded8(struct.pack("!HH", 0, 4 + len(stats)) + stats)
    return struct.pack("!HHI", 7, 8 + len(stats), flags) + stats


MATCHES = [
    ("match of an unknown type", matching(kind=5), (MATCH, 0)),
    ("match shorter than its own header", lambda v: flow_mod(v, struct.pack("!HH4x", 1, 3)), (MATCH, 1)),
    ("match longer than the message", lambda v: flow_mod(v, struct.pack("!HH4x", 1, 400)), (MATCH, 1)),
    ("a field cut short", matching(struct.pack("!HBB", 0x8000, 5 << 1, 2)), (MATCH, 1)),
    ("a field longer than the match", matching(oxm(5, u16(0x800), length=9)), (MATCH, 1)),
    ("a field of a wrong length", matching(oxm(5, u32(0x800))), (MATCH, 1)),
    ("a masked field of odd length", matching(oxm(2, bytes(8), bytes(7))), (MATCH, 1)),
    ("an unknown field", matching(oxm(100, u16(1))), (MATCH, 6)),
    ("an unknown class", matching(oxm(1, u16(1), oxm_class=0x7654)), (MATCH, 6)),
    ("a field twice", matching(IP, IP), (MATCH, 10)),
    ("in_port masked", matching(oxm(0, u32(0), u32(1))), (MATCH, 8)),
    ("eth_type masked", matching(oxm(5, u16(0), u16(1))), (MATCH, 8)),
    ("ip_proto masked", matching(IP, oxm(10, u8(0), u8(1))), (MATCH, 8)),
    ("mpls_label masked", matching(eth_type(0x8847), oxm(34, u32(0), u32(1))), (MATCH, 8)),
    ("a value outside its mask", matching(oxm(3, b"\2\0\0\0\0\1", b"\xff\0\0\0\0\0")), (MATCH, 5)),
    ("metadata outside its mask", matching(oxm(2, u64(3), u64(1))), (MATCH, 5)),
    ("ip_dscp of 7 bits", matching(IP, oxm(8, u8(64))), (MATCH, 7)),
    ("ip_ecn of 3 bits", matching(IP, oxm(9, u8(4))), (MATCH, 7)),
    ("vlan_pcp of 4 bits", matching(oxm(6, u16(0x1001)), oxm(7, u8(8))), (MATCH, 7)),
    ("vlan_vid of 14 bits", matching(oxm(6, u16(0x2001))), (MATCH, 7)),
    ("ipv6_flabel of 21 bits", matching(eth_type(0x86DD), oxm(28, u32(1 << 20))), (MATCH, 7)),
    ("mpls_label of 21 bits", matching(eth_type(0x8847), oxm(34, u32(1 << 20))), (MATCH, 7)),
    ("mpls_bos of 2 bits", matching(eth_type(0x8847), oxm(36, u8(2))), (MATCH, 7)),
    ("mpls_tc of 4 bits", matching(eth_type(0x8847), oxm(35, u8(8))), (MATCH, 7)),
] + [
    ("%s without what it needs" % name, matching(*before, field), (MATCH, 9))
    for name, before, field in [
        ("ip_proto", [], oxm(10, u8(6))), ("ip_dscp", [], oxm(8, u8(1))), ("ip_ecn", [], oxm(9, u8(1))),
        ("ipv4_src", [], oxm(11, u32(1))), ("ipv4_dst", [eth_type(0x806)], oxm(12, u32(1))),
        ("tcp_src", [IP], oxm(13, u16(1))), ("tcp_dst", [UDP], oxm(14, u16(1))),
        ("udp_src", [IP], oxm(15, u16(1))), ("udp_dst", [], oxm(16, u16(1))),
        ("sctp_src", [UDP], oxm(17, u16(1))), ("sctp_dst", [IP], oxm(18, u16(1))),
        ("icmpv4_type", [UDP], oxm(19, u8(1))), ("icmpv4_code", [IP], oxm(20, u8(1))),
        ("arp_op", [IP], oxm(21, u16(1))), ("arp_spa", [], oxm(22, u32(1))), ("arp_tpa", [], oxm(23, u32(1))),
        ("arp_sha", [], oxm(24, bytes(6))), ("arp_tha", [IP], oxm(25, bytes(6))),
        ("ipv6_src", [IP], oxm(26, bytes(16))), ("ipv6_dst", [], oxm(27, bytes(16))), ("ipv6_flabel", [IP], oxm(28, u32(1))),
        ("icmpv6_type", [IP, oxm(10, u8(1))], oxm(29, u8(1))), ("icmpv6_code", [eth_type(0x86DD)], oxm(30, u8(1))),
        ("nd_target", [eth_type(0x86DD), oxm(10, u8(58))], oxm(31, bytes(16))),
        ("nd_sll", [eth_type(0x86DD), oxm(10, u8(58)), oxm(29, u8(136))], oxm(32, bytes(6))),
        ("nd_tll", [eth_type(0x86DD), oxm(10, u8(58)), oxm(29, u8(135))], oxm(33, bytes(6))),
        ("mpls_label", [IP], oxm(34, u32(1))), ("mpls_tc", [], oxm(35, u8(1))), ("mpls_bos", [], oxm(36, u8(1))),
        ("pbb_isid", [], oxm(37, b"\0\0\1")), ("ipv6_exthdr", [IP], oxm(39, u16(1))), ("vlan_pcp", [], oxm(7, u8(1))),
        ("vlan_pcp without a tag", [oxm(6, u16(0))], oxm(7, u8(1))),
        ("ipv4_src before eth_type", [oxm(11, u32(1))], IP),
    ]
]  # fmt: skip

ACTIONS = [
    ("an action of an unknown type", doing(action(99, bytes(4))), (ACTION, 0)),
    ("an action of no length", doing(action(0, bytes(12), length=0)), (ACTION, 1)),
    ("an action of 4 octets", doing(action(18, bytes(4), length=4)), (ACTION, 1)),
    ("an action of 12 octets", doing(action(18, bytes(12), length=12)), (ACTION, 1)),
    ("an action longer than the list", doing(action(18, bytes(4), length=64)), (ACTION, 1)),
    ("output of 8 octets", doing(action(0, u32(1))), (ACTION, 1)),
    ("an action of an unknown experimenter", doing(action(0xFFFF, u32(0x123456) + bytes(8))), (ACTION, 2)),
    ("an unknown action of Nicira", doing(action(0xFFFF, u32(NICIRA) + u16(0x7FFF) + bytes(6))), (ACTION, 3)),
    ("output to port 0xfff00000", doing(output(0xFFF00000)), (ACTION, 4)),
    ("output to any", doing(output(ANY)), (ACTION, 4)),
    ("output to port 70000", doing(output(70000)), (ACTION, 4)),
    ("output to port 0xffffff01", doing(output(0xFFFFFF01)), (ACTION, 4)),
    ("push_vlan of type 0x1234", doing(action(17, u16(0x1234))), (ACTION, 5)),
    ("push_mpls of type 0x800", doing(action(19, u16(0x800)), m=match(IP)), (ACTION, 5)),
    ("push_pbb of type 0x800", doing(action(26, u16(0x800))), (ACTION, 5)),
    ("group any", doing(group(ANY)), (ACTION, 9)),
    ("a group that is not there", doing(group(7)), (ACTION, 9)),
    ("pop_vlan without a tag", doing(action(18, bytes(4))), (ACTION, 10)),
    ("pop_mpls without a label", doing(action(20, u16(0x800))), (ACTION, 10)),
    ("dec_nw_ttl without IP", doing(action(24, bytes(4))), (ACTION, 10)),
    ("set_nw_ttl without IP", doing(action(23, u8(9))), (ACTION, 10)),
    ("dec_mpls_ttl without a label", doing(action(16, bytes(4)), m=match(IP)), (ACTION, 10)),
    ("set ipv4_src without IPv4", doing(set_field(oxm(11, u32(1)))), (ACTION, 10)),
    ("set tcp_dst of UDP", doing(set_field(oxm(14, u16(1))), m=match(UDP)), (ACTION, 10)),
    ("set vlan_pcp without a tag", doing(set_field(oxm(7, u8(1)))), (ACTION, 10)),
    ("set vlan_vid after pop_vlan", doing(action(18, bytes(4)), set_field(oxm(6, u16(0x1001))), m=match(oxm(6, u16(0x1001)))), (ACTION, 10)),
    ("set ipv4_src after push_mpls", doing(action(19, u16(0x8847)), set_field(oxm(11, u32(1))), m=match(IP)), (ACTION, 10)),
    ("set_field of an unknown field", doing(set_field(oxm(100, u32(1)))), (ACTION, 13)),
    ("set_field of a wrong length", doing(set_field(oxm(3, bytes(4)))), (ACTION, 14)),
    ("set vlan_vid of 14 bits", doing(set_field(oxm(6, u16(0x3001))), m=match(oxm(6, u16(0x1001)))), (ACTION, 15)),
    ("set ip_dscp of 7 bits", doing(set_field(oxm(8, u8(64))), m=match(IP)), (ACTION, 15)),
    ("set mpls_label of 21 bits", doing(set_field(oxm(34, u32(1 << 20))), m=match(eth_type(0x8847))), (ACTION, 15)),
    ("set in_port", doing(set_field(oxm(0, u32(1)))), (ACTION, 13), (ACTION, 15)),
    ("set in_phy_port", doing(set_field(oxm(1, u32(1)))), (ACTION, 13), (ACTION, 15)),
    ("set ipv6_exthdr", doing(set_field(oxm(39, u16(1))), m=match(eth_type(0x86DD))), (ACTION, 13), (ACTION, 15)),
    ("an unknown instruction", then(struct.pack("!HH4x", 99, 8)), (INSTRUCTION, 0)),
    ("goto the same table", then(goto(3), table=3), (INSTRUCTION, 2)),
    ("goto an earlier table", then(goto(2), table=3), (INSTRUCTION, 2)),
    ("goto table 255", then(goto(255)), (INSTRUCTION, 2)),
    ("goto table 254", then(goto(254)), (INSTRUCTION, 2)),
    ("an instruction of an unknown experimenter", then(struct.pack("!HHI", 0xFFFF, 8, 0x123456)), (INSTRUCTION, 5)),
    ("an instruction of no length", then(struct.pack("!HH4x", 5, 0)), (INSTRUCTION, 7)),
    ("an instruction that is cut short", then(struct.pack("!HH", 5, 8)), (INSTRUCTION, 7), (REQUEST, 6)),
    ("an instruction of 12 octets", then(struct.pack("!HH8x", 5, 12)), (INSTRUCTION, 7), (REQUEST, 6)),
    ("an instruction too long", then(struct.pack("!HHB3x8x", 1, 16, 3)), (INSTRUCTION, 7)),
    ("write_metadata of 16 octets", then(struct.pack("!HH12x", 2, 16)), (INSTRUCTION, 7)),
]  # fmt: skip

FLOWS = [
    ("a flow in table 254", lambda v: flow_mod(v, table=254), (REQUEST, 5)),
    ("a flow in all tables", lambda v: flow_mod(v, table=255), (FLOW, 2)),
    ("a modification in table 254", lambda v: flow_mod(v, table=254, command=MODIFY), (FLOW, 2)),
    ("an unknown command", lambda v: flow_mod(v, command=5), (FLOW, 6)),
    ("an unknown flag", lambda v: flow_mod(v, flags=0x20), (FLOW, 7)),
    ("a flow for a buffer", lambda v: flow_mod(v, buffer=77), (REQUEST, 8)),
]

GROUPS = [
    ("a group of an unknown type", lambda v: group_mod(v, 1, 7), (GROUP, 10)),
    ("an unknown group command", lambda v: group_mod(v, 1, 0, command=77), (GROUP, 11)),
    ("group any", lambda v: group_mod(v, ANY, 0), (GROUP, 1)),
    ("all groups added", lambda v: group_mod(v, 0xFFFFFFFC, 0), (GROUP, 1)),
    ("a modification of no group", lambda v: group_mod(v, 1, 0, command=1), (GROUP, 8)),
    ("an indirect group without bucket", lambda v: group_mod(v, 1, INDIRECT), (GROUP, 1)),
    ("an indirect group of two buckets", lambda v: group_mod(v, 1, INDIRECT, bucket(v, output(1)), bucket(v, output(2), number=1)), (GROUP, 1)),
    ("a group that forwards to itself", lambda v: group_mod(v, 1, 0, bucket(v, group(1))), (GROUP, 7)),
    ("a bucket of an all group that watches", lambda v: group_mod(v, 1, 0, bucket(v, output(1), port=1)), (GROUP, 6)),
    ("a failover bucket that watches nothing", lambda v: group_mod(v, 1, FAILOVER, bucket(v, output(1))), (GROUP, 1)),
    ("a weight in an all group", lambda v: group_mod(v, 1, 0, bucket(v, output(1), weight=3)), (GROUP, 1)),
    ("a bucket that is cut short", lambda v: group_mod(v, 1, 0, bucket(v, output(1))[:-8]), (GROUP, 12), (ACTION, 1)),
    ("a bucket of no length", lambda v: group_mod(v, 1, 0, bytes(16)), (GROUP, 12)),
    ("an unknown action in a bucket", lambda v: group_mod(v, 1, 0, bucket(v, action(99, bytes(4)))), (ACTION, 0)),
    ("an output nowhere in a bucket", lambda v: group_mod(v, 1, 0, bucket(v, output(ANY))), (ACTION, 4)),
]

METERS = [
    ("meter 0", lambda v: meter_mod(v, 0, KBPS, band(1, 9)), (METER, 2)),
    ("meter 0xffff0001", lambda v: meter_mod(v, 0xFFFF0001, KBPS, band(1, 9)), (METER, 2)),
    ("all meters added", lambda v: meter_mod(v, 0xFFFFFFFF, KBPS, band(1, 9)), (METER, 2)),
    ("a modification of no meter", lambda v: meter_mod(v, 9, KBPS, band(1, 9), command=1), (METER, 3)),
    ("an unknown meter command", lambda v: meter_mod(v, 9, KBPS, command=3), (METER, 4)),
    ("kbps and pktps", lambda v: meter_mod(v, 9, KBPS | PKTPS, band(1, 9)), (METER, 5)),
    ("an unknown meter flag", lambda v: meter_mod(v, 9, KBPS | 0x10, band(1, 9)), (METER, 5)),
    ("a band of rate 0", lambda v: meter_mod(v, 9, KBPS, band(1, 0)), (METER, 6)),
    ("an unknown band", lambda v: meter_mod(v, 9, KBPS, band(3, 9)), (METER, 8)),
    ("nine bands", lambda v: meter_mod(v, 9, KBPS, *[band(1, 9 + n) for n in range(9)]), (METER, 11)),
    ("a band of no length", lambda v: meter_mod(v, 9, KBPS, struct.pack("!HH12x", 1, 0)), (REQUEST, 6)),
    ("a band that is cut short", lambda v: meter_mod(v, 9, KBPS, band(1, 9)[:8]), (REQUEST, 6)),
    ("statistics of no meter", ask(9, u32(77) + bytes(4)), (METER, 3), (METER, 2)),
]


def port_mod(v, port, mac=bytes(6), config=0, mask=0):
    if v == 1:
        return message(v, 15, struct.pack("!H6sIII4x", port, mac, config, mask, 0))
    tail = b"" if v >= 5 else bytes(8)
    return message(v, 16, struct.pack("!I4x6s2xII", port, mac, config, mask) + tail)


REQUESTS = [
    ("an unknown message", raw(70), (REQUEST, 1)),
    ("a message that switches send", raw(21), (REQUEST, 1)),
    ("an unknown multipart", ask(77), (REQUEST, 2)),
    ("an unknown experimenter", raw(4, u32(0x123456) + u32(1)), (REQUEST, 3)),
    ("an unknown message of Nicira", raw(4, u32(NICIRA) + u32(9999)), (REQUEST, 4)),
    ("a multipart of an unknown experimenter", ask(0xFFFF, u32(0x123456) + u32(1)), (REQUEST, 3)),
    ("a flow-mod that is cut short", lambda v: message(v, FLOW_MOD, bytes(20)), (REQUEST, 6)),
    ("features asked with octets too many", raw(5, bytes(8)), (REQUEST, 6)),
    ("a barrier with octets too many", raw(20, bytes(8)), (REQUEST, 6)),
    ("configuration of 2 octets", raw(9, bytes(2)), (REQUEST, 6)),
    ("flow statistics cut short", ask(1, bytes(8)), (REQUEST, 6)),
    ("flow statistics of table 254", ask(1, struct.pack("!B3xII4xQQ", 254, ANY, ANY, 0, 0) + match()), (REQUEST, 9)),
    ("statistics of port 77", ask(4, u32(77) + bytes(4)), (REQUEST, 11)),
    ("queues of port 77", ask(5, u32(77) + u32(ANY)), (QUEUE, 0)),
    ("queue 5 of port 1", ask(5, u32(1) + u32(5)), (QUEUE, 1)),
    ("fragments reassembled", lambda v: set_config(v, 2), (CONFIG, 0)),
    ("unknown configuration", lambda v: set_config(v, 0x10), (CONFIG, 0)),
    ("a port-mod of port 77", lambda v: port_mod(v, 77), (PORT, 0)),
    ("a port-mod with another address", lambda v: port_mod(v, 1, b"\2\0\0\7\7\7"), (PORT, 1)),
    ("a port-mod of unknown bits", lambda v: port_mod(v, 1, mask=0x80), (PORT, 2), (PORT, 1)),
    ("a table-mod of table 254", raw(17, struct.pack("!B3xI", 254, 0)), (TABLES, 0)),
    ("a table-mod of unknown bits", raw(17, struct.pack("!B3xI", 0, 0x100)), (TABLES, 1)),
    ("an unknown role", raw(24, struct.pack("!I4xQ", 9, 0)), (ROLE, 2)),
    ("a packet-out from all", lambda v: packet_out(v, output(1), FRAME, port=ALL), (REQUEST, 11)),
    ("a packet-out of a buffer", lambda v: packet_out(v, output(1), b"", buffer=5), (REQUEST, 8)),
    ("a packet-out of 13 octets", lambda v: packet_out(v, output(1), FRAME[:13]), (REQUEST, 6), (REQUEST, 12)),
    ("a packet-out of too many actions", lambda v: packet_out(v, output(1), FRAME).replace(u16(16), u16(900), 1), (REQUEST, 6), (ACTION, 1)),
    ("a packet-out of an unknown action", lambda v: packet_out(v, action(99, bytes(4)), FRAME), (ACTION, 0)),
    ("a packet-out to no group", lambda v: packet_out(v, group(7), FRAME), (ACTION, 9)),
]  # fmt: skip

# Of one version or two.
SOME = [
    ((4,), "an instruction twice", then(goto(3) + goto(4)), (ONF, 2600)),
    ((5, 6), "an instruction twice", then(goto(3) + goto(4)), (INSTRUCTION, 9)),
    ((4, 5), "a meter that is not there", then(meter(7)), (METER, 2)),
    ((6,), "a meter that is not there", doing(action(29, u32(7))), (ACTION, 17)),
    ((4, 5), "set_field with a mask", doing(set_field(oxm(11, u32(0), u32(1))), m=match(IP)), (ACTION, 15), (ACTION, 13), (ACTION, 16), (ONF, 4250)),
    ((6,), "copy_field cut short", doing(action(28, bytes(4))), (ACTION, 1)),
    ((4, 5), "an action of 1.5", doing(action(28, bytes(20))), (ACTION, 0)),
    ((6,), "an instruction of 1.4", then(meter(7)), (INSTRUCTION, 0), (METER, 2)),
    ((4,), "a message of 1.4", lambda v: message(4, 33, bytes(8)), (REQUEST, 1)),
    ((6,), "a bucket twice", lambda v: group_mod(v, 1, 0, bucket(v, output(1), number=4), bucket(v, output(2), number=4)), (GROUP, 16)),
    ((6,), "a bucket to insert where none is", lambda v: group_mod(v, 1, 0, command=3, command_bucket=0xFFFFFFFE), (GROUP, 8)),
    ((5, 6), "an unknown asynchronous message", raw(28, struct.pack("!HHI", 0x50, 8, 0)), (PROPERTY, 0)),
    ((5,), "news of controllers before 1.5", raw(28, struct.pack("!HHI", 15, 8, 1)), (PROPERTY, 0)),
    ((5,), "statistics that flows tell, before 1.5", raw(28, struct.pack("!HHI", 13, 8, 2)), (PROPERTY, 0)),
    ((6,), "an unknown reason of statistics that flows tell", raw(28, struct.pack("!HHI", 13, 8, 4)), (ASYNC, 0)),
    ((5,), "stat_trigger before 1.5", then(stat_trigger(0, oxs(4, u64(9)))), (INSTRUCTION, 0)),
    ((6,), "stat_trigger twice", then(stat_trigger(0, oxs(4, u64(9))) * 2), (INSTRUCTION, 9)),
    ((6,), "stat_trigger without a threshold", then(stat_trigger(1)), (INSTRUCTION, 1)),
    ((6,), "stat_trigger with unknown flags", then(stat_trigger(4, oxs(4, u64(9)))), (INSTRUCTION, 1)),
    ((6,), "stat_trigger by a number of flows", then(stat_trigger(0, oxs(3, u32(9)))), (INSTRUCTION, 1)),
    ((6,), "stat_trigger by an unknown statistic", then(stat_trigger(0, oxs(9, u64(9)))), (INSTRUCTION, 1)),
    ((6,), "a threshold of a wrong length", then(stat_trigger(0, oxs(4, u32(9)))), (INSTRUCTION, 7)),
    ((6,), "thresholds longer than their instruction", then(struct.pack("!HHIHH4x", 7, 16, 0, 0, 12)), (INSTRUCTION, 7)),
    ((5, 6), "an unknown reason of packet-ins", raw(28, struct.pack("!HHI", 1, 8, 1 << 20)), (ASYNC, 0)),
    ((5, 6), "an unknown property of a port-mod", lambda v: message(v, 16, struct.pack("!I4x6s2xII", 1, bytes(6), 0, 0) + struct.pack("!HHI", 9, 8, 0)), (PROPERTY, 0)),
    ((5, 6), "vacancy events upside down", raw(17, struct.pack("!B3xIHHBBBx", 0, 8, 3, 8, 80, 20, 0)), (PROPERTY, 2)),
    ((5, 6), "a bundle committed that is not open", raw(33, struct.pack("!IHH", 5, 4, 3)), (BUNDLE, 2)),
    ((5, 6), "a bundle discarded that is not open", raw(33, struct.pack("!IHH", 5, 6, 3)), (BUNDLE, 2)),
    ((5, 6), "an unknown bundle command", raw(33, struct.pack("!IHH", 5, 77, 3)), (BUNDLE, 6)),
    ((5,), "a scheduled bundle before 1.5", raw(33, struct.pack("!IHH", 5, 0, 7)), (BUNDLE, 7)),
    ((6,), "a scheduled bundle", raw(33, struct.pack("!IHH", 5, 0, 7)), (BUNDLE, 16)),
    ((6,), "tolerances of scheduled bundles", ask(19, struct.pack("!I4x", 2) + struct.pack("!HH68x", 1, 72)), (REQUEST, 16)),
    ((6,), "an unknown property of bundle features", ask(19, struct.pack("!I4xHHI", 0, 2, 8, 0)), (PROPERTY, 0)),
    ((5,), "bundle features before 1.5", ask(19, bytes(8)), (REQUEST, 2)),
    ((5, 6), "an echo in a bundle", lambda v: message(v, 34, struct.pack("!I2xH", 5, 3) + message(v, 2)), (BUNDLE, 10)),
    ((5, 6), "a message of another transaction in a bundle", lambda v: message(v, 34, struct.pack("!I2xH", 5, 3) + flow_mod(v)[:4] + u32(99999) + flow_mod(v)[8:]), (BUNDLE, 9)),
    ((5, 6), "a monitor of table 254", ask(16, struct.pack("!IIIHBB", 1, ANY, ANY, 4, 254, 0) + match()), (MONITOR, 6)),
    ((5, 6), "a monitor changed that is not there", ask(16, struct.pack("!IIIHBB", 9, ANY, ANY, 4, 0, 1) + match()), (MONITOR, 3)),
    ((5, 6), "an unknown command of monitors", ask(16, struct.pack("!IIIHBB", 9, ANY, ANY, 4, 0, 7) + match()), (MONITOR, 4)),
]  # fmt: skip

TEN = [
    ("an unknown message", raw(60), (REQUEST, 1)),
    ("unknown statistics", ask(77), (REQUEST, 2)),
    ("statistics of an unknown vendor", ask(0xFFFF, u32(0x123456)), (REQUEST, 3)),
    ("an unknown vendor", raw(4, u32(0x123456)), (REQUEST, 3)),
    ("an unknown message of Nicira", raw(4, u32(NICIRA) + u32(9999)), (REQUEST, 4)),
    ("a flow-mod that is cut short", raw(FLOW_MOD, bytes(40)), (REQUEST, 6)),
    ("a barrier with octets too many", raw(18, bytes(4)), (REQUEST, 6)),
    ("a flow for a buffer", ten(buffer=77), (REQUEST, 8)),
    ("an action of an unknown type", ten(action(77, bytes(4))), (ACTION, 0)),
    ("an action of no length", ten(action(0, bytes(4), length=0)), (ACTION, 1)),
    ("an action of 12 octets", ten(action(0, bytes(4), length=12)), (ACTION, 1)),
    ("output of 16 octets", ten(action(0, bytes(12))), (ACTION, 1)),
    ("an action of an unknown vendor", ten(action(0xFFFF, u32(0x123456))), (ACTION, 2)),
    ("output to none", ten(output10(0xFFFF)), (ACTION, 4)),
    ("output to port 0xff00", ten(output10(0xFF00)), (ACTION, 4)),
    ("set_vlan_vid of 13 bits", ten(action(1, u16(0x1001))), (ACTION, 5)),
    ("set_vlan_pcp of 4 bits", ten(action(2, u8(8))), (ACTION, 5)),
    ("set_nw_tos with ECN bits", ten(action(8, u8(3))), (ACTION, 5)),
    ("enqueue to all", ten(action(11, struct.pack("!H6xI", 0xFFFC, 1))), (ACTION, 4)),
    ("an unknown command", ten(command=5), (3, 4)),
    ("an emergency flow", ten(flags=4), (3, 0), (3, 5)),
    ("a port-mod of port 77", lambda v: port_mod(v, 77), (4, 0)),
    ("a port-mod with another address", lambda v: port_mod(v, 1, b"\2\0\0\7\7\7"), (4, 1)),
    ("queues of port 77", ask(5, struct.pack("!H2xI", 77, ANY)), (5, 0)),
    ("queue 5 of port 1", ask(5, struct.pack("!H2xI", 1, 5)), (5, 1)),
    ("queues to configure of port 77", raw(20, struct.pack("!H2x", 77)), (5, 0)),
    ("a packet-out of a buffer", lambda v: packet_out(v, output10(1), b"", buffer=5), (REQUEST, 8)),
    ("a packet-out of 13 octets", lambda v: packet_out(v, output10(1), FRAME[:13]), (REQUEST, 6)),
    ("a packet-out of too many actions", raw(PACKET_OUT, struct.pack("!IHH", NO_BUFFER, 1, 900)), (REQUEST, 6), (ACTION, 1)),
]  # fmt: skip


def refused(make, codes):
    def rule(bridge):
        bridge.refuses(make(bridge.version), *codes)
        flows = bridge.ask(multipart(bridge.version, 2, struct.pack("!B3xII4xQQ", 255, ANY, ANY, 0, 0) + match() if bridge.version > 1 else match10() + struct.pack("!BxH", 255, 0xFFFF)))
        if bridge.version < 6:
            same(struct.unpack_from("!I", flows, 16)[0], 0, "the number of flows after it")

    return rule


def after(first, make, codes):
    def rule(bridge):
        bridge.do(*[f(bridge.version) for f in first])
        bridge.refuses(make(bridge.version), *codes)

    return rule


AFTER = [
    ("a group that is there", [lambda v: group_mod(v, 1, 0)], lambda v: group_mod(v, 1, 0), (GROUP, 0)),
    ("groups in a ring", [lambda v: group_mod(v, 1, 0), lambda v: group_mod(v, 2, 0, bucket(v, group(1)))], lambda v: group_mod(v, 1, 0, bucket(v, group(2)), command=1), (GROUP, 7)),
    ("a meter that is there", [lambda v: meter_mod(v, 1, KBPS, band(1, 9))], lambda v: meter_mod(v, 1, KBPS, band(1, 9)), (METER, 1)),
    ("an overlap", [lambda v: flow_mod(v, match(IP))], lambda v: flow_mod(v, match(in_port(1)), flags=CHECK_OVERLAP), (FLOW, 3)),
]  # fmt: skip


def rules():
    for name, make, *codes in MATCHES + ACTIONS + FLOWS + GROUPS + METERS + REQUESTS:
        for v in NEW:
            yield name, v, refused(make, codes)
    for versions, name, make, *codes in SOME:
        for v in versions:
            yield name, v, refused(make, codes)
    for name, make, *codes in TEN:
        yield name, 1, refused(make, codes)
    for name, first, make, *codes in AFTER:
        for v in NEW:
            yield name, v, after(first, make, codes)
    yield "an overlap", 1, after([ten(m=match10(type=0x800))], ten(m=match10(in_port=1), flags=2), [(3, 1)])
