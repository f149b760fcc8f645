"""Starts a program for which bpf(2) fails: as on an older kernel, or one with less room or a stricter verifier.

usage: refuse_bpf.py ERRNO COMMAND[,COMMAND...] [--while FILE] PROGRAM [ARGUMENT...]

ERRNO by name (EPERM), the commands of bpf(2) by number (linux/bpf.h), or `clsact`: then the kernel refuses that qdisc to the
program instead, as one without the module sch_ingress. A seccomp filter (seccomp(2)) that the program keeps.
With --while, which clsact does not know, only as long as FILE is there. Then, and with clsact, a process beside the program
answers each of these calls, until the program ends.
"""

import array
import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import sys

LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL, ASK = 0x7FFF0000, 0x00050000, 0x7FC00000
PR_SET_NO_NEW_PRIVS, SET_MODE_FILTER, NEW_LISTENER = 38, 1, 8
SYS_BPF = {"x86_64": 321, "aarch64": 280}
SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
SYS_SENDTO = {"x86_64": 44, "aarch64": 206}
# Adding clsact: struct nlmsghdr, struct tcmsg, and the name as an attribute.
CLSACT, RTM_NEWQDISC = 16 + 20 + 12, 36
# struct seccomp_notif and seccomp_notif_resp.
ASKED, ANSWER = 80, 24
RECEIVE, SEND = 0xC0002100 | ASKED << 16, 0xC0002101 | ANSWER << 16
GO_ON = 1


def adds_clsact(call):
    """Whether the call of sendto(2) asks the kernel for the qdisc."""
    (pid,) = struct.unpack_from("I", call, 8)
    (message,) = struct.unpack_from("Q", call, 16 + 16 + 8)
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(message)
        octets = memory.read(CLSACT)
    return struct.unpack_from("H", octets, 4)[0] == RTM_NEWQDISC and b"clsact\0" in octets


def answer_calls(listener, code, refuses):
    """Answers until nobody is left who could ask."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        events = poll.poll()
        if any(e & (select.POLLHUP | select.POLLERR) for _, e in events):
            return
        call = bytearray(ASKED)
        try:
            fcntl.ioctl(listener, RECEIVE, call)
            (id,) = struct.unpack_from("Q", call)
            refuse = refuses(call)
            fcntl.ioctl(listener, SEND, struct.pack("QqiI", id, 0, -code if refuse else 0, 0 if refuse else GO_ON))
        except OSError as e:
            # Whoever asked has ended meanwhile.
            if e.errno != errno.ENOENT:
                raise


def filter_commands(commands, verdict):
    """Of bpf(2): struct seccomp_data has the call's number at 0, the low half of its first argument at 16."""
    filter = [(LOAD, 0, 0, 0), (JUMP_EQUAL, 1, 0, SYS_BPF[platform.machine()]), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, 16)]
    for command in commands:
        filter += [(JUMP_EQUAL, 0, 1, command), (RETURN, 0, 0, verdict)]
    return filter + [(RETURN, 0, 0, ALLOW)]


def filter_clsact():
    """Of sendto(2), whose third argument at 32 is the length."""
    return [
        (LOAD, 0, 0, 0),
        (JUMP_EQUAL, 0, 3, SYS_SENDTO[platform.machine()]),
        (LOAD, 0, 0, 32),
        (JUMP_EQUAL, 0, 1, CLSACT),
        (RETURN, 0, 0, ASK),
        (RETURN, 0, 0, ALLOW),
    ]


def main():
    code = getattr(errno, sys.argv[1])
    program, refuses = sys.argv[3:], None
    if program[0] == "--while":
        file, program = program[1], program[2:]
        refuses = lambda _: os.path.exists(file)
    if sys.argv[2] == "clsact":
        refuses, filter = adds_clsact, filter_clsact()
    else:
        filter = filter_commands([int(c) for c in sys.argv[2].split(",")], ASK if refuses else FAIL | code)
    octets = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *i) for i in filter))
    given = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(filter), ctypes.addressof(octets)))
    ours, theirs = socket.socketpair()
    if refuses and os.fork() == 0:
        ours.close()
        _, ancillary, _, _ = theirs.recvmsg(1, socket.CMSG_SPACE(4))
        listener = array.array("i", ancillary[0][2])[0]
        return answer_calls(listener, code, refuses)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    flags = NEW_LISTENER if refuses else 0
    listener = libc.syscall(SYS_SECCOMP[platform.machine()], SET_MODE_FILTER, flags, given)
    if listener < 0:
        sys.exit("seccomp: " + os.strerror(ctypes.get_errno()))
    if refuses:
        ours.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))])
        os.close(listener)
    os.execvp(program[0], program)


main()
