//! The learn action: the flow that this packet teaches.

use std::sync::Arc;

use rvs_flow::matching::Match;
use rvs_flow::OfPort;
use rvs_openflow::{Action, Instructions, Learn, LearnDst, LearnSpec, LearnSrc};

use super::ctx::Ctx;
use crate::trace::{Trace, TraceEvent};
use crate::translation::{CachedEffect, LearnedFlow};

impl<T: Trace> Ctx<'_, '_, T> {
    pub(super) fn learn(&mut self, what: &Learn) {
        let Some(bridge) = self.at.bridge else {
            return;
        };
        let mut matching = Match::any();
        let mut actions = Vec::new();
        for LearnSpec { src, dst } in &what.specs {
            let value = match src {
                LearnSrc::Value(v) => *v,
                // A field that the packet does not have teaches nothing.
                LearnSrc::Field(sub) => match self.read(*sub) {
                    Some(v) => v,
                    None => return,
                },
            };
            match dst {
                LearnDst::Match(sub) => {
                    let (old, mask) = matching.field(sub.id());
                    let value = (value << sub.ofs()) & sub.mask() | old & !sub.mask();
                    if matching.set(sub.id(), value, mask | sub.mask()).is_err() {
                        return;
                    }
                }
                LearnDst::Load(sub) => actions.push(Action::load(*sub, value)),
                LearnDst::Output => actions.push(Action::output(OfPort(value as u32))),
            }
        }
        let fin = (what.fin_idle_timeout, what.fin_hard_timeout);
        if fin != (0, 0) {
            actions.insert(
                0,
                Action::FinTimeout {
                    idle: fin.0,
                    hard: fin.1,
                },
            );
        }
        if let Some(result) = what.result {
            self.write(result, 1);
        }
        let rule = self.at.rule.as_ref().map(|r| &r.instructions);
        let by_flow = rule.is_some_and(|i| teaches(&i.apply, what) || teaches(&i.write, what));
        let flow = Arc::new(LearnedFlow {
            table: what.table,
            priority: what.priority,
            cookie: what.cookie,
            matching,
            instructions: Instructions::apply(actions),
            idle_timeout: what.idle_timeout,
            hard_timeout: what.hard_timeout,
            send_flow_removed: what.send_flow_removed,
            delete_learned: what.delete_learned,
            limit: what.limit,
            by_flow,
        });
        self.note(|| TraceEvent::Aside("learned a flow".into()));
        self.effects.push(CachedEffect::LearnFlow {
            bridge: bridge.id,
            flow,
        });
    }
}

fn teaches(actions: &[Action], what: &Learn) -> bool {
    actions.iter().any(|a| match a {
        Action::Learn(l) => **l == *what,
        Action::Clone(inner) => teaches(inner, what),
        _ => false,
    })
}
