/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * Tier 0: the flow cache in the kernel, on tcx (or clsact) ingress of every port.
 *
 * A frame is parsed into the key that user space would make of it, looked up under each mask of a ranked list, and
 * either carried out here (hit) or handed up with 16 octets in front (punt). Nothing is decided here: an entry is a
 * decision that the slow path made for this (key, mask).
 *
 * The table is made of plain arrays that the daemon has mapped: a bucket of eight slots, each with 32 bits of the hash
 * and the number of an entry. The daemon writes an entry first and its slot last, and uses an entry again only after a
 * grace period, so what a slot leads to is whole for as long as this program can look at it. The tag is a hint; the
 * masked key in the entry is compared word by word.
 *
 * A daemon that has been silent for `survive` ns is dead: frames pass to the host as if there were no switch.
 */
#include "kcache.h"
#include "parse.h"

#define TC_ACT_UNSPEC (-1)
#define TC_ACT_SHOT 2
#define PACKET_HOST 0

INLINE struct cpu *this_cpu(void)
{
	__u32 cpu = bpf_get_smp_processor_id();
	return bpf_map_lookup_elem(&cpus, &cpu);
}

/* What is known of a port, from one of its two places. */
INLINE struct port *find_port(__u32 ifindex)
{
	__u32 at = ifindex & (PORTS - 1);
	struct port *port = bpf_map_lookup_elem(&ports, &at);

	if (port && port->ifindex == ifindex)
		return port;
	at = ifindex * 0x9e3779b1u >> 20;
	port = bpf_map_lookup_elem(&ports, &at);
	return port && port->ifindex == ifindex ? port : 0;
}

/* Reads the frame into `p`, pulling its headers into the linear part if they are not there. */
INLINE int read_key(struct __sk_buff *skb, __u32 dp_port, struct parsed *p)
{
	__builtin_memset(p, 0, sizeof(*p));
	p->width = 7;
	int v = parse(skb, dp_port, p);
	if (v != SHORT)
		return v;
	__u32 want = skb->len < HEADERS ? skb->len : HEADERS;
	if (bpf_skb_pull_data(skb, want))
		return UNPARSED;
	__builtin_memset(p, 0, sizeof(*p));
	p->width = 7;
	v = parse(skb, dp_port, p);
	return v == SHORT ? UNPARSED : v;
}

/* Hands the frame to the daemon, unless the port has used up its share. */
INLINE int punt(struct __sk_buff *skb, struct cpu *cpu, struct port *port, enum reason reason)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 tat = port->tat;
	__u64 from = tat > now ? tat : now;

	if (!config.punt_ifindex)
		return TC_ACT_UNSPEC;
	/* Two CPUs at once: the one that comes second goes free, which the burst absorbs. */
	if (from - now > port->burst) {
		cpu->n[C_LIMITED]++;
		return TC_ACT_SHOT;
	}
	__sync_val_compare_and_swap(&port->tat, tat, from + port->cost);

	struct punt head = {
		.local = 0x02,
		.version = PUNT_VERSION,
		.reason = reason,
		.in_port = __builtin_bswap32(port->dp_port),
		.type = BE16(0x88b5),
	};
	if (bpf_skb_change_head(skb, sizeof(head), 0) || bpf_skb_store_bytes(skb, 0, &head, sizeof(head), 0)) {
		cpu->n[C_ERROR]++;
		return TC_ACT_SHOT;
	}
	return bpf_redirect(config.punt_ifindex, 0);
}

#define K1 0x9e3779b97f4a7c15ULL
#define K2 0xc2b2ae3d27d4eb4fULL

/* Two lanes that don't wait for each other; a word is multiplied in and its high half folded down. */
#define MIX(lane, k, i)                                                                                        \
	do {                                                                                                       \
		lane = (lane ^ (key[i] & m->word[i])) * k;                                                             \
		lane ^= lane >> 32;                                                                                    \
	} while (0)

