"""Datagrams of 100 octets at a steady rate. Arguments: ADDRESS PORT RATE (a second) SECONDS TOS."""

import socket
import sys
import time

address, port = sys.argv[1], int(sys.argv[2])
rate, seconds = float(sys.argv[3]), float(sys.argv[4])
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, int(sys.argv[5]))
start, sent = time.monotonic(), 0
while (passed := time.monotonic() - start) < seconds:
    while sent < passed * rate:
        try:
            sender.sendto(bytes(100), (address, port))
        except ConnectionRefusedError:  # nobody listens there, which is said
            pass
        sent += 1
    time.sleep(0.002)
