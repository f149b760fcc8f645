//! Actions, instructions, tables and groups.

use std::collections::BTreeSet;

use rvs_tests::Lab;

use super::{soon, Bench};

/// Versions, flows, frames that go in (device and frame), frames that come out.
struct Row(
    &'static str,
    &'static [&'static str],
    &'static [(u32, &'static str)],
    &'static [(u32, &'static str)],
);

const ANY: &str = "10 13 14 15";
const NEW: &str = "13 14 15";
const IN: &[(u32, &str)] = &[(1, "I4/UDP(sport=7,dport=9)/'data'")];
const IN6: &[(u32, &str)] = &[(1, "I6/UDP(sport=7,dport=9)/'data'")];
const SAME: &str = "I4/UDP(sport=7,dport=9)/'data'";
const TAGGED: &str =
    "E/Dot1Q(vlan=5,prio=3)/IP(src='10.0.0.1',dst='10.0.0.2')/UDP(sport=7,dport=9)/'data'";
const LABELLED: &str = "E/MPLS(label=16,cos=1,s=1,ttl=9)/IP(src='10.0.0.1',dst='10.0.0.2')/UDP(sport=7,dport=9)/'data'";
const TCP_IN: &[(u32, &str)] = &[(1, "I4/TCP(sport=7,dport=9)/'data'")];
const ARP_IN: &[(u32, &str)] = &[(1, "E/ARP(op=1,hwsrc='02:00:00:00:00:01',psrc='10.0.0.1',hwdst='02:00:00:00:00:09',pdst='10.0.0.2')")];

