"""What OS-Ken's REST application does, by files instead of HTTP: an order `N.json` in the directory $ORDERS is carried out with
OS-Ken's own `ofctl` library, then `N.answer` is there.

An order is {"set": "group", "command": "ADD", "body": {...}}, which is followed by a barrier, or {"get": "group_stats"}."""

import json
import os

from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib import hub, ofctl_v1_3, ofctl_v1_4
from os_ken.ofproto import ofproto_v1_3, ofproto_v1_4

LIBRARIES = {4: ofctl_v1_3, 5: ofctl_v1_4}
COMMANDS = {"flow": "OFPFC_", "group": "OFPGC_", "meter": "OFPMC_"}
REPLIES = [
    getattr(ofp_event, "EventOFP" + name)
    for name in (
        "FlowStatsReply", "GroupStatsReply", "GroupDescStatsReply", "GroupFeaturesStatsReply", "MeterStatsReply",
        "MeterConfigStatsReply", "MeterFeaturesStatsReply", "PortStatsReply", "BarrierReply",
    )
]  # fmt: skip


class Rest(app_manager.OSKenApp):
    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION, ofproto_v1_4.OFP_VERSION]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.waiters = {}
        self.errors = []

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def connected(self, event):
        hub.spawn(self.serve, event.msg.datapath)

    def serve(self, datapath):
        n = 0
        print("connected", flush=True)
        while True:
            path = os.path.join(os.environ["ORDERS"], "%d" % n)
            if not os.path.exists(path + ".json"):
                hub.sleep(0.02)
                continue
            with open(path + ".json") as f:
                answer = self.obey(datapath, json.load(f))
            with open(path + ".part", "w") as f:
                json.dump(answer, f)
            os.rename(path + ".part", path + ".answer")
            n += 1

    def obey(self, datapath, order):
        library = LIBRARIES[datapath.ofproto.OFP_VERSION]
        if "get" in order:
            return getattr(library, "get_" + order["get"])(datapath, self.waiters)
        kind = order["set"]
        command = getattr(datapath.ofproto, COMMANDS[kind] + order["command"])
        getattr(library, "mod_%s_entry" % kind)(datapath, order["body"], command)
        barrier = datapath.ofproto_parser.OFPBarrierRequest(datapath)
        datapath.set_xid(barrier)
        done = hub.Event()
        self.waiters.setdefault(datapath.id, {})[barrier.xid] = (done, [])
        datapath.send_msg(barrier)
        done.wait(timeout=5)
        errors, self.errors = self.errors, []
        return {"done": done.is_set(), "errors": errors}

    @set_ev_cls(REPLIES, MAIN_DISPATCHER)
    def replied(self, event):
        message = event.msg
        waiting = self.waiters.get(message.datapath.id, {})
        if message.xid not in waiting:
            return
        done, messages = waiting[message.xid]
        messages.append(message)
        if not getattr(message, "flags", 0) & message.datapath.ofproto.OFPMPF_REPLY_MORE:
            del waiting[message.xid]
            done.set()

    @set_ev_cls(ofp_event.EventOFPErrorMsg, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def refused(self, event):
        self.errors.append([event.msg.type, event.msg.code])
