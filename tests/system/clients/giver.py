"""A controller (OpenFlow 1.3) that gives every switch that connects the same rules, then a barrier, and answers its echoes.

usage: giver.py PORT IN,OUT[ IN,OUT...]
"""

import socket
import struct
import sys
import threading

HELLO, ECHO_REQUEST, ECHO_REPLY, FLOW_MOD, BARRIER_REQUEST, BARRIER_REPLY = 0, 2, 3, 14, 20, 21


def message(kind, body=b"", xid=1):
    return struct.pack("!BBHI", 4, kind, 8 + len(body), xid) + body


def flow(in_port, out_port):
    match = struct.pack("!HHIIxxxx", 1, 12, 0x80000004, in_port)
    output = struct.pack("!HHIHxxxxxx", 0, 16, out_port, 0xFFFF)
    instructions = struct.pack("!HHxxxx", 4, 8 + len(output)) + output
    head = struct.pack("!QQBBHHHIIIHxx", 0, 0, 0, 0, 0, 0, 100, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return message(FLOW_MOD, head + match + instructions)


def serve(connection, rules):
    stream = connection.makefile("rb")
    connection.sendall(message(HELLO) + b"".join(flow(*r) for r in rules) + message(BARRIER_REQUEST))
    while True:
        head = stream.read(8)
        if len(head) < 8:
            return
        _, kind, length, xid = struct.unpack("!BBHI", head)
        body = stream.read(length - 8)
        if kind == ECHO_REQUEST:
            connection.sendall(message(ECHO_REPLY, body, xid))
        elif kind == BARRIER_REPLY:
            print("done", flush=True)


def main():
    rules = [tuple(map(int, r.split(","))) for r in sys.argv[2:]]
    server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    print("listening", flush=True)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=serve, args=(connection, rules), daemon=True).start()


main()
