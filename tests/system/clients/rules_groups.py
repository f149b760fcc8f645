"""Groups, their buckets, and bundles."""

from bench import *  # noqa: F401,F403
from rules_ports import PORT_DOWN, Configured


@rule(*NEW)
def groups_leave_the_packet_as_it_was(b):
    v = b.version
    change = set_field(oxm(4, B))
    b.do(group_mod(v, 1, 0, bucket(v, change, output(2), number=0), bucket(v, output(3), number=1), bucket(v, output(1), output(IN_PORT), number=2)))
    b.do(flow_mod(v, match(), apply(group(1), output(4))))
    changed = OTHER[:6] + B + OTHER[12:]
    passes([(1, OTHER)], {1: [OTHER], 2: [changed], 3: [OTHER], 4: [OTHER]})
    # Changed in place: at once also for what is cached.
    b.do(group_mod(v, 1, 0, bucket(v, output(3)), command=1))
    passes([(1, OTHER)], {3: [OTHER], 4: [OTHER]})
    b.do(group_mod(v, 1, INDIRECT, bucket(v, change, output(2)), command=1))
    passes([(1, OTHER)], {2: [changed], 4: [OTHER]})
    b.do(group_mod(v, 1, 0, command=1))
    passes([(1, OTHER)], {4: [OTHER]})


@rule(*NEW)
def selecting_groups(b):
    v = b.version
    b.do(group_mod(v, 1, SELECT, bucket(v, output(2), weight=0 if v < 6 else 1, number=0), bucket(v, output(3), weight=5, number=1)))
    b.do(flow_mod(v, match(), apply(group(1))))
    if v < 6:
        passes([(1, OTHER)], {3: [OTHER]}, "weights 0 and 5")
    b.do(group_mod(v, 1, SELECT, bucket(v, output(2), weight=5, port=77, number=0), bucket(v, output(4), weight=1, port=4, number=1), command=1))
    passes([(1, OTHER)], {4: [OTHER]}, "a bucket that is not live")
    b.do(group_mod(v, 1, SELECT, command=1))
    passes([(1, OTHER)], {}, "no bucket")
    b.do(group_mod(v, 2, FAILOVER, bucket(v, output(2), port=77, number=0), bucket(v, output(3), port=3, number=1)))
    b.do(group_mod(v, 1, FAILOVER, bucket(v, output(4), group=9, number=0), bucket(v, group(2), group=2, number=1), command=1))
    passes([(1, OTHER)], {3: [OTHER]}, "watched groups")
    b.do(group_mod(v, 2, FAILOVER, bucket(v, output(2), port=77), command=1))
    passes([(1, OTHER)], {}, "no bucket is live")
    with Configured(b, 3, PORT_DOWN):
        b.do(group_mod(v, 1, FAILOVER, bucket(v, output(3), port=3, number=0), bucket(v, output(4), port=4, number=1), command=1))
        passes([(1, OTHER)], {4: [OTHER]}, "a port that is down")


@rule(6)
def buckets_one_by_one(b):
    last, every = 0xFFFFFFFE, 0xFFFFFFFF
    b.do(group_mod(6, 1, 0, bucket(6, output(2), number=5)), flow_mod(6, match(), apply(group(1))))
    b.do(group_mod(6, 1, 0, bucket(6, output(3), number=6), command=3, command_bucket=last))
    passes([(1, OTHER)], {2: [OTHER], 3: [OTHER]})
    b.refuses(group_mod(6, 1, 0, bucket(6, output(4), number=6), command=3, command_bucket=last), (6, 16))
    b.refuses(group_mod(6, 1, 0, bucket(6, output(4), number=7), command=3, command_bucket=99), (6, 15))
    b.do(group_mod(6, 1, 0, command=5, command_bucket=5))
    passes([(1, OTHER)], {3: [OTHER]})
    b.refuses(group_mod(6, 1, 0, command=5, command_bucket=5), (6, 15))
    b.do(group_mod(6, 1, 0, command=5, command_bucket=every))
    passes([(1, OTHER)], {})


def bundled(b, number, *messages, flags=3):
    v = b.version
    control = lambda kind: message(v, 33, struct.pack("!IHH", number, kind, flags))  # noqa: E731
    b.do(control(0), *[message(v, 34, struct.pack("!I2xH", number, flags) + m) for m in messages])
    return control(4)


@rule(5, 6)
def bundles_are_done_whole_or_not(b):
    v = b.version
    b.do(flow(v, 2))
    commit = bundled(b, 7, flow_mod(v, command=DELETE, table=255), group_mod(v, 1, 0, bucket(v, output(4))), flow_mod(v, match(), apply(group(1))), packet_out(v, output(TABLE), BROADCAST, port=2))
    passes([(1, OTHER)], {2: [OTHER]}, "before the commit")
    DEVICES[0].drain()
    b.do(commit)
    passes([], {4: [BROADCAST]}, "the packet-out")
    passes([(1, OTHER)], {4: [OTHER]}, "after the commit")
    # The second message of it fails.
    commit = bundled(b, 7, flow_mod(v, command=DELETE, table=255), group_mod(v, 1, 0))
    sent = b.send(commit)
    errors = b.barrier()
    same([struct.unpack_from("!HH", e, 8) for e in errors.values()][-1:], [(17, 13)], "the error of the commit")
    expect(sent in errors, "the commit is not refused")
    passes([(1, OTHER)], {4: [OTHER]}, "after the failure")


@rule(6)
def bundles_are_atomic_and_ordered(b):
    same(b.ask(multipart(6, 19, bytes(8))), struct.pack("!H6x", 3), "what bundles can do")


@rule(*NEW)
def a_chain_of_groups_has_an_end(b):
    v = b.version
    b.do(group_mod(v, 1, 0, bucket(v, output(2))))
    for n in range(2, 17):
        b.do(group_mod(v, n, INDIRECT, bucket(v, group(n - 1))))
    b.refuses(group_mod(v, 17, INDIRECT, bucket(v, group(16))), (6, 7))
    b.do(flow_mod(v, match(), apply(group(16))))
    passes([(1, OTHER)], {2: [OTHER]})
