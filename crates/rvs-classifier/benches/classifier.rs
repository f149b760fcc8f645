//! What a lookup, an insert and a rule cost, against the number of rules and of masks.
//!
//! `cargo bench -p rvs-classifier`: names are `stage/kind/instance`. A thousand keys again and again show what the search costs
//! (`hit`, `miss`), a hundred thousand what the memory costs too (`cold`). `-- growth` prints a table of what happens once and not
//! again and again: memory, dump, removal and purge, and the longest slice of each; `-- curve` one of lookups, with the growth from a
//! thousand rules to a million, `-- curve 64` of one number of masks. One core, no pinning: compare figures of one run.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ahash::RandomState;
use criterion::Criterion;
use rvs_classifier::{Classifier, Config, Cursor, Filter, RuleId};
use rvs_flow::{Key as _, Mask, PipelineKey, Present};
use zerocopy::byteorder::network_endian::U16;

const TCP4: Present = Present(Present::IPV4.0 | Present::TCP.0);

const MASKS: [usize; 3] = [1, 16, 64];
const RULES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Deterministic, uniform enough.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// An access list's shape: TCP with an address prefix each way, half of the masks with a port, some with an input port.
fn mask(n: usize) -> Mask<PipelineKey> {
    let mut m = Mask::<PipelineKey>::none();
    let f = &mut m.0.flow;
    f.present = TCP4;
    f.dl_type = U16::new(0xffff);
    f.nw_proto = 0xff;
    let dst = 32 - (n as u32 / 4 % 8);
    let src = if n < 32 { 0 } else { 32 - (n as u32 / 32) };
    f.nw_dst = (u32::MAX << (32 - dst)).to_be_bytes();
    f.nw_src = u32::MAX.checked_shl(32 - src).unwrap_or(0).to_be_bytes();
    if n % 2 == 0 {
        f.tp_dst = U16::new(0xffff);
    }
    if n / 2 % 2 == 0 {
        m.0.of_port = u32::MAX;
    }
    m
}

fn key(r: &mut Random) -> PipelineKey {
    let mut k = PipelineKey {
        of_port: (r.next() % 32) as u32,
        ..Default::default()
    };
    let f = &mut k.flow;
    f.present = TCP4;
    f.dl_type = U16::new(0x800);
    f.nw_proto = 6;
    f.nw_src = (r.next() as u32).to_be_bytes();
    f.nw_dst = (r.next() as u32).to_be_bytes();
    f.tp_dst = U16::new(r.next() as u16);
    k
}

struct Built {
    table: Classifier<PipelineKey, u64>,
    values: Vec<PipelineKey>,
    insert: Duration,
    worst: Duration,
}

fn build(masks: usize, rules: usize) -> Built {
    let hasher = RandomState::with_seeds(1, 2, 3, 4);
    let mut table = Classifier::new(Config {
        hasher,
        round_prefixes: false,
    });
    let mut r = Random(7);
    let values: Vec<_> = (0..rules).map(|_| key(&mut r)).collect();
    let masks: Vec<_> = (0..masks).map(mask).collect();
    let (mut worst, start) = (Duration::ZERO, Instant::now());
    for (n, value) in values.iter().enumerate() {
        let at = Instant::now();
        // Rules of one mask share a priority, as a controller's stages do.
        let m = n % masks.len();
        // A value drawn twice is refused, which costs as much.
        let _ = black_box(table.insert(value, &masks[m], m as i32, n as u64, 1));
        worst = worst.max(at.elapsed());
    }
    Built {
        insert: start.elapsed(),
        table,
        values,
        worst,
    }
}

/// Dump, removal and purge of the whole table in slices of 1,000: nanoseconds a rule each, and the longest slice.
fn take_apart(mut b: Built) -> (f64, f64, f64, Duration) {
    const SLICE: usize = 1000;
    let n = b.table.len() as f64;
    let (mut ids, mut worst) = (Vec::<RuleId>::with_capacity(b.values.len()), Duration::ZERO);
    let (mut cursor, mut done, start) = (Cursor::default(), false, Instant::now());
    while !done {
        let at = Instant::now();
        done = b
            .table
            .scan(1, &mut cursor, SLICE, Filter::All, |r| ids.push(r.id()));
        worst = worst.max(at.elapsed());
    }
    let dump = start.elapsed().as_nanos() as f64 / n;
    let start = Instant::now();
    for id in ids {
        b.table
            .remove_at(id, 2)
            .expect("invariant: the dump named current rules");
    }
    let remove = start.elapsed().as_nanos() as f64 / n;
    let start = Instant::now();
    loop {
        let at = Instant::now();
        let purged = b.table.purge(2, SLICE, drop);
        worst = worst.max(at.elapsed());
        if purged == 0 {
            break;
        }
    }
    (dump, remove, start.elapsed().as_nanos() as f64 / n, worst)
}

fn lookups(
    c: &mut Criterion,
    name: &str,
    table: &Classifier<PipelineKey, u64>,
    keys: &[PipelineKey],
) {
    let mut next = keys.iter().cycle();
    c.bench_function(name, |b| {
        b.iter(|| {
            let mut wc = Mask::none();
            let found = next.next().and_then(|k| table.lookup(1, k, &mut wc));
            black_box((found.map(|r| *r.payload()), &wc));
        })
    });
}

