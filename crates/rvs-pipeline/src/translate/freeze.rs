//! Stopping in the middle and going on later: recirculation, `controller(pause)`, and the two branches of
//! `check_pkt_larger`.
//!
//! A freeze unwinds the interpreter: each level that is left adds what it had still to do ([`FrozenRest`], innermost first).
//! It ends at the *boundary* of the scope that it happened in (the whole translation, a bucket, a clone, the other bridge of
//! a patch); what comes after the boundary runs on as if nothing had happened.

use rvs_dpif::{DpAction, DropReason};
use rvs_flow::field::{Field, FieldId, SubField};
use rvs_flow::{OfPort, PipelineKey, Present};
use rvs_openflow::{Action, Instructions, TableId};

use super::ctx::{Ctx, Unparsed};
use super::limits::MAX_RESUBMITS;
use super::mirror::{self, Mirrored};
use crate::trace::{Trace, TraceEvent};
use crate::translation::{FrozenRest, FrozenState, FrozenThen, PacketInNote};

/// Why a translation stops.
#[derive(Debug)]
pub(super) enum FreezeKind {
    /// To parse the frame anew.
    Recirculate,
    /// Until a controller resumes it.
    Pause(Box<PacketInNote>),
    /// To go on twice: with the bit set if the frame is longer, and with the bit clear.
    PacketLength { dst: SubField, len: u16 },
}

/// A freeze on its way out.
#[derive(Debug)]
pub(super) struct Freeze {
    kind: FreezeKind,
    rest: Vec<FrozenRest>,
    /// What remains is the rest of an action set.
    in_set: bool,
}

