/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * The parser: the same key as rvs_flow::extract(), bit for bit, or UNPARSED.
 *
 * Left to the daemon: MPLS, PBB, IPv6 extension headers, neighbour discovery. Headers that are truncated or contradict
 * themselves are absent and marked so, exactly as in user space.
 */
#ifndef RVS_PARSE_H
#define RVS_PARSE_H

#include "kcache.h"

enum {
	P_VLAN0 = 1 << 0, P_VLAN1 = 1 << 1, P_IPV4 = 1 << 5, P_IPV6 = 1 << 6, P_ARP = 1 << 7,
	P_TCP = 1 << 8, P_UDP = 1 << 9, P_SCTP = 1 << 10, P_ICMP = 1 << 11,
	P_LATER_FRAG = 1 << 17, P_BAD_VLAN = 1 << 18, P_BAD_L3 = 1 << 19, P_BAD_L4 = 1 << 20,
};

enum { FRAG_ANY = 1, FRAG_LATER = 2 };
enum { T_IPV4 = 0x0800, T_ARP = 0x0806, T_RARP = 0x8035, T_IPV6 = 0x86dd, T_VLAN = 0x8100, T_QINQ = 0x88a8,
       T_MPLS = 0x8847, T_MPLS_MC = 0x8848, T_PBB = 0x88e7, T_NONE = 0x05ff };

enum verdict {
	PARSED,
	UNPARSED,
	SHORT,  /* what is needed lies outside the linear part: pull and come again */
};

#define BE16(x) ((__u16)__builtin_bswap16(x))
#define MAC_BITS 0xffffffffffffULL
/* Octets of the longest chain of headers that is read: Ethernet, two tags, SNAP, IPv4 with options, TCP. */
#define HEADERS (14 + 8 + 8 + 60 + 20)

INLINE __u16 get16(const void *p) { return BE16(*(const __u16 *)p); }
INLINE int is_vlan(__u16 type) { return type == T_VLAN || type == T_QINQ; }

/* The layers, gathered before they become words. */
struct layers {
	__u32 present;
	__u16 type;
	__u8 proto, tos, ttl, frag;
	__u16 tcp_flags;
	__u32 ports;  /* as on the wire */
	__u32 l4;     /* offset; 0: none */
	__u32 end;    /* of the IP packet */
};

/* `need` octets at `at`: inside the linear part, outside the frame (-> `otherwise`), or still to be pulled. */
#define NEED(at, need, otherwise)                                                                              \
	if (data + (at) + (need) > data_end) {                                                                     \
		if (len >= (at) + (need))                                                                              \
			return SHORT;                                                                                      \
		otherwise;                                                                                             \
	}

INLINE int parse_l4(struct layers *l, void *data, void *data_end, __u32 len, __u32 *header)
{
	__u32 at = l->l4 & 0xff;
	__u32 have = l->end - at;  /* octets of the segment */
	void *p = data + at;

	switch (l->proto) {
	case 6:
		if (have < 20)
			break;
		NEED(at, 20, break);
		__u32 offset = (*(__u8 *)(p + 12) >> 4) * 4;
		if (offset < 20 || offset > have)
			break;
		l->ports = *(__u32 *)p;
		l->tcp_flags = get16(p + 12) & 0xfff;
		l->present |= P_TCP;
		*header = at + offset;
		return PARSED;
	case 17:
		if (have < 8)
			break;
		NEED(at, 8, break);
		__u32 length = get16(p + 4);
		if (length < 8 || (length > have && !l->frag))
			break;
		l->ports = *(__u32 *)p;
		l->present |= P_UDP;
		*header = at + 8;
		return PARSED;
	case 132:
		if (have < 12)
			break;
		NEED(at, 12, break);
		l->ports = *(__u32 *)p;
		l->present |= P_SCTP;
		*header = at + 12;
		return PARSED;
	case 1:
	case 58:
		/* Each IP has its own ICMP; the other one's is just a number. */
		if ((l->proto == 1) != !!(l->present & P_IPV4))
			return PARSED;
		if (have < 8)
			break;
		NEED(at, 4, break);
		__u8 type = *(__u8 *)p;
		__u8 code = *(__u8 *)(p + 1);
		if (l->proto == 58 && code == 0 && (type == 135 || type == 136))
			return UNPARSED;
		l->ports = (__u32)type << 8 | (__u32)code << 24;
		l->present |= P_ICMP;
		*header = at + 8;
		return PARSED;
	default:
		return PARSED;
	}
	l->present |= P_BAD_L4;
	return PARSED;
}

