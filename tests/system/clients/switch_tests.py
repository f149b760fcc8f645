"""Runs the switch tests that come with OS-Ken (Ryu's) against a bridge: each match field, action, group type and meter band.

usage: switch_tests.py SOCKET of10|of13|of14 [--only WORD]... [--skip FILE]... [--settle SECONDS] [--meters SECONDS]

OS-Ken's own runner drives a second switch as traffic generator and sleeps between its steps. This one reads the same files with
OS-Ken's own codec, but sends and receives on veth devices, and sends right after the barrier's reply.
Prints a line for each test that fails and a line with the counts; exit 1 when one fails.
"""

import argparse
import binascii  # noqa: F401 (what expressions may use)
import glob
import importlib
import inspect
import ipaddress
import json
import os
import pkgutil
import re
import socket
import struct
import sys
import time
from random import randint  # noqa: F401

import netaddr
import os_ken.lib.packet as packet_library
from os_ken.lib.packet import packet
from os_ken.ofproto import ofproto_parser, ofproto_protocol

from frames import Devices, padded

VERSIONS = {"of10": 1, "of13": 4, "of14": 5}
# Names as the files have them.
ALIASES = {("ipv6", "option"): "ipv6option", ("icmpv6", "echo"): "icmpv6echo"}
HIDDEN = {("bgp", "StreamParser"), ("bgp", "StringifyMixin"), ("dhcp", "option"), ("dhcp", "options"), ("ospf", "StringifyMixin")}
PORTS = {
    "target_recv_port": 1, "target_send_port_1": 2, "target_send_port_2": 3,
    "tester_send_port": 1, "tester_recv_port_1": 2, "tester_recv_port_2": 3,
}  # fmt: skip
ERRORS = 1


def packet_names():
    names = {}
    for module in pkgutil.iter_modules(packet_library.__path__):
        loaded = importlib.import_module("os_ken.lib.packet." + module.name)
        for name, thing in inspect.getmembers(loaded, inspect.isclass):
            if (module.name, name) not in HIDDEN:
                names[ALIASES.get((module.name, name), name)] = thing
    return names


NAMES = packet_names()


def octets(parts):
    built = eval("/".join(parts), dict(NAMES, randint=randint, binascii=binascii, netaddr=netaddr))
    built.serialize()
    return bytes(built.data)


