//! Properties P1 (megaflow soundness), P2 (translation means what the tables say) and P7 (isolation), on random bridges,
//! flows and frames, judged by the naive interpreter.
#![allow(clippy::unwrap_used)]

mod common;
mod random;

use common::{Fate, Lab, LIMITS};
use random::{in_port, lab};
use rvs_flow::field::{Field, FieldId, FIELDS};
use rvs_flow::testing::{frame, mutate, mutated_frame, Entropy};
use rvs_flow::{DpPort, FlowKey, OfPort, PipelineKey};
use rvs_openflow::Action;
use rvs_packet::Frame;
use rvs_pipeline::reference::Outcome;
use rvs_pipeline::{Recorder, TraceEvent, Translation};

/// What one seed tests: a world, a frame, and relatives of that frame.
fn check(seed: u64, relatives: usize) {
    let mut e = Entropy::seed(seed);
    let lab = lab(&mut e);
    let first = if e.one_in(4) {
        mutated_frame(&mut e)
    } else {
        frame(&mut e)
    };
    let port = in_port(&mut e);
    let f = Frame::from_slice(&first);
    let key = lab.key(&f, port);
    let t = lab.translate(&key);
    assert_eq!(t.drop.is_some(), t.actions.is_empty(), "seed {seed}");
    let o = rvs_pipeline::reference::interpret(&lab.world, &lab.macs, &f, DpPort(port));
    let mut trace = Recorder::default();
    rvs_pipeline::translate(&lab.view(), &key, &mut trace);
    let branches = trace
        .lines
        .iter()
        .any(|l| matches!(l.event, TraceEvent::Action(Action::CheckPktLarger { .. })));
    // A label can't be pushed behind an 802.3 length, and the key does not say whether there is one.
    let more_than_normal = |l: &rvs_pipeline::TraceLine| matches!(&l.event, TraceEvent::Action(a) if *a != Action::output(OfPort::NORMAL));
    let normal_only = !trace.lines.iter().any(more_than_normal);
    if has_length(&first) && !normal_only {
        return;
    }
    if o.aborted || t.drop.is_some_and(|d| LIMITS.contains(&d)) {
        // Recirculation and branches count from where they are; actions and their nesting are the translation's limits alone.
        if o.aborted && t.frozen.is_empty() && !branches {
            assert!(t.actions.is_empty(), "seed {seed}: {:?}", t.drop);
        }
        return;
    }
    if !t.frozen.is_empty() && tags(&first) + pushes(&trace) > 2 {
        // More tags than a key holds, parsed anew: what is behind them can't be seen any more.
        return;
    }
    let ours = lab.send(&first, port).sorted();
    if ours.too_deep {
        return;
    }
    // What recirculates, and what follows a branch, can't know of each other's mirrored copies: there may be one too many.
    let at_least =
        lab.world.bridges().any(|b| !b.mirrors.is_empty()) && (branches || !t.frozen.is_empty());
    let agree = |ours: &Fate, theirs: &Fate| ours == theirs || at_least && ours.covers(theirs);
    if !agree(&ours, &lab.interpret(&first, port).sorted()) {
        explain(&lab, &key, &t, &o);
        assert_eq!(ours, lab.interpret(&first, port).sorted(), "seed {seed}");
    }
    let ours = common::lessons(&t);
    // A port that only learns yet has no frame go on after a stop.
    let stops = |l: &rvs_pipeline::TraceLine| l.event == TraceEvent::Aside("recirculate".into());
    if !trace.lines.iter().any(stops) && !branches {
        assert!(ours.iter().all(|l| o.lessons.contains(l)), "seed {seed}");
        assert!(o.lessons.iter().all(|l| ours.contains(l)), "seed {seed}");
    }
    flip_bits(&mut e, &lab, &key, &t, seed);
    for n in 0..relatives {
        // A relative that the caches take for the same flow must fare as its own translation and as the interpreter say.
        let mut other = first.clone();
        for _ in 0..1 + e.below(3) {
            relate(&mut e, &mut other);
        }
        let g = Frame::from_slice(&other);
        let k = lab.key(&g, port);
        if !t.mask.same(&key, &k) || has_length(&other) && !normal_only {
            continue;
        }
        let own = lab.translate(&k);
        assert_eq!(
            own.actions, t.actions,
            "seed {seed}, relative {n}: {key:?} and {k:?}"
        );
        assert_eq!(own.notes, t.notes, "seed {seed}, relative {n}");
        assert_eq!(own.frozen, t.frozen, "seed {seed}, relative {n}");
        assert_eq!(
            common::lessons(&own),
            common::lessons(&t),
            "seed {seed}, relative {n}"
        );
        let o = rvs_pipeline::reference::interpret(&lab.world, &lab.macs, &g, DpPort(port));
        if o.aborted {
            continue;
        }
        let cached = lab.execute(lab.translate(&key), &g, port).sorted();
        if cached.too_deep {
            continue;
        }
        let want = lab.interpret(&other, port).sorted();
        if !agree(&cached, &want) {
            explain(&lab, &k, &own, &o);
            assert_eq!(cached, want, "seed {seed}, relative {n}: {other:02x?}");
        }
    }
}