INLINE __u64 hash(const __u64 *key, const struct mask *m, __u32 place, __u32 width)
{
	__u64 a = config.secret[0] + place, b = config.secret[1];

	MIX(a, K1, 0); MIX(b, K2, 1); MIX(a, K1, 2); MIX(b, K2, 3); MIX(a, K1, 4); MIX(b, K2, 5); MIX(a, K1, 6);
	if (width > 7) {
		MIX(b, K2, 7); MIX(a, K1, 8); MIX(b, K2, 9); MIX(a, K1, 10);
	}
	if (width > 11) {
		MIX(b, K2, 11); MIX(a, K1, 12); MIX(b, K2, 13); MIX(a, K1, 14);
	}
	a = (a ^ b) * K1;
	return a ^ a >> 29;
}

/* 0 when equal */
INLINE __u64 differ(const __u64 *key, const struct mask *m, const struct entry *e, __u32 width)
{
	__u64 d = 0;
#define WORD(i) d |= (key[i] & m->word[i]) ^ e->key[i]
	WORD(0); WORD(1); WORD(2); WORD(3); WORD(4); WORD(5); WORD(6);
	if (width > 7) {
		WORD(7); WORD(8); WORD(9); WORD(10);
	}
	if (width > 11) {
		WORD(11); WORD(12); WORD(13); WORD(14);
	}
#undef WORD
	return d;
}

/* The entry of the first mask in rank that has one; its number in `id`. */
INLINE struct entry *lookup(const struct parsed *p, __u32 *id)
{
#pragma clang loop unroll(disable)
	for (__u32 r = 0; r < MASKS; r++) {
		if (r >= config.n_masks)
			break;
		__u32 place = config.order[r] & (MASKS - 1);
		const struct mask *m = &config.masks[place];
		__u32 width = m->exact ? p->width : m->width;
		__u64 h = hash(p->key, m, place, width);
		__u32 at = h & config.bucket_mask;
		__u32 tag = h >> 32, n = 0;
		struct bucket *b = bpf_map_lookup_elem(&buckets, &at);
		if (!b)
			break;
		/* A bucket has every tag at most once. */
#pragma clang loop unroll(full)
		for (__u32 w = 0; w < WAYS; w++)
			if (b->slot[w] >> 32 == tag)
				n = b->slot[w];
		struct entry *e = n ? bpf_map_lookup_elem(&entries, &n) : 0;
		if (e && e->mask == place && e->epoch == config.epoch && !differ(p->key, m, e, width)) {
			*id = n;
			return e;
		}
	}
	return 0;
}

/* Octets of the tag that travels beside the frame. */
INLINE __u32 beside(struct __sk_buff *skb)
{
	return skb->vlan_present ? 4 : 0;
}

/* Counts the frame; a super-frame as its segments, each with all headers. */
INLINE void account(struct __sk_buff *skb, const struct parsed *p, __u32 id, __u64 now)
{
	__u32 at = bpf_get_smp_processor_id() * config.entries + id;
	struct stat *s = bpf_map_lookup_elem(&stats, &at);
	__u32 header = p->header + beside(skb);
	__u32 segments = 1;

	if (!s)
		return;
	if (skb->gso_size) {
		/* 0 when the kernel doesn't trust the source to have counted. */
		segments = skb->gso_segs;
		if (!segments)
			segments = (skb->len - p->header + skb->gso_size - 1) / skb->gso_size;
		if (!segments)
			segments = 1;
	}
	s->packets += segments;
	s->bytes += skb->len + beside(skb) + (segments - 1) * header;
	s->used = now;
	s->tcp_flags |= p->tcp_flags;
}

/* True when an output might not take what the frame becomes: the daemon knows exactly. Counts against the MTU what stands
 * behind the Ethernet header, but not one outermost 0x8100 tag. */
INLINE int too_big(struct __sk_buff *skb, const struct parsed *p, const struct entry *e)
{
	__u32 octets = skb->gso_size ? skb->gso_size + p->header : skb->len;
	__u32 tags = e->pushes;

	if (!skb->vlan_present)
		tags -= !!tags;
	else if (skb->vlan_proto == BE16(T_QINQ))
		tags++;
	return octets + 4 * tags > e->mtu + 14;
}

