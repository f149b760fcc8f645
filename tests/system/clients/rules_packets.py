"""Packet-ins, packet-outs, reserved ports, fragments, and what actions make of a frame."""

from bench import *  # noqa: F401,F403


@rule(*TEN)
def what_no_flow_matches_goes_to_the_controller(b):
    passes([(1, OTHER)], {})
    packet_in(b, OTHER, 0)
    b.do(flow(1, 2, m=match10(in_port=2)))
    passes([(1, frame(vlan=0x6005))], {})
    packet_in(b, frame(vlan=0x6005), 0)


@rule(*NEW)
def what_no_flow_matches_is_dropped(b):
    passes([(1, OTHER)], {})
    b.silent(PACKET_IN)


@rule(*NEW)
def a_miss_flow_says_so(b):
    v = b.version
    b.do(flow(v, CONTROLLER, priority=0, cookie=0x1234567890ABCDEF))
    passes([(1, OTHER)], {})
    packet_in(b, OTHER, 0, table=0, cookie=0x1234567890ABCDEF)
    # In another table, and with the whole frame whatever max_len says, for there is no buffer.
    b.do(
        flow_mod(v, match(), goto(7), priority=5),
        flow_mod(v, match(), apply(output(CONTROLLER, 64)), table=7, priority=0, cookie=9),
    )
    big = frame(data=bytes(400))
    passes([(3, big)], {})
    packet_in(b, big, 0, port=3, table=7, cookie=9)


@rule(*EVERY)
def a_flow_that_sends_to_the_controller_says_so(b):
    v = b.version
    b.do(flow(v, CONTROLLER, 2, m=from_port(v, 1), cookie=77))
    passes([(1, OTHER), (1, OTHER)], {2: [OTHER, OTHER]})
    for _ in range(2):
        packet_in(b, OTHER, 1, cookie=None if v == 1 else 77)
    # A flow of priority 0 that matches something is no table-miss, nor is one of priority 1 that matches all.
    for change in flow(v, CONTROLLER, m=from_port(v, 1), priority=0), flow(v, CONTROLLER, priority=1):
        b.do(flow_mod(v, command=DELETE), change)
        passes([(1, OTHER)], {})
        packet_in(b, OTHER, 1)


@rule(*NEW)
def reasons_are_as_fine_as_the_version_has_them(b):
    v = b.version
    fine = v >= 5
    b.do(group_mod(v, 1, GROUP_ALL, bucket(v, output(CONTROLLER))), flow_mod(v, from_port(v, 1), write(output(CONTROLLER))))
    b.do(flow_mod(v, from_port(v, 2), apply(group(1))))
    passes([(1, OTHER)], {})
    packet_in(b, OTHER, 3 if fine else 1)
    passes([(2, OTHER)], {})
    packet_in(b, OTHER, 4 if fine else 1, port=2)
    b.do(packet_out(v, output(CONTROLLER), OTHER, port=3))
    packet_in(b, OTHER, 5 if fine else 1, port=3)


@rule(*NEW)
def an_expired_ttl_is_told_to_who_asks(b):
    v = b.version
    b.do(flow_mod(v, match(IP), apply(output(3), action(24, bytes(4)), output(2)), cookie=5))
    dead = frame(ttl=1)
    passes([(1, dead)], {3: [dead]})
    b.silent(PACKET_IN)
    b.do(set_async(v, 0, 4))
    for ttl in 1, 0:
        passes([(1, frame(ttl=ttl))], {3: [frame(ttl=ttl)]})
        packet_in(b, frame(ttl=ttl), 2, table=0, cookie=5)
    passes([(1, frame(ttl=2))], {3: [frame(ttl=2)], 2: [frame(ttl=1)]})
    b.silent(PACKET_IN)


@rule(*NEW)
def a_packet_in_has_the_frame_as_it_is_then_and_the_metadata(b):
    v = b.version
    metadata = struct.pack("!HH4xQQ", 2, 24, 0x55AA, 0xFFFF)
    b.do(
        flow_mod(v, from_port(v, 1), apply(set_field(oxm(38, u64(0x77)))) + metadata + goto(1)),
        flow_mod(v, match(), apply(output(CONTROLLER), set_field(oxm(4, B)), output(CONTROLLER)), table=1),
    )
    passes([(1, OTHER)], {})
    p = packet_in(b, OTHER, 1, table=1)
    same((p.fields.get(0x800002), p.fields.get(0x800026)), (u64(0x55AA), u64(0x77)), "metadata and tunnel_id")
    packet_in(b, OTHER[:6] + B + OTHER[12:], 1, table=1)


