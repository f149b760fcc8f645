"""Flows and what is said of them: removed flows, counters, statistics, monitors, and what each version has its own way."""

from bench import *  # noqa: F401,F403


class Removed:
    def __init__(self, octets):
        v = octets[0]
        if v == 1:
            self.match = octets[8:48]
            self.cookie, self.priority, self.reason, sec, nsec, self.idle, self.packets, self.octets = struct.unpack_from("!QHBxIIH2xQQ", octets, 48)
            self.table = self.hard = None
            self.age = sec + nsec / 1e9
        elif v < 6:
            self.cookie, self.priority, self.reason, self.table, sec, nsec, self.idle, self.hard, self.packets, self.octets = struct.unpack_from("!QHBBIIHHQQ", octets, 8)
            self.match = octets[48:]
            self.age = sec + nsec / 1e9
        else:
            self.table, self.reason, self.priority, self.idle, self.hard, self.cookie = struct.unpack_from("!BBHHHQ", octets, 8)
            length = struct.unpack_from("!H", octets, 26)[0]
            at = 24 + (length + 7) // 8 * 8
            self.match = octets[24:at]
            end, stats = at + struct.unpack_from("!H", octets, at + 2)[0], {}
            at += 4
            while at < end:
                _, field, size = struct.unpack_from("!HBB", octets, at)
                stats[field >> 1] = octets[at + 4 : at + 4 + size]
                at += 4 + size
            sec, nsec = struct.unpack("!II", stats[0])
            self.age = sec + nsec / 1e9
            self.packets, self.octets = (struct.unpack("!Q", stats[n])[0] for n in (4, 5))


def removed(b, reason, packets, octets, **more):
    r = Removed(b.wait(FLOW_REMOVED, 4))
    same((r.reason, r.packets, r.octets), (reason, packets, octets), "(reason, packets, octets) of the removed flow")
    for name, value in more.items():
        if getattr(r, name) is not None:
            same(getattr(r, name), value, name)
    return r


@rule(*EVERY)
def a_deleted_flow_is_told_of_with_all_it_was(b):
    v = b.version
    b.do(flow(v, 2, m=from_port(v, 1), cookie=0xABCD, priority=77, idle=50, hard=60, flags=SEND_FLOW_REM), flow(v, 3, m=from_port(v, 2)))
    passes([(1, OTHER)] * 3, {2: [OTHER] * 3})
    passes([(1, frame())], {2: [frame()]})
    time.sleep(0.05)
    b.do(flow_mod(v, command=DELETE, table=0))
    r = removed(b, 2, 4, 3 * len(OTHER) + len(frame()), cookie=0xABCD, priority=77, idle=50, hard=60, table=0, match=from_port(v, 1))
    expect(0.05 <= r.age < 3, "the flow was there for %f s", r.age)
    b.silent(FLOW_REMOVED)


@rule(*EVERY)
def a_replaced_flow_is_not_told_of(b):
    v = b.version
    b.do(flow(v, 2, flags=SEND_FLOW_REM), flow(v, 3, flags=SEND_FLOW_REM), flow(v, 4, command=MODIFY))
    passes([(1, OTHER)], {4: [OTHER]})
    b.silent(FLOW_REMOVED)
    b.do(flow_mod(v, command=DELETE_STRICT))
    removed(b, 2, 1, len(OTHER))


@rule(*EVERY)
def timeouts_are_told_of(b):
    v = b.version
    b.do(flow(v, 2, idle=1, flags=SEND_FLOW_REM, cookie=1), flow(v, 3, m=from_port(v, 2), hard=1, flags=SEND_FLOW_REM, cookie=2))
    passes([(1, OTHER), (2, OTHER)], {2: [OTHER], 3: [OTHER]})
    both = sorted((Removed(b.wait(FLOW_REMOVED, 4)) for _ in range(2)), key=lambda r: r.cookie)
    same([(r.reason, r.packets) for r in both], [(0, 1), (1, 1)], "reasons and packets")
    expect(all(0.95 <= r.age < 1.9 for r in both), "after %s s", [r.age for r in both])


