"""Datagrams of many flows from one device, round by round: DEVICE TO FLOWS ROUNDS FIRST RATE. Each flow is a source port.
Frames a second: FIRST in the first round, when all are new, then RATE."""

import socket
import struct
import sys
import time

device, to = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", ""))
flows, rounds, rates = int(sys.argv[3]), int(sys.argv[4]), [float(r) for r in sys.argv[5:7]]
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind((device, 0))
sender.setsockopt(socket.SOL_SOCKET, 32, 32 << 20)  # SO_SNDBUFFORCE
own = sender.getsockname()[4]
# Without checksums: nobody there listens.
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 46, 0, 0, 64, 17, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
head = to + own + b"\x08\x00" + ip
frames = [head + struct.pack("!HHHH", 1024 + n, 9, 26, 0) + bytes(18) for n in range(flows)]
for n in range(rounds):
    start, rate = time.monotonic(), rates[n > 0]
    for sent, frame in enumerate(frames):
        sender.send(frame)
        if sent % 32 == 0:
            time.sleep(max(0, sent / rate - (time.monotonic() - start)))