@rule(*EVERY)
def packet_outs_go_where_they_say(b):
    v = b.version

    def goes(actions, wanted, port=CONTROLLER):
        DEVICES[0].drain()
        b.do(packet_out(v, actions, BROADCAST, port=port))
        passes([], {n: [BROADCAST] for n in wanted}, "packet-out from %#x of %s" % (port, actions.hex()))

    goes(out(v, 2, 4), (2, 4))
    goes(out(v, ALL), PORTS)
    goes(out(v, FLOOD), PORTS)
    goes(out(v, ALL), (1, 3, 4), port=2)
    goes(out(v, FLOOD), (1, 3, 4), port=2)
    goes(out(v, IN_PORT), (2,), port=2)
    goes(out(v, 2), (), port=2)
    goes(out(v, NORMAL), (1, 3, 4), port=2)
    goes(b"", ())
    b.do(flow(v, 4, m=from_port(v, 3)))
    goes(out(v, TABLE), (4,), port=3)
    # A flow that matches the packet as it is by then; nothing comes back from the tables.
    goes(out(v, TABLE, 1), (4, 1), port=3)
    passes([(3, OTHER)], {4: [OTHER]})


@rule(*EVERY)
def reserved_ports_are_what_they_are(b):
    v = b.version
    for ports, wanted in [
        ((1,), ()), ((IN_PORT,), (1,)), ((ALL,), (2, 3, 4)), ((FLOOD,), (2, 3, 4)), ((1, 2), (2,)), ((2, 2), (2, 2)),
        ((LOCAL,), ()), ((77,), ()), ((77, 3), (3,)), ((NORMAL,), (2, 3, 4)), ((IN_PORT, IN_PORT), (1, 1)), ((ALL, IN_PORT), (1, 2, 3, 4)),
    ]:  # fmt: skip
        b.do(flow(v, *ports))
        passes([(1, BROADCAST)], {n: [BROADCAST] * wanted.count(n) for n in wanted}, "output to %s" % (ports,))


@rule(*EVERY)
def fragments_are_handled_as_configured(b):
    v = b.version
    m = match10(type=0x800, proto=17, tp_dst=9) if v == 1 else match(UDP, oxm(16, u16(9)))
    zero = match10(type=0x800, proto=17, tp_dst=0) if v == 1 else match(UDP, oxm(16, u16(0)))
    b.do(flow(v, 2, m=m, priority=9), flow(v, 4, m=zero, priority=8), flow(v, 3, priority=1))
    whole = frame()
    later = ethernet(0x800, ip(bytes(range(32)), fragment=3))
    for flags, wanted in (0, [3]), (1, []):
        b.do(set_config(v, flags))
        same(struct.unpack_from("!H", b.ask(message(v, 7)))[0], flags, "the configuration")
        passes([(1, whole)], {2: [whole]})
        passes([(1, later)], {n: [later] for n in wanted}, "a later fragment with flags %d" % flags)
    b.do(set_config(v, 0))
    passes([(1, later)], {3: [later]})


@rule(*TEN)
def actions_of_1_0_on_frames_without_the_header(b):
    nothing = action(6, u32(1)) + action(8, u8(4)) + action(9, u16(1)) + action(3, bytes(4))
    b.do(flow_mod(1, None, nothing + output10(2)))
    passes([(1, OTHER)], {2: [OTHER]})
    b.do(flow_mod(1, None, action(1, u16(5)) + output10(2) + action(3, bytes(4)) + output10(3)))
    passes([(1, OTHER)], {2: [OTHER[:12] + b"\x81\0\0\5" + OTHER[12:]], 3: [OTHER]})


