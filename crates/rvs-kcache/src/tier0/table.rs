//! The table of kernel entries, as user space keeps it: who has which entry, under which mask, and what may be used again.
//!
//! The arrays are shared with a program that may read any of their words at any time. What makes that sound:
//!
//! - *Publish last.* An entry is written whole, its counters zeroed, and only then named by a slot (one word, stored with
//!   release). The program comes to an entry only through a slot.
//! - *Compare all.* A slot's tag is a hint; the program compares mask, epoch and every word of the masked key.
//! - *Free late.* Removing clears the slot; the entry, and a mask that lost its last flow, stay untouched in limbo until a
//!   grace period has passed ([`Table::release`]). So a frame that saw the slot runs the actions that it was decided for,
//!   and counts for its own flow.
//! - *Order matters little.* The ranked list of masks is more than one word, and a reader that catches it half-written
//!   asks a mask twice or not at all: a hit less. Overlapping flows agree in their actions, whichever is found.
//!
//! Everything is bounded: entries, slots of a bucket, masks. What finds no room is refused and costs speed only.

mod inherit;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use rvs_dpif::{FlowId, FlowSnapshot};
use rvs_flow::{FlowKey, Key, Mask};
use rvs_packet::Now;

use crate::tier0::encode::{Refusal, Steps};
use crate::tier0::layout::{config, entry, hash, pair, stat, KEY_WORDS, MASKS, WAYS};

pub use inherit::Orphan;

/// The shared arrays.
#[derive(Debug)]
pub(crate) struct Arrays<M> {
    pub config: M,
    pub buckets: M,
    pub entries: M,
    pub stats: M,
}

/// How large the arrays are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Entries, number 0 (which a slot can't name) included.
    pub entries: u32,
    /// A power of two.
    pub buckets: u32,
    /// CPUs that can run the program.
    pub cpus: u32,
}