def with_port_numbers(value):
    if isinstance(value, dict):
        return {k: with_port_numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [with_port_numbers(v) for v in value]
    return PORTS.get(value, value) if isinstance(value, str) else value


class Refused(Exception):
    pass


class Bridge:
    """A plain, blocking OpenFlow connection that speaks with OS-Ken's codec."""

    def __init__(self, path, version):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.socket.settimeout(10)
        self.protocol = ofproto_protocol.ProtocolDesc(version=version)
        self.version = version
        self.waiting = b""
        self.xid = 1
        self.asynchronous = []
        self.socket.sendall(struct.pack("!BBHI", version, 0, 8, 0))
        kind, _, _ = self.next()
        assert kind == 0, "no HELLO but %d" % kind
        parser, ofproto = self.protocol.ofproto_parser, self.protocol.ofproto
        # Whoever connects to the management socket is told of packets once it says how much of them it wants.
        self.send(parser.OFPSetConfig(self.protocol, ofproto.OFPC_FRAG_NORMAL, 0xFFFF))
        self.barrier()

    def send(self, message):
        if message.buf is None:
            message.serialize()
        self.xid += 1
        data = bytearray(message.buf)
        struct.pack_into("!I", data, 4, self.xid)
        self.socket.sendall(data)
        return self.xid

    def next(self):
        """The next message: type, xid, octets. Answers echo requests."""
        while True:
            if len(self.waiting) >= 8:
                _, kind, length, xid = struct.unpack_from("!BBHI", self.waiting)
                if len(self.waiting) >= length:
                    message, self.waiting = self.waiting[:length], self.waiting[length:]
                    if kind == 2:
                        self.socket.sendall(bytes([message[0], 3]) + message[2:])
                        continue
                    return kind, xid, message
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the switch closed the connection")
            self.waiting += data

    def decoded(self, kind, xid, data):
        return ofproto_parser.msg(self.protocol, data[0], kind, len(data), xid, data)

    def barrier(self):
        """Waits for a barrier's reply; an error that came before it raises."""
        barrier = self.send(self.protocol.ofproto_parser.OFPBarrierRequest(self.protocol))
        refused = None
        while True:
            kind, xid, data = self.next()
            if kind == ERRORS:
                refused = refused or Refused("error type %d code %d" % struct.unpack_from("!HH", data, 8))
            elif xid == barrier:
                if refused:
                    raise refused
                return
            else:
                self.asynchronous.append((kind, xid, data))

    def ask(self, message):
        """The entries of a multipart reply."""
        asked = self.send(message)
        entries = []
        while True:
            kind, xid, data = self.next()
            if kind == ERRORS:
                raise Refused("error type %d code %d" % struct.unpack_from("!HH", data, 8))
            if xid != asked:
                self.asynchronous.append((kind, xid, data))
                continue
            reply = self.decoded(kind, xid, data)
            entries.extend(reply.body)
            if not reply.flags & 1:
                return entries

    def packet_in(self, limit):
        end = time.monotonic() + limit
        while True:
            for n, (kind, xid, data) in enumerate(self.asynchronous):
                if kind == 10:
                    del self.asynchronous[n]
                    return self.decoded(kind, xid, data)
            self.socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                self.asynchronous.append(self.next())
            except socket.timeout:
                return None
            finally:
                self.socket.settimeout(10)

    def empty(self):
        parser, ofproto = self.protocol.ofproto_parser, self.protocol.ofproto
        if self.version == 1:
            match = parser.OFPMatch()
            self.send(parser.OFPFlowMod(self.protocol, match, 0, ofproto.OFPFC_DELETE, out_port=ofproto.OFPP_NONE))
        else:
            self.send(parser.OFPFlowMod(
                self.protocol, table_id=ofproto.OFPTT_ALL, command=ofproto.OFPFC_DELETE,
                out_port=ofproto.OFPP_ANY, out_group=ofproto.OFPG_ANY))  # fmt: skip
            self.send(parser.OFPGroupMod(self.protocol, command=ofproto.OFPGC_DELETE, group_id=ofproto.OFPG_ALL))
            self.send(parser.OFPMeterMod(self.protocol, command=ofproto.OFPMC_DELETE, meter_id=ofproto.OFPM_ALL))
        self.barrier()
        self.asynchronous.clear()

    def table(self, number):
        parser = self.protocol.ofproto_parser
        for entry in self.ask(parser.OFPTableStatsRequest(self.protocol, 0)):
            if entry.table_id == number:
                return entry.lookup_count, entry.matched_count
        raise Refused("no table %d in the table statistics" % number)


def spelled(text):
    """IPv6 addresses in one spelling: the files have `10::0`."""

    def one(m):
        try:
            return "'%s'" % ipaddress.ip_address(m.group(1))
        except ValueError:
            return m.group(0)

    return re.sub(r"'([0-9a-f:]+)'", one, text)


def same_flow(bridge, wanted):
    """None when the switch has this flow, else what it has."""
    parser = bridge.protocol.ofproto_parser
    if bridge.version == 1:
        ofproto = bridge.protocol.ofproto
        request = parser.OFPFlowStatsRequest(bridge.protocol, 0, parser.OFPMatch(), 0xFF, ofproto.OFPP_NONE)
        names = ["cookie", "priority", "hard_timeout", "idle_timeout", "actions"]
    else:
        request = parser.OFPFlowStatsRequest(bridge.protocol)
        names = ["cookie", "priority", "hard_timeout", "idle_timeout", "table_id", "instructions"]

    def said(flow):
        match = flow.match.to_jsondict()["OFPMatch"]
        match.pop("wildcards", None)
        lists = ("actions", "instructions")
        return [str(sorted(getattr(flow, n), key=lambda x: x.type) if n in lists else getattr(flow, n)) for n in names] + [spelled(str(match))]

    has = [said(flow) for flow in bridge.ask(request)]
    return None if said(wanted) in has else "flow %s is not among %s" % (said(wanted), has)


def installed(bridge, message):
    parser = bridge.protocol.ofproto_parser
    name = type(message).__name__
    if name == "OFPFlowMod":
        return same_flow(bridge, message)
    if name == "OFPGroupMod":
        entries, names = bridge.ask(parser.OFPGroupDescStatsRequest(bridge.protocol, 0)), ["type", "group_id", "buckets"]
    else:
        entries, names = bridge.ask(parser.OFPMeterConfigStatsRequest(bridge.protocol)), ["flags", "meter_id", "bands"]
    wanted = [str(getattr(message, n)) for n in names]
    has = [[str(getattr(e, n)) for n in names] for e in entries]
    return None if wanted in has else "%s %s is not among %s" % (name, wanted, has)


class Runner:
    def __init__(self, bridge, devices, settle, meters):
        self.bridge, self.devices, self.settle, self.meters = bridge, devices, settle, meters

    def run(self, test):
        """None, or why the test fails."""
        try:
            self.bridge.empty()
            for spec in test["prerequisite"]:
                message = ofproto_parser.ofp_msg_from_jsondict(self.bridge.protocol, with_port_numbers(spec))
                message.serialize()
                self.bridge.send(message)
                self.bridge.barrier()
                wrong = installed(self.bridge, message)
                if wrong:
                    return wrong
            if self.settle:
                time.sleep(self.settle)
            for step in test["tests"]:
                wrong = self.step(step)
                if wrong:
                    return wrong
        except Refused as e:
            return str(e)
        return None

    def step(self, step):
        if isinstance(step["ingress"], dict):
            return self.throughput(step)
        frame = octets(step["ingress"])
        if "egress" in step:
            wanted = octets(step["egress"])
            return self.exchange(frame, {2: [wanted]})
        if "PACKET_IN" in step:
            return self.packet_in(frame, octets(step["PACKET_IN"]))
        return self.miss(frame, step["table-miss"])

    def exchange(self, frame, wanted, grace=0.004):
        self.devices.drain()
        self.devices.send(1, frame)
        missing, surplus = self.devices.expect(wanted, grace)
        if not missing and not surplus:
            return None
        say = lambda fs: {n: ["%s %s" % (f.hex(), packet.Packet(f)) for f in l] for n, l in fs.items()}
        return "sent %s\n    missing %s\n    surplus %s" % (packet.Packet(frame), say(missing), say(surplus))

    def packet_in(self, frame, wanted):
        wrong = self.exchange(frame, {})
        if wrong:
            return wrong
        got = self.bridge.packet_in(2.0)
        if got is None:
            return "no packet-in"
        if padded(got.data) != padded(wanted):
            return "packet-in of %s instead of %s" % (got.data.hex(), wanted.hex())
        ofproto = self.bridge.protocol.ofproto
        good = [ofproto.OFPR_ACTION] if self.bridge.version < 5 else [ofproto.OFPR_APPLY_ACTION, ofproto.OFPR_ACTION_SET]
        return None if got.reason in good else "packet-in with reason %d" % got.reason

    def miss(self, frame, tables):
        before = {n: self.bridge.table(n) for n in tables}
        wrong = self.exchange(frame, {}, 0.01)
        if wrong:
            return wrong
        end = time.monotonic() + 2
        while True:
            after = {n: self.bridge.table(n) for n in tables}
            if any(after[n][0] > before[n][0] for n in tables):
                break
            if time.monotonic() > end:
                return "table-miss: no lookup counted, %s then %s" % (before, after)
            time.sleep(0.02)
        hit = [n for n in tables if after[n][0] > before[n][0] and after[n][1] > before[n][1]]
        return "tables %s count a match" % hit if hit else None

    def throughput(self, step):
        packets = step["ingress"]["packets"]
        rate = packets.get("pktps", 1000)
        random = any("randint" in part for part in packets["data"])
        frames = [octets(packets["data"]) for _ in range(512 if random else 1)]
        # A bucket starts full: what flows in the first second is not counted.
        for seconds in (1.1 if not random else 0, self.meters):
            start, seen = time.monotonic(), {}
            sent, total = 0, int(rate * seconds)
            while sent < total:
                due = min(total, int((time.monotonic() - start) * rate) + 1)
                for n in range(sent, due):
                    self.devices.send(1, frames[n % len(frames)])
                sent = max(sent, due)
                for n, frame in self.devices.receive(0):
                    was = seen.get(n, (0, 0))
                    seen[n] = (was[0] + 1, was[1] + len(frame))
                time.sleep(0.0005)
            took = time.monotonic() - start if sent else 1
        time.sleep(0.05)
        for n, frame in self.devices.receive(0):
            was = seen.get(n, (0, 0))
            seen[n] = (was[0] + 1, was[1] + len(frame))
        wrong = []
        for one in step["egress"]["throughput"]:
            got, how = self.counted(one, seen), "pktps" if "pktps" in one else "kbps"
            measured = got[0] / took if how == "pktps" else got[1] * 8 / 1024 / took
            if abs(measured - one[how]) > 0.1 * one[how]:
                wrong.append("%s: %d %s instead of %d" % (one["OFPMatch"], measured, how, one[how]))
        return "; ".join(wrong) or None

    @staticmethod
    def counted(one, seen):
        port = 2
        for field in one["OFPMatch"]["oxm_fields"]:
            tlv = field["OXMTlv"]
            if tlv["field"] == "in_port":
                port = with_port_numbers(tlv["value"])
        return seen.get(port, (0, 0))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("socket")
    options.add_argument("version", choices=VERSIONS)
    options.add_argument("--only", action="append", default=[])
    options.add_argument("--skip", action="append", default=[])
    options.add_argument("--settle", type=float, default=0)
    options.add_argument("--meters", type=float, default=0)
    options = options.parse_args()
    import os_ken.tests.switch as tests

    root = os.path.join(os.path.dirname(tests.__file__), options.version)
    files = sorted(glob.glob(root + "/**/*.json", recursive=True))
    assert files, "no tests in " + root
    bridge = Bridge(options.socket, VERSIONS[options.version])
    runner = Runner(bridge, Devices([1, 2, 3]), options.settle, options.meters)
    passed = failed = skipped = 0
    for path in files:
        name = os.path.relpath(path, root)[: -len(".json")]
        if options.only and not any(w in name for w in options.only):
            continue
        for test in json.load(open(path))[1:]:
            measures = any(isinstance(s["ingress"], dict) for s in test["tests"])
            if any(w in name for w in options.skip) or (measures and not options.meters):
                skipped += 1
                continue
            wrong = runner.run(test)
            if wrong is None:
                passed += 1
            else:
                failed += 1
                print("FAILED %s %s: %s\n    %s" % (options.version, name, test["description"], wrong[:2000]), flush=True)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    sys.exit(1 if failed else 0)


main()
