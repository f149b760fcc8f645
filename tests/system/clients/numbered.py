"""Numbered datagrams at a steady rate: `send ADDRESS PORT RATE SECONDS`, and `receive PORT`, which prints what came when it is
interrupted: how many, how many numbers are missing before the highest, how many came twice, the longest silence in ms."""
import signal
import socket
import sys
import time

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[1] == "send":
    address, port, rate, seconds = sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
    start = time.monotonic()
    n = 0
    while time.monotonic() - start < seconds:
        due = int((time.monotonic() - start) * rate)
        while n <= due:
            sock.sendto(b"%d" % n + bytes(40), (address, port))
            n += 1
        time.sleep(0.5 / rate)
    print(n, flush=True)
else:
    # SO_RCVBUFFORCE: a receiver without processor for a while loses nothing.
    sock.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)
    sock.bind(("", int(sys.argv[2])))
    sock.settimeout(0.1)
    seen, twice, silence, last = set(), 0, 0.0, None
    going = True

    def stop(*_):
        # What waits in the socket counts, what comes later does not.
        global going
        going = False
        sock.settimeout(0)

    signal.signal(signal.SIGINT, stop)
    print("ready", flush=True)
    while True:
        try:
            n = int(sock.recv(100).rstrip(b"\0"))
        except (TimeoutError, BlockingIOError):
            if not going:
                break
            continue
        now = time.monotonic()
        if last is not None:
            silence = max(silence, now - last)
        last = now
        twice += n in seen
        seen.add(n)
    top = max(seen) + 1 if seen else 0
    print(f'{{"came": {len(seen)}, "lost": {top - len(seen)}, "twice": {twice}, "silence": {silence * 1000:.0f}}}', flush=True)