INLINE int set_vlan(struct __sk_buff *skb, __u16 value, __u32 mask)
{
	/* A tag inside the frame has none beside it only in test runs and with foreign TPIDs; popping moves it out. */
	__u16 tpid = skb->vlan_proto, tci = skb->vlan_tci;

	if (!skb->vlan_present)
		return 0;
	return bpf_skb_vlan_pop(skb) || bpf_skb_vlan_push(skb, tpid, (tci & ~mask) | value);
}

/* Repairs the transport's checksum after a change of `diff`. */
INLINE long patch_transport(struct __sk_buff *skb, __u32 present, __u32 l4, __u64 diff, __u8 flags)
{
	__u32 at = l4 + 2;  /* ICMP */
	__u64 how = 0;

	if (present & P_TCP)
		at = l4 + 16;
	else if (present & P_UDP)
		at = l4 + 6, how = BPF_F_MARK_MANGLED_0;
	else if (!(present & P_ICMP) || ((flags & SET_PSEUDO) && !(present & P_IPV6)))
		return 0;
	if (!(flags & SET_PSEUDO))
		return bpf_l4_csum_replace(skb, at, 0, diff, how);
	if (bpf_l4_csum_replace(skb, at, 0, diff, how | BPF_F_PSEUDO_HDR))
		return -1;
	/* For a sum over the whole frame (CHECKSUM_COMPLETE) the helper assumes that the IP header's checksum has changed by
	 * as much. IPv6 has none. Without such a sum this does nothing. */
	if (present & P_IPV6)
		bpf_csum_update(skb, diff);
	return 0;
}

/* Rewrites up to 16 octets of a header under a mask. */
INLINE long set_field(struct __sk_buff *skb, const struct parsed *p, const struct entry *e, __u32 i, __u32 shift)
{
	struct op op = e->op[i];
	__u32 present = (__u32)p->key[1];
	__u32 at = op.arg16 & 0xff, len = op.arg16 >> 8;
	const __u64 *arg = (const __u64 *)&e->op[i + 1];
	__u64 old[2] = {}, new[2], mask[2] = {}, value[2] = {};
	__s64 diff;

	if (op.arg32 && !(present & op.arg32))
		return 0;
	if (op.flags & SET_L3)
		at += p->l3 + shift;
	if (op.flags & SET_L4)
		at += p->l4 + shift;
	value[0] = arg[0];
	mask[0] = arg[1];
	if (op.flags & SET_WIDE) {
		mask[0] = arg[2];
		value[1] = arg[1];
		mask[1] = arg[3];
	}
	if (len == 0 || len > 16 || bpf_skb_load_bytes(skb, at, old, len))
		return -1;
	new[0] = (old[0] & ~mask[0]) | value[0];
	new[1] = (old[1] & ~mask[1]) | value[1];
	if (new[0] == old[0] && new[1] == old[1])
		return 0;
	if (op.flags & (SET_HEADER | SET_PSEUDO | SET_PART)) {
		diff = bpf_csum_diff((__be32 *)old, sizeof(old), (__be32 *)new, sizeof(new), 0);
		if (diff < 0)
			return -1;
		if ((op.flags & SET_HEADER) && (present & P_IPV4) &&
		    bpf_l3_csum_replace(skb, p->l3 + shift + 10, 0, diff, 0))
			return -1;
		if ((op.flags & (SET_PSEUDO | SET_PART)) && p->l4 &&
		    patch_transport(skb, present, p->l4 + shift, diff, op.flags))
			return -1;
	}
	return bpf_skb_store_bytes(skb, at, new, len, BPF_F_INVALIDATE_HASH);
}

/* Sends the frame itself out of a device, or, where nothing at the device wants to see it, straight into the namespace of
 * the other end. That there is nothing is only known while the daemon looks. Who is given a frame that way takes it for its
 * own (newer kernels say so whatever it is, older ones leave what it was on arrival here), so only what is addressed to the
 * other end goes: broadcasts and what is flooded must not look like it. */
