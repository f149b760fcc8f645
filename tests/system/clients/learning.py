"""A learning switch for OS-Ken's framework in OpenFlow 1.0 and 1.3: what it has not learned it floods, what it has it installs."""

from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.ofproto import ofproto_v1_0, ofproto_v1_3


class Learning(app_manager.OSKenApp):
    OFP_VERSIONS = [ofproto_v1_0.OFP_VERSION, ofproto_v1_3.OFP_VERSION]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.ports = {}

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def connected(self, event):
        datapath = event.msg.datapath
        parser, ofproto = datapath.ofproto_parser, datapath.ofproto
        print("connected: version %d, datapath %x" % (ofproto.OFP_VERSION, event.msg.datapath_id), flush=True)
        if ofproto.OFP_VERSION > 1:
            self.add(datapath, 0, parser.OFPMatch(), [parser.OFPActionOutput(ofproto.OFPP_CONTROLLER, ofproto.OFPCML_NO_BUFFER)])

    def add(self, datapath, priority, match, actions):
        parser, ofproto = datapath.ofproto_parser, datapath.ofproto
        if ofproto.OFP_VERSION == 1:
            message = parser.OFPFlowMod(datapath, match, 0, ofproto.OFPFC_ADD, priority=priority, actions=actions)
        else:
            apply = parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, actions)
            message = parser.OFPFlowMod(datapath, priority=priority, match=match, instructions=[apply])
        datapath.send_msg(message)

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, event):
        message = event.msg
        datapath = message.datapath
        parser, ofproto = datapath.ofproto_parser, datapath.ofproto
        in_port = message.in_port if ofproto.OFP_VERSION == 1 else message.match["in_port"]
        mac = lambda octets: ":".join("%02x" % o for o in octets)
        dst, src = mac(message.data[:6]), mac(message.data[6:12])
        self.ports[src] = in_port
        out = self.ports.get(dst, ofproto.OFPP_FLOOD)
        actions = [parser.OFPActionOutput(out)]
        if out != ofproto.OFPP_FLOOD:
            if ofproto.OFP_VERSION == 1:
                match = parser.OFPMatch(in_port=in_port, dl_dst=message.data[:6], dl_src=message.data[6:12])
            else:
                match = parser.OFPMatch(in_port=in_port, eth_dst=dst, eth_src=src)
            self.add(datapath, 1, match, actions)
        datapath.send_msg(parser.OFPPacketOut(
            datapath=datapath, buffer_id=ofproto.OFP_NO_BUFFER, in_port=in_port, actions=actions, data=message.data))  # fmt: skip
