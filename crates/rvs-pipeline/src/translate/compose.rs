//! The list of datapath actions while it grows.
//!
//! Edits wait in `pending` until something leaves, so that edits nobody sees cost nothing, and one that is overwritten before
//! anything leaves is dropped. What happens inside a *scope* (a bucket, a clone, a NORMAL with its tags, another bridge)
//! leaves the frame as it was before: when the scope has edited the frame and something still follows, its actions are
//! wrapped in a clone after the fact; when nothing follows, which is the common case, they are not.

use rvs_dpif::{DpAction, SetField};

use super::limits::MAX_ACTIONS;

#[derive(Debug, Default)]
pub(super) struct Composer {
    actions: Vec<DpAction>,
    pending: Vec<DpAction>,
    /// From here on the actions leave the frame other than the translation believes it to be.
    unclean: Option<usize>,
    count: usize,
    /// Everything was taken back, and nothing is taken any more.
    closed: bool,
}

/// The start of a scope.
#[derive(Debug)]
#[must_use]
pub(super) struct Scope(usize);

impl Composer {
    /// Takes everything back for good.
    pub(super) fn close(&mut self) {
        *self = Self {
            closed: true,
            ..Self::default()
        };
    }

    /// Changes the frame.
    pub(super) fn edit(&mut self, action: DpAction) {
        if let DpAction::Set(new) = &action {
            if let Some(DpAction::Set(old)) = self.pending.last() {
                if overwrites(new, old) {
                    self.pending.pop();
                }
            }
        }
        let priorities = (&action, self.pending.last());
        if let (DpAction::Priority(_), Some(DpAction::Priority(_))) = priorities {
            self.pending.pop();
        }
        self.pending.push(action);
    }

    /// Something that sees the frame: an output, a punt, a meter, a recirculation.
    pub(super) fn emit(&mut self, action: DpAction) {
        self.flush();
        self.push(action);
    }

    pub(super) fn begin(&mut self) -> Scope {
        self.flush();
        self.clean();
        Scope(self.actions.len())
    }

    pub(super) fn end(&mut self, scope: Scope) {
        self.pending.clear();
        if self.actions.iter().skip(scope.0).any(leaves_a_mark) {
            self.unclean = Some(scope.0);
        }
    }

    /// As [`Self::end`], where `undo` takes back what the scope did to the frame, its last edit included.
    pub(super) fn end_undoing(&mut self, scope: Scope, undo: DpAction) {
        if !self.pending.is_empty() {
            // Nobody saw the last edit: it was not made.
            return self.end(scope);
        }
        self.clean();
        self.pending.push(undo);
    }

    /// Takes the actions since the scope began out of the list, as a list of their own.
    pub(super) fn take(&mut self, scope: Scope) -> Vec<DpAction> {
        self.pending.clear();
        self.unclean = None;
        if self.closed {
            return Vec::new();
        }
        finish(self.actions.split_off(scope.0))
    }

    /// True when the list has outgrown its bounds.
    pub(super) fn overflown(&self) -> bool {
        self.count > MAX_ACTIONS
    }

    /// How deep lists lie in one another; 0 for a plain list.
    pub(super) fn nesting(&self) -> usize {
        nesting(&self.actions)
    }

    /// The list, without what nobody would see.
    pub(super) fn finish(self) -> Vec<DpAction> {
        finish(self.actions)
    }

    fn flush(&mut self) {
        if self.pending.is_empty() {
            self.clean();
            return;
        }
        self.clean();
        for action in std::mem::take(&mut self.pending) {
            self.push(action);
        }
    }

    fn clean(&mut self) {
        if let Some(start) = self.unclean.take() {
            let inner = finish(self.actions.split_off(start));
            if !inner.is_empty() {
                self.push(DpAction::Clone(inner.into()));
            }
        }
    }

    fn push(&mut self, action: DpAction) {
        if self.closed {
            return;
        }
        self.count += 1;
        self.actions.push(action);
    }
}

/// Removes edits that nothing follows, and unwraps a clone that nothing follows.
fn finish(mut list: Vec<DpAction>) -> Vec<DpAction> {
    loop {
        match list.last() {
            Some(a) if is_edit(a) => {
                list.pop();
            }
            Some(DpAction::Clone(inner)) => {
                let inner = inner.clone();
                list.pop();
                list.extend(inner.iter().cloned());
                if inner.is_empty() {
                    continue;
                }
                return list;
            }
            _ => return list,
        }
    }
}

fn nesting(list: &[DpAction]) -> usize {
    let inner = |action: &DpAction| match action {
        DpAction::Clone(inner) => 1 + nesting(inner),
        DpAction::CheckPktLen {
            larger, otherwise, ..
        } => 1 + nesting(larger).max(nesting(otherwise)),
        _ => 0,
    };
    list.iter().map(inner).max().unwrap_or(0)
}