@rule(*NEW)
def the_action_set(b):
    v = b.version
    tagged = OTHER[:12] + b"\x81\0\0\5" + OTHER[12:]
    push, vid = action(17, u16(0x8100)), set_field(oxm(6, u16(0x1005)))
    b.do(flow_mod(v, match(), write(output(2), push, vid)))
    passes([(1, OTHER)], {2: [tagged]}, "push_vlan, then set_field, then output")
    # A miss in a later table ends the packet, its set with it.
    b.do(flow_mod(v, match(), write(output(2)) + goto(1)))
    passes([(1, OTHER)], {})
    b.do(flow_mod(v, match(), b"", table=1))
    passes([(1, OTHER)], {2: [OTHER]}, "a flow without instructions")
    b.do(group_mod(v, 1, 0, bucket(v, output(4))), flow_mod(v, match(), write(group(1)), table=1))
    passes([(1, OTHER)], {4: [OTHER]}, "a group takes the place of an output")
    b.do(flow_mod(v, match(), write(set_field(oxm(4, A)), set_field(oxm(3, A))) + goto(2), table=1), flow_mod(v, match(), write(set_field(oxm(4, B))), table=2))
    passes([(1, BROADCAST)], {2: [A + B + BROADCAST[12:]]}, "of each field the last value")
    # The list changes what the set then outputs, and a set without output drops.
    b.do(flow_mod(v, match(), apply(set_field(oxm(4, B)), output(3)) + write(output(2))))
    passes([(1, OTHER)], {3: [OTHER[:6] + B + OTHER[12:]], 2: [OTHER[:6] + B + OTHER[12:]]})
    b.do(flow_mod(v, match(), write(set_field(oxm(4, B)))))
    passes([(1, OTHER)], {})


@rule(6)
def fields_are_set_in_part_and_copied(b):
    part = set_field(oxm(4, b"\0\xaa\0\0\0\0", b"\0\xff\0\0\0\0"))
    b.do(flow_mod(6, match(), apply(part, output(2))))
    passes([(1, OTHER)], {2: [OTHER[:6] + b"\2\xaa\0\0\0\1" + OTHER[12:]]})
    copy = action(28, struct.pack("!HHH2x", 40, 8, 0) + struct.pack("!HBB", 0x8000, 3 << 1, 6) + struct.pack("!HBB", 0x8000, 4 << 1, 6))
    b.do(flow_mod(6, match(), apply(copy, output(2))))
    dst, src = int.from_bytes(OTHER[:6], "big"), int.from_bytes(OTHER[6:12], "big")
    src = src >> 40 << 40 | dst >> 8 & (1 << 40) - 1
    passes([(1, OTHER)], {2: [OTHER[:6] + src.to_bytes(6, "big") + OTHER[12:]]})


@rule(*TEN)
def a_packet_out_from_nowhere(b):
    DEVICES[0].drain()
    b.do(packet_out(1, output10(ALL), BROADCAST, port=0xFFFF))
    passes([], {n: [BROADCAST] for n in PORTS})


@rule(*NEW)
def labels_and_ttls(b):
    v = b.version
    mpls = lambda ttl: ethernet(0x8847, struct.pack("!I", 16 << 12 | 1 << 8 | ttl) + ip(udp(), ttl=9))  # noqa: E731
    b.do(set_async(v, 0, 4), flow_mod(v, match(eth_type(0x8847)), apply(action(16, bytes(4)), output(2))))
    passes([(1, mpls(5))], {2: [mpls(4)]})
    passes([(1, mpls(1))], {})
    packet_in(b, mpls(1), 2)
    b.do(flow_mod(v, match(eth_type(0x8847)), apply(action(12, bytes(4)), action(20, u16(0x800)), output(2))))
    passes([(1, mpls(5))], {2: [frame(ttl=5)]}, "copy_ttl_in, pop_mpls")
    b.do(flow_mod(v, match(IP), apply(action(19, u16(0x8847)), set_field(oxm(34, u32(16))), output(2))))
    passes([(1, frame(ttl=9))], {2: [mpls(9)]}, "push_mpls")
    b.do(flow_mod(v, match(IP), apply(action(19, u16(0x8847)), set_field(oxm(34, u32(16))), action(15, u8(77)), action(11, bytes(4)), output(2))))
    passes([(1, frame(ttl=9))], {2: [mpls(9)]}, "push_mpls, set_mpls_ttl, copy_ttl_out")


