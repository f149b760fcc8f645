//! P2, cache transparency: the same frames leave, and the same are lost for the same reasons, whichever tiers answer.
//!
//! The slow path is a random policy: a walk through fields of the key where the value read decides what is read next and,
//! at the end, what is done. Its mask is what it read, so it is sound by construction. The oracle has no cache and asks
//! about every frame; the others answer late, in bursts, and parked frames pile up behind one another.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{mac, port_mask, tcp, udp, Rig};
use proptest::prelude::*;
use rvs_datapath::{Caches, Config};
use rvs_dpif::{DpAction, DpCommand, DropReason, Masked, SetField, WorkerId};
use rvs_flow::{extract, DpPort, FlowKey, Key, Mask, ParseLimits};
use rvs_packet::{EtherType, Frame, VlanTci};

/// A small deterministic generator (splitmix64).
#[derive(Clone)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

#[derive(Clone, Copy)]
struct Policy {
    seed: u64,
    recirculates: bool,
}

impl Policy {
    fn translate(self, key: &FlowKey) -> (Mask<FlowKey>, Vec<DpAction>) {
        let mut mask = port_mask();
        let mut walk = Rng(self.seed ^ u64::from(key.in_port) ^ u64::from(key.recirc_id) << 32);
        for _ in 0..5 {
            let choice = walk.next();
            if choice % 4 == 0 {
                break;
            }
            // Some bits of some word, always with the presence of its layer.
            let word = 1 + (choice >> 8) as usize % (FlowKey::WORDS - 1);
            let bits = match (choice >> 16) % 4 {
                0 => u64::MAX,
                1 => u64::MAX << ((choice >> 20) % 64),
                2 => 0x0f0f_0f0f_0f0f_0f0f,
                _ => 0xffff_0000_0000_ffff,
            };
            mask.0.words_mut()[1] |= 0xffff_ffff;
            mask.0.words_mut()[word] |= bits;
            walk.0 ^= key.words()[word] & bits;
            walk.0 ^= u64::from(key.present.0) << 7;
        }
        (mask, self.actions(&mut walk, key.recirc_id))
    }

    fn actions(self, walk: &mut Rng, depth: u32) -> Vec<DpAction> {
        let out = |walk: &mut Rng| DpAction::Output(DpPort(10 + walk.below(4) as u32));
        let mut actions = Vec::new();
        for _ in 0..walk.below(4) {
            actions.push(match walk.below(7) {
                0 => DpAction::PushVlan {
                    tpid: EtherType::VLAN,
                    tci: VlanTci(walk.below(4096) as u16),
                },
                1 => DpAction::PopVlan,
                2 => DpAction::Set(SetField::NwTtl(walk.next() as u8)),
                3 => DpAction::Set(SetField::EthDst(Masked::new(
                    mac(walk.below(8) as u32),
                    rvs_packet::MacAddr::BROADCAST,
                ))),
                4 => DpAction::Clone([DpAction::PopVlan, out(walk)].into()),
                5 if self.recirculates && depth < 3 => DpAction::Recirc(depth + 1),
                _ => out(walk),
            });
        }
        if walk.below(8) != 0 && !actions.is_empty() {
            actions.push(out(walk));
        }
        actions
    }
}

/// A frame of few values, some of them broken, that ends in four octets which name it, out of reach of any rewrite.
fn frame(rng: &mut Rng, name: u32) -> (u32, Frame) {
    let port = 1 + rng.below(3) as u32;
    let (src, dst) = (rng.below(4) as u32, rng.below(4) as u32);
    let tp = 1000 + rng.below(4) as u16;
    let mut bytes = match rng.below(4) {
        0 => udp(src, dst, tp, 20, 0),
        1 => Frame::from_slice(&[&common::ethernet(src, dst, 0x0806)[..], &[7; 40]].concat()),
        _ => tcp(
            src,
            dst,
            tp,
            [2, 0x10, 0x18, 0x11][rng.below(4) as usize],
            0,
        ),
    }
    .bytes()
    .to_vec();
    if rng.below(3) == 0 {
        let tag = [0x81, 0, (rng.below(8) as u8) << 5, rng.below(3) as u8];
        bytes.splice(12..12, tag);
    }
    match rng.below(12) {
        0 => bytes.truncate(rng.below(60) as usize),
        1 => {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next() as u8;
        }
        _ => {}
    }
    bytes.extend_from_slice(&[0xee; 64]);
    bytes.extend_from_slice(&name.to_be_bytes());
    (port, Frame::from_slice(&bytes))
}

