"""Drops every frame that arrives on a device, by an XDP program in the driver, held by a link as long as this runs.

The kernel tells nobody of such links. usage: xdp_link.py DEVICE
"""

import ctypes
import os
import platform
import signal
import socket
import struct
import sys

PROG_LOAD, LINK_CREATE = 5, 28
PROG_TYPE_XDP, ATTACH_XDP, IN_DRIVER = 6, 37, 1 << 2
XDP_DROP = 1
SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attr):
    rc = libc.syscall(SYS_BPF, command, ctypes.create_string_buffer(attr), len(attr))
    if rc < 0:
        sys.exit("bpf(%d): %s" % (command, os.strerror(ctypes.get_errno())))
    return rc


def main():
    # r0 = XDP_DROP; exit
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, XDP_DROP, 0x95, 0, 0, 0))
    license = ctypes.create_string_buffer(b"MIT")
    load = struct.pack("=IIQQ", PROG_TYPE_XDP, 2, ctypes.addressof(code), ctypes.addressof(license))
    prog = bpf(PROG_LOAD, load.ljust(72, b"\0"))
    index = socket.if_nametoindex(sys.argv[1])
    bpf(LINK_CREATE, struct.pack("=IIII", prog, index, ATTACH_XDP, IN_DRIVER))
    print("attached", flush=True)
    signal.pause()


main()
