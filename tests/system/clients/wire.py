"""Sends and expects frames written as Scapy expressions, as lines of JSON on standard input say.

{"send": [[1, "Ether()/IP()"]], "expect": {"2": ["Ether()/IP()"]}} answers {"ok": true} or what differs.
{"flood": [1, frames per second, seconds, [expressions, sent in turn]]} sends at a rate and counts meanwhile what arrives where.
"""

import json
import sys
import time

from scapy.all import *  # noqa: F401,F403 (what expressions may use)
from scapy.contrib.mpls import MPLS  # noqa: F401

from frames import Devices

BUILT = {}
# Short names for what most frames begin with.
E = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
I4 = E / IP(src="10.0.0.1", dst="10.0.0.2")
I6 = E / IPv6(src="fd00::1", dst="fd00::2")


def build(text):
    """The octets of an expression; the shortest frame is 60 octets, as on a wire."""
    if text not in BUILT:
        BUILT[text] = bytes(eval(text)).ljust(60, b"\0")
    return BUILT[text]


def shown(frames):
    return {
        str(n): [f.hex() + " " + Ether(f).summary() + " " + repr(Ether(f)) for f in fs[:4]] for n, fs in frames.items()
    }


def exchange(devices, order):
    wanted = {int(n): [build(t) for t in texts] for n, texts in order.get("expect", {}).items()}
    sent = [(n, build(t)) for n, t in order.get("send", [])]
    devices.drain() if order.get("drain", True) else None
    for n, frame in sent:
        devices.send(n, frame)
    # A frame that shall come to nothing has to be through before anything changes, on a busy machine too.
    grace = 0.02 if sum(map(len, wanted.values())) >= len(sent) else 0.25
    missing, surplus = devices.expect(wanted, grace)
    if not missing and not surplus:
        return {"ok": True}
    return {"ok": False, "missing": shown(missing), "surplus": shown(surplus)}


def flood(devices, port, rate, seconds, texts):
    frames = [build(t) for t in texts]
    seen, octets, kinds = {}, {}, {}
    start = time.monotonic()
    total = int(rate * seconds)
    sent = 0

    def collect(timeout):
        got = devices.receive(timeout)
        for n, frame in got:
            seen[n] = seen.get(n, 0) + 1
            octets[n] = octets.get(n, 0) + len(frame)
            kind = "%d %s" % (n, frame.hex() if len(frame) <= 60 else frame[:64].hex())
            kinds[kind] = kinds.get(kind, 0) + 1
        return got

    while sent < total:
        due = min(total, int((time.monotonic() - start) * rate) + 1)
        while sent < due:
            devices.send(port, frames[sent % len(frames)])
            sent += 1
        collect(0)
        time.sleep(0.0005)
    took = time.monotonic() - start
    while collect(0.1):
        pass
    return {"sent": sent, "took": took, "frames": seen, "octets": octets, "kinds": kinds}


def main():
    devices = Devices(range(1, int(sys.argv[1]) + 1))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if "flood" in order:
                answer = flood(devices, *order["flood"])
            else:
                answer = exchange(devices, order)
        except Exception as e:  # a wrong expression is the test's fault: say which
            answer = {"ok": False, "error": "%s: %r" % (order, e)}
        print(json.dumps(answer), flush=True)


main()