@rule(*NEW)
def flows_go_with_their_group_and_meter(b):
    v = b.version
    use = apply(action(29, u32(5))) if v == 6 else meter(5)
    b.do(group_mod(v, 5, 0, bucket(v, output(2))), meter_mod(v, 5, KBPS, band(1, 1000)))
    b.do(flow_mod(v, from_port(v, 1), apply(group(5)), flags=SEND_FLOW_REM), flow_mod(v, from_port(v, 2), use, flags=SEND_FLOW_REM))
    passes([(1, OTHER)], {2: [OTHER]})
    b.do(group_mod(v, 5, 0, command=2))
    removed(b, 3, 1, len(OTHER))
    b.do(meter_mod(v, 5, 0, command=2))
    removed(b, 4 if v >= 5 else 2, 0, 0)
    same(counts(b)[2], 0, "flows that are left")


@rule(*EVERY)
def counters_of_flows_and_tables_count_what_came(b):
    v = b.version
    b.do(flow(v, 2, m=from_port(v, 1)), flow(v, 3, m=from_port(v, 2)))

    def table():
        got = b.ask(multipart(v, 3))
        if v == 1:
            return struct.unpack_from("!IQQ", got, 44)
        return struct.unpack_from("!IQQ", got, 4)

    active, looked, matched = table()
    same(active, 2, "active flows")
    big = frame(data=bytes(1000))
    passes([(1, OTHER)] * 4 + [(2, big), (4, OTHER)], {2: [OTHER] * 4, 3: [big]})
    becomes(lambda: counts(b), (5, 4 * 60 + len(big), 2), "aggregate")
    becomes(lambda: counts(b, m=from_port(v, 2)), (1, len(big), 1), "aggregate of port 2")
    becomes(table, (2, looked + 6, matched + 5), "(active, lookups, matches)")
    # A modification keeps them; what replaces a flow begins anew in 1.0, and later only when it is asked to.
    b.do(flow(v, 4, m=from_port(v, 1), command=MODIFY_STRICT))
    same(counts(b, m=from_port(v, 1))[:2], (4, 240), "after a modification")
    b.do(flow(v, 4, m=from_port(v, 1)))
    same(counts(b, m=from_port(v, 1))[:2], (0, 0) if v == 1 else (4, 240), "after it was replaced")
    if v > 1:
        b.do(flow(v, 4, m=from_port(v, 2), command=MODIFY, flags=RESET_COUNTS))
        same(counts(b, m=from_port(v, 2))[:2], (0, 0), "after a modification that resets")
        b.do(flow(v, 4, m=from_port(v, 1), flags=RESET_COUNTS))
        same(counts(b, m=from_port(v, 1))[:2], (0, 0), "after it was replaced and reset")


@rule(*EVERY)
def counters_of_ports_count_what_came_and_went(b):
    v = b.version

    def port(n):
        if v == 1:
            return struct.unpack_from("!4Q", b.ask(multipart(v, 4, struct.pack("!H6x", n))), 8)
        return struct.unpack_from("!4Q", b.ask(multipart(v, 4, u32(n) + bytes(4))), 8 if v == 4 else 16)

    b.do(flow(v, 2))
    before = port(1), port(2)
    big = frame(data=bytes(500))
    passes([(1, OTHER), (1, big)], {2: [OTHER, big]})
    octets = len(OTHER) + len(big)

    def delta():
        return tuple(tuple(x - y for x, y in zip(now, old)) for now, old in zip((port(1), port(2)), before))

    becomes(delta, ((2, 0, octets, 0), (0, 2, 0, octets)), "(rx, tx, rx octets, tx octets) of ports 1 and 2")


