//! Adds of a bundle, made ready while it is collected.
//!
//! A client takes its time to send a hundred thousand flows, and then waits for the commit. So what can be done before is done
//! before: the message is decoded once, when it is added, and kept as the rule that it will be. The commit puts the rule into
//! its table. What the other flows, groups and meters decide is judged there, at the rule's turn.

use std::collections::VecDeque;
use std::sync::Arc;

use rvs_flow::{Key, Mask, PipelineKey};
use rvs_openflow::message::{FlowCommand, FlowMod};
use rvs_openflow::{FlowMatch, TableId};
use rvs_pipeline::Rule;

use super::flow_mod::rule_of;

/// Masks that the flows of a bundle share: the last that were seen.
#[derive(Debug, Default)]
pub struct Masks(VecDeque<Arc<Mask<PipelineKey>>>);

/// Masks that are looked through for each message.
const MASKS: usize = 16;

impl Masks {
    fn share(&mut self, mask: &Mask<PipelineKey>) -> Arc<Mask<PipelineKey>> {
        if let Some(known) = self.0.iter().find(|m| ***m == *mask) {
            return known.clone();
        }
        if self.0.len() == MASKS {
            self.0.pop_front();
        }
        let new = Arc::new(*mask);
        self.0.push_back(new.clone());
        new
    }
}

/// A match without the words that it does not look at: a tenth of its size.
#[derive(Clone, Debug)]
pub(super) struct PackedMatch {
    mask: Arc<Mask<PipelineKey>>,
    /// The words of the value where the mask has bits.
    words: Box<[u64]>,
}

impl PackedMatch {
    fn of(m: &FlowMatch, masks: &mut Masks) -> Self {
        let matched = m.value().words().iter().zip(m.mask().0.words());
        Self {
            mask: masks.share(m.mask()),
            words: matched.filter(|(_, m)| **m != 0).map(|(v, _)| *v).collect(),
        }
    }

    pub(super) fn unpack(&self) -> FlowMatch {
        let mut value = PipelineKey::default();
        let places = value.words_mut().iter_mut().zip(self.mask.0.words());
        let matched = places.filter(|(_, m)| **m != 0).map(|(place, _)| place);
        matched.zip(&self.words).for_each(|(place, v)| *place = *v);
        FlowMatch::new(&value, *self.mask)
    }
}

/// An add whose rule is made.
#[derive(Clone, Debug)]
pub struct ReadyAdd {
    pub(super) matching: PackedMatch,
    pub(super) rule: Arc<Rule>,
}

impl ReadyAdd {
    /// Makes an add ready. `None` for what has to be judged at its turn as a whole: another command, a mistake.
    pub fn of(m: &mut FlowMod, masks: &mut Masks) -> Option<Self> {
        let table_is_there = m.table <= TableId::MAX || m.table == TableId::ALL;
        let plain = m.command == FlowCommand::Add && m.buffer_id.is_none() && table_is_there;
        plain.then(|| Self {
            matching: PackedMatch::of(&m.matching, masks),
            rule: Arc::new(rule_of(m)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::matching;

    #[test]
    fn a_packed_match_is_the_same_match() {
        let mut masks = Masks::default();
        let texts = [
            "",
            "in_port=1,dl_vlan=5",
            "tcp,nw_src=10.0.0.0/8,tp_dst=80",
            "ipv6,ipv6_dst=fd00::/17",
            "reg3=0/0xff,metadata=7",
        ];
        for text in texts.iter().cycle().take(3 * MASKS) {
            let m = matching(text);
            assert_eq!(PackedMatch::of(&m, &mut masks).unpack(), m, "{text}");
        }
        assert_eq!(masks.0.len(), texts.len());
        for n in 0..3 * MASKS {
            let m = matching(&format!("reg1=0/{:#x}", n + 1));
            assert_eq!(PackedMatch::of(&m, &mut masks).unpack(), m);
            assert!(masks.0.len() <= MASKS);
        }
    }
}