const ROWS: &[Row] = &[
    // Output.
    Row(ANY, &["actions=output:2,output:3"], IN, &[(2, SAME), (3, SAME)]),
    Row(ANY, &["actions=drop"], IN, &[]),
    Row(ANY, &["actions=output:1,output:2"], IN, &[(2, SAME)]),
    Row(ANY, &["actions=in_port"], IN, &[(1, SAME)]),
    Row(ANY, &["actions=all"], IN, &[(2, SAME), (3, SAME), (4, SAME)]),
    Row(ANY, &["actions=flood"], IN, &[(2, SAME), (3, SAME), (4, SAME)]),
    Row(ANY, &["actions=normal"], IN, &[(2, SAME), (3, SAME), (4, SAME)]),
    Row(ANY, &["actions=output:77,output:2"], IN, &[(2, SAME)]),
    Row(ANY, &["actions=mod_dl_src:02:00:00:00:00:aa,output:2,mod_dl_src:02:00:00:00:00:bb,output:3"], IN, &[
        (2, "Ether(src='02:00:00:00:00:aa',dst='02:00:00:00:00:02')/I4[IP]/UDP(sport=7,dport=9)/'data'"),
        (3, "Ether(src='02:00:00:00:00:bb',dst='02:00:00:00:00:02')/I4[IP]/UDP(sport=7,dport=9)/'data'")]),
    // Set a field: checksums follow.
    Row(ANY, &["actions=mod_dl_dst:02:00:00:00:00:aa,output:2"], IN, &[(2, "Ether(src='02:00:00:00:00:01',dst='02:00:00:00:00:aa')/I4[IP]/UDP(sport=7,dport=9)/'data'")]),
    Row(ANY, &["ip,actions=mod_nw_src:1.2.3.4,mod_nw_dst:5.6.7.8,output:2"], IN, &[(2, "E/IP(src='1.2.3.4',dst='5.6.7.8')/UDP(sport=7,dport=9)/'data'")]),
    Row(ANY, &["ip,actions=mod_nw_src:1.2.3.4,output:2"], TCP_IN, &[(2, "E/IP(src='1.2.3.4',dst='10.0.0.2')/TCP(sport=7,dport=9)/'data'")]),
    Row(ANY, &["ip,actions=mod_nw_src:1.2.3.4,output:2"], &[(1, "I4/UDP(sport=7,dport=9,chksum=0)/'data'")], &[(2, "E/IP(src='1.2.3.4',dst='10.0.0.2')/UDP(sport=7,dport=9,chksum=0)/'data'")]),
    Row(ANY, &["ip,actions=mod_nw_tos:0x20,output:2"], &[(1, "E/IP(tos=3)/UDP()")], &[(2, "E/IP(tos=0x23)/UDP()")]),
    Row(ANY, &["udp,actions=mod_tp_src:70,mod_tp_dst:90,output:2"], IN, &[(2, "I4/UDP(sport=70,dport=90)/'data'")]),
    Row(ANY, &["tcp,actions=mod_tp_dst:90,output:2"], TCP_IN, &[(2, "I4/TCP(sport=7,dport=90)/'data'")]),
    Row(ANY, &["udp,actions=load:0x77->NXM_OF_UDP_DST[0..7],output:2"], &[(1, "I4/UDP(sport=7,dport=0x1234)")], &[(2, "I4/UDP(sport=7,dport=0x1277)")]),
    Row(NEW, &["ip,actions=set_field:33->nw_ttl,output:2"], IN, &[(2, "E/IP(src='10.0.0.1',dst='10.0.0.2',ttl=33)/UDP(sport=7,dport=9)/'data'")]),
    Row(ANY, &["ip,actions=dec_ttl,output:2"], IN, &[(2, "E/IP(src='10.0.0.1',dst='10.0.0.2',ttl=63)/UDP(sport=7,dport=9)/'data'")]),
    Row(ANY, &["ip,actions=output:3,dec_ttl,output:2"], &[(1, "E/IP(ttl=1)/UDP()")], &[(3, "E/IP(ttl=1)/UDP()")]),
    Row(ANY, &["ipv6,actions=dec_ttl,output:2"], IN6, &[(2, "E/IPv6(src='fd00::1',dst='fd00::2',hlim=63)/UDP(sport=7,dport=9)/'data'")]),
    Row(NEW, &["ipv6,actions=set_field:fd00::99->ipv6_src,set_field:0x12345->ipv6_label,output:2"], IN6, &[(2, "E/IPv6(src='fd00::99',dst='fd00::2',fl=0x12345)/UDP(sport=7,dport=9)/'data'")]),
    Row(NEW, &["arp,actions=set_field:2->arp_op,set_field:9.9.9.9->arp_spa,set_field:02:00:00:00:00:cc->arp_tha,output:2"], ARP_IN, &[
        (2, "E/ARP(op=2,hwsrc='02:00:00:00:00:01',psrc='9.9.9.9',hwdst='02:00:00:00:00:cc',pdst='10.0.0.2')")]),
    // What answers for others: Nicira's way, in every version.
    Row(ANY, &["arp,arp_op=1,actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],mod_dl_src:02:00:00:00:00:cc,load:0x2->NXM_OF_ARP_OP[],move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],load:0x0200000000cc->NXM_NX_ARP_SHA[],load:0x0a000002->NXM_OF_ARP_SPA[],in_port"], ARP_IN, &[
        (1, "Ether(src='02:00:00:00:00:cc',dst='02:00:00:00:00:01')/ARP(op=2,hwsrc='02:00:00:00:00:cc',psrc='10.0.0.2',hwdst='02:00:00:00:00:01',pdst='10.0.0.1')")]),
    Row(ANY, &["arp,actions=push:NXM_OF_ARP_OP[],load:0x2->NXM_OF_ARP_OP[],move:NXM_OF_ARP_OP[]->NXM_NX_REG0[0..15],pop:NXM_OF_ARP_OP[],output:NXM_NX_REG0[]"], ARP_IN, &[(2, "E/ARP(op=1,hwsrc='02:00:00:00:00:01',psrc='10.0.0.1',hwdst='02:00:00:00:00:09',pdst='10.0.0.2')")]),
    Row(NEW, &["icmp,actions=set_field:0->icmp_type,output:2"], &[(1, "I4/ICMP(type=8)/'data'")], &[(2, "I4/ICMP(type=0)/'data'")]),
    Row(NEW, &["sctp,actions=set_field:70->sctp_src,output:2"], &[(1, "I4/SCTP(sport=7,dport=9)/SCTPChunkData(data='data')")], &[(2, "I4/SCTP(sport=70,dport=9)/SCTPChunkData(data='data')")]),
    Row(NEW, &["icmp,actions=set_field:7->icmp_code,output:2"], &[(1, "I4/ICMP(type=3,code=1)/'data'")], &[(2, "I4/ICMP(type=3,code=7)/'data'")]),
    Row(NEW, &["icmp6,actions=set_field:129->icmpv6_type,set_field:3->icmpv6_code,output:2"], &[(1, "I6/ICMPv6EchoRequest(data='data')")], &[(2, "I6/ICMPv6EchoReply(code=3,data='data')")]),
    Row(NEW, &["icmp6,icmp_type=135,icmp_code=0,actions=set_field:fd00::77->nd_target,set_field:02:00:00:00:00:cc->nd_sll,output:2"], &[(1, "I6/ICMPv6ND_NS(tgt='fd00::2')/ICMPv6NDOptSrcLLAddr(lladdr='02:00:00:00:00:01')")],
        &[(2, "I6/ICMPv6ND_NS(tgt='fd00::77')/ICMPv6NDOptSrcLLAddr(lladdr='02:00:00:00:00:cc')")]),
    Row(NEW, &["icmp6,icmp_type=136,icmp_code=0,actions=set_field:02:00:00:00:00:cc->nd_tll,output:2"], &[(1, "I6/ICMPv6ND_NA(tgt='fd00::2')/ICMPv6NDOptDstLLAddr(lladdr='02:00:00:00:00:02')")],
        &[(2, "I6/ICMPv6ND_NA(tgt='fd00::2')/ICMPv6NDOptDstLLAddr(lladdr='02:00:00:00:00:cc')")]),
    Row(NEW, &["arp,actions=set_field:8.8.8.8->arp_tpa,set_field:02:00:00:00:00:bb->arp_sha,output:2"], ARP_IN, &[
        (2, "E/ARP(op=1,hwsrc='02:00:00:00:00:bb',psrc='10.0.0.1',hwdst='02:00:00:00:00:09',pdst='8.8.8.8')")]),
    Row(NEW, &["tcp,actions=set_field:70->tcp_src,output:2"], TCP_IN, &[(2, "I4/TCP(sport=70,dport=9)/'data'")]),
    Row(NEW, &["sctp,actions=set_field:90->sctp_dst,output:2"], &[(1, "I4/SCTP(sport=7,dport=9)/SCTPChunkData(data='data')")], &[(2, "I4/SCTP(sport=7,dport=90)/SCTPChunkData(data='data')")]),
    Row(NEW, &["ipv6,actions=set_field:fd00::98->ipv6_dst,set_field:9->ip_dscp,set_field:2->nw_ecn,output:2"], IN6, &[(2, "E/IPv6(src='fd00::1',dst='fd00::98',tc=0x26)/UDP(sport=7,dport=9)/'data'")]),
    Row(NEW, &["ip,actions=set_field:10->ip_dscp,set_field:1->nw_ecn,output:2"], &[(1, "E/IP(tos=3)/UDP()")], &[(2, "E/IP(tos=0x29)/UDP()")]),
    Row(NEW, &["eth_type=0x88b5,actions=set_field:02:00:00:00:00:aa->eth_src,output:2"], &[(1, "Ether(src='02:00:00:00:00:01',dst='02:00:00:00:00:02',type=0x88b5)/(b'x'*50)")], &[(2, "Ether(src='02:00:00:00:00:aa',dst='02:00:00:00:00:02',type=0x88b5)/(b'x'*50)")]),
    // A part of a field.
    Row("15", &["ip,actions=set_field:1.0.0.0/255.0.0.0->ip_src,set_field:0.0.0.9/0.0.0.255->ip_dst,output:2"], IN, &[(2, "E/IP(src='1.0.0.1',dst='10.0.0.9')/UDP(sport=7,dport=9)/'data'")]),
    Row("15", &["actions=set_field:02:aa:00:00:00:00/ff:ff:00:00:00:00->eth_src,output:2"], IN, &[(2, "Ether(src='02:aa:00:00:00:01',dst='02:00:00:00:00:02')/I4[IP]/UDP(sport=7,dport=9)/'data'")]),
    // Fields of the pipeline are seen by later tables, not by the wire.
    Row(NEW, &["actions=set_field:7->tun_id,goto_table:1", "table=1,tun_id=7,actions=output:2"], IN, &[(2, SAME)]),
    // Queues there are none: the default one.
    Row(ANY, &["actions=set_queue:5,output:2,pop_queue,output:3"], IN, &[(2, SAME), (3, SAME)]),
    Row(ANY, &["actions=enqueue:2:0"], IN, &[(2, SAME)]),
    // A copy for controllers, of which there are none, does not keep the frame.
    Row(ANY, &["actions=controller(max_len=64),output:2"], IN, &[(2, SAME)]),
    Row(ANY, &["ip,actions=dec_ttl(1,2),output:2"], IN, &[(2, "E/IP(src='10.0.0.1',dst='10.0.0.2',ttl=63)/UDP(sport=7,dport=9)/'data'")]),
    Row(ANY, &["tcp,actions=fin_timeout(idle_timeout=5),output:2"], TCP_IN, &[(2, "I4/TCP(sport=7,dport=9)/'data'")]),
    // VLAN: 1.0's actions push when there is no tag, 1.1's later ones don't.
    Row("10", &["actions=mod_vlan_vid:5,mod_vlan_pcp:3,output:2"], IN, &[(2, TAGGED)]),
    Row("10", &["actions=mod_vlan_pcp:3,output:2"], IN, &[(2, "E/Dot1Q(vlan=0,prio=3)/I4[IP]/UDP(sport=7,dport=9)/'data'")]),
    Row("10", &["actions=strip_vlan,output:2"], &[(1, TAGGED)], &[(2, SAME)]),
    Row(ANY, &["dl_vlan=5,actions=mod_vlan_vid:6,output:2"], &[(1, TAGGED)], &[(2, "E/Dot1Q(vlan=6,prio=3)/I4[IP]/UDP(sport=7,dport=9)/'data'")]),
    Row(NEW, &["actions=push_vlan:0x8100,set_field:4101->vlan_vid,set_field:3->vlan_pcp,output:2"], IN, &[(2, TAGGED)]),
    Row(NEW, &["vlan_vid=0x1005,actions=pop_vlan,output:2"], &[(1, TAGGED)], &[(2, SAME)]),
    Row(NEW, &["actions=push_vlan:0x88a8,set_field:4102->vlan_vid,set_field:1->vlan_pcp,output:2"], &[(1, TAGGED)], &[
        (2, "Ether(src='02:00:00:00:00:01',dst='02:00:00:00:00:02',type=0x88a8)/Dot1Q(vlan=6,prio=1)/Dot1Q(vlan=5,prio=3)/I4[IP]/UDP(sport=7,dport=9)/'data'")]),
    // A tag that is not there is not taken off, and of two the outer one is.
    Row("10", &["actions=strip_vlan,output:2"], IN, &[(2, SAME)]),
    Row(NEW, &["dl_vlan=6,actions=pop_vlan,output:2"], &[(1, "Ether(src='02:00:00:00:00:01',dst='02:00:00:00:00:02',type=0x88a8)/Dot1Q(vlan=6,prio=1)/Dot1Q(vlan=5,prio=3)/I4[IP]/UDP(sport=7,dport=9)/'data'")], &[(2, TAGGED)]),
    Row(NEW, &["dl_vlan=5,actions=set_field:6->vlan_pcp,output:2"], &[(1, TAGGED)], &[(2, "E/Dot1Q(vlan=5,prio=6)/I4[IP]/UDP(sport=7,dport=9)/'data'")]),
    // MPLS.
    Row(NEW, &["mpls,actions=set_field:77->mpls_label,set_field:5->mpls_tc,output:2"], &[(1, LABELLED)], &[(2, "E/MPLS(label=77,cos=5,s=1,ttl=9)/IP(src='10.0.0.1',dst='10.0.0.2')/UDP(sport=7,dport=9)/'data'")]),
    Row(NEW, &["mpls,actions=push_mpls:0x8847,set_field:17->mpls_label,output:2"], &[(1, LABELLED)], &[(2, "E/MPLS(label=17,cos=1,s=0,ttl=9)/MPLS(label=16,cos=1,s=1,ttl=9)/IP(src='10.0.0.1',dst='10.0.0.2')/UDP(sport=7,dport=9)/'data'")]),
    Row(NEW, &["mpls,mpls_bos=0,actions=pop_mpls:0x8847,output:2"], &[(1, "E/MPLS(label=17,cos=1,s=0,ttl=9)/MPLS(label=16,cos=1,s=1,ttl=9)/IP(src='10.0.0.1',dst='10.0.0.2')/UDP(sport=7,dport=9)/'data'")], &[(2, LABELLED)]),
    Row(NEW, &["ip,actions=push_mpls:0x8847,set_field:16->mpls_label,set_field:1->mpls_tc,set_mpls_ttl(9),output:2"], IN, &[(2, LABELLED)]),
    Row(NEW, &["ip,actions=push_mpls:0x8847,output:2"], IN, &[(2, "E/MPLS(label=0,s=1,ttl=64)/I4[IP]/UDP(sport=7,dport=9)/'data'")]),
    Row(NEW, &["mpls,mpls_bos=1,actions=pop_mpls:0x0800,output:2"], &[(1, LABELLED)], &[(2, SAME)]),
    Row(NEW, &["mpls,actions=dec_mpls_ttl,output:2"], &[(1, LABELLED)], &[(2, "E/MPLS(label=16,cos=1,s=1,ttl=8)/I4[IP]/UDP(sport=7,dport=9)/'data'")]),
    // What is under the label can be matched in the next table only after the pop said what it is.
    Row(NEW, &["mpls,mpls_bos=1,actions=pop_mpls:0x0800,resubmit(,1)", "table=1,udp,tp_dst=9,actions=mod_tp_dst:10,output:2"], &[(1, LABELLED)], &[(2, "I4/UDP(sport=7,dport=10)/'data'")]),
    Row(NEW, &["mpls,mpls_bos=1,actions=pop_mpls:0x0800,goto_table:1", "table=1,udp,tp_dst=10,actions=output:2"], &[(1, LABELLED)], &[]),
    // Nicira's.
    Row(ANY, &["udp,actions=move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[],output:2"], IN, &[(2, "E/IP(src='10.0.0.1',dst='10.0.0.1')/UDP(sport=7,dport=9)/'data'")]),
    Row(ANY, &["udp,actions=push:NXM_OF_UDP_SRC[],push:NXM_OF_UDP_DST[],pop:NXM_OF_UDP_SRC[],pop:NXM_OF_UDP_DST[],output:2"], IN, &[(2, "I4/UDP(sport=9,dport=7)/'data'")]),
    Row(ANY, &["actions=load:2->NXM_NX_REG0[0..15],output:NXM_NX_REG0[0..15]"], IN, &[(2, SAME)]),
    Row(ANY, &["actions=load:0x100000002->OXM_OF_PKT_REG0[],resubmit(,1)", "table=1,reg0=1,reg1=2,actions=output:2"], IN, &[(2, SAME)]),
    Row(ANY, &["actions=load:5->NXM_NX_REG3[],resubmit(2,1),output:4", "table=1,in_port=2,reg3=5,actions=output:3"], IN, &[(3, SAME), (4, SAME)]),
    Row(ANY, &["actions=resubmit(,1),output:3", "table=1,actions=exit", "table=1,priority=9,arp,actions=output:2"], IN, &[]),
    Row(ANY, &["actions=clone(mod_dl_src:02:00:00:00:00:aa,output:2),output:3"], IN, &[
        (2, "Ether(src='02:00:00:00:00:aa',dst='02:00:00:00:00:02')/I4[IP]/UDP(sport=7,dport=9)/'data'"), (3, SAME)]),
    Row(ANY, &["actions=note:01.02.03,output:2"], IN, &[(2, SAME)]),
    Row(ANY, &["ip,nw_src=10.0.0.1,actions=conjunction(1,1/2)", "udp,tp_dst=9,actions=conjunction(1,2/2)", "conj_id=1,ip,actions=output:2"], &[
        (1, "I4/UDP(dport=10)/'no'"), (1, "E/IP(src='10.0.0.3')/UDP(dport=9)/'no'")], &[]),
    Row(ANY, &["ip,ip_dst=10.0.0.2,actions=conjunction(1,1/2)", "ip,nw_src=10.0.0.1,actions=conjunction(1,2/2)", "conj_id=1,ip,actions=output:2"], IN, &[(2, SAME)]),
    Row(ANY, &["actions=bundle(eth_src,0,active_backup,ofport,members:2,3)"], IN, &[(2, SAME)]),
    Row(ANY, &["actions=multipath(eth_src,50,modulo_n,1,0,NXM_NX_REG0[]),resubmit(,1)", "table=1,reg0=0,actions=output:2"], IN, &[(2, SAME)]),
    Row(ANY, &["actions=learn(table=1,priority=9,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),resubmit(,1)", "table=1,priority=1,actions=output:2"], IN, &[(2, SAME)]),
    Row(ANY, &["actions=check_pkt_larger(100)->NXM_NX_REG0[0],resubmit(,1)", "table=1,reg0=1,actions=output:2", "table=1,reg0=0,actions=output:3"], &[
        (1, "I4/UDP()/(b'x'*200)"), (1, "I4/UDP()/(b'x'*20)")], &[(2, "I4/UDP()/(b'x'*200)"), (3, "I4/UDP()/(b'x'*20)")]),
    Row(ANY, &["actions=output(port=2,max_len=64)"], &[(1, "I4/UDP()/(b'x'*200)")], &[(2, "bytes(I4/UDP()/(b'x'*200))[:64]")]),
    // Instructions: their order is fixed, the action set's is too.
    Row(NEW, &["actions=write_metadata:0x1234/0xffff,goto_table:3", "table=3,metadata=0x1234,actions=output:2"], IN, &[(2, SAME)]),
    Row(NEW, &["actions=write_metadata:0x1234/0xff00,goto_table:3", "table=3,metadata=0x1234,actions=output:2", "table=3,metadata=0x1200,actions=output:3"], IN, &[(3, SAME)]),
    Row(NEW, &["actions=write_actions(output:2),goto_table:1", "table=1,actions=output:3"], IN, &[(2, SAME), (3, SAME)]),
    Row(NEW, &["actions=write_actions(output:2),goto_table:1", "table=1,actions=clear_actions"], IN, &[]),
    Row(NEW, &["actions=write_actions(output:2),goto_table:1", "table=1,actions=write_actions(output:3)"], IN, &[(3, SAME)]),
    Row(NEW, &["actions=write_actions(output:2),goto_table:1", "table=1,actions=clear_actions,write_actions(output:4)"], IN, &[(4, SAME)]),
    Row(NEW, &["udp,actions=write_actions(output:2,set_field:70->udp_src,push_vlan:0x8100)"], IN, &[(2, "E/Dot1Q(vlan=0,prio=0)/I4[IP]/UDP(sport=70,dport=9)/'data'")]),
    Row(NEW, &["udp,actions=set_field:70->udp_src,write_actions(output:2),goto_table:1", "table=1,udp,tp_src=70,actions=set_field:71->udp_src"], IN, &[(2, "I4/UDP(sport=71,dport=9)/'data'")]),
    Row(NEW, &["actions=goto_table:1"], IN, &[]),
    Row(NEW, &["actions=goto_table:253", "table=253,actions=output:2"], IN, &[(2, SAME)]),
    Row(ANY, &["priority=5,ip,actions=output:2", "priority=6,udp,actions=output:3", "priority=7,tcp,actions=output:4"], IN, &[(3, SAME)]),
    Row(ANY, &["priority=65535,in_port=1,actions=output:2", "priority=0,actions=output:3"], &[(1, SAME), (4, SAME)], &[(2, SAME), (3, SAME)]),
    Row("15", &["actions=set_field:1->reg1,write_actions(output:3),goto_table:1", "table=1,actset_output=3,actions=output:2"], IN, &[(2, SAME), (3, SAME)]),
];