@rule(*EVERY)
def packet_outs_from_ports_that_are_no_devices(b):
    v = b.version
    for port in (LOCAL, CONTROLLER) if v > 1 else (LOCAL, CONTROLLER, 0xFFFF):
        DEVICES[0].drain()
        b.do(packet_out(v, out(v, FLOOD), BROADCAST, port=port))
        passes([], {n: [BROADCAST] for n in PORTS}, "flooded as from %#x" % port)
    b.do(flow(v, 3, m=from_port(v, LOCAL & 0xFFFF if v == 1 else LOCAL), priority=2), flow(v, 4, priority=1))
    if v > 1:
        b.do(flow(v, 2, m=from_port(v, CONTROLLER), priority=3))
    for port, to in (LOCAL, 3), (CONTROLLER, 2 if v > 1 else 4), (1, 4):
        DEVICES[0].drain()
        b.do(packet_out(v, out(v, TABLE), OTHER, port=port))
        passes([], {to: [OTHER]}, "into the tables as from %#x" % port)


@rule(*TEN)
def matches_of_1_0(b):
    """Fields that one structure has for several protocols, and addresses in part."""
    icmp = ethernet(0x800, ip(b"\x08\3" + bytes(30), proto=1))
    arp = ethernet(0x806, struct.pack("!HHBBH6sI6sI", 1, 0x800, 6, 4, 2, A, 0x0A000001, B, 0x0A0000FE))
    plain, tagged, prioritised = frame(), frame(vlan=0xA064), frame(vlan=0x6000)

    def nets(src_bits=None, dst_bits=None):
        whole = match10(type=0x800, nw_src=src_bits and u32(0x0A000099), nw_dst=dst_bits and u32(0x0A000099))
        wild = struct.unpack_from("!I", whole)[0] | (src_bits or 0) << 8 | (dst_bits or 0) << 14
        return u32(wild) + whole[4:]

    for m, hits, misses in [
        (match10(type=0x800, proto=1, tp_src=8), [icmp], [plain, arp]),
        (match10(type=0x800, proto=1, tp_src=8, tp_dst=3), [icmp], [plain]),
        (match10(type=0x800, proto=1, tp_dst=4), [], [icmp]),
        (match10(type=0x806, proto=2), [arp], [plain]),
        (match10(type=0x806, proto=1), [], [arp]),
        (match10(type=0x806, nw_src=u32(0x0A000001), nw_dst=u32(0x0A0000FE)), [arp], [plain]),
        (match10(type=0x806, nw_dst=u32(0x0A000002)), [], [arp]),
        (match10(vlan=100), [tagged], [plain, prioritised]),
        (match10(vlan=100, pcp=5), [tagged], [plain]),
        (match10(vlan=100, pcp=4), [], [tagged]),
        (match10(vlan=0xFFFF), [plain, arp], [tagged, prioritised]),
        (match10(vlan=0, pcp=3), [prioritised], [plain, tagged]),
        (match10(type=0x800, tos=0x20), [frame(tos=0x20), frame(tos=0x22)], [plain, frame(tos=0x24)]),
        (match10(src=A, dst=B), [plain, arp], [OTHER[6:12] + OTHER[:6] + OTHER[12:]]),
        (nets(src_bits=8), [plain], [arp]),
        (nets(src_bits=7), [], [plain]),
        (nets(dst_bits=8), [plain], [arp]),
        (nets(dst_bits=31), [plain], []),
        (nets(src_bits=40, dst_bits=63), [plain], [arp]),
    ]:  # fmt: skip
        b.do(flow_mod(1, command=DELETE), flow(1, 2, m=m), flow(1, 3, priority=1))
        wanted = {2: hits, 3: misses}
        passes([(1, f) for f in hits + misses], wanted, "match %s" % m.hex())


@rule(*NEW)
def every_table_may_follow_the_one_before(b):
    v = b.version
    b.do(*[flow_mod(v, match(), goto(t + 1), table=t) for t in range(253)], flow_mod(v, match(), apply(output(2)), table=253))
    passes([(1, OTHER)] * 2, {2: [OTHER] * 2})
