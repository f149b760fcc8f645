"""What the rules of behaviour are written with: frames, flows, packet-ins, and the list of rules."""

from openflow import *  # noqa: F401,F403

DEVICES = []
PORTS = (1, 2, 3, 4)
TEN, NEW, EVERY = (1,), (4, 5, 6), (1, 4, 5, 6)
RULES = []


def rule(*versions):
    def note(f):
        for v in versions:
            RULES.append((f.__name__.replace("_", " "), v, f))
        return f

    return note


# Frames.

A, B = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"


def checksum(octets):
    total = sum(struct.unpack("!%dH" % (len(octets) // 2), octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ip(payload, ttl=64, proto=17, fragment=0, tos=0, src=0x0A000001, dst=0x0A000002):
    head = struct.pack("!BBHHHBBHII", 0x45, tos, 20 + len(payload), 1, fragment, ttl, proto, 0, src, dst)
    return head[:10] + u16(checksum(head)) + head[12:] + payload


def udp(sport=7, dport=9, data=bytes(30)):
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def ethernet(kind, payload, src=A, dst=B, vlan=None):
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    return (dst + src + tag + u16(kind) + payload).ljust(60, b"\0")


def frame(ttl=64, vlan=None, dport=9, tos=0, data=bytes(30)):
    return ethernet(0x800, ip(udp(dport=dport, data=data), ttl=ttl, tos=tos), vlan=vlan)


OTHER = ethernet(0x88B5, bytes(range(46)))
BROADCAST = ethernet(0x88B5, bytes(46), dst=b"\xff" * 6)


def passes(send, wanted, what="frames"):
    """Sends [(port, frame)] and expects {port: [frame]} and nothing else. Without frames to send, what has come already counts."""
    if send:
        DEVICES[0].drain()
    for port, octets in send:
        DEVICES[0].send(port, octets)
    missing, surplus = DEVICES[0].expect({n: list(f) for n, f in wanted.items()}, 0.03, 1.0)
    expect(not missing and not surplus, "%s: missing %s, surplus %s", what, shown(missing), shown(surplus))


def shown(frames):
    return {n: [f.hex() for f in fs[:3]] for n, fs in frames.items()}


def out(v, *ports):
    return b"".join((output10 if v == 1 else output)(p) for p in ports)


def to(v, *ports):
    """What a flow has that outputs to these ports."""
    return out(v, *ports) if v == 1 else apply(out(v, *ports))


def flow(v, *ports, m=None, **more):
    return flow_mod(v, m, to(v, *ports), **more)


def from_port(v, n):
    return match10(in_port=n) if v == 1 else match(in_port(n))


class PacketIn:
    def __init__(self, octets):
        v = octets[0]
        self.table = self.cookie = None
        self.fields = {}
        if v == 1:
            self.buffer, self.total, self.port, self.reason = struct.unpack_from("!IHHB", octets, 8)
            self.data = octets[18:]
            return
        self.buffer, self.total, self.reason, self.table, self.cookie, _, length = struct.unpack_from("!IHBBQHH", octets, 8)
        at, end = 28, 24 + length
        while at < end:
            cls, field, size = struct.unpack_from("!HBB", octets, at)
            self.fields[cls << 8 | field >> 1] = octets[at + 4 : at + 4 + size]
            at += 4 + size
        self.port = struct.unpack("!I", self.fields[0x800000])[0]
        self.data = octets[24 + (length + 7) // 8 * 8 + 2 :]


def packet_in(bridge, octets, reason, port=1, **more):
    p = PacketIn(bridge.wait(PACKET_IN))
    same(p.data, octets, "the frame")
    same((p.total, p.buffer, p.port, p.reason), (len(octets), NO_BUFFER, port, reason), "(total_len, buffer, in_port, reason)")
    for name, value in more.items():
        same(getattr(p, name), value, name)
    return p


def set_async(v, kind, mask):
    """Wants only this kind (0 packet-in, 1 port status, 2 flow removed) with these reasons, as an equal of others."""
    if v == 4:
        masks = [0x7 * (k == kind) and mask for k in range(3)]
        return message(v, 28, struct.pack("!6I", masks[0], 0, masks[1], 0, masks[2], 0))
    return message(v, 28, b"".join(struct.pack("!HHI", 2 * k + 1, 8, mask if k == kind else 0) for k in range(3)))


def flow_stats(bridge, table=255, m=None, kind=1):
    v = bridge.version
    if v == 1:
        return bridge.ask(multipart(v, kind, (m or match10()) + struct.pack("!BxH", table, 0xFFFF)))
    return bridge.ask(multipart(v, kind, struct.pack("!B3xII4xQQ", table, ANY, ANY, 0, 0) + (m or match())))


def counts(bridge, table=255, m=None):
    """Packets, octets and flows in aggregate."""
    body = flow_stats(bridge, table, m, 2)
    if bridge.version == 6:
        fields, at = {}, 4
        while at < struct.unpack_from("!H", body, 2)[0]:
            _, field, size = struct.unpack_from("!HBB", body, at)
            fields[field >> 1] = int.from_bytes(body[at + 4 : at + 4 + size], "big")
            at += 4 + size
        return fields.get(4), fields.get(5), fields.get(3)
    return struct.unpack_from("!QQI", body)


def becomes(get, wanted, what):
    end = time.monotonic() + 2
    while (got := get()) != wanted:
        expect(time.monotonic() < end, "%s is %r, not %r", what, got, wanted)
        time.sleep(0.02)