/// What Open vSwitch does otherwise, for us alone.
const OURS: &[Row] = &[
    // Ports and checksum of a later fragment are data. (Open vSwitch's user-space datapath writes a checksum into them.)
    Row(
        ANY,
        &["ip,actions=mod_nw_src:1.2.3.4,output:2"],
        &[(1, "E/IP(src='10.0.0.1',frag=4,proto=17)/b'12345678'")],
        &[(2, "E/IP(src='1.2.3.4',frag=4,proto=17)/b'12345678'")],
    ),
    // A first fragment has its ports (OFPC_FRAG_NORMAL: what is there is matched). Open vSwitch hides them.
    Row(
        ANY,
        &["udp,tp_dst=9,actions=output:2"],
        &[(1, "E/IP(flags='MF',src='10.0.0.1')/UDP(sport=7,dport=9)/(b'x'*16)")],
        &[(2, "E/IP(flags='MF',src='10.0.0.1')/UDP(sport=7,dport=9)/(b'x'*16)")],
    ),
    // One label is popped, whatever is said of what is below. Open vSwitch pops all when that is no label.
    Row(
        NEW,
        &["mpls,actions=pop_mpls:0x88b5,output:2"],
        &[(1, "E/MPLS(label=17,s=0,ttl=9)/MPLS(label=16,s=1,ttl=9)/(b'x'*40)")],
        &[(2, "Ether(src='02:00:00:00:00:01',dst='02:00:00:00:00:02',type=0x88b5)/bytes(MPLS(label=16,s=1,ttl=9))/(b'x'*40)")],
    ),
    // A pushed tag is a copy of the outer one (OpenFlow 1.3.5, 5.12.1).
    Row(
        NEW,
        &["actions=push_vlan:0x88a8,output:2"],
        &[(1, TAGGED)],
        &[(2, "Ether(src='02:00:00:00:00:01',dst='02:00:00:00:00:02',type=0x88a8)/Dot1Q(vlan=5,prio=3)/Dot1Q(vlan=5,prio=3)/I4[IP]/UDP(sport=7,dport=9)/'data'")],
    ),
];

