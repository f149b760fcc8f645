"""OpenFlow by hand: a blocking connection and the messages that tests need, as octets. Versions are those of the wire (1, 4, 5, 6)."""

import socket
import struct
import time

HELLO, ERROR, ECHO = 0, 1, 2
PACKET_IN, FLOW_REMOVED, PORT_STATUS, PACKET_OUT, FLOW_MOD = 10, 11, 12, 13, 14
GROUP_MOD, METER_MOD, BUNDLE_ADD = 15, 29, 34
NO_BUFFER = ANY = ALL_GROUPS = 0xFFFFFFFF
IN_PORT, TABLE, NORMAL, FLOOD, ALL, CONTROLLER, LOCAL = range(0xFFFFFFF8, 0xFFFFFFFF)
NICIRA, ONF = 0x2320, 0x4F4E4600


class Failed(Exception):
    pass


def expect(is_so, why, *more):
    if not is_so:
        raise Failed(why % more if more else why)


def same(got, wanted, what):
    expect(got == wanted, "%s is %r, not %r", what, got, wanted)


def padded8(octets):
    return octets + bytes(-len(octets) % 8)


def message(version, kind, body=b""):
    return struct.pack("!BBHI", version, kind, 8 + len(body), 0) + body


# Matches: OXM, and the structure of 1.0.


def oxm(field, value, mask=b"", oxm_class=0x8000, length=None):
    length = len(value) + len(mask) if length is None else length
    return struct.pack("!HBB", oxm_class, field << 1 | bool(mask), length) + value + mask


def u8(v):
    return struct.pack("!B", v)


def u16(v):
    return struct.pack("!H", v)


def u32(v):
    return struct.pack("!I", v)


def u64(v):
    return struct.pack("!Q", v)


def match(*fields, kind=1, length=None):
    body = b"".join(fields)
    return padded8(struct.pack("!HH", kind, 4 + len(body) if length is None else length) + body)


def in_port(n):
    return oxm(0, u32(n))


def eth_type(t):
    return oxm(5, u16(t))


IP = eth_type(0x800)
UDP = IP + oxm(10, u8(17))
WILD10 = {"in_port": 1, "vlan": 2, "src": 4, "dst": 8, "type": 16, "proto": 32, "tp_src": 64, "tp_dst": 128}


def match10(in_port=None, type=None, proto=None, src=None, dst=None, nw_src=None, nw_dst=None, vlan=None, pcp=None, tos=None, tp_src=None, tp_dst=None, more=0):
    given = dict(in_port=in_port, vlan=vlan, src=src, dst=dst, type=type, proto=proto, tp_src=tp_src, tp_dst=tp_dst)
    wild = sum(bit for name, bit in WILD10.items() if given[name] is None) | more
    wild |= (0 if nw_src else 32 << 8) | (0 if nw_dst else 32 << 14)
    wild |= (1 << 20 if pcp is None else 0) | (1 << 21 if tos is None else 0)
    return struct.pack(
        "!IH6s6sHBxHBB2x4s4sHH", wild, in_port or 0, src or bytes(6), dst or bytes(6), vlan or 0, pcp or 0, type or 0,
        tos or 0, proto or 0, nw_src or bytes(4), nw_dst or bytes(4), tp_src or 0, tp_dst or 0,
    )  # fmt: skip


# Actions and instructions.


def action(kind, body=b"", length=None):
    whole = padded8(struct.pack("!HH", kind, 0) + body)
    return whole[:2] + u16(len(whole) if length is None else length) + whole[4:]


def output(port, max_len=0xFFFF):
    return action(0, struct.pack("!IH6x", port, max_len))


def output10(port, max_len=0xFFFF):
    return action(0, struct.pack("!HH", port & 0xFFFF, max_len))


def set_field(tlv):
    return action(25, tlv)


def group(n):
    return action(22, u32(n))


def apply(*actions):
    body = b"".join(actions)
    return struct.pack("!HH4x", 4, 8 + len(body)) + body


def write(*actions):
    body = b"".join(actions)
    return struct.pack("!HH4x", 3, 8 + len(body)) + body


