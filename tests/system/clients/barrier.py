"""Flips a rule between two ports thousands of times: after each barrier's reply the next packet must take the new way.

usage: barrier.py SOCKET CHANGES [SETTLE [WARM]]

After each change WARM more packets take the new way, so that its flow settles in every cache before it changes again.

OpenFlow 1.3 by hand on a plain socket, frames on veth devices; background flows keep the caches busy. Prints the number of
changes, of stale packets and of lost ones.
"""

import socket
import struct
import sys
import time

from frames import Devices

ADD, DELETE_STRICT = 0, 4


def connect(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect(path)
    s.settimeout(10)
    s.sendall(struct.pack("!BBHI", 4, 0, 8, 1))
    return s


def read(s, waiting, until):
    """Reads messages until one of the type; errors end the program."""
    while True:
        while len(waiting) >= 8:
            _, kind, length, xid = struct.unpack_from("!BBHI", waiting)
            if len(waiting) < length:
                break
            message = waiting[:length]
            waiting = waiting[length:]
            if kind == 2:
                s.sendall(bytes([4, 3]) + message[2:])
            elif kind == 1 and until != 0:
                sys.exit("refused: " + message.hex())
            elif kind == until:
                return waiting
        data = s.recv(65536)
        if not data:
            sys.exit("the switch closed the connection")
        waiting += data


def flow_mod(command, priority, udp_dst, port):
    """in_port=1,udp,tp_dst=...; output to a port."""
    oxm = struct.pack("!IIIHIBIH", 0x80000004, 1, 0x80000A02, 0x0800, 0x80001401, 17, 0x80002002, udp_dst)
    match = struct.pack("!HH", 1, 4 + len(oxm)) + oxm
    match += bytes(-len(match) % 8)
    action = struct.pack("!HHIH6x", 0, 16, port, 0xFFFF)
    instruction = struct.pack("!HH4x", 4, 8 + len(action)) + action if command == ADD else b""
    body = struct.pack("!QQBBHHHIIIH2x", 0, 0, 0, command, 0, 0, priority, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    body += match + instruction
    return struct.pack("!BBHI", 4, 14, 8 + len(body), 2) + body


BARRIER = struct.pack("!BBHI", 4, 20, 8, 3)


def frame(dport, tag):
    udp = struct.pack("!HHHH", 7, dport, 30, 0) + struct.pack("!Q", tag) + bytes(14)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~total & 0xFFFF) + ip[12:]
    return b"\x02\0\0\0\0\2\x02\0\0\0\0\1\x08\0" + ip + udp


def main():
    path, changes = sys.argv[1], int(sys.argv[2])
    settle = float(sys.argv[3]) if len(sys.argv) > 3 else 0
    warm = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    devices = Devices([1, 2, 3, 4])
    control = connect(path)
    waiting = read(control, b"", 0)
    control.sendall(flow_mod(ADD, 1, 1, 4) + b"".join(flow_mod(ADD, 1, 1000 + n, 4) for n in range(64)) + BARRIER)
    waiting = read(control, waiting, 21)
    # Each way of changing what the packet with port 9 does: a rule over it comes and goes, or the rule itself changes.
    control.sendall(flow_mod(ADD, 10, 9, 2) + BARRIER)
    waiting = read(control, waiting, 21)
    stale = lost = 0
    worst, spent = 0.0, 0.0
    for n in range(changes):
        way = n % 4
        change, port = [
            (flow_mod(ADD, 20, 9, 3), 3),
            (flow_mod(DELETE_STRICT, 20, 9, 3), 2),
            (flow_mod(ADD, 10, 9, 3), 3),
            (flow_mod(ADD, 10, 9, 2), 2),
        ][way]
        # Load: packets of other flows and of this one go in around the change.
        devices.send(1, frame(1000 + n % 64, n))
        start = time.monotonic()
        control.sendall(change + BARRIER)
        waiting = read(control, waiting, 21)
        took = time.monotonic() - start
        worst, spent = max(worst, took), spent + took
        if settle:
            time.sleep(settle)
        devices.send(1, frame(9, n))
        end = time.monotonic() + 5
        came = None
        while came is None and time.monotonic() < end:
            for device, got in devices.receive(0.2):
                if got[36:38] == b"\0\x09" and struct.unpack_from("!Q", got, 42)[0] == n:
                    came = device
        if came is None:
            lost += 1
        elif came != port:
            stale += 1
        for _ in range(warm):
            devices.send(1, frame(9, 1 << 63))
            time.sleep(0.0005)
    print("%d changes, %d stale, %d lost; a change with its barrier took %.0f us on average, %.1f ms at worst" % (
        changes, stale, lost, spent / changes * 1e6, worst * 1e3))
    sys.exit(1 if stale or lost else 0)


main()
