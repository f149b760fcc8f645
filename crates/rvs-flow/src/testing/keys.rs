//! Keys that frames have, and matches that they hit.

use super::{mutated_frame, Entropy};
use crate::extract::{extract_bytes, ParseLimits};
use crate::field::{Field, FieldId, Format, FIELDS};
use crate::key::{FlowKey, Key, PipelineKey, FRAG_ANY, FRAG_LATER};
use crate::matching::Match;
use crate::port::{DpPort, OfPort};

/// The key of a frame, one in a few malformed, on one of four ports.
pub fn flow_key(e: &mut Entropy<'_>) -> FlowKey {
    let frame = mutated_frame(e);
    let limits = ParseLimits::new(1 + u8::from(e.one_in(2)));
    extract_bytes(&frame, DpPort(1 + e.below(4) as u32), limits)
}

/// A flow key with registers and metadata of a few values.
pub fn pipeline_key(e: &mut Entropy<'_>) -> PipelineKey {
    let flow = flow_key(e);
    let mut key = PipelineKey {
        flow,
        of_port: flow.in_port,
        ..PipelineKey::default()
    };
    if e.one_in(8) {
        key.of_port = OfPort::LOCAL.0;
    }
    for reg in key.regs.iter_mut().step_by(5) {
        *reg = e.pick(&[0u32, 0, 1, 0x10, 0xffff_ffff]).into();
    }
    key.metadata = e.pick(&[0u64, 0, 1, u64::MAX]).into();
    key.tun_id = e.pick(&[0u64, 0, 7]).into();
    key
}

/// Words without meaning: for the algebra of masks.
pub fn any_words<K: Key>(e: &mut Entropy<'_>) -> K {
    let mut key = K::default();
    for w in key.words_mut() {
        *w = match e.below(4) {
            0 => 0,
            1 => u64::MAX,
            _ => e.u64(),
        };
    }
    key
}

/// A match that a controller could write: some fields of a key that a frame has, with their prerequisites, some of them
/// with a mask, now and then with another value.
pub fn matching(e: &mut Entropy<'_>) -> Match<PipelineKey> {
    let key = pipeline_key(e);
    let mut m = Match::any();
    for _ in 0..e.below(6) {
        let field = Field::of(e.pick(&ALL));
        if field.is_vlan() || field.exists_in(&key) {
            add_field(e, &mut m, field, &key);
        }
    }
    m
}

/// Value and mask that `field` takes, near what `key` holds.
pub fn field_value(e: &mut Entropy<'_>, field: &Field, key: &PipelineKey) -> (u128, u128) {
    let mut value = field.get(key);
    if e.one_in(6) {
        value ^= 1 << e.below(usize::from(field.bits.min(field.match_bits)));
    }
    if field.id == FieldId::NwTos {
        value &= 0xfc;
    }
    let full = field.match_mask();
    if field.format == Format::Port {
        let port = OfPort(e.pick(&[1, 2, 3, 0xfeff, OfPort::LOCAL.0, OfPort::CONTROLLER.0]));
        let wide = u128::from(port.0) & full;
        return (wide, full);
    }
    if field.format == Format::Frag {
        let bits = u128::from(e.pick(&[FRAG_ANY | FRAG_LATER, FRAG_ANY, FRAG_LATER]));
        return (u128::from(key.flow.nw_frag) & bits, bits);
    }
    let mask = if !field.maskable {
        full
    } else {
        match e.below(4) {
            // A prefix, an arbitrary mask, or all of it.
            0 => full & !(full >> e.below(usize::from(field.bits.min(field.match_bits)))),
            1 => (u128::from(e.u64()) << 64 | u128::from(e.u64())) & full,
            _ => full,
        }
    };
    (value & mask, mask)
}

/// A key that `m` matches: `key` with the bits that `m` demands.
pub fn key_in_match(m: &Match<PipelineKey>, key: &PipelineKey) -> PipelineKey {
    let mut out = *key;
    let (value, mask) = (m.value().words(), m.mask().0.words());
    for ((w, v), mask) in out.words_mut().iter_mut().zip(value).zip(mask) {
        *w = *w & !mask | v;
    }
    out
}

fn add_field(e: &mut Entropy<'_>, m: &mut Match<PipelineKey>, field: &Field, key: &PipelineKey) {
    let before = *m;
    for needed in field.prereq.fields() {
        // Not every match on a port says that it is no later fragment.
        if *needed == FieldId::IpFrag || m.field(*needed).1 != 0 {
            continue;
        }
        // In a key that holds the field its prerequisites hold too; only the field itself may be something else.
        if m.set_exact(*needed, Field::of(*needed).get(key)).is_err() {
            *m = before;
            return;
        }
    }
    let (value, mask) = field_value(e, field, key);
    let fits = m.set(field.id, value, mask).is_ok() && m.check_prerequisites().is_ok();
    if !fits || field.check_prereq(m.value(), m.mask()).is_err() {
        *m = before;
    }
}

const ALL: [FieldId; FIELDS.len()] = {
    let mut ids = [FieldId::InPort; FIELDS.len()];
    let mut i = 0;
    while i < ids.len() {
        ids[i] = crate::field::FIELDS[i].id;
        i += 1;
    }
    ids
};