@rule(*NEW)
def counters_of_groups_buckets_and_meters(b):
    v = b.version
    use = apply(action(29, u32(3)), group(5)) if v == 6 else meter(3) + apply(group(5))
    b.do(group_mod(v, 5, GROUP_ALL, bucket(v, output(2), number=0), bucket(v, output(3), output(4), number=1)), meter_mod(v, 3, PKTPS | STATS, band(1, 100000)))
    b.do(flow_mod(v, from_port(v, 1), use), flow_mod(v, from_port(v, 2), apply(group(5))))
    passes([(1, OTHER)] * 3 + [(2, OTHER)], {2: [OTHER] * 3, 4: [OTHER] * 4}, "a bucket is a set: its last output counts")

    def of_group():
        got = b.ask(multipart(v, 6, u32(5) + bytes(4)))
        number, references, packets, octets = struct.unpack_from("!4xII4xQQ", got)
        return (number, references, packets, octets) + struct.unpack_from("!4Q", got, 40)

    becomes(of_group, (5, 2, 4, 240, 4, 240, 4, 240), "(group, references, packets, octets, those of the buckets)")

    def of_meter():
        got = b.ask(multipart(v, 9, u32(3) + bytes(4)))
        number, flows, packets, octets = struct.unpack_from("!I8xIQQ", got)
        return (number, flows, packets, octets) + struct.unpack_from("!QQ", got, 40)

    becomes(of_meter, (3, 1, 3, 180, 0, 0), "(meter, flows, packets, octets, those of the band)")


@rule(*TEN)
def flows_of_1_0(b):
    exact = match10(in_port=1, type=0x800, proto=17, src=A, dst=B, nw_src=u32(0x0A000001), nw_dst=u32(0x0A000002), vlan=0xFFFF, pcp=0, tos=0, tp_src=7, tp_dst=9)
    exact = bytes(4) + exact[4:]
    # A flow without wildcards is above all.
    b.do(flow(1, 2, m=exact, priority=1), flow(1, 3, priority=60000))
    passes([(1, frame())], {2: [frame()]})
    passes([(1, frame(dport=10))], {3: [frame(dport=10)]})
    # A modification of nothing adds; a delete that names a port takes what outputs there.
    b.do(flow_mod(1, command=DELETE), flow(1, 2, m=match10(in_port=1), command=MODIFY), flow(1, 4, m=match10(in_port=2), command=MODIFY_STRICT, priority=3))
    passes([(1, OTHER), (2, OTHER)], {2: [OTHER], 4: [OTHER]})
    b.do(flow_mod(1, command=DELETE, out_port=4))
    same(counts(b)[2], 1, "flows that are left")
    # What cannot be matched without its header is not matched: addresses without the type.
    b.do(flow_mod(1, command=DELETE), flow(1, 2, m=match10(nw_src=u32(0x01020304), tp_dst=5)))
    passes([(1, OTHER)], {2: [OTHER]})


@rule(*NEW)
def flows_of_1_3(b):
    v = b.version
    # A modification of nothing does nothing.
    b.do(flow(v, 2, command=MODIFY), flow(v, 2, command=MODIFY_STRICT))
    same(counts(b)[2], 0, "flows")
    # Cookies filter modifications and deletions.
    b.do(flow(v, 2, m=from_port(v, 1), cookie=0x11), flow(v, 2, m=from_port(v, 2), cookie=0x21), flow(v, 2, m=from_port(v, 3), cookie=0x12))
    b.do(flow(v, 4, command=MODIFY, cookie=0x10, mask=0xF0))
    passes([(1, OTHER), (3, OTHER)], {4: [OTHER, OTHER]})
    b.do(flow_mod(v, command=DELETE, table=255, cookie=1, mask=0xF))
    same(counts(b)[2], 1, "flows that are left")
    b.do(flow_mod(v, command=DELETE, table=255, out_port=3))
    same(counts(b)[2], 1, "flows that are left")
    b.do(flow_mod(v, command=DELETE, table=9))
    same(counts(b)[2], 1, "flows that are left")
    b.do(flow_mod(v, command=DELETE, table=255, out_port=4))
    same(counts(b)[2], 0, "flows that are left")
    # A delete that matches less takes what matches more.
    b.do(flow(v, 2, m=match(IP, in_port(1))), flow(v, 2, m=match(in_port(2))))
    b.do(flow_mod(v, match(IP), command=DELETE, table=255))
    same(counts(b)[2], 1, "flows that are left")
    b.do(flow_mod(v, match(in_port(2)), command=DELETE_STRICT, priority=3))
    same(counts(b)[2], 1, "flows that are left")