/// Changes the frame and does nothing else.
fn is_edit(action: &DpAction) -> bool {
    match action {
        DpAction::PushVlan { .. }
        | DpAction::PopVlan
        | DpAction::PushMpls { .. }
        | DpAction::PopMpls { .. }
        | DpAction::CopyTtlOut
        | DpAction::CopyTtlIn
        | DpAction::PushPbb { .. }
        | DpAction::PopPbb
        | DpAction::Announce(_)
        | DpAction::Priority(_)
        | DpAction::Set(_) => true,
        DpAction::Output(_)
        | DpAction::OutputTruncated { .. }
        | DpAction::Meter(_)
        | DpAction::Recirc(_)
        | DpAction::Punt { .. }
        | DpAction::Clone(_)
        | DpAction::CheckPktLen { .. } => false,
    }
}

/// What follows would notice that this came before.
fn leaves_a_mark(action: &DpAction) -> bool {
    is_edit(action)
        || matches!(
            action,
            DpAction::Meter(_) | DpAction::Recirc(_) | DpAction::CheckPktLen { .. }
        )
}

/// True when nothing of `old` is left after `new`.
fn overwrites(new: &SetField, old: &SetField) -> bool {
    macro_rules! same {
        ($($v:ident),*) => {
            match (new, old) {
                $((SetField::$v(n), SetField::$v(o)) => covers(&n.mask, &o.mask),)*
                (SetField::NwTtl(_), SetField::NwTtl(_)) | (SetField::ArpOp(_), SetField::ArpOp(_)) => true,
                _ => false,
            }
        };
    }
    same!(
        EthSrc, EthDst, Vlan, Ipv4Src, Ipv4Dst, Ipv6Src, Ipv6Dst, Ipv6Label, NwTos, TpSrc, TpDst,
        IcmpType, IcmpCode, ArpSpa, ArpTpa, ArpSha, ArpTha, NdTarget, NdSll, NdTll, MplsLse,
        PbbIsid
    )
}

/// Every bit of `old` is in `new`.
fn covers<M: MaskBits>(new: &M, old: &M) -> bool {
    old.bits() & !new.bits() == 0
}

trait MaskBits {
    fn bits(&self) -> u128;
}

macro_rules! mask_bits_of_integers {
    ($($t:ty),*) => {
        $(impl MaskBits for $t {
            fn bits(&self) -> u128 {
                u128::from(*self)
            }
        })*
    };
}

mask_bits_of_integers!(u8, u16, u32);

impl MaskBits for rvs_packet::MacAddr {
    fn bits(&self) -> u128 {
        u128::from(self.to_u64())
    }
}

impl MaskBits for [u8; 4] {
    fn bits(&self) -> u128 {
        u128::from(u32::from_be_bytes(*self))
    }
}

impl MaskBits for [u8; 16] {
    fn bits(&self) -> u128 {
        u128::from_be_bytes(*self)
    }
}

#[cfg(test)]
mod tests {
    use rvs_dpif::Masked;
    use rvs_flow::DpPort;

    use super::*;

    fn out(n: u32) -> DpAction {
        DpAction::Output(DpPort(n))
    }

    fn ttl(n: u8) -> DpAction {
        DpAction::Set(SetField::NwTtl(n))
    }

    #[test]
    fn edits_without_output_vanish_and_overwritten_ones_too() {
        let mut c = Composer::default();
        c.edit(ttl(1));
        c.edit(ttl(2));
        c.emit(out(1));
        c.edit(ttl(3));
        assert_eq!(c.finish(), vec![ttl(2), out(1)]);
    }

    #[test]
    fn a_partial_set_does_not_overwrite() {
        let tos = |value, mask| DpAction::Set(SetField::NwTos(Masked::new(value, mask)));
        let mut c = Composer::default();
        c.edit(tos(0xfc, 0xfc));
        c.edit(tos(1, 3));
        c.emit(out(1));
        assert_eq!(c.finish(), vec![tos(0xfc, 0xfc), tos(1, 3), out(1)]);
    }

    #[test]
    fn a_scope_is_wrapped_only_when_something_follows() {
        let scoped = |c: &mut Composer| {
            let s = c.begin();
            c.edit(DpAction::PopVlan);
            c.emit(out(1));
            c.end(s);
        };
        let mut c = Composer::default();
        scoped(&mut c);
        assert_eq!(c.finish(), vec![DpAction::PopVlan, out(1)]);

        let mut c = Composer::default();
        scoped(&mut c);
        c.edit(ttl(9));
        c.emit(out(2));
        let clone = DpAction::Clone(vec![DpAction::PopVlan, out(1)].into());
        assert_eq!(c.finish(), vec![clone, ttl(9), out(2)]);
    }

    #[test]
    fn scopes_nest() {
        let mut c = Composer::default();
        let outer = c.begin();
        let inner = c.begin();
        c.edit(ttl(1));
        c.emit(out(1));
        c.end(inner);
        c.emit(out(2));
        c.end(outer);
        c.emit(out(3));
        let clone = DpAction::Clone(vec![ttl(1), out(1)].into());
        assert_eq!(c.finish(), vec![clone, out(2), out(3)]);
    }

    #[test]
    fn a_scope_that_only_outputs_is_not_wrapped() {
        let mut c = Composer::default();
        let s = c.begin();
        c.emit(out(1));
        c.end(s);
        c.emit(out(2));
        assert_eq!(c.finish(), vec![out(1), out(2)]);
    }
}