/// Bits that the mask leaves out, flipped in the key itself: nothing may depend on them.
fn flip_bits(e: &mut Entropy<'_>, lab: &Lab, key: &FlowKey, t: &Translation, seed: u64) {
    for _ in 0..20 {
        let mut p = PipelineKey {
            flow: *key,
            ..PipelineKey::default()
        };
        for _ in 0..1 + e.below(4) {
            let field = &FIELDS[e.below(FIELDS.len())];
            if field.exists_in(&p) && !field.is_vlan() {
                let bit = 1 << e.below(usize::from(field.bits));
                let flipped = field.get(&p) ^ bit;
                field.set_masked(&mut p, flipped, bit);
            } else if field.is_vlan() && key.present.has(rvs_flow::Present::VLAN0) {
                let tci = p.flow.vlan0_tci.get() ^ [1u16, 0x8000, 0x100][e.below(3)];
                p.flow.vlan0_tci = tci.into();
            }
        }
        if t.mask.same(key, &p.flow) {
            let other = lab.translate(&p.flow);
            if other.actions != t.actions {
                explain(lab, key, t, &Outcome::default());
            }
            assert_eq!(
                other.actions, t.actions,
                "seed {seed}: {key:?} and {:?}",
                p.flow
            );
        }
    }
}

/// Prints how the translation came about.
fn explain(lab: &Lab, key: &FlowKey, t: &Translation, o: &Outcome) {
    let mut trace = Recorder::default();
    rvs_pipeline::translate(&lab.view(), key, &mut trace);
    for line in &trace.lines {
        let event = match &line.event {
            TraceEvent::Rule {
                table,
                priority,
                cookie,
                matching,
            } => {
                let ports = &rvs_flow::field::NoPortNames;
                format!(
                    "table {} priority {priority} cookie {cookie:#x} {}",
                    table.0,
                    matching.display(ports)
                )
            }
            TraceEvent::Final { .. } => continue,
            other => format!("{other:?}"),
        };
        println!("{:1$}{event}", "", usize::from(line.depth) * 2);
    }
    println!("actions {:?} frozen {:?}", t.actions, t.frozen);
    println!("interpreter: {:x?}", o.rules);
}

/// Tags in front of the payload.
fn tags(b: &[u8]) -> usize {
    let mut n = 0;
    while matches!(
        b.get(12 + 4 * n..14 + 4 * n),
        Some([0x81, 0x00] | [0x88, 0xa8])
    ) {
        n += 1;
    }
    n
}

/// Actions that may have pushed a tag.
fn pushes(trace: &Recorder) -> usize {
    let vlan = |id: FieldId| Field::of(id).is_vlan();
    let pushes = |a: &Action| match a {
        Action::PushVlan(_) | Action::SetVlanVid { .. } | Action::SetVlanPcp { .. } => true,
        Action::Output { port, .. } => *port == OfPort::NORMAL,
        Action::SetField(v) => vlan(v.field),
        Action::Load(v) => vlan(v.dst.id()),
        Action::Move { dst, .. } | Action::Pop(dst) => vlan(dst.id()),
        _ => false,
    };
    let lines = trace.lines.iter();
    lines
        .filter(|l| matches!(&l.event, TraceEvent::Action(a) if pushes(a)))
        .count()
}

/// True for an 802.3 frame: a length where the type would be.
fn has_length(b: &[u8]) -> bool {
    let at = 12 + 4 * tags(b);
    matches!(b.get(at..at + 2), Some([hi, _]) if *hi < 6)
}

/// A small change, of the kind that finds bits missing in a mask.
fn relate(e: &mut Entropy<'_>, b: &mut Vec<u8>) {
    match e.below(6) {
        0 => mutate(e, b),
        1 if b.len() >= 14 => {
            let tag = [0x81, 0, e.u8(), e.pick(&[10, 100, 200, 0])];
            b.splice(12..12, tag);
        }
        2 if b.len() >= 18 => {
            b.drain(12..16);
        }
        _ => {
            if !b.is_empty() {
                let at = e.below(b.len().min(80));
                b[at] ^= 1 << e.below(8);
                if e.one_in(2) {
                    rvs_flow::testing::fix_checksums(b);
                }
            }
        }
    }
}

#[test]
fn p1_p2_translations_agree_with_the_interpreter_on_every_frame_of_their_megaflow() {
    let n: u64 = std::env::var("RVS_SEEDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(4000);
    let first: u64 = std::env::var("RVS_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    for seed in first..first + n {
        check(seed, 20);
    }
}