def goto(table):
    return struct.pack("!HHB3x", 1, 8, table)


def meter(n):
    return struct.pack("!HHI", 6, 8, n)


ADD, MODIFY, MODIFY_STRICT, DELETE, DELETE_STRICT = range(5)
SEND_FLOW_REM, CHECK_OVERLAP, RESET_COUNTS, NO_PKT_COUNTS, NO_BYT_COUNTS = 1, 2, 4, 8, 16


def flow_mod(
    version, matching=None, then=b"", command=ADD, table=0, flags=0, priority=0x8000, idle=0, hard=0, buffer=NO_BUFFER, cookie=0,
    mask=0, out_port=ANY, out_group=ANY, importance=0,
):  # fmt: skip
    """`then` is actions in 1.0 and instructions later."""
    if version == 1:
        body = match10() if matching is None else matching
        body += struct.pack("!QHHHHIHH", cookie, command, idle, hard, priority, buffer, out_port & 0xFFFF, flags)
    else:
        body = struct.pack(
            "!QQBBHHHIIIHH", cookie, mask, table, command, idle, hard, priority, buffer, out_port, out_group, flags, importance
        )
        body += match() if matching is None else matching
    return message(version, FLOW_MOD, body + then)


def packet_out(version, actions, frame, port=CONTROLLER, buffer=NO_BUFFER):
    if version == 1:
        head = struct.pack("!IHH", buffer, port & 0xFFFF, len(actions))
    elif version == 6:
        head = struct.pack("!IH2x", buffer, len(actions)) + match(in_port(port))
    else:
        head = struct.pack("!IIH6x", buffer, port, len(actions))
    return message(version, PACKET_OUT, head + actions + frame)


def bucket(version, *actions, weight=0, port=ANY, group=ANY, number=0):
    body = b"".join(actions)
    if version < 6:
        return struct.pack("!HHII4x", 16 + len(body), weight, port, group) + body
    properties = b""
    if weight:
        properties += struct.pack("!HHH2x", 0, 8, weight)
    if port != ANY:
        properties += struct.pack("!HHI", 1, 8, port)
    if group != ANY:
        properties += struct.pack("!HHI", 2, 8, group)
    return struct.pack("!HHI", 8 + len(body) + len(properties), len(body), number) + body + properties


GROUP_ALL, SELECT, INDIRECT, FAILOVER = range(4)


def group_mod(version, number, kind, *buckets, command=ADD, command_bucket=0xFFFFFFFF):
    head = struct.pack("!HBxI", command, kind, number)
    body = b"".join(buckets)
    if version == 6:
        head += struct.pack("!H2xI", len(body), command_bucket)
    return message(version, GROUP_MOD, head + body)


KBPS, PKTPS, BURST, STATS = 1, 2, 4, 8


def band(kind, rate, burst=0, levels=0):
    return struct.pack("!HHIIB3x", kind, 16, rate, burst, levels)


def meter_mod(version, number, flags, *bands, command=ADD):
    return message(version, METER_MOD, struct.pack("!HHI", command, flags, number) + b"".join(bands))


def multipart(version, kind, body=b"", flags=0):
    pad = b"" if version == 1 else bytes(4)
    return message(version, 16 if version == 1 else 18, struct.pack("!HH", kind, flags) + pad + body)


def set_config(version, flags=0, miss_send_len=0xFFFF):
    return message(version, 9, struct.pack("!HH", flags, miss_send_len))


