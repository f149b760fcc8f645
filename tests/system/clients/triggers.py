"""For OS-Ken's framework in OpenFlow 1.5: flows that tell their statistics, every ten packets or once; what is told is printed."""

from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.ofproto import ofproto_v1_5


class Triggers(app_manager.OSKenApp):
    OFP_VERSIONS = [ofproto_v1_5.OFP_VERSION]

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def connected(self, event):
        datapath = event.msg.datapath
        parser, ofproto = datapath.ofproto_parser, datapath.ofproto
        normal = [parser.OFPActionOutput(ofproto.OFPP_NORMAL, 0)]
        apply = parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, normal)
        datapath.send_msg(parser.OFPFlowMod(datapath, priority=0, match=parser.OFPMatch(), instructions=[apply]))
        for port, flags, thresholds in [
            (1, ofproto.OFPSTF_PERIODIC, parser.OFPStats(packet_count=10)),
            (2, ofproto.OFPSTF_ONLY_FIRST, parser.OFPStats(packet_count=5, byte_count=1500)),
        ]:
            trigger = parser.OFPInstructionStatTrigger(flags, thresholds)
            match = parser.OFPMatch(in_port=port, eth_type=0x0800)
            datapath.send_msg(parser.OFPFlowMod(datapath, priority=10, match=match, instructions=[apply, trigger]))
        print("connected", flush=True)

    @set_ev_cls(ofp_event.EventOFPFlowStatsReply, MAIN_DISPATCHER)
    def told(self, event):
        for flow in event.msg.body:
            packets = dict(flow.stats.fields)["packet_count"]
            print("port %d reason %d packets %d xid %d" % (flow.match["in_port"], flow.reason, packets, event.msg.xid), flush=True)