impl<'a, T: Trace> Ctx<'a, '_, T> {
    /// True when nothing more is to be done at this level.
    pub(super) fn stopped(&self) -> bool {
        self.exit || self.freeze.is_some()
    }

    pub(super) fn begin_freeze(&mut self, kind: FreezeKind) {
        self.freeze = Some(Freeze {
            kind,
            rest: Vec::new(),
            in_set: self.in_set,
        });
    }

    /// While a freeze unwinds: these actions of this level are still to be done.
    pub(super) fn left_actions(&mut self, actions: &[Action]) {
        self.left(actions.to_vec(), FrozenThen::Next);
    }

    /// While a freeze unwinds: these instructions of this level are still to be done.
    pub(super) fn left_instructions(&mut self, what: Instructions) {
        self.left(Vec::new(), FrozenThen::Instructions(Box::new(what)));
    }

    fn left(&mut self, actions: Vec<Action>, then: FrozenThen) {
        let (table, cookie, reason) = (self.at.table, self.at.cookie, self.at.reason);
        if let Some(f) = &mut self.freeze {
            if !actions.is_empty() || then != FrozenThen::Next {
                f.rest.push(FrozenRest {
                    table,
                    cookie,
                    reason,
                    actions,
                    then,
                });
            }
        }
    }

    /// Recirculates before `table` is looked up.
    pub(super) fn freeze_before_table(&mut self, table: TableId) {
        self.begin_freeze(FreezeKind::Recirculate);
        self.left_instructions(Instructions {
            goto: Some(table),
            ..Instructions::default()
        });
    }

    /// Ends a scope: what was frozen in it becomes an action of its own. A bucket or a clone has no action set to execute.
    pub(super) fn boundary(&mut self, run_set: bool) {
        let Some(freeze) = self.freeze.take() else {
            return;
        };
        let unparsed = std::mem::take(&mut self.unparsed);
        let Some(bridge) = self.at.bridge else {
            return;
        };
        // With a limit of one, the key shows a second tag only if the pipeline has pushed one.
        let two_tags = bridge.settings.vlan_limit == 1
            && unparsed != Unparsed::Tags
            && self.key.flow.present.has(Present::VLAN1);
        let state = FrozenState {
            bridge: bridge.id,
            fields: PipelineKey {
                flow: Default::default(),
                ..self.key
            },
            stack: self.stack.clone(),
            action_set: self.action_set.clone(),
            rest: freeze.rest,
            first: self.at.first,
            run_set: run_set && !freeze.in_set,
            two_tags,
            arriving: false,
            mirrored: self.mirrored.clone(),
            priority: self.priority,
        };
        match freeze.kind {
            FreezeKind::Recirculate => {
                let id = self.frozen.len() as u32;
                self.frozen.push(state);
                self.note(|| TraceEvent::Aside("recirculate".into()));
                self.emit(DpAction::Recirc(id));
            }
            FreezeKind::Pause(mut note) => {
                note.paused = Some(Box::new(state));
                self.metered_punt(*note);
            }
            FreezeKind::PacketLength { dst, len } => self.both_branches(dst, len, &state),
        }
    }

    /// What is left to do, with the bit set and with the bit clear.
    fn both_branches(&mut self, dst: SubField, len: u16, state: &FrozenState) {
        if self.is_deepest() {
            return self.abort(DropReason::TooDeep);
        }
        // Branches double with every check: they count as lookups do.
        self.resubmits += 2;
        if self.resubmits > MAX_RESUBMITS {
            return self.abort(DropReason::TooManyResubmits);
        }
        self.descend(true);
        let before = (self.save(), self.at.clone());
        let mirrored = std::mem::take(&mut self.mirrored);
        let mut lists = [Vec::new(), Vec::new()];
        let mut copied = [Mirrored::new(), Mirrored::new()];
        for ((list, copied), bit) in lists.iter_mut().zip(&mut copied).zip([1, 0]) {
            self.mirrored = mirrored.clone();
            let scope = self.out.begin();
            self.stack = state.stack.clone();
            self.action_set = state.action_set.clone();
            self.write(dst, bit);
            self.resume(state);
            self.boundary(state.run_set);
            *list = self.out.take(scope);
            *copied = std::mem::take(&mut self.mirrored);
            self.exit = self.aborted;
            self.halted = false;
            self.restore(before.0);
            self.at = before.1.clone();
            if self.aborted {
                return;
            }
        }
        self.ascend(true);
        self.stack.clear();
        self.action_set.clear();
        // What comes after both has a second copy made rather than none.
        self.mirrored = mirror::common(&copied[0], &copied[1]);
        let [larger, otherwise] = lists;
        if larger == otherwise {
            for action in larger {
                self.emit(action);
            }
        } else if !larger.is_empty() || !otherwise.is_empty() {
            self.emit(DpAction::CheckPktLen {
                max_len: len,
                larger: larger.into(),
                otherwise: otherwise.into(),
            });
        }
    }

    /// Does what was left to do, and the action set at the end.
    fn resume(&mut self, state: &FrozenState) {
        let rest = &state.rest;
        self.at.first = state.first;
        for (i, r) in rest.iter().enumerate() {
            self.at.table = r.table;
            self.at.cookie = r.cookie;
            self.at.rule = None;
            self.at.reason = r.reason;
            self.run_actions(&r.actions);
            match &r.then {
                FrozenThen::Next => {}
                FrozenThen::Instructions(what) if self.freeze.is_some() => {
                    self.left_instructions((**what).clone());
                }
                FrozenThen::Instructions(_) if self.exit => {}
                FrozenThen::Instructions(what) => {
                    let next = self.run_instructions(what);
                    self.go_on(next);
                }
            }
            if let Some(f) = &mut self.freeze {
                f.rest.extend_from_slice(&rest[i + 1..]);
            }
            if self.freeze.is_some() {
                return;
            }
            if self.exit {
                break;
            }
        }
        if state.run_set {
            self.run_action_set();
        }
    }

    /// Goes on with a frame that was frozen and is parsed anew.
    pub(super) fn thaw(&mut self, state: &FrozenState) {
        let flow = self.key.flow;
        self.key = PipelineKey {
            flow,
            ..state.fields
        };
        self.stack = state.stack.clone();
        self.action_set = state.action_set.clone();
        self.resume(state);
        self.boundary(state.run_set);
    }
}

/// True when the action looks at, or writes, headers that a pop has uncovered unparsed.
pub(super) fn looks_inside(action: &Action, unparsed: Unparsed) -> bool {
    let tags = match unparsed {
        Unparsed::Nothing => return false,
        Unparsed::Payload => false,
        Unparsed::Tags => true,
    };
    let inside = |id| {
        let field = Field::of(id);
        field.present != Present::NONE || id == FieldId::EthType || tags && field.is_vlan()
    };
    match action {
        Action::Output { port, .. } | Action::Enqueue { port, .. } => {
            matches!(*port, OfPort::NORMAL | OfPort::TABLE)
        }
        Action::OutputTruncated { .. }
        | Action::Controller(_)
        | Action::SetQueue(_)
        | Action::PopQueue
        | Action::Meter(_)
        | Action::SetEthSrc(_)
        | Action::SetEthDst(_)
        | Action::SetTunnel(_)
        | Action::Note(_)
        | Action::Exit
        | Action::DebugRecirc
        | Action::DebugSlow
        | Action::Conjunction { .. }
        | Action::FinTimeout { .. } => false,
        Action::PopVlan
        | Action::PushVlan(_)
        | Action::SetVlanVid { .. }
        | Action::SetVlanPcp { .. } => tags,
        Action::SetField(v) => inside(v.field),
        Action::Load(v) => inside(v.dst.id()),
        Action::Push(src) => inside(src.id()),
        Action::Pop(dst) => inside(dst.id()),
        Action::Move { src, dst } => inside(src.id()) || inside(dst.id()),
        _ => true,
    }
}
