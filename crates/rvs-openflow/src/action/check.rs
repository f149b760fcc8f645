//! Do the actions fit the match?
//!
//! An action on a header needs a match (or an earlier action) that makes sure the header is there. The check walks the
//! list with a copy of the match that earlier actions change: `push_vlan` makes a tag, `pop_mpls:0x0800` makes IPv4. What
//! a set field or a move lacks is an error in every version; what the older setters (`mod_nw_src`, `dec_ttl`) lack is one
//! from OpenFlow 1.1 on, while 1.0 says that they do nothing to a frame without the header.

use rvs_flow::field::{Field, FieldId, Prereq, SubField};
use rvs_flow::OfPort;
use rvs_packet::{EtherType, IpProto};

use super::decode::output_port;
use crate::error::{ErrorCode, OfError};
use crate::model::{Action, Instructions, Learn, LearnDst, LearnSrc, TableId};
use crate::oxm::FlowMatch;
use crate::version::Version;

/// What happens to a setter whose header the match does not promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckLevel {
    /// It stays (OpenFlow 1.0).
    Lenient,
    /// [`ErrorCode::BacMatchInconsistent`].
    Strict,
}

impl CheckLevel {
    pub fn of(version: Version) -> Self {
        if version == Version::Of10 {
            Self::Lenient
        } else {
            Self::Strict
        }
    }
}

/// Checks the instructions of a flow of `table` (`TableId::ALL`: any) that matches `m`.
///
/// # Errors
/// [`ErrorCode::BacMatchInconsistent`], [`ErrorCode::BacBadOutPort`], [`ErrorCode::BacBadTag`];
/// [`ErrorCode::BicBadTableId`] for a goto that does not lead forward.
pub fn check_instructions(
    m: &FlowMatch,
    i: &Instructions,
    table: TableId,
    level: CheckLevel,
) -> Result<(), OfError> {
    check_actions(m, &i.apply, level)?;
    let clause = |a: &Action| matches!(a, Action::Conjunction { .. });
    if i.apply.iter().any(clause) && !i.is_only_apply() {
        return Err(ErrorCode::NxbacBadConjunction
            .because("a flow with conjunction has no other instructions than its actions"));
    }
    // The order of a set is not that of writing, so only what no order can cure is an error.
    check_actions(m, &i.write, CheckLevel::Lenient)?;
    match i.goto {
        Some(to) if to > TableId::MAX || table != TableId::ALL && to <= table => {
            Err(ErrorCode::BicBadTableId.because(format!(
                "goto_table:{} from table {}; it must lead forward and to 253 at most",
                to.0, table.0
            )))
        }
        _ => Ok(()),
    }
}

/// Checks a list of actions on frames that match `m`.
///
/// # Errors
/// As [`check_instructions`].
pub fn check_actions(m: &FlowMatch, actions: &[Action], level: CheckLevel) -> Result<(), OfError> {
    // Most lists are outputs alone, which need nothing of the match.
    let plain = |a: &Action| matches!(a, Action::Output { port, .. } if output_port(*port).is_ok());
    if actions.iter().all(plain) {
        return Ok(());
    }
    Checker {
        known: *m,
        tags: tags_of(m),
        level,
    }
    .list(actions)
}

fn tags_of(m: &FlowMatch) -> u8 {
    let (tci, mask) = m.field(FieldId::VlanTci);
    u8::from(tci & mask & 0x1000 != 0)
}

struct Checker {
    /// What is known of the frame before the next action.
    known: FlowMatch,
    /// Tags that are known to be there.
    tags: u8,
    level: CheckLevel,
}

impl Checker {
    fn list(&mut self, actions: &[Action]) -> Result<(), OfError> {
        actions.iter().try_for_each(|a| self.action(a))
    }

