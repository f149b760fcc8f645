//! Lookup in a list of rules, and what gets that far.

use std::sync::Arc;

use rvs_flow::{Match, PipelineKey};
use rvs_l2::spanning::BRIDGE_GROUP;
use rvs_openflow::Action;
use rvs_packet::Frame;

use crate::bridge::Bridge;
use crate::ports::Port;
use crate::table::Rule;

/// The best of the rules that match, conjunctions included.
pub(super) fn choose(
    all: &[(Match<PipelineKey>, Arc<Rule>)],
    mut key: PipelineKey,
) -> Option<(&Match<PipelineKey>, &Arc<Rule>)> {
    let mut levels: Vec<u16> = all.iter().map(|(_, r)| r.priority).collect();
    levels.sort_unstable_by(|a, b| b.cmp(a));
    levels.dedup();
    for level in levels {
        if let Some(found) = plain(all, &key, Some(level)) {
            return Some(found);
        }
        let clauses: Vec<&Action> = all
            .iter()
            .filter(|(m, r)| r.priority == level && m.matches(&key))
            .flat_map(|(_, r)| r.instructions.apply.iter())
            .collect();
        let mut ids: Vec<(u32, u8)> = clauses
            .iter()
            .filter_map(|a| match a {
                Action::Conjunction { id, n_clauses, .. } => Some((*id, *n_clauses)),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        for (wanted, n) in ids {
            let has = |k: u8| {
                clauses.iter().any(|a| {
                    matches!(a, Action::Conjunction { id, clause, n_clauses }
                        if (*id, *clause, *n_clauses) == (wanted, k, n))
                })
            };
            if n > 0 && (0..n).all(has) {
                key.conj_id = wanted;
                if let Some(found) = plain(all, &key, None) {
                    return Some(found);
                }
            }
        }
        key.conj_id = 0;
    }
    None
}

/// The best matching rule that is not just a clause, of one priority if given.
fn plain<'a>(
    all: &'a [(Match<PipelineKey>, Arc<Rule>)],
    key: &PipelineKey,
    level: Option<u16>,
) -> Option<(&'a Match<PipelineKey>, &'a Arc<Rule>)> {
    all.iter()
        .filter(|(m, r)| !r.is_clause() && level.is_none_or(|l| r.priority == l) && m.matches(key))
        .max_by(|(a, r), (b, s)| {
            let specific = rvs_classifier::layout::specificity(a.mask(), b.mask());
            r.priority.cmp(&s.priority).then(specific)
        })
        .map(|(m, r)| (m, r))
}

/// Whether a frame that comes in by the port is for the tables. Frames of the spanning tree may be the bridge's own.
pub(super) fn admits(bridge: &Bridge, port: &Port, frame: &Frame) -> bool {
    let reserved = bridge.mirrors.reserves(port.bundle);
    if frame.bytes().starts_with(&BRIDGE_GROUP.0) {
        let taken = bridge.settings.spanning_tree;
        return !port.config.no_recv_stp && !taken && !reserved && port.stp.learns();
    }
    !port.config.no_recv && !reserved && port.stp.learns()
}