INLINE int parse(struct __sk_buff *skb, __u32 dp_port, struct parsed *out)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	__u32 len = skb->len;
	struct layers l = {};
	__u16 tpid0 = 0, tpid1 = 0, tci0 = 0, tci1 = 0;
	__u32 l3;
	__u64 *key = out->key;

	NEED(0, 14, return UNPARSED);
	key[2] = *(__u64 *)data & MAC_BITS;
	key[3] = *(__u64 *)(data + 6) & MAC_BITS;
	l.type = get16(data + 12);
	l3 = 14;

	/* The kernel takes the outer tag out of the frame before this hook; what a test run gives has it inside. */
	if (skb->vlan_present) {
		tpid0 = BE16(skb->vlan_proto);
		tci0 = skb->vlan_tci;
		l.present |= P_VLAN0;
	} else if (is_vlan(l.type)) {
		NEED(14, 4, goto cut);
		tpid0 = l.type;
		tci0 = get16(data + 14);
		l.type = get16(data + 16);
		l3 = 18;
		l.present |= P_VLAN0;
	}
	if ((l.present & P_VLAN0) && config.vlan_limit > 1 && is_vlan(l.type)) {
		if (l3 == 14) {
			NEED(14, 4, goto cut);
			tci1 = get16(data + 14);
			tpid1 = l.type;
			l.type = get16(data + 16);
			l3 = 18;
		} else {
			NEED(18, 4, goto cut);
			tci1 = get16(data + 18);
			tpid1 = l.type;
			l.type = get16(data + 20);
			l3 = 22;
		}
		l.present |= P_VLAN1;
	}
	if (0) {
	cut:
		l.present |= P_BAD_VLAN;
		goto words;
	}

	if (l.type < 0x600) {
		l.type = T_NONE;
		NEED(l3, 8, goto words);
		/* LLC aa aa 03, OUI 00 00 00, type */
		if (*(__u32 *)(data + l3) == 0x0003aaaa && *(__u16 *)(data + l3 + 4) == 0 && get16(data + l3 + 6) >= 0x600) {
			l.type = get16(data + l3 + 6);
			l3 += 8;
		}
	}

	switch (l.type) {
	case T_IPV4: {
		NEED(l3, 20, goto bad_l3);
		void *ip = data + l3;
		__u32 ihl = (*(__u8 *)ip & 0xf) * 4;
		__u32 total = get16(ip + 2);
		__u16 frag = get16(ip + 6);
		if (*(__u8 *)ip >> 4 != 4 || ihl < 20 || total < ihl || total > len - l3)
			goto bad_l3;
		l.present |= P_IPV4;
		l.tos = *(__u8 *)(ip + 1);
		l.ttl = *(__u8 *)(ip + 8);
		l.proto = *(__u8 *)(ip + 9);
		key[5] = *(__u64 *)(ip + 12);
		if (frag & 0x1fff) {
			l.frag = FRAG_ANY | FRAG_LATER;
			l.present |= P_LATER_FRAG;
		} else {
			if (frag & 0x2000)
				l.frag = FRAG_ANY;
			l.l4 = l3 + ihl;
			l.end = l3 + total;
		}
		break;
	}
	case T_IPV6: {
		NEED(l3, 40, goto bad_l3);
		void *ip = data + l3;
		__u32 payload = get16(ip + 4);
		__u32 first = __builtin_bswap32(*(__u32 *)ip);
		if (first >> 28 != 6 || payload > len - l3 - 40)
			goto bad_l3;
		l.proto = *(__u8 *)(ip + 6);
		switch (l.proto) {
		case 0: case 43: case 44: case 50: case 51: case 59: case 60:
			return UNPARSED;
		}
		l.present |= P_IPV6;
		l.tos = first >> 20;
		l.ttl = *(__u8 *)(ip + 7);
		key[6] = (__u64)__builtin_bswap32(first & 0xfffff) << 32;
		key[7] = *(__u64 *)(ip + 8);
		key[8] = *(__u64 *)(ip + 16);
		key[9] = *(__u64 *)(ip + 24);
		key[10] = *(__u64 *)(ip + 32);
		out->width = 11;
		l.l4 = l3 + 40;
		l.end = l3 + 40 + payload;
		break;
	}
	case T_ARP:
	case T_RARP: {
		void *arp = data + l3;
		/* For other hardware or protocols there is nothing to read; cut off, it is broken only if it is of ours. */
		NEED(l3, 6, goto bad_l3);
		if (*(__u32 *)arp != 0x00080100 || *(__u16 *)(arp + 4) != 0x0406)
			break;
		NEED(l3, 28, goto bad_l3);
		l.present |= P_ARP;
		if (*(__u8 *)(arp + 6) == 0)
			l.proto = *(__u8 *)(arp + 7);
		key[5] = (__u64)*(__u32 *)(arp + 14) | (__u64)*(__u32 *)(arp + 24) << 32;
		key[11] = (__u64)*(__u32 *)(arp + 8) | (__u64)*(__u16 *)(arp + 12) << 32;
		key[12] = (__u64)*(__u32 *)(arp + 18) | (__u64)*(__u16 *)(arp + 22) << 32;
		out->width = 15;
		break;
	}
	case T_MPLS:
	case T_MPLS_MC:
	case T_PBB:
		return UNPARSED;
	}
	if (l.l4) {
		int v = parse_l4(&l, data, data_end, len, &out->header);
		if (v != PARSED)
			return v;
	}
	if (0) {
	bad_l3:
		l.present |= P_BAD_L3;
	}
words:
	key[0] = dp_port;
	key[1] = (__u64)l.present | (__u64)BE16(l.type) << 32 | (__u64)l.proto << 48 | (__u64)l.tos << 56;
	if (l.present & P_VLAN0)
		key[2] |= (__u64)BE16((tci0 & 0xefff) | 0x1000) << 48;
	if (l.present & P_VLAN1)
		key[3] |= (__u64)BE16((tci1 & 0xefff) | 0x1000) << 48;
	key[4] = (__u64)BE16(tpid0) | (__u64)BE16(tpid1) << 16 | (__u64)l.ttl << 32 | (__u64)l.frag << 40 |
		 (__u64)BE16(l.tcp_flags) << 48;
	key[6] |= l.ports;
	out->tcp_flags = l.tcp_flags;
	out->l3 = l3;
	out->l4 = l.present & (P_TCP | P_UDP | P_SCTP | P_ICMP) ? l.l4 : 0;
	return PARSED;
}

#endif
