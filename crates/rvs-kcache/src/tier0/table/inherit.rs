//! Taking over the arrays of a dead daemon.
//!
//! What they say is read with suspicion: a slot stays only if all that the program would go by agrees (entry, epoch, mask,
//! hash, bucket); any other is cleared. A daemon that was killed between two stores left an entry without a slot, which is
//! free again, or a list of masks without its last, which is written anew.
//!
//! What is left has no flow: it is an *orphan*, known by a number that no flow has, until somebody has judged it and either
//! names it ([`Table::name`]) or removes it.

use super::*;

/// A flow that a dead daemon put into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Like a flow's, and no flow's.
    pub id: FlowId,
    pub key: FlowKey,
    pub mask: Mask<FlowKey>,
    /// When it last carried a frame.
    pub used: Now,
}

/// Marks the numbers of orphans: flows are counted from 1.
const ORPHAN: u64 = 1 << 63;

impl<M: AsRef<[AtomicU64]>> Table<M> {
    /// Takes over arrays whose last writer is dead for longer than a grace period. `None`: they are not of this shape.
    pub fn inherit(arrays: Arrays<M>, shape: Shape) -> Option<Self> {
        let word = |at| load(arrays.config.as_ref(), at);
        let (epoch, last_bucket) = halves(word(config::EPOCH_BUCKETS));
        let (entries, _) = halves(word(config::ENTRIES_PUNT));
        if epoch == 0 || last_bucket != shape.buckets - 1 || entries != shape.entries {
            return None;
        }
        let ranked: Vec<u8> = [word(config::ORDER), word(config::ORDER + 1)]
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .take(halves(word(config::MASKS_VLANS)).0 as usize)
            .collect();
        let secret = [word(config::SECRET), word(config::SECRET + 1)];
        let mut this = Self::blank(arrays, shape, secret, epoch);
        for place in 0..MASKS {
            this.masks[place] = this.read_mask(place);
        }
        for slot in 0..this.shape.buckets as usize * WAYS {
            this.take_over(slot);
        }
        for mask in &mut this.masks {
            if mask.as_ref().is_some_and(|m| m.flows == 0) {
                *mask = None;
            }
        }
        let used = |place: &u8| matches!(this.masks.get(usize::from(*place)), Some(Some(_)));
        let mut order: Vec<u8> = Vec::new();
        for place in ranked.into_iter().chain(0..MASKS as u8) {
            if used(&place) && !order.contains(&place) {
                order.push(place);
            }
        }
        this.order = order;
        this.write_order();
        this.fresh = this.owner.keys().max().map_or(1, |last| last + 1);
        this.free = (1..this.fresh)
            .filter(|at| !this.owner.contains_key(at))
            .collect();
        Some(this)
    }

    /// Orphans that are still to be judged.
    pub fn orphans(&self) -> Vec<Orphan> {
        let ids = self.flows.iter().filter(|(id, _)| id.0 & ORPHAN != 0);
        ids.filter_map(|(id, placed)| {
            let mask = self.masks.get(usize::from(placed.mask))?.as_ref()?.mask;
            Some(Orphan {
                id: *id,
                key: self.read_key(placed.entry),
                mask,
                used: self.read_stats(placed.entry).used,
            })
        })
        .collect()
    }

    /// Whether the program does these very steps for a flow.
    pub fn does(&self, id: FlowId, steps: &Steps) -> bool {
        let Some(placed) = self.flows.get(&id) else {
            return false;
        };
        let base = placed.entry as usize * entry::WORDS;
        let word = |at: usize| load(self.arrays.entries.as_ref(), base + at);
        word(entry::LIMITS) == limits(steps)
            && steps
                .ops
                .iter()
                .enumerate()
                .all(|(i, op)| word(entry::OP + i) == *op)
    }

    /// Makes an orphan the flow `id`.
    pub fn name(&mut self, orphan: FlowId, id: FlowId) -> bool {
        let Some(placed) = self.flows.remove(&orphan) else {
            return false;
        };
        self.owner.insert(placed.entry, id);
        self.flows.insert(id, placed);
        true
    }

    /// Keeps a slot whose flow is whole, else clears it.
    fn take_over(&mut self, slot: usize) {
        let word = load(self.arrays.buckets.as_ref(), slot);
        if word == 0 {
            return;
        }
        let (at, tag) = halves(word);
        match self.placed(slot, at, tag) {
            Some(placed) => {
                let id = FlowId(ORPHAN | u64::from(at));
                self.owner.insert(at, id);
                self.flows.insert(id, placed);
                if let Some(Some(mask)) = self.masks.get_mut(usize::from(placed.mask)) {
                    mask.flows += 1;
                }
            }
            None => publish(self.arrays.buckets.as_ref(), slot, 0),
        }
    }

    fn placed(&self, slot: usize, at: u32, tag: u32) -> Option<Placed> {
        if at == 0 || at >= self.shape.entries || self.owner.contains_key(&at) {
            return None;
        }
        let base = at as usize * entry::WORDS;
        let (place, epoch) = halves(load(self.arrays.entries.as_ref(), base + entry::MASK_EPOCH));
        let mask = self.masks.get(place as usize)?.as_ref()?;
        let key = self.read_key(at);
        let shaped = shape_of(&key, &mask.mask)?;
        let place = u8::try_from(place).ok()?;
        let h = hash(self.secret, place, shaped.words.get(..shaped.width)?);
        let bucket = (h as u32 & (self.shape.buckets - 1)) as usize;
        let whole = epoch == self.epoch
            && mask.mask.apply(&key) == key
            && (h >> 32) as u32 == tag
            && slot / WAYS == bucket;
        whole.then_some(Placed {
            entry: at,
            slot,
            mask: place,
        })
    }

    fn read_key(&self, at: u32) -> FlowKey {
        let base = at as usize * entry::WORDS + entry::KEY;
        let mut key = FlowKey::default();
        for (i, word) in key.words_mut().iter_mut().take(KEY_WORDS).enumerate() {
            *word = load(self.arrays.entries.as_ref(), base + i);
        }
        key
    }

    fn read_mask(&self, place: usize) -> Option<MaskUse> {
        let at = config::MASK + place * config::MASK_WORDS;
        let words = self.arrays.config.as_ref();
        let (width, exact) = halves(load(words, at + KEY_WORDS));
        let mut mask = Mask(FlowKey::default());
        for (i, word) in mask.0.words_mut().iter_mut().take(KEY_WORDS).enumerate() {
            *word = load(words, at + i);
        }
        if exact != 0 {
            let all = Mask::exact();
            let leading = |m: &Mask<FlowKey>| m.0.words().get(..KEY_WORDS).map(<[u64]>::to_vec);
            if leading(&all) != leading(&mask) {
                return None;
            }
            mask = all;
        }
        let shaped = shape_of(&FlowKey::default(), &mask)?;
        (shaped.mask_width == width as usize && u32::from(shaped.exact) == exact).then_some(
            MaskUse {
                mask,
                width: shaped.mask_width,
                exact: shaped.exact,
                flows: 0,
                left: 0,
            },
        )
    }
}

const fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}