/// What the frames of one connection share: their order must be kept.
fn connection(port: u32, frame: &Frame) -> FlowKey {
    FlowKey {
        tcp_flags: 0.into(),
        nw_ttl: 0,
        nw_tos: 0,
        ..extract(frame, DpPort(port), ParseLimits::default())
    }
}

type Sent = BTreeMap<Vec<u64>, Vec<(u32, Frame)>>;

/// Runs a script; `patience` is how often questions wait for the next batch.
fn run(
    caches: Caches,
    seed: u64,
    recirculates: bool,
    patience: u64,
) -> (Sent, Vec<(DropReason, u64)>) {
    let mut config = Config::new(WorkerId(0), [seed, 1]);
    config.caches = caches;
    config.emc_odds = 1 + (seed % 3) as u32;
    let mut rig = Rig::with(config);
    // The frames are the same in every run, the slow path's moods are not.
    let mut frames = Rng(seed);
    let mut moods = Rng(seed ^ 0xabcd ^ patience ^ caches as u64);
    let mut groups = Vec::new();
    let mut sent = Sent::new();
    for era in 0..3 {
        let policy = Policy {
            seed: seed.wrapping_mul(31) + era,
            recirculates,
        };
        let known: Vec<_> = rig.dp.flows().iter().map(|f| f.id).collect();
        for id in known {
            rig.command(DpCommand::Remove(id));
        }
        for _ in 0..8 {
            let batch: Vec<_> = (0..frames.below(40))
                .map(|_| {
                    let (port, f) = frame(&mut frames, groups.len() as u32);
                    groups.push(connection(port, &f));
                    (port, f)
                })
                .collect();
            if patience == 0 {
                for f in batch {
                    rig.process([f]);
                    answer_all(&mut rig, policy, &mut moods, 0);
                }
            } else {
                rig.process(batch);
                answer_all(&mut rig, policy, &mut moods, patience);
            }
        }
        answer_all(&mut rig, policy, &mut moods, 0);
        assert_eq!(rig.dp.counters().waiting.read(), 0);
        for (port, f) in rig.tx.take() {
            let name = u32::from_be_bytes(*f.bytes().last_chunk().unwrap());
            let group = groups[name as usize].words().to_vec();
            sent.entry(group).or_default().push((port, f));
        }
    }
    (sent, rig.drops())
}

fn answer_all(rig: &mut Rig, policy: Policy, moods: &mut Rng, patience: u64) {
    while !rig.up.queue.is_empty() && (patience == 0 || moods.below(patience) != 0) {
        let key = rig.question().key;
        let (mask, actions) = policy.translate(&key);
        rig.answer(key, mask, &actions);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_choice_of_caches_sends_the_same(seed in any::<u64>(), recirculates in any::<bool>()) {
        let oracle = run(Caches::None, seed, recirculates, 0);
        prop_assert!(!oracle.0.is_empty());
        for caches in Caches::ALL {
            for patience in [1, 2, 10] {
                let got = run(caches, seed, recirculates, patience);
                prop_assert_eq!(&got.1, &oracle.1, "{:?} {}", caches, patience);
                for (group, frames) in &oracle.0 {
                    let expected = by_port(frames, recirculates);
                    let sent = got.0.get(group).map(|f| by_port(f, recirculates));
                    prop_assert_eq!(sent, Some(expected), "{:?} {}", caches, patience);
                }
                prop_assert_eq!(got.0.len(), oracle.0.len());
            }
        }
    }
}

/// The order on each port; between two ports there is none. Nor is there between copies of a frame that recirculated and
/// those of the next that did not.
fn by_port(frames: &[(u32, Frame)], recirculates: bool) -> BTreeMap<u32, Vec<&Frame>> {
    let mut ports = BTreeMap::<u32, Vec<&Frame>>::new();
    for (port, frame) in frames {
        ports.entry(*port).or_default().push(frame);
    }
    if recirculates {
        for frames in ports.values_mut() {
            frames.sort_by(|a, b| a.bytes().cmp(b.bytes()));
        }
    }
    ports
}