@rule(*EVERY)
def questions_about_the_switch(b):
    v = b.version
    data = bytes(range(256)) * 200
    same(b.ask(message(v, 2, data)), data, "the echo")
    features = b.ask(message(v, 5))
    datapath, buffers, tables = struct.unpack_from("!QIB", features)
    expect(datapath and buffers == 0 and tables >= 64, "features %x, %d buffers, %d tables", datapath, buffers, tables)
    b.do(set_config(v, 0, 99))
    same(struct.unpack("!HH", b.ask(message(v, 7))), (0, 99), "the configuration")
    same(len(b.ask(multipart(v, 0))), 1056, "the length of the description")


@rule(*NEW)
def what_was_configured_is_described(b):
    v = b.version
    kind, weights = (SELECT, (4, 1)) if v < 6 else (GROUP_ALL, (0, 0))
    buckets = b"".join(bucket(v, output(2 + n), weight=weights[n], number=n) for n in range(2))
    b.do(group_mod(v, 9, kind, buckets), meter_mod(v, 8, PKTPS | BURST | STATS, band(1, 70, 5), band(2, 60, 6, 1)))
    described = b.ask(multipart(v, 7, u32(9) + bytes(4) if v == 6 else b""))
    if v < 6:
        same(described, struct.pack("!HBxI", 8 + len(buckets), kind, 9) + buckets, "the group")
    else:
        expect(described[16:] == buckets, "the group's buckets are %s, not %s", described[16:].hex(), buckets.hex())
    meter_is = struct.pack("!HHI", 40, PKTPS | BURST | STATS, 8) + band(1, 70, 5) + band(2, 60, 6, 1)
    same(b.ask(multipart(v, 10, u32(8) + bytes(4))), meter_is, "the meter")
    b.do(flow_mod(v, match(in_port(1)), apply(output(2), group(9)) + goto(4), cookie=3, priority=5, idle=6, hard=7, flags=SEND_FLOW_REM | NO_BYT_COUNTS))
    got = flow_stats(b)
    if v < 6:
        length, table, _, _, priority, idle, hard, flags, _, cookie = struct.unpack_from("!HBxIIHHHHHxxQ", got)
        same((length, table, priority, idle, hard, flags, cookie), (len(got), 0, 5, 6, 7, SEND_FLOW_REM | NO_BYT_COUNTS, 3), "the flow")
        same(got[48:], match(in_port(1)) + apply(output(2), group(9)) + goto(4), "its match and instructions")


@rule(*EVERY)
def statistics_are_of_what_was_asked_for(b):
    v = b.version
    b.do(flow(v, 2, m=from_port(v, 1), cookie=0x11), flow(v, 3, m=from_port(v, 2), cookie=0x21))

    def lengths(body):
        found, at = 0, 0
        while at < len(body):
            found, at = found + 1, at + struct.unpack_from("!H", body, at)[0]
        return found

    def ask(table=255, port=ANY, cookie=0, mask=0, m=None):
        if v == 1:
            return lengths(b.ask(multipart(v, 1, (m or match10()) + struct.pack("!BxH", table, port & 0xFFFF))))
        return lengths(b.ask(multipart(v, 1, struct.pack("!B3xII4xQQ", table, port, ANY, cookie, mask) + (m or match()))))

    same([ask(), ask(table=0), ask(table=1), ask(port=3), ask(port=4), ask(m=from_port(v, 2))], [2, 2, 0, 1, 0, 1], "the numbers of flows")
    if v > 1:
        same([ask(cookie=1, mask=0xF), ask(cookie=0x10, mask=0xF0)], [2, 1], "the numbers of flows of a cookie")
    ports = b.ask(multipart(v, 4, struct.pack("!H6x", 0xFFFF) if v == 1 else u32(ANY) + bytes(4)))
    count = lengths(ports) if v >= 5 else len(ports) // (104 if v == 1 else 112)
    same(count, 5, "the number of ports")
    queues = b.ask(multipart(v, 5, struct.pack("!H2xI", 0xFFFC, ANY) if v == 1 else u32(ANY) + u32(ANY)))
    same(queues, b"", "the queues")