    fn action(&mut self, a: &Action) -> Result<(), OfError> {
        use Action as A;
        match a {
            A::Output { port, .. } | A::OutputTruncated { port, .. } => {
                output_port(*port).map(|_| ())
            }
            A::Enqueue { port, .. } => {
                if *port < OfPort::MAX || matches!(*port, OfPort::IN_PORT | OfPort::LOCAL) {
                    return Ok(());
                }
                Err(ErrorCode::BacBadOutPort.because(format!("enqueue on {port}")))
            }
            A::SetField(v) => self.set_field(Field::of(v.field), v.value),
            A::Load(v) => {
                self.dst(&v.dst)?;
                self.set_field(v.dst.field(), v.value << v.dst.ofs())
            }
            A::Move { src, dst } => {
                self.src(src)?;
                self.dst(dst)
            }
            A::OutputReg { src, .. } | A::Push(src) => self.src(src),
            A::Pop(dst) | A::CheckPktLarger { dst, .. } => self.dst(dst),
            A::Multipath(m) => self.dst(&m.dst),
            A::Bundle(b) => b.dst.as_ref().map_or(Ok(()), |d| self.dst(d)),
            A::Clone(list) => {
                let saved = (self.known, self.tags);
                self.list(list)?;
                (self.known, self.tags) = saved;
                Ok(())
            }
            A::Learn(l) => self.learn(l),
            _ => self.header(a),
        }
    }