pub fn actions(lab: &Lab) {
    let mut bench = Bench::new(lab);
    let ours = if bench.peer.is_ovs() { &[] } else { OURS };
    for Row(versions, flows, send, expect) in ROWS.iter().chain(ours) {
        let flows: Vec<String> = flows.iter().map(|f| (*f).to_owned()).collect();
        for version in versions.split(' ') {
            bench.judge(version, &flows, send, expect, &[]);
        }
    }
    bench.verdict();
}

/// Tables count what is looked up in them and what is found there, cached or not.
pub fn tables(lab: &Lab) {
    let mut bench = Bench::new(lab);
    let flows = [
        "table=0,priority=1,in_port=1,actions=goto_table:2".to_owned(),
        "table=2,priority=1,udp,tp_dst=9,actions=output:2".to_owned(),
    ];
    let other = "I4/UDP(sport=7,dport=10)/'data'";
    let send: Vec<(u32, &str)> = [SAME; 5]
        .iter()
        .map(|f| (1, *f))
        .chain([(1, other), (3, SAME)])
        .collect();
    bench.judge(
        "13",
        &flows,
        &send,
        &[(2, SAME); 5],
        &[("table=0", 6), ("table=2", 5)],
    );
    soon("table counters", || {
        let text = bench.peer.ofctl("13", "dump-tables BR");
        let entry = |n: &str| {
            let at = text.find(&format!("table {n}")).map(|i| &text[i..])?;
            let of = |word: &str| -> Option<u64> {
                let i = at.find(word)? + word.len();
                at[i..]
                    .split(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse()
                    .ok()
            };
            Some((of("lookup=")?, of("matched=")?))
        };
        entry("0") == Some((7, 6)) && entry("2") == Some((6, 5))
    });
    let aggregate = bench.peer.ofctl("13", "dump-aggregate BR table=2");
    assert!(aggregate.contains("packet_count=5"), "{aggregate}");
    assert!(aggregate.contains("flow_count=1"), "{aggregate}");
    bench.verdict();
}

/// All, indirect, select (stable for a flow, by weight) and fast failover (on a port, and on another group).
pub fn groups(lab: &Lab) {
    let mut bench = Bench::new(lab);
    let flow = |group: u32| [format!("priority=7,ip,actions=group:{group}")];
    for version in ["11", "13", "15"] {
        bench.peer.ofctl(version, "del-groups BR");
        for group in [
            "group_id=1,type=all,bucket=output:2,bucket=mod_dl_src:02:00:00:00:00:aa,output:3,bucket=in_port",
            "group_id=2,type=indirect,bucket=output:3",
            "group_id=3,type=all,bucket=group:2,bucket=output:4",
            "group_id=4,type=all",
        ] {
            bench.peer.ofctl(version, &format!("add-group BR '{group}'"));
        }
        let changed = "Ether(src='02:00:00:00:00:aa',dst='02:00:00:00:00:02')/I4[IP]/UDP(sport=7,dport=9)/'data'";
        bench.judge(
            version,
            &flow(1),
            IN,
            &[(1, SAME), (2, SAME), (3, changed)],
            &[("priority=7", 1)],
        );
        bench.judge(version, &flow(2), IN, &[(3, SAME)], &[]);
        bench.judge(version, &flow(3), IN, &[(3, SAME), (4, SAME)], &[]);
        bench.judge(version, &flow(4), IN, &[], &[("priority=7", 1)]);
    }
    let stats = |bench: &Bench<'_>| bench.peer.ofctl("13", "dump-group-stats BR group_id=3");
    soon("groups count", || {
        stats(&bench).contains("packet_count=1,") && stats(&bench).contains("ref_count=0")
    });
    select(&mut bench);
    failover(&mut bench);
    bench.verdict();
}

fn select(bench: &mut Bench<'_>) {
    bench.peer.ofctl(
        "13",
        "add-group BR 'group_id=9,type=select,bucket=weight:1,output:2,bucket=weight:3,output:3,bucket=weight:0,output:4'",
    );
    bench
        .install("13", &["ip,actions=group:9".to_owned()])
        .unwrap();
    let flows: Vec<String> = (0..400)
        .map(|n| {
            format!(
                "E/IP(src='10.0.{}.{}',dst='10.9.0.1')/TCP(sport={},dport=80)",
                n % 7,
                n % 251,
                1000 + n
            )
        })
        .collect();
    let frames: Vec<&str> = flows.iter().map(String::as_str).collect();
    let once = bench.wires.flood(1, 1000, 0.4, &frames);
    let again = bench.wires.flood(1, 1000, 0.4, &frames);
    let at = |f: &rvs_tests::wire::Flood, port| {
        f.kinds(port)
            .into_iter()
            .map(|(k, _)| k)
            .collect::<BTreeSet<_>>()
    };
    for port in [2, 3, 4] {
        if at(&once, port) != at(&again, port) {
            bench.fail(format!(
                "select: port {port} carries other flows the second time"
            ));
        }
    }
    let (two, three, four) = (once.frames(2), once.frames(3), once.frames(4));
    if two + three != 400 || four != 0 || !(60..=140).contains(&two) {
        bench.fail(format!(
            "select by weight 1:3:0 of 400 flows: {two}, {three}, {four}"
        ));
    }
}

fn failover(bench: &mut Bench<'_>) {
    bench.peer.ofctl("13", "add-group BR 'group_id=10,type=ff,bucket=watch_port:2,output:2,bucket=watch_port:3,output:3'");
    bench.peer.ofctl("13", "add-group BR 'group_id=11,type=ff,bucket=watch_group:10,group:10,bucket=watch_port:4,output:4'");
    let flow = ["ip,actions=group:11".to_owned()];
    bench.judge("13", &flow, IN, &[(2, SAME)], &[]);
    for (words, port) in [
        ("ip link set p2 down", 3),
        ("ip link set p3 down", 4),
        ("ip link set p2 up", 2),
        ("ip -n wire link set h2 down", 4),
        ("ip -n wire link set h2 up; ip link set p3 up", 2),
    ] {
        bench.peer.lab.sh(words);
        let started = std::time::Instant::now();
        while let Err(e) = bench.wires.exchange(IN, &[(port, SAME)]) {
            if started.elapsed().as_secs() > 10 {
                bench.fail(format!(
                    "fast failover after \"{words}\": not to port {port}: {e}"
                ));
                break;
            }
        }
    }
}
