"""What two controllers of one switch are to each other. The switch dials `c1` and `c2` beside its management socket."""

import os

from bench import *  # noqa: F401,F403
from frames import Devices
from openflow import Bridge

EQUAL, PRIMARY, SECONDARY = 1, 2, 3
IS_SECONDARY, STALE = (1, 10), (11, 0)
ROLE_STATUS, REQUEST_FORWARD, CONTROLLER_STATUS = 30, 32, 35
ID_IN_USE = (11, 4)
ASKED, CHANNEL, ROLE, SHORT_ID = 0, 1, 2, 5


class Controller(Bridge):
    """The other end of a connection that the switch has made."""

    listeners = {}

    def __init__(self, path, version):
        if path not in self.listeners:
            if os.path.exists(path):
                os.unlink(path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(path)
            listener.listen()
            listener.settimeout(15)
            self.listeners[path] = listener
        self.path, self.version = path, version
        self.socket, _ = self.listeners[path].accept()
        self.socket.settimeout(5)
        self.begin()


def role(b, wanted, generation):
    return struct.unpack("!I4xQ", b.ask(message(b.version, 24, struct.pack("!I4xQ", wanted, generation))))


def a_newer_primary_takes_the_place_of_the_older(management):
    v = management.version
    beside = os.path.dirname(management.path)
    a, b = (Controller(os.path.join(beside, name), v) for name in ("c1", "c2"))
    try:
        start = int(time.time()) * 16
        same(role(a, 0, 0)[0], EQUAL, "the role at the start")
        a.do(flow(v, CONTROLLER, priority=0))
        passes([(1, OTHER)], {})
        for c in a, b:
            packet_in(c, OTHER, 0)
        same(role(a, PRIMARY, start), (PRIMARY, start), "the first to be primary")
        same(role(b, PRIMARY, start + 1), (PRIMARY, start + 1), "the second to be primary")
        if v >= 5:
            status = a.wait(ROLE_STATUS)
            same(struct.unpack_from("!IB3xQ", status, 8), (SECONDARY, 0, start + 1), "(role, reason, generation) that the first is told")
        same(role(a, 0, 0)[0], SECONDARY, "the role of the first now")
        for m in flow(v, 2), group_mod(v, 1, 0), meter_mod(v, 1, KBPS, band(1, 9)), packet_out(v, output(2), OTHER):
            a.refuses(m, IS_SECONDARY)
        passes([(1, OTHER)], {})
        packet_in(b, OTHER, 0)
        a.silent(PACKET_IN)
        a.refuses(message(v, 24, struct.pack("!I4xQ", PRIMARY, start)), STALE)
        a.refuses(message(v, 24, struct.pack("!I4xQ", SECONDARY, start)), STALE)
        # A secondary reads, and hears of packets when it asks for them.
        same(counts(a)[2], 1, "the flows that the secondary sees")
        if v == 4:
            a.do(message(v, 28, struct.pack("!6I", 7, 7, 7, 7, 7, 7)))
        else:
            a.do(message(v, 28, struct.pack("!HHI", 0, 8, 7)))
        passes([(1, OTHER)], {})
        packet_in(a, OTHER, 0)
        packet_in(b, OTHER, 0)
        if v >= 5:
            b.do(message(v, 28, struct.pack("!HHI", 11, 8, 3)))
            management.do(group_mod(v, 5, 0))
            forwarded = b.wait(REQUEST_FORWARD)
            same(forwarded[8:10] + forwarded[16:], group_mod(v, 5, 0)[:2] + group_mod(v, 5, 0)[8:], "the request that was forwarded")
        # Equal again, it changes what it likes.
        same(role(a, EQUAL, 0)[0], EQUAL, "the role of the first")
        a.do(flow(v, 2, priority=5))
        passes([(1, OTHER)], {2: [OTHER]})
        same(role(b, 0, 0)[0], PRIMARY, "the role of the second")
    finally:
        a.close()
        b.close()


def status(octets):
    """(short id, role, reason, is down, URI) of each controller."""
    found = []
    while octets:
        length, *about = struct.unpack_from("!HHIBB6x", octets)
        kind, size = struct.unpack_from("!HH", octets, 16)
        same(kind, 0, "the property that is the URI")
        same(length, 16 + size + -size % 8, "the length of a controller's status")
        found.append((*about, octets[20 : 16 + size].decode()))
        octets = octets[length:]
    return found


def controllers_hear_how_the_others_fare(management):
    beside = os.path.dirname(management.path)
    first, second = (os.path.join(beside, name) for name in ("c1", "c2"))
    a, b = (Controller(path, 6) for path in (first, second))
    try:
        named = lambda b, role, short_id, generation: b.ask(message(6, 24, struct.pack("!IH2xQ", role, short_id, generation)))  # noqa: E731
        start = int(time.time()) * 16
        # Whether b came before or after a was ready to hear of it is not told here; what a hears of it comes before a's reply.
        b.barrier()
        a.barrier()
        a.heard.clear()
        same(struct.unpack("!IH2xQ", named(b, PRIMARY, 7, start)), (PRIMARY, 7, start), "the role and short id of the second")
        heard = [status(a.wait(CONTROLLER_STATUS)[8:]) for _ in range(2)]
        uri = "unix:" + second
        same(heard, [[(7, PRIMARY, ROLE, 0, uri)], [(7, PRIMARY, SHORT_ID, 0, uri)]], "what the first hears of the second")
        a.refuses(message(6, 24, struct.pack("!IH2xQ", EQUAL, 7, 0)), ID_IN_USE)
        both = sorted(status(a.ask(multipart(6, 18))), key=lambda c: c[-1])
        same(both, [(0, EQUAL, ASKED, 0, "unix:" + first), (7, PRIMARY, ASKED, 0, uri)], "how both fare")
        b.silent(CONTROLLER_STATUS)
        b.close()
        same(status(a.wait(CONTROLLER_STATUS)[8:]), [(7, PRIMARY, CHANNEL, 1, uri)], "what the first hears when the second is gone")
        # It asks to hear no more (of this its role hears nothing).
        a.do(message(6, 28, struct.pack("!HHIHHI", 15, 8, 0, 14, 8, 0)))
        b = Controller(second, 6)
        b.barrier()
        a.silent(CONTROLLER_STATUS)
    finally:
        a.close()
        b.close()


def rules():
    DEVICES.append(Devices(PORTS))
    between = [("controllers hear how the others fare", 6, controllers_hear_how_the_others_fare)]
    return between + [("a newer primary takes the place of the older", v, a_newer_primary_takes_the_place_of_the_older) for v in NEW]