class Bridge:
    """A connection to the management socket, which hears what a controller hears once it has said how much of a packet it wants."""

    def __init__(self, path, version):
        self.path, self.version = path, version
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.socket.settimeout(5)
        self.begin()

    def begin(self):
        self.waiting, self.xid, self.heard = b"", 1, []
        self.socket.sendall(message(self.version, HELLO))
        expect(self.next()[0] == HELLO, "no HELLO comes first")

    def close(self):
        self.socket.close()

    def send(self, octets):
        """Sends a message, the one inside a bundle's too, by the next transaction number."""
        self.xid += 1
        octets = octets[:4] + u32(self.xid) + octets[8:]
        if octets[1] == BUNDLE_ADD and octets[0] >= 5 and octets[20:24] == bytes(4):
            octets = octets[:20] + u32(self.xid) + octets[24:]
        self.socket.sendall(octets)
        return self.xid

    def next(self):
        """Type, xid and octets of the next message."""
        while True:
            if len(self.waiting) >= 8:
                _, kind, length, xid = struct.unpack_from("!BBHI", self.waiting)
                if len(self.waiting) >= length:
                    octets, self.waiting = self.waiting[:length], self.waiting[length:]
                    if kind == ECHO:
                        self.socket.sendall(octets[:1] + b"\x03" + octets[2:])
                        continue
                    return kind, xid, octets
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the switch ended the connection")
            self.waiting += data

    def barrier(self):
        """Errors that came before the barrier's reply, by the xid of what they refuse; other messages are kept."""
        asked = self.send(message(self.version, 18 if self.version == 1 else 20))
        errors = {}
        while True:
            kind, xid, octets = self.next()
            if xid == asked:
                return errors
            if kind == ERROR:
                errors[xid] = octets
            else:
                self.heard.append((kind, xid, octets))

    def do(self, *messages):
        """Sends messages that are to be obeyed."""
        sent = [self.send(m) for m in messages]
        errors = self.barrier()
        expect(not errors, "refused: %s", [(sent.index(x) if x in sent else x, struct.unpack_from("!HH", e, 8)) for x, e in errors.items()])

    def refuses(self, octets, *codes):
        """Sends a message that is to be refused with type and code, or experimenter, code."""
        sent = self.send(octets)
        errors = self.barrier()
        expect(errors, "accepted; wanted error %s", codes)
        expect(list(errors) == [sent], "errors for %s, sent %d", list(errors), sent)
        error = errors[sent]
        kind, code = struct.unpack_from("!HH", error, 8)
        got = (kind, code)
        if kind == 0xFFFF:
            got = (struct.unpack_from("!I", error, 12)[0], code)
        elif kind == 0xB0C2:
            got = (NICIRA,) + struct.unpack_from("!HH", error, 16)
        expect(got in codes, "error %s, not %s", got, codes)
        if kind not in (0xFFFF, 0xB0C2):
            data, begins = error[12:], octets[:4] + u32(sent) + octets[8:]
            expect(octets[1] == BUNDLE_ADD or begins.startswith(data) and len(data) >= min(64, len(octets)), "the error repeats %s of %s", data.hex(), begins.hex())

    def ask(self, octets):
        """The body of a (multipart) reply, parts joined."""
        asked = self.send(octets)
        body = b""
        while True:
            kind, xid, got = self.next()
            if xid != asked:
                self.heard.append((kind, xid, got))
                continue
            expect(kind != ERROR, "refused: %s", got[8:12].hex())
            if kind != (17 if self.version == 1 else 19):
                return got[8:]
            body += got[12 if self.version == 1 else 16 :]
            if not got[11] & 1:
                return body

    def wait(self, kind, seconds=2.0):
        """The next message of this type that nobody asked for."""
        end = time.monotonic() + seconds
        while True:
            for i, (k, _, octets) in enumerate(self.heard):
                if k == kind:
                    del self.heard[i]
                    return octets
            expect(time.monotonic() < end, "no message of type %d", kind)
            time.sleep(0.005)
            self.barrier()

    def silent(self, kind, seconds=0.1):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.barrier()
            time.sleep(0.02)
        expect(all(k != kind for k, _, _ in self.heard), "a message of type %d, which is not wanted", kind)

    def clear(self):
        """No flow, group or meter is left, and fragments are as at the start."""
        v = self.version
        self.do(flow_mod(v, command=DELETE, table=255), set_config(v))
        if v >= 4:
            self.do(group_mod(v, 0xFFFFFFFC, 0, command=2), meter_mod(v, 0xFFFFFFFF, 0, command=2))
        else:
            modern = Bridge(self.path, 4)
            modern.do(group_mod(4, 0xFFFFFFFC, 0, command=2), meter_mod(4, 0xFFFFFFFF, 0, command=2))
            modern.close()
        self.heard.clear()
