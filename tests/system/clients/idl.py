"""The Python IDL as its users use it: a copy of some tables, a transaction, and what others change. usage: idl.py REMOTE"""

import sys
import time

from ovs.db import idl
from ovs.jsonrpc import Connection, Message
from ovs.poller import Poller
from ovs.stream import Stream

REMOTE = sys.argv[1]
LIMIT = time.monotonic() + 20


def schema():
    """What the server says of its database."""
    error, stream = Stream.open_block(Stream.open(REMOTE))
    assert not error, error
    connection = Connection(stream)
    error, reply = connection.transact_block(Message.create_request("get_schema", ["Open_vSwitch"]))
    assert not error and not reply.error, (error, reply and reply.error)
    connection.close()
    return reply.result


helper = idl.SchemaHelper(schema_json=schema())
helper.register_columns("Open_vSwitch", ["bridges", "next_cfg", "cur_cfg"])
helper.register_columns("Bridge", ["name", "ports"])
helper.register_columns("Port", ["name", "interfaces", "tag"])
helper.register_columns("Interface", ["name", "type", "ofport", "error", "external_ids"])
copy = idl.Idl(REMOTE, helper)


def until(what, found):
    """Follows the database until what is looked for is there."""
    while True:
        copy.run()
        if copy.has_ever_connected() and found():
            return found()
        assert time.monotonic() < LIMIT, f"not within 20 s: {what}"
        poller = Poller()
        copy.wait(poller)
        poller.timer_wait(100)
        poller.block()


def row(table, name):
    return next((r for r in copy.tables[table].rows.values() if r.name == name), None)


def commit(transaction):
    status = transaction.commit_block()
    assert status == idl.Transaction.SUCCESS, (idl.Transaction.status_to_string(status), transaction.get_error())


bridge = until("bridge br1", lambda: row("Bridge", "br1"))
root = next(iter(copy.tables["Open_vSwitch"].rows.values()))

# A port with its interface, and the switch has made it its own.
change = idl.Transaction(copy)
interface = change.insert(copy.tables["Interface"])
interface.name, interface.type, interface.external_ids = "in0", "internal", {"owner": "idl"}
port = change.insert(copy.tables["Port"])
port.name, port.interfaces, port.tag = "in0", [interface], 7
bridge.verify("ports")
bridge.addvalue("ports", port.uuid)
root.increment("next_cfg")
commit(change)
until("cur_cfg", lambda: root.cur_cfg >= change.get_increment_new_value())
until("the interface's number", lambda: row("Interface", "in0").ofport)
assert row("Interface", "in0").ofport[0] > 0 and not row("Interface", "in0").error
print("added", flush=True)

# What somebody else does.
until("a change by somebody else", lambda: row("Port", "in0").tag == [9])

# What the constraints forbid is refused, and changes nothing.
change = idl.Transaction(copy)
row("Port", "in0").tag = 8
twin = change.insert(copy.tables["Bridge"])
twin.name = "br1"
root.addvalue("bridges", twin.uuid)
assert change.commit_block() == idl.Transaction.ERROR, "two bridges of one name"
change.abort()
assert row("Port", "in0").tag == [9]

change = idl.Transaction(copy)
bridge.delvalue("ports", row("Port", "in0").uuid)
commit(change)
until("the port is gone, and its interface with it", lambda: not row("Port", "in0") and not row("Interface", "in0"))
print("removed", flush=True)