INLINE int leave(struct __sk_buff *skb, __u32 ifindex)
{
	struct port *to = find_port(ifindex);
	__u64 far = to ? to->far : 0;

	if (far && (__s64)(bpf_ktime_get_coarse_ns() - config.heartbeat) < LOOKED_AT) {
		void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;

		if (data + 8 <= data_end && (*(__u64 *)data & MAC_BITS) == far &&
		    (skb->pkt_type == PACKET_HOST || !bpf_skb_change_type(skb, PACKET_HOST)))
			return bpf_redirect_peer(ifindex, 0);
	}
	return bpf_redirect(ifindex, 0);
}

/* Carries out an entry. What has been sent by then stays sent when a step fails. */
INLINE int execute(struct __sk_buff *skb, struct cpu *cpu, const struct entry *e)
{
	__u32 len = skb->len, i = 0;

	cpu->at = 0;

#pragma clang loop unroll(disable)
	for (__u32 steps = 0; steps < OPS; steps++) {
		i = *(volatile __u32 *)&cpu->at;
		if (i >= OPS)
			break;
		struct op op = e->op[i];
		long failed = 0;

		switch (op.kind) {
		case OP_END:
			return TC_ACT_SHOT;
		case OP_OUTPUT:
			if (op.flags & OP_LAST)
				return leave(skb, op.arg32);
			/* A copy that its way out refuses is that copy's loss. */
			if (bpf_clone_redirect(skb, op.arg32, 0))
				cpu->n[C_ERROR]++;
			break;
		case OP_PUSH_VLAN:
			failed = bpf_skb_vlan_push(skb, BE16(op.arg32), op.arg16);
			break;
		case OP_POP_VLAN:
			if (skb->vlan_present)
				failed = bpf_skb_vlan_pop(skb);
			break;
		case OP_SET_VLAN:
			failed = set_vlan(skb, op.arg16, op.arg32);
			break;
		case OP_SET:
			if (i >= OPS - SET_ROOM)
				return TC_ACT_SHOT;
			/* Only tags have come and gone since the frame was parsed. */
			failed = set_field(skb, &cpu->parsed, e, i, skb->len - len);
			i += op.flags & SET_WIDE ? 4 : 2;
			break;
		}
		if (failed) {
			cpu->n[C_ERROR]++;
			return TC_ACT_SHOT;
		}
		*(volatile __u32 *)&cpu->at = i + 1;
	}
	return TC_ACT_SHOT;
}

__attribute__((section("tc/ingress"), used))
int rvs_ingress(struct __sk_buff *skb)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	__u32 id = 0;
	struct cpu *cpu = this_cpu();

	if (!cpu)
		return TC_ACT_UNSPEC;
	if ((__s64)(now - config.heartbeat) > (__s64)config.survive) {
		cpu->n[C_SILENT]++;
		return TC_ACT_UNSPEC;
	}
	struct port *port = find_port(skb->ifindex);
	if (!port)
		return TC_ACT_UNSPEC;
	if (read_key(skb, port->dp_port, &cpu->parsed) != PARSED) {
		cpu->n[C_UNPARSED]++;
		return punt(skb, cpu, port, REASON_UNPARSED);
	}
	struct entry *e = lookup(&cpu->parsed, &id);
	if (!e) {
		cpu->n[C_MISS]++;
		return punt(skb, cpu, port, REASON_MISS);
	}
	if (e->mtu && too_big(skb, &cpu->parsed, e)) {
		cpu->n[C_TOO_BIG]++;
		return punt(skb, cpu, port, REASON_TOO_BIG);
	}
	if ((e->flags & ENTRY_NOT_SCTP) && ((__u32)cpu->parsed.key[1] & P_SCTP)) {
		cpu->n[C_UNPARSED]++;
		return punt(skb, cpu, port, REASON_UNPARSED);
	}
	cpu->n[C_HIT]++;
	account(skb, &cpu->parsed, id, now);
	if (!e->op[0].kind)
		cpu->n[C_DROP]++;
	return execute(skb, cpu, e);
}

/* For tests: leaves the key of a frame, and returns whether there is one. */
__attribute__((section("tc/key"), used))
int rvs_key(struct __sk_buff *skb)
{
	struct cpu *cpu = this_cpu();

	if (!cpu)
		return SHORT;
	int verdict = read_key(skb, skb->mark, &cpu->parsed);
	cpu->at = 1 + verdict;
	return verdict;
}