fn bench(c: &mut Criterion, masks: usize, rules: usize) {
    let instance = format!("{masks}-masks-{rules}-rules");
    let mut b = build(masks, rules);
    let mut r = Random(99);
    let hits: Vec<_> = (0..100_000)
        .map(|_| b.values[r.next() as usize % b.values.len()])
        .collect();
    let misses: Vec<_> = (0..1000).map(|_| key(&mut r)).collect();
    lookups(
        c,
        &format!("lookup/hit/{instance}"),
        &b.table,
        &hits[..1000],
    );
    lookups(c, &format!("lookup/miss/{instance}"), &b.table, &misses);
    lookups(c, &format!("lookup/cold/{instance}"), &b.table, &hits);
    let (value, mask) = (key(&mut r), mask(0));
    let mut version = 1;
    c.bench_function(&format!("change/insert-and-remove/{instance}"), |bench| {
        bench.iter(|| {
            version += 1;
            let inserted = b.table.insert(&value, &mask, -1, 0, version);
            let id = inserted.expect("invariant: no other rule has this priority");
            version += 1;
            b.table
                .remove_at(id, version)
                .expect("invariant: it was inserted just now");
            black_box(b.table.purge(version, 8, drop));
        })
    });
}

/// Once for each size: microseconds of the longest step, octets and nanoseconds a rule.
fn growth() {
    println!(
        "{:>6} {:>9} {:>9} {:>9} {:>7} {:>8} {:>8} {:>8} {:>9}",
        "masks",
        "rules",
        "insert ns",
        "worst us",
        "B/rule",
        "dump ns",
        "rm ns",
        "purge ns",
        "slice us"
    );
    for masks in MASKS {
        for rules in RULES {
            let b = build(masks, rules);
            let bytes = b.table.memory_bytes() / b.table.len();
            let insert = b.insert.as_nanos() as f64 / rules as f64;
            let longest = b.worst.as_micros();
            let (dump, remove, purge, slice) = take_apart(b);
            println!(
                "{masks:>6} {rules:>9} {insert:>9.0} {longest:>9} {bytes:>7} {dump:>8.0} {remove:>8.0} {purge:>8.0} {:>9}",
                slice.as_micros()
            );
        }
    }
}

/// What a lookup costs against the number of rules: nanoseconds with a thousand keys of rules again and again (`hit`), with
/// 100,000 (`cold`) and with a thousand of no rule (`miss`), and the bits that a hit un-wildcards. Keys are drawn evenly from
/// all rules, in no order: nothing that a processor could guess, which is worse than traffic.
fn curve(only: Option<usize>) {
    println!("masks     rules    hit ns   cold ns   miss ns   bits   hit, cold to 1,000 rules");
    for masks in MASKS {
        if only.is_some_and(|o| o != masks) {
            continue;
        }
        let mut first = None;
        for rules in RULES {
            let b = build(masks, rules);
            let mut r = Random(99);
            let hits: Vec<_> = (0..100_000)
                .map(|_| b.values[r.next() as usize % b.values.len()])
                .collect();
            let misses: Vec<_> = (0..1000).map(|_| key(&mut r)).collect();
            let (hot, bits) = best_pass(&b.table, &hits[..1000], 1000);
            let (cold, _) = best_pass(&b.table, &hits, 8);
            let (miss, _) = best_pass(&b.table, &misses, 1000);
            let (hot1, cold1) = *first.get_or_insert((hot, cold));
            println!("{masks:>5} {rules:>9} {hot:>9.0} {cold:>9.0} {miss:>9.0} {bits:>6.1}   {:.2} {:.2}", hot / hot1, cold / cold1);
        }
    }
}

/// Nanoseconds a lookup, for each thousand keys the best of some passes over all keys, and the bits un-wildcarded.
fn best_pass(
    table: &Classifier<PipelineKey, u64>,
    keys: &[PipelineKey],
    passes: usize,
) -> (f64, f64) {
    let mut best = vec![Duration::MAX; keys.len().div_ceil(1000)];
    let mut bits = 0;
    for pass in 0..passes {
        for (keys, best) in keys.chunks(1000).zip(&mut best) {
            let start = Instant::now();
            for k in keys {
                let mut wc = Mask::none();
                let found = table.lookup(1, k, &mut wc).map(|r| *r.payload());
                black_box((found, &wc));
                if pass == 0 {
                    bits += wc.0.words().iter().map(|w| w.count_ones()).sum::<u32>();
                }
            }
            *best = start.elapsed().min(*best);
        }
    }
    let n = keys.len() as f64;
    let nanoseconds = best.iter().map(Duration::as_nanos).sum::<u128>();
    (nanoseconds as f64 / n, f64::from(bits) / n)
}

fn main() {
    let has = |what: &str| std::env::args().any(|a| a == what);
    if has("growth") {
        return growth();
    }
    if has("curve") {
        return curve(std::env::args().find_map(|a| a.parse().ok()));
    }
    let mut c = Criterion::default()
        .measurement_time(Duration::from_millis(600))
        .warm_up_time(Duration::from_millis(150))
        .sample_size(20)
        .configure_from_args();
    for masks in MASKS {
        // A run of the tests, which only tries every case once, spares itself the many.
        for rules in RULES.into_iter().filter(|n| has("--bench") || *n <= 10_000) {
            bench(&mut c, masks, rules);
        }
    }
    c.final_summary();
}
