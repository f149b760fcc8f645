/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * What the program and the daemon share: maps, layouts, numbers. The Rust side is src/tier0/layout.rs; both say the
 * sizes and offsets, so that a difference doesn't build.
 */
#ifndef RVS_KCACHE_H
#define RVS_KCACHE_H

#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define KEY_WORDS 15  /* words of a flow key that this tier knows: all but MPLS, PBB and marks */
#define MASKS 16
#define WAYS 8        /* slots of a bucket: one cache line */
#define OPS 15

/* A mask of the ranked list. Immutable while it is in the list. */
struct mask {
	__u64 word[KEY_WORDS];
	__u32 width;  /* leading words that can be non-zero: 7, 11 or 15 */
	__u32 exact;  /* all ones: the frame's own width decides */
};

struct config {
	__u64 heartbeat;    /* CLOCK_MONOTONIC, ns: when the daemon last lived */
	__u64 survive;      /* ns after the last heartbeat for which the cache goes on by itself */
	__u64 secret[2];    /* of the hash */
	__u32 epoch;        /* entries of another epoch do not count */
	__u32 bucket_mask;  /* number of buckets - 1 */
	__u32 entries;      /* per CPU in the statistics */
	__u32 punt_ifindex; /* 0: nobody listens, frames pass to the host */
	__u32 n_masks;
	__u32 vlan_limit;   /* tags that are looked behind: 1 or 2 */
	__u8 order[MASKS];  /* ranked: places of masks */
	struct mask masks[MASKS];
};

struct bucket {
	__u64 slot[WAYS];   /* tag << 32 | entry; 0 is empty */
};

enum op_kind {
	OP_END = 0,
	OP_OUTPUT,     /* arg32 = ifindex */
	OP_PUSH_VLAN,  /* arg16 = TCI, arg32 = TPID */
	OP_POP_VLAN,
	OP_SET_VLAN,   /* arg16 = value, arg32 = mask */
	OP_SET,        /* flags = enum set_flags, arg16 = offset | length << 8, arg32 = layers, one of which must be there;
	                * then one or two words of value and as many of mask */
};

/* Offsets and lengths are even, so that checksums see whole 16-bit words. */
enum set_flags {
	SET_L3 = 1,      /* counted from layer 3 */
	SET_L4 = 2,      /* counted from layer 4 */
	SET_WIDE = 4,    /* two words */
	SET_HEADER = 8,  /* covered by the IPv4 header's checksum */
	SET_PSEUDO = 16, /* covered by the transport's by way of its pseudo header */
	SET_PART = 32,   /* covered by the transport's */
};

/* A set needs this many words after it, whatever its width. */
#define SET_ROOM 4

struct op {
	__u8 kind;
	__u8 flags;
	__u16 arg16;
	__u32 arg32;
};

/* Of entries */
#define ENTRY_NOT_SCTP 1  /* ports are set, which SCTP's CRC forbids here */

#define OP_LAST 1  /* the last output: the frame itself goes, not a copy */

struct entry {
	__u64 key[KEY_WORDS]; /* masked */
	__u32 mask;           /* place of its mask */
	__u32 epoch;
	__u32 mtu;            /* smallest of the outputs; longer frames are the daemon's */
	__u16 flags;
	__u16 pushes;         /* tags; one of 0x88a8, which always counts against the MTU, twice */
	struct op op[OPS];
};

struct stat {
	__u64 packets;
	__u64 bytes;
	__u64 used;      /* CLOCK_MONOTONIC, ns */
	__u64 tcp_flags;
};

#define PORTS 4096  /* places; a port is in one of two */

struct port {
	__u32 dp_port;
	__u32 ifindex;  /* 0: nobody */
	__u64 cost;   /* ns that one punted frame costs: 1e9 / rate */
	__u64 burst;  /* ns */
	__u64 tat;    /* theoretical arrival time of the next one (GCRA) */
	__u64 far;    /* not 0: a veth whose other end has this address (as loaded from a frame, in the low 48 bits) and may be
	               * given frames for it without this end's seeing them */
};

enum counter {
	C_HIT = 0,
	C_MISS,
	C_UNPARSED,   /* what this parser leaves to the daemon */
	C_TOO_BIG,    /* longer than an output takes: the daemon's */
	C_LIMITED,    /* punts beyond the port's rate: dropped */
	C_DROP,       /* hits of entries without a way out */
	C_SILENT,     /* the daemon is silent for too long: to the host */
	C_ERROR,      /* a helper failed: dropped */
	COUNTERS = 8,
};

/* What the parser found. */
struct parsed {
	__u64 key[KEY_WORDS];
	__u32 width;    /* leading words of the key that can be non-zero */
	__u32 header;   /* octets in front of the transport's payload, accelerated tag not counted */
	__u32 tcp_flags;
	__u16 l3;       /* offsets; l4 is 0 without a transport header */
	__u16 l4;
};

/* Of one CPU. The key is here and not on the stack so that the verifier forgets how it came about: otherwise every way
 * through the parser is followed through the lookup. A program is not interrupted by another one on its CPU. */
struct cpu {
	__u64 n[COUNTERS];
	struct parsed parsed;
	__u32 at;  /* next step of the entry carried out: here, and not on the stack, for the same reason */
	__u32 pad;
};

enum reason { REASON_MISS = 0, REASON_UNPARSED = 1, REASON_TOO_BIG = 2 };

/* In front of a punted frame. Its place is that of an Ethernet header, so it looks like one. */
struct punt {
	__u8 local;     /* 0x02: a locally administered unicast address */
	__u8 version;   /* of this header */
	__u8 reason;
	__u8 pad;
	__u32 in_port;  /* big endian */
	__u32 zero;
	__u16 type;     /* 0x88b5: local experiments */
	__u16 pad2;
};

#define PUNT_VERSION 1

/* A daemon that lives says so every second, and looks at ports more often. */
#define LOOKED_AT 2500000000LL

_Static_assert(sizeof(struct mask) == 128, "mask");
_Static_assert(offsetof(struct config, masks) == 72, "config");
_Static_assert(sizeof(struct config) == 72 + 16 * 128, "config");
_Static_assert(sizeof(struct entry) == 256, "entry");
_Static_assert(sizeof(struct port) == 40, "port");
_Static_assert(sizeof(struct cpu) == 64 + 136 + 8, "cpu");
_Static_assert(sizeof(struct punt) == 16, "punt");

/* Made by the loader, found by name. `config` is used as the value itself, the others through their helper. */
extern struct config config;
extern struct { int x; } buckets, entries, stats, cpus, ports;

#define INLINE static __attribute__((always_inline)) inline

#endif