impl Shape {
    /// Buckets for `flows` flows: two slots in eight are used at most, so that one in some thousand keys finds its bucket
    /// full.
    pub fn for_flows(flows: u32, cpus: u32) -> Self {
        let entries = flows.clamp(1, 1 << 20) + 1;
        Self {
            entries,
            buckets: (entries / 2).next_power_of_two(),
            cpus,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Table<M> {
    arrays: Arrays<M>,
    shape: Shape,
    secret: [u64; 2],
    epoch: u32,
    flows: HashMap<FlowId, Placed>,
    /// Which flow an entry is.
    owner: HashMap<u32, FlowId>,
    /// Entries that were used and are free again; beyond them all from `fresh` on are.
    free: Vec<u32>,
    fresh: u32,
    /// Entries that a program may still look at, with the round in which they were left.
    limbo: Vec<(u64, FlowId, u32)>,
    /// Counts the grace periods begun.
    round: u64,
    masks: [Option<MaskUse>; MASKS],
    /// Ranked places.
    order: Vec<u8>,
}

/// Where a flow lies.
#[derive(Clone, Copy, Debug)]
struct Placed {
    entry: u32,
    slot: usize,
    mask: u8,
}

#[derive(Debug)]
struct MaskUse {
    mask: Mask<FlowKey>,
    width: usize,
    exact: bool,
    /// 0: in limbo.
    flows: u32,
    /// Round in which it lost its last flow.
    left: u64,
}

/// What the program will hash and compare of a flow.
struct Shaped {
    words: [u64; KEY_WORDS],
    width: usize,
    mask_width: usize,
    exact: bool,
}

impl<M: AsRef<[AtomicU64]>> Table<M> {
    /// Nothing is known yet of what the arrays hold.
    fn blank(arrays: Arrays<M>, shape: Shape, secret: [u64; 2], epoch: u32) -> Self {
        Self {
            arrays,
            shape,
            secret,
            epoch,
            flows: HashMap::new(),
            owner: HashMap::new(),
            free: Vec::new(),
            fresh: 1,
            limbo: Vec::new(),
            round: 0,
            masks: [const { None }; MASKS],
            order: Vec::new(),
        }
    }

    /// Takes over zeroed arrays.
    pub fn new(arrays: Arrays<M>, shape: Shape, secret: [u64; 2]) -> Self {
        let this = Self::blank(arrays, shape, secret, 1);
        this.set_config(config::SECRET, secret[0]);
        this.set_config(config::SECRET + 1, secret[1]);
        this.set_config(config::EPOCH_BUCKETS, pair(this.epoch, shape.buckets - 1));
        this
    }

    /// A word of the configuration that is not the table's own.
    pub fn set_config(&self, word: usize, value: u64) {
        store(self.arrays.config.as_ref(), word, value);
    }

    pub fn config(&self, word: usize) -> u64 {
        load(self.arrays.config.as_ref(), word)
    }

    pub fn len(&self) -> usize {
        self.flows.len()
    }

    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Puts a flow in; one with the same id or the same (key, mask) is replaced, without a moment of neither.
    pub fn install(
        &mut self,
        id: FlowId,
        key: &FlowKey,
        mask: &Mask<FlowKey>,
        steps: &Steps,
    ) -> Result<(), Refusal> {
        let shaped = shape_of(key, mask).ok_or(Refusal::Fields)?;
        let place = self.place_of(mask, &shaped)?;
        let words = shaped.words.get(..shaped.width).unwrap_or(&shaped.words);
        let h = hash(self.secret, place, words);
        let tag = (h >> 32) as u32;
        let bucket = (h as u32 & (self.shape.buckets - 1)) as usize * WAYS;
        let same = self.find(bucket, tag, place, &shaped.words);
        let slot = same
            .or_else(|| self.empty_slot(bucket, tag))
            .ok_or(Refusal::Bucket)?;
        let at = self.take_entry().ok_or(Refusal::Full)?;

        self.write_entry(at, place, &shaped.words, steps);
        self.use_mask(place, mask, &shaped);
        if same.is_some() {
            let old = load(self.arrays.buckets.as_ref(), slot) as u32;
            if let Some(owner) = self.owner.remove(&old) {
                self.forget(owner, old);
            }
        }
        publish(self.arrays.buckets.as_ref(), slot, pair(at, tag));
        self.owner.insert(at, id);
        if let Some(before) = self.flows.insert(
            id,
            Placed {
                entry: at,
                slot,
                mask: place,
            },
        ) {
            self.bury(id, before);
        }
        Ok(())
    }

    /// Takes a flow out: no frame that arrives from now on finds it. Its last figures come with [`Self::release`].
    pub fn remove(&mut self, id: FlowId) -> bool {
        let Some(placed) = self.flows.remove(&id) else {
            return false;
        };
        self.bury(id, placed);
        true
    }

    /// Takes all out; from its first store on no frame finds an entry.
    pub fn flush(&mut self) {
        self.epoch = self.epoch.wrapping_add(1).max(1);
        let word = pair(self.epoch, self.shape.buckets - 1);
        publish(self.arrays.config.as_ref(), config::EPOCH_BUCKETS, word);
        let all: Vec<FlowId> = self.flows.keys().copied().collect();
        for id in all {
            self.remove(id);
        }
    }

    pub fn contains(&self, id: FlowId) -> bool {
        self.flows.contains_key(&id)
    }

    /// Whether something waits for a grace period.
    pub fn has_limbo(&self) -> bool {
        !self.limbo.is_empty()
    }

    /// Ends a round: a grace period that begins now covers everything removed up to here.
    pub fn end_round(&mut self) -> u64 {
        self.round += 1;
        self.round - 1
    }

    /// A grace period has passed since the end of `round`: entries and masks left by then may be used again. Returns the
    /// final figures of the flows that were in them.
    pub fn release(&mut self, round: u64) -> Vec<(FlowId, FlowSnapshot)> {
        let (done, later) = std::mem::take(&mut self.limbo)
            .into_iter()
            .partition(|(left, ..)| *left <= round);
        self.limbo = later;
        let done: Vec<(u64, FlowId, u32)> = done;
        let last = done
            .iter()
            .map(|(_, id, at)| (*id, self.read_stats(*at)))
            .collect();
        self.free.extend(done.iter().map(|(.., at)| *at));
        for mask in &mut self.masks {
            if mask
                .as_ref()
                .is_some_and(|m| m.flows == 0 && m.left <= round)
            {
                *mask = None;
            }
        }
        last
    }

    /// What a flow has carried in the kernel so far.
    pub fn stats(&self, id: FlowId) -> Option<FlowSnapshot> {
        self.flows
            .get(&id)
            .map(|placed| self.read_stats(placed.entry))
    }

    /// Every flow with its figures.
    pub fn all_stats(&self) -> impl Iterator<Item = (FlowId, FlowSnapshot)> + '_ {
        self.flows
            .iter()
            .map(|(id, placed)| (*id, self.read_stats(placed.entry)))
    }

    /// The masks in rank, with the number of their flows.
    pub fn masks(&self) -> impl Iterator<Item = (&Mask<FlowKey>, u32)> + '_ {
        let used = self
            .order
            .iter()
            .filter_map(|place| self.masks.get(usize::from(*place)));
        used.flatten().map(|m| (&m.mask, m.flows))
    }

    /// Ranks the masks by what their flows have carried: the busiest is asked first.
    pub fn rank(&mut self) {
        let mut packets = [0u64; MASKS];
        for placed in self.flows.values() {
            if let Some(sum) = packets.get_mut(usize::from(placed.mask)) {
                *sum = sum.wrapping_add(self.read_stats(placed.entry).packets);
            }
        }
        let of = |place: &u8| packets.get(usize::from(*place)).copied().unwrap_or(0);
        self.order.sort_by_key(|place| std::cmp::Reverse(of(place)));
        self.write_order();
    }

    /// The place of this mask: where it is, or where it can go.
    fn place_of(&self, mask: &Mask<FlowKey>, shaped: &Shaped) -> Result<u8, Refusal> {
        let known = self
            .masks
            .iter()
            .position(|m| m.as_ref().is_some_and(|m| m.mask == *mask));
        let place = known.or_else(|| self.masks.iter().position(Option::is_none));
        debug_assert!(known.is_none_or(|k| {
            self.masks[k]
                .as_ref()
                .is_some_and(|m| m.width == shaped.mask_width)
        }));
        place
            .and_then(|p| u8::try_from(p).ok())
            .ok_or(Refusal::Masks)
    }

    /// Counts one more flow of the mask; the first one writes it and puts it on the list.
    fn use_mask(&mut self, place: u8, mask: &Mask<FlowKey>, shaped: &Shaped) {
        let Some(slot) = self.masks.get_mut(usize::from(place)) else {
            return;
        };
        let used = slot.get_or_insert_with(|| MaskUse {
            mask: *mask,
            width: shaped.mask_width,
            exact: shaped.exact,
            flows: 0,
            left: 0,
        });
        used.flows += 1;
        if used.flows > 1 {
            return;
        }
        // Either free since a grace period, or in limbo with these very words: writing them disturbs nobody.
        let at = config::MASK + usize::from(place) * config::MASK_WORDS;
        let config = self.arrays.config.as_ref();
        for (i, word) in mask.0.words().iter().take(KEY_WORDS).enumerate() {
            store(config, at + i, *word);
        }
        store(
            config,
            at + KEY_WORDS,
            pair(used.width as u32, u32::from(used.exact)),
        );
        self.order.push(place);
        self.write_order();
    }

    fn write_order(&self) {
        let mut words = [0u64; 2];
        for (i, place) in self.order.iter().take(MASKS).enumerate() {
            words[i / 8] |= u64::from(*place) << (i % 8 * 8);
        }
        let vlans = (self.config(config::MASKS_VLANS) >> 32) as u32;
        let config = self.arrays.config.as_ref();
        publish(config, config::ORDER, words[0]);
        publish(config, config::ORDER + 1, words[1]);
        publish(
            config,
            config::MASKS_VLANS,
            pair(self.order.len() as u32, vlans),
        );
    }

    fn take_entry(&mut self) -> Option<u32> {
        if let Some(at) = self.free.pop() {
            return Some(at);
        }
        let at = self.fresh;
        (at < self.shape.entries).then(|| {
            self.fresh += 1;
            at
        })
    }

    fn write_entry(&self, at: u32, mask: u8, words: &[u64; KEY_WORDS], steps: &Steps) {
        let base = at as usize * entry::WORDS;
        let entries = self.arrays.entries.as_ref();
        for (i, word) in words.iter().enumerate() {
            store(entries, base + entry::KEY + i, *word);
        }
        store(
            entries,
            base + entry::MASK_EPOCH,
            pair(u32::from(mask), self.epoch),
        );
        store(entries, base + entry::LIMITS, limits(steps));
        for (i, op) in steps.ops.iter().enumerate() {
            store(entries, base + entry::OP + i, *op);
        }
        for cpu in 0..self.shape.cpus {
            for i in 0..stat::WORDS {
                store(self.arrays.stats.as_ref(), self.stat_at(cpu, at) + i, 0);
            }
        }
    }

    const fn stat_at(&self, cpu: u32, at: u32) -> usize {
        (cpu as usize * self.shape.entries as usize + at as usize) * stat::WORDS
    }

    fn read_stats(&self, at: u32) -> FlowSnapshot {
        let stats = self.arrays.stats.as_ref();
        let mut sum = FlowSnapshot::default();
        for cpu in 0..self.shape.cpus {
            let base = self.stat_at(cpu, at);
            sum.packets = sum.packets.wrapping_add(load(stats, base + stat::PACKETS));
            sum.bytes = sum.bytes.wrapping_add(load(stats, base + stat::BYTES));
            sum.used = sum.used.max(Now(load(stats, base + stat::USED)));
            sum.tcp_flags |= (load(stats, base + stat::TCP_FLAGS) & 0xfff) as u16;
        }
        sum
    }

    /// The slot of an entry with this mask and masked key.
    fn find(&self, bucket: usize, tag: u32, mask: u8, words: &[u64; KEY_WORDS]) -> Option<usize> {
        let entries = self.arrays.entries.as_ref();
        (bucket..bucket + WAYS).find(|slot| {
            let word = load(self.arrays.buckets.as_ref(), *slot);
            let base = word as u32 as usize * entry::WORDS;
            word as u32 != 0
                && (word >> 32) as u32 == tag
                && load(entries, base + entry::MASK_EPOCH) == pair(u32::from(mask), self.epoch)
                && words
                    .iter()
                    .enumerate()
                    .all(|(i, w)| load(entries, base + i) == *w)
        })
    }

    /// A free slot, unless the bucket has this tag already: the program looks at one entry of a tag only.
    fn empty_slot(&self, bucket: usize, tag: u32) -> Option<usize> {
        let word = |slot: &usize| load(self.arrays.buckets.as_ref(), *slot);
        let mut slots = bucket..bucket + WAYS;
        if slots
            .clone()
            .any(|slot| word(&slot) != 0 && (word(&slot) >> 32) as u32 == tag)
        {
            return None;
        }
        slots.find(|slot| word(slot) == 0)
    }

    /// The flow whose entry another one's takes the slot of.
    fn forget(&mut self, owner: FlowId, old: u32) {
        if let Some(placed) = self.flows.remove(&owner) {
            self.limbo.push((self.round, owner, old));
            self.unuse_mask(placed.mask);
        }
    }

    /// Clears a flow's slot and sends its entry to limbo.
    fn bury(&mut self, id: FlowId, placed: Placed) {
        publish(self.arrays.buckets.as_ref(), placed.slot, 0);
        self.owner.remove(&placed.entry);
        self.limbo.push((self.round, id, placed.entry));
        self.unuse_mask(placed.mask);
    }

    fn unuse_mask(&mut self, place: u8) {
        let Some(Some(used)) = self.masks.get_mut(usize::from(place)) else {
            return;
        };
        used.flows = used.flows.saturating_sub(1);
        if used.flows == 0 {
            used.left = self.round;
            self.order.retain(|p| *p != place);
            self.write_order();
        }
    }
}

/// `None` when the program can't know the fields that count.
fn shape_of(key: &FlowKey, mask: &Mask<FlowKey>) -> Option<Shaped> {
    let exact = *mask == Mask::exact();
    let (head, tail) = mask.0.words().split_at_checked(KEY_WORDS)?;
    if key.recirc_id != 0 || !exact && tail.iter().any(|word| *word != 0) {
        return None;
    }
    let used = head
        .iter()
        .rposition(|word| *word != 0)
        .map_or(0, |last| last + 1);
    let mask_width = [FlowKey::WIDTH_V4, FlowKey::WIDTH_V6, FlowKey::WIDTH_ND]
        .into_iter()
        .find(|width| used <= *width)?;
    let width = if exact { key.width() } else { mask_width };
    let mut words = [0; KEY_WORDS];
    words.copy_from_slice(mask.apply(key).words().get(..KEY_WORDS)?);
    (width <= KEY_WORDS).then_some(Shaped {
        words,
        width,
        mask_width,
        exact,
    })
}

fn limits(steps: &Steps) -> u64 {
    pair(
        steps.mtu,
        u32::from(steps.flags) | u32::from(steps.pushes) << 16,
    )
}

fn load(words: &[AtomicU64], at: usize) -> u64 {
    words.get(at).map_or(0, |word| word.load(Ordering::Relaxed))
}

fn store(words: &[AtomicU64], at: usize, value: u64) {
    if let Some(word) = words.get(at) {
        word.store(value, Ordering::Relaxed);
    }
}

/// Stores what makes earlier stores reachable.
fn publish(words: &[AtomicU64], at: usize, value: u64) {
    if let Some(word) = words.get(at) {
        word.store(value, Ordering::Release);
    }
}

const _: () = assert!(KEY_WORDS == FlowKey::WIDTH_ND);

#[cfg(test)]
mod tests;
