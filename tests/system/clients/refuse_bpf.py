"""Starts a program for which bpf(2) fails: as on an older kernel, or one with less room or a stricter verifier.

usage: refuse_bpf.py ERRNO COMMAND[,COMMAND...] PROGRAM [ARGUMENT...]

ERRNO by name (EPERM), the commands of bpf(2) by number (linux/bpf.h). A seccomp filter (seccomp(2)) that the program keeps.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER = 22, 38, 2
SYS_BPF = {"x86_64": 321, "aarch64": 280}


def main():
    code = getattr(errno, sys.argv[1])
    commands = [int(c) for c in sys.argv[2].split(",")]
    # struct seccomp_data: the call's number at 0, the low half of its first argument at 16.
    program = [(LOAD, 0, 0, 0), (JUMP_EQUAL, 1, 0, SYS_BPF[platform.machine()]), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, 16)]
    for command in commands:
        program += [(JUMP_EQUAL, 0, 1, command), (RETURN, 0, 0, FAIL | code)]
    program.append((RETURN, 0, 0, ALLOW))
    octets = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *i) for i in program))
    filter = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(octets)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, FILTER, filter, 0, 0):
        sys.exit("seccomp: " + os.strerror(ctypes.get_errno()))
    os.execvp(sys.argv[3], sys.argv[3:])


main()
