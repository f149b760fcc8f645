"""Raw Ethernet on a handful of devices, for programs that judge a switch: no address, no stack, VLAN tags where the wire has them."""

import errno
import select
import socket
import struct
import time

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_AUXDATA = 8
# As SO_RCVBUF, beyond rmem_max.
SO_RCVBUFFORCE = 33
OUTGOING = 4
VLAN_VALID = 1 << 4
TPID_VALID = 1 << 6


class Devices:
    """Sockets on devices `h1`, `h2`, ... by their numbers."""

    def __init__(self, numbers):
        self.sockets = {}
        self.poll = select.poll()
        for n in numbers:
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            s.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
            s.bind(("h%d" % n, ETH_P_ALL))
            s.setblocking(False)
            self.sockets[n] = s
            self.poll.register(s, select.POLLIN)
        self.by_fd = {s.fileno(): n for n, s in self.sockets.items()}

    def send(self, n, frame):
        while True:
            try:
                return self.sockets[n].send(frame)
            except BlockingIOError:
                time.sleep(0.0001)

    def receive(self, timeout):
        """Frames that have arrived, [(device, frame)], after waiting for the first one no longer than this."""
        got = []
        for fd, _ in self.poll.poll(timeout * 1000):
            n = self.by_fd[fd]
            while True:
                try:
                    frame, aux, _, address = self.sockets[n].recvmsg(65600, 64)
                except BlockingIOError:
                    break
                except OSError as e:  # the device has gone down: it says so once
                    if e.errno != errno.ENETDOWN:
                        raise
                    continue
                if address[2] != OUTGOING:
                    got.append((n, with_tag(frame, aux)))
        return got

    def drain(self):
        while self.receive(0):
            pass

    def expect(self, wanted, grace, limit=5.0):
        """Collects frames until all of `wanted` ({device: [frame]}) have come and nothing more comes for `grace` seconds.
        What is missing and what is too much, as two dictionaries."""
        missing = {n: list(frames) for n, frames in wanted.items()}
        surplus = {}
        end = time.monotonic() + limit
        while True:
            waits = any(missing.values())
            timeout = max(0, end - time.monotonic()) if waits else grace
            got = self.receive(timeout)
            for n, frame in got:
                same = next((m for m in missing.get(n, ()) if padded(m) == padded(frame)), None)
                if same is not None:
                    missing[n].remove(same)
                else:
                    surplus.setdefault(n, []).append(frame)
            if not got and (not waits or time.monotonic() >= end):
                return {n: f for n, f in missing.items() if f}, surplus


def padded(frame):
    """Short frames are compared as if padded: who pads a frame from which a tag was popped is left open."""
    return frame.ljust(64, b"\0")


def with_tag(frame, aux):
    """The kernel moves the outer tag beside the frame; here it is put back."""
    for level, kind, data in aux:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", data[:20])
            if status & VLAN_VALID:
                tpid = tpid if status & TPID_VALID else 0x8100
                return frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
    return frame
