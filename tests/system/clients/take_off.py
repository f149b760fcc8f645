"""Takes the last tcx program off the ingress of a device, as somebody with bpf(2) at hand could.

usage: take_off.py DEVICE
"""

import ctypes
import os
import platform
import socket
import struct
import sys

PROG_QUERY, LINK_GET_FD_BY_ID, LINK_DETACH = 16, 30, 34
TCX_INGRESS = 46
SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attr):
    rc = libc.syscall(SYS_BPF, command, attr, len(attr) - 1)
    if rc < 0:
        sys.exit("bpf(%d): %s" % (command, os.strerror(ctypes.get_errno())))
    return rc


def main():
    most = 64
    progs, links = ctypes.create_string_buffer(4 * most), ctypes.create_string_buffer(4 * most)
    index = socket.if_nametoindex(sys.argv[1])
    query = struct.pack("=IIIIQIIQQQQ", index, TCX_INGRESS, 0, 0, ctypes.addressof(progs), most, 0, 0, ctypes.addressof(links), 0, 0)
    attr = ctypes.create_string_buffer(query)
    bpf(PROG_QUERY, attr)
    (count,) = struct.unpack_from("=I", attr, 24)
    link = struct.unpack_from("=%dI" % count, links)[-1]
    fd = bpf(LINK_GET_FD_BY_ID, ctypes.create_string_buffer(struct.pack("=III", link, 0, 0)))
    bpf(LINK_DETACH, ctypes.create_string_buffer(struct.pack("=I", fd)))


main()
