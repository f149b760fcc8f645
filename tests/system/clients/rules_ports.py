"""Settings and states of ports."""

import subprocess

from bench import *  # noqa: F401,F403


def port_address(b, n):
    """Hardware address, configuration and state."""
    if b.version == 1:
        at, ports, size, kind = 24, b.ask(message(1, 5))[24:], 48, "!H6s"
    else:
        ports, size, kind = b.ask(multipart(b.version, 13, u32(ANY) + bytes(4) if b.version == 6 else b"")), None, "!I"
    at = 0
    while at < len(ports):
        if b.version == 1:
            number, mac = struct.unpack_from(kind, ports, at)
            config, state = struct.unpack_from("!II", ports, at + 24)
            step = size
        else:
            number = struct.unpack_from(kind, ports, at)[0]
            mac = ports[at + 8 : at + 14]
            step = 64 if b.version == 4 else struct.unpack_from("!H", ports, at + 4)[0]
            config, state = struct.unpack_from("!II", ports, at + 32)
        if number == n:
            return mac, config, state
        at += step
    raise Failed("no port %d is described" % n)


PORT_DOWN, NO_STP, NO_RECV, NO_RECV_STP, NO_FLOOD, NO_FWD, NO_PACKET_IN = (1 << i for i in range(7))


def port_mod(b, n, config, mask):
    v, mac = b.version, port_address(b, n)[0]
    if v == 1:
        return message(v, 15, struct.pack("!H6sIII4x", n, mac, config, mask, 0))
    return message(v, 16, struct.pack("!I4x6s2xII", n, mac, config, mask) + (b"" if v >= 5 else bytes(8)))


class Configured:
    """A port configured so for a while."""

    def __init__(self, b, n, bit):
        self.b, self.n, self.bit = b, n, bit

    def __enter__(self):
        self.b.do(port_mod(self.b, self.n, self.bit, self.bit))
        same(port_address(self.b, self.n)[1], self.bit, "the port's configuration")
        status = self.b.wait(PORT_STATUS)
        same(status[8], 2, "the reason of the port status")

    def __exit__(self, *_):
        self.b.do(port_mod(self.b, self.n, 0, self.bit))
        same(port_address(self.b, self.n)[1], 0, "the port's configuration")
        self.b.wait(PORT_STATUS)


@rule(*EVERY)
def a_port_that_does_not_forward(b):
    v = b.version
    b.do(flow(v, 2, 3))
    with Configured(b, 2, NO_FWD):
        passes([(1, OTHER)], {3: [OTHER]})
        b.do(flow(v, ALL))
        passes([(1, OTHER)], {3: [OTHER], 4: [OTHER]})
        passes([(2, OTHER)], {n: [OTHER] for n in (1, 3, 4)})
    passes([(1, OTHER)], {n: [OTHER] for n in (2, 3, 4)})


@rule(*EVERY)
def a_port_that_does_not_receive(b):
    v = b.version
    b.do(flow(v, 3))
    passes([(2, OTHER)], {3: [OTHER]})
    with Configured(b, 2, NO_RECV):
        passes([(2, OTHER), (1, OTHER)], {3: [OTHER]})
    passes([(2, OTHER)], {3: [OTHER]})


@rule(*EVERY)
def a_port_that_sends_no_packet_ins(b):
    """Where a flow misses the table; a flow that sends to the controller sends."""
    v = b.version
    where = {}
    if v != 1:
        b.do(flow(v, CONTROLLER, 3, priority=0))
        where = {3: [OTHER]}
    with Configured(b, 2, NO_PACKET_IN):
        passes([(2, OTHER)], where)
        b.silent(PACKET_IN)
        passes([(1, OTHER)], where)
        packet_in(b, OTHER, 0)
        b.do(flow(v, CONTROLLER, 3, m=from_port(v, 2)))
        passes([(2, OTHER)], {3: [OTHER]})
        packet_in(b, OTHER, 1, port=2)
        b.do(flow_mod(v, from_port(v, 2), command=DELETE))
    passes([(2, OTHER)], where)
    packet_in(b, OTHER, 0, port=2)


@rule(*TEN)
def a_port_that_is_not_flooded(b):
    with Configured(b, 2, NO_FLOOD):
        for port, wanted in (FLOOD, (3, 4)), (ALL, (2, 3, 4)), (NORMAL, (3, 4)), (2, (2,)):
            b.do(flow(1, port))
            passes([(1, BROADCAST)], {n: [BROADCAST] for n in wanted}, "port %#x" % port)


@rule(*EVERY)
def a_port_that_is_down(b):
    v = b.version
    b.do(flow(v, 2, 3))
    with Configured(b, 2, PORT_DOWN):
        passes([(1, OTHER)], {3: [OTHER]})
    time.sleep(0.2)
    passes([(1, OTHER)], {2: [OTHER], 3: [OTHER]})


@rule(*EVERY)
def a_link_that_goes_down_is_told_of(b):
    down, live = 1, 4
    for is_down in True, False:
        subprocess.check_call(["ip", "link", "set", "h2", "down" if is_down else "up"])

        def state():
            return port_address(b, 2)[2] & (down if b.version == 1 else down | live)

        becomes(state, down if is_down else (0 if b.version == 1 else live), "the port's state")
        status = b.wait(PORT_STATUS)
        same(status[8], 2, "the reason")
        b.heard.clear()
    b.do(flow(b.version, 2))
    passes([(1, OTHER)], {2: [OTHER]})
