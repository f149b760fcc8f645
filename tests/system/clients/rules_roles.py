"""What two controllers of one switch are to each other. The switch dials `c1` and `c2` beside its management socket."""

import os

from bench import *  # noqa: F401,F403
from frames import Devices
from openflow import Bridge

EQUAL, PRIMARY, SECONDARY = 1, 2, 3
IS_SECONDARY, STALE = (1, 10), (11, 0)
ROLE_STATUS, REQUEST_FORWARD = 30, 32


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


def rules():
    DEVICES.append(Devices(PORTS))
    return [("a newer primary takes the place of the older", v, a_newer_primary_takes_the_place_of_the_older) for v in NEW]