    /// Actions that add, remove or need a header.
    fn header(&mut self, a: &Action) -> Result<(), OfError> {
        use Action as A;
        match a {
            A::SetVlanVid { push, .. } | A::SetVlanPcp { push, .. } => {
                if self.tags == 0 && !push {
                    self.lacks("setting a VLAN", "vlan_vid=0x1000/0x1000")?;
                }
                self.tags = self.tags.max(1);
                self.note_tag();
            }
            A::PopVlan => {
                if self.tags == 0 {
                    self.lacks("pop_vlan", "vlan_vid=0x1000/0x1000")?;
                }
                self.tags = self.tags.saturating_sub(1);
                self.note_tag();
            }
            A::PushVlan(_) => {
                if self.tags == 2 {
                    return Err(ErrorCode::BacBadTag.because("push_vlan of a third tag"));
                }
                self.tags += 1;
                self.note_tag();
            }
            A::PushMpls(t) => self.now_is(Some(*t)),
            A::PopMpls(t) => {
                self.need("pop_mpls", Prereq::Mpls)?;
                self.now_is(Some(*t));
            }
            A::PushPbb(t) => self.now_is(Some(*t)),
            A::PopPbb => {
                self.need("pop_pbb", Prereq::Pbb)?;
                self.now_is(None);
            }
            A::SetMplsLabel(_) | A::SetMplsTc(_) | A::SetMplsTtl(_) | A::DecMplsTtl => {
                self.need("an action on MPLS", Prereq::Mpls)?;
            }
            A::SetNwSrc(_) | A::SetNwDst(_) => {
                self.need("setting an IPv4 address", Prereq::Ipv4)?
            }
            A::SetNwTos(_) | A::SetNwEcn(_) | A::SetNwTtl(_) | A::DecNwTtl(_) => {
                self.need("an action on the IP header", Prereq::Ip)?;
            }
            A::SetTpSrc(_) | A::SetTpDst(_) => self.need_ports()?,
            A::FinTimeout { .. } => {
                let proto = self.known.field(FieldId::IpProto);
                if proto != (IpProto::TCP.0.into(), 0xff) {
                    self.lacks("fin_timeout", "ip_proto=6")?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn need(&self, what: &str, prereq: Prereq) -> Result<(), OfError> {
        match prereq.missing(self.known.value(), self.known.mask()) {
            None => Ok(()),
            Some(needs) => self.lacks(what, needs),
        }
    }

    fn need_ports(&self) -> Result<(), OfError> {
        let has = |p: Prereq| p.missing(self.known.value(), self.known.mask()).is_none();
        if has(Prereq::Tcp) || has(Prereq::Udp) || has(Prereq::Sctp) {
            return Ok(());
        }
        self.lacks("setting a port", "ip_proto=6, 17 or 132")
    }

    /// A setter without its header.
    fn lacks(&self, what: &str, needs: &str) -> Result<(), OfError> {
        match self.level {
            CheckLevel::Lenient => Ok(()),
            CheckLevel::Strict => Err(inconsistent(what, needs)),
        }
    }

    fn prereq(&self, f: &Field) -> Result<(), OfError> {
        f.check_prereq(self.known.value(), self.known.mask())
            .map_err(|e| inconsistent(f.name, e.needs))
    }

    fn src(&self, s: &SubField) -> Result<(), OfError> {
        self.prereq(s.field())
    }

    fn dst(&self, s: &SubField) -> Result<(), OfError> {
        if !s.field().writable {
            return Err(
                ErrorCode::BacBadSetArgument.because(format!("{} cannot be written", s.field()))
            );
        }
        self.prereq(s.field())
    }

    fn set_field(&mut self, f: &'static Field, value: u128) -> Result<(), OfError> {
        self.prereq(f)?;
        match f.id {
            FieldId::EthType => self.now_is(Some(EtherType(value as u16))),
            FieldId::IpProto => {
                let set = self.known.set(FieldId::IpProto, value, 0xff);
                debug_assert!(set.is_ok());
            }
            _ => {}
        }
        if f.id == FieldId::VlanVid && self.tags == 0 {
            return Err(inconsistent(
                "vlan_vid",
                "vlan_vid=0x1000/0x1000, or push_vlan before it",
            ));
        }
        if f.id == FieldId::VlanTci {
            self.tags = if value & 0x1000 != 0 {
                self.tags.max(1)
            } else {
                0
            };
            self.note_tag();
        }
        Ok(())
    }

    /// Learned flows are matches of their own.
    fn learn(&self, l: &Learn) -> Result<(), OfError> {
        let mut learned = FlowMatch::any();
        for spec in &l.specs {
            if let LearnSrc::Field(s) = &spec.src {
                self.src(s)?;
            }
            let (LearnDst::Match(dst) | LearnDst::Load(dst)) = &spec.dst else {
                continue;
            };
            dst.field()
                .check_prereq(learned.value(), learned.mask())
                .map_err(|e| {
                    inconsistent(&format!("{} of a learned flow", dst.field()), e.needs)
                })?;
            if let (LearnDst::Match(dst), LearnSrc::Value(v)) = (&spec.dst, &spec.src) {
                let (old, old_mask) = learned.field(dst.id());
                let value = old & !dst.mask() | v << dst.ofs() & dst.mask();
                learned
                    .set(dst.id(), value, old_mask | dst.mask())
                    .map_err(|e| ErrorCode::BacBadArgument.because(e.to_string()))?;
            }
        }
        Ok(())
    }

    /// Makes what is known of the tag agree with `tags`.
    fn note_tag(&mut self) {
        let tci = if self.tags > 0 { 0x1000 } else { 0 };
        let set = self.known.set(FieldId::VlanTci, tci, tci);
        debug_assert!(set.is_ok());
    }

    /// The frame's Ethernet type is now this, and nothing is known of what follows it.
    fn now_is(&mut self, kind: Option<EtherType>) {
        let mask = if kind.is_some() { u128::MAX } else { 0 };
        let value = kind.map_or(0, |t| t.0.into());
        let proto = self.known.set(FieldId::IpProto, 0, 0);
        let set = proto.and_then(|()| self.known.set(FieldId::EthType, value, mask));
        debug_assert!(set.is_ok());
    }
}

fn inconsistent(what: &str, needs: &str) -> OfError {
    ErrorCode::BacMatchInconsistent.because(format!(
        "{what} needs {needs}, which neither the match nor an earlier action provides"
    ))
}