@rule(6)
def counters_of_flows_as_1_5_has_them(b):
    b.do(flow(6, 2, m=in_port_match(1), priority=6))
    passes([(1, OTHER)] * 2, {2: [OTHER] * 2})

    def stats():
        body = flow_stats(b, kind=17)
        length, table, reason, priority = struct.unpack_from("!H2xBBH", body)
        at = 8 + (struct.unpack_from("!H", body, 10)[0] + 7) // 8 * 8
        end, found = at + struct.unpack_from("!H", body, at + 2)[0], {}
        at += 4
        while at < end:
            _, field, size = struct.unpack_from("!HBB", body, at)
            found[field >> 1] = int.from_bytes(body[at + 4 : at + 4 + size], "big")
            at += 4 + size
        return length == len(body), table, priority, found.get(4), found.get(5)

    becomes(stats, (True, 0, 6, 2, 120), "(length, table, priority, packets, octets)")


def in_port_match(n):
    return match(in_port(n))


@rule(*NEW)
def asynchronous_messages_are_those_that_were_asked_for(b):
    v = b.version
    # Only removed flows, and of these only those that were deleted.
    b.do(set_async(v, 2, 1 << 2))
    b.do(flow(v, CONTROLLER, m=match(in_port(1)), flags=SEND_FLOW_REM), flow(v, 3, m=match(in_port(2)), hard=1, flags=SEND_FLOW_REM))
    passes([(1, OTHER)], {})
    time.sleep(1.3)
    b.silent(PACKET_IN)
    b.silent(FLOW_REMOVED)
    b.do(flow_mod(v, command=DELETE))
    removed(b, 2, 1, len(OTHER))
    got = b.ask(message(v, 26))
    if v == 4:
        same(struct.unpack("!6I", got), (0, 0, 0, 0, 4, 0), "the masks")
    else:
        expect(struct.pack("!HHI", 5, 8, 4) in got and struct.pack("!HHI", 1, 8, 0) in got, "the masks are %s", got.hex())


@rule(5, 6)
def flow_monitors_tell_of_flows(b):
    v = b.version
    other = Bridge(b.path, v)
    other.do(flow(v, 2, m=match(in_port(1)), cookie=5))
    initial, add, gone, change, with_instructions = 1, 2, 4, 8, 16
    body = b.ask(multipart(v, 16, struct.pack("!IIIHBB", 1, ANY, ANY, initial | add | gone | change | with_instructions, 255, 0) + match()))

    def update(body):
        length, event = struct.unpack_from("!HH", body)
        same(length, len(body), "the length of the update")
        if event == 4:
            return event, None, None
        table, reason, _, _, _, cookie = struct.unpack_from("!BBHHH4xQ", body, 4)
        return event, table if event != 2 else reason, cookie

    same(update(body), (0, 0, 5), "the flow that was there")

    def told():
        return update(b.wait(19)[16:])

    other.do(flow(v, 3, m=match(in_port(2)), cookie=6))
    same(told(), (1, 0, 6), "an added flow")
    other.do(flow(v, 4, m=match(in_port(2)), command=MODIFY))
    same(told(), (3, 0, 6), "a changed flow")
    other.do(flow_mod(v, match(in_port(2)), command=DELETE))
    same(told(), (2, 2, 6), "a deleted flow")
    b.do(flow(v, 3, m=match(in_port(2)), cookie=7))
    same(told()[0], 4, "one's own change in short")
    b.ask(multipart(v, 16, struct.pack("!IIIHBB", 1, ANY, ANY, 0, 255, 2) + match()))
    other.do(flow(v, 3, m=match(in_port(3))))
    b.silent(19)
    other.close()
