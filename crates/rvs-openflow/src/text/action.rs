//! Actions, printed.

use std::fmt::{self, Display as _};

use rvs_flow::field::Field;
use rvs_flow::OfPort;

use super::{choice, controller, learn, Words};
use crate::model::{Action, LoadValue};
use crate::version::Version;

/// A list, `drop` when it is empty.
pub(super) struct List<'t> {
    pub(super) list: &'t [Action],
    pub(super) words: Words<'t>,
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.list.is_empty() {
            return f.write_str("drop");
        }
        for (i, a) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            fmt_action(f, a, &self.words)?;
        }
        Ok(())
    }
}

/// As C's `%#x`: zero has no prefix.
pub(super) struct Hex(pub(super) u128);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            v => write!(f, "{v:#x}"),
        }
    }
}

/// Octets in pairs of digits, with dots.
pub(super) struct Octets<'a>(pub(super) &'a [u8]);

impl fmt::Display for Octets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, b) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            write!(f, "{b:02x}")?;
        }
        Ok(())
    }
}

fn ipv4(v: &[u8; 4]) -> std::net::Ipv4Addr {
    (*v).into()
}

fn fmt_action(f: &mut fmt::Formatter<'_>, a: &Action, w: &Words<'_>) -> fmt::Result {
    use Action as A;
    match a {
        A::Output { port, max_len } => fmt_output(f, *port, *max_len, w),
        A::OutputTruncated { port, max_len } => {
            write!(f, "output(port={},max_len={max_len})", w.port(*port))
        }
        A::OutputReg { src, .. } => write!(f, "output:{src}"),
        A::Controller(c) => controller::fmt(f, c),
        A::Enqueue { port, queue } => write!(f, "enqueue:{}:{queue}", w.port(*port)),
        A::SetQueue(q) => write!(f, "set_queue:{q}"),
        A::PopQueue => f.write_str("pop_queue"),
        A::Group(g) => write!(f, "group:{}", g.0),
        A::Meter(m) => write!(f, "meter:{}", m.0),
        A::SetField(v) => {
            let field = Field::of(v.field);
            write!(
                f,
                "set_field:{}->{field}",
                field.display(v.value, v.mask, w.ports)
            )
        }
        A::Load(v) => fmt_load(f, v),
        A::Move { src, dst } => write!(f, "move:{src}->{dst}"),
        A::Resubmit { port, table } => fmt_resubmit(f, *port, table.map(|t| t.0), w),
        A::Note(octets) => write!(f, "note:{}", Octets(octets)),
        A::Exit => f.write_str("exit"),
        A::DebugRecirc => f.write_str("debug_recirc"),
        A::DebugSlow => f.write_str("debug_slow"),
        A::Push(s) => write!(f, "push:{s}"),
        A::Pop(s) => write!(f, "pop:{s}"),
        A::Clone(list) => write!(f, "clone({})", List { list, words: *w }),
        A::Conjunction {
            id,
            clause,
            n_clauses,
        } => write!(
            f,
            "conjunction({id},{}/{n_clauses})",
            u16::from(*clause) + 1
        ),
        A::Learn(l) => learn::fmt(f, l, w),
        A::Multipath(m) => choice::fmt_multipath(f, m),
        A::Bundle(b) => choice::fmt_bundle(f, b, w),
        A::FinTimeout { idle, hard } => fmt_fin_timeout(f, *idle, *hard),
        A::CheckPktLarger { dst, len } => write!(f, "check_pkt_larger({len})->{dst}"),
        _ => fmt_header(f, a, w),
    }
}

/// Actions on headers.
fn fmt_header(f: &mut fmt::Formatter<'_>, a: &Action, w: &Words<'_>) -> fmt::Result {
    use Action as A;
    match a {
        A::PushVlan(t) => write!(f, "push_vlan:{:#x}", t.0),
        A::PopVlan if w.version == Version::Of10 => f.write_str("strip_vlan"),
        A::PopVlan => f.write_str("pop_vlan"),
        A::PushMpls(t) => write!(f, "push_mpls:{:#06x}", t.0),
        A::PopMpls(t) => write!(f, "pop_mpls:{:#06x}", t.0),
        A::PushPbb(t) => write!(f, "push_pbb:{:#x}", t.0),
        A::PopPbb => f.write_str("pop_pbb"),
        A::SetVlanVid { vid, push: true } => write!(f, "mod_vlan_vid:{}", vid.get()),
        A::SetVlanVid { vid, push: false } => write!(f, "set_vlan_vid:{}", vid.get()),
        A::SetVlanPcp { pcp, push: true } => write!(f, "mod_vlan_pcp:{pcp}"),
        A::SetVlanPcp { pcp, push: false } => write!(f, "set_vlan_pcp:{pcp}"),
        A::SetEthSrc(m) => write!(f, "mod_dl_src:{m}"),
        A::SetEthDst(m) => write!(f, "mod_dl_dst:{m}"),
        A::SetNwSrc(v) => write!(f, "mod_nw_src:{}", ipv4(v)),
        A::SetNwDst(v) => write!(f, "mod_nw_dst:{}", ipv4(v)),
        A::SetNwTos(v) => write!(f, "mod_nw_tos:{v}"),
        A::SetNwEcn(v) => write!(f, "mod_nw_ecn:{v}"),
        A::SetNwTtl(v) => write!(f, "mod_nw_ttl:{v}"),
        A::SetTpSrc(v) => write!(f, "mod_tp_src:{v}"),
        A::SetTpDst(v) => write!(f, "mod_tp_dst:{v}"),
        A::SetTunnel(v) => {
            let wide = if *v > u32::MAX.into() { "64" } else { "" };
            write!(f, "set_tunnel{wide}:{}", Hex((*v).into()))
        }
        A::SetMplsLabel(v) => write!(f, "set_mpls_label({v})"),
        A::SetMplsTc(v) => write!(f, "set_mpls_tc({v})"),
        A::SetMplsTtl(v) => write!(f, "set_mpls_ttl({v})"),
        A::DecMplsTtl => f.write_str("dec_mpls_ttl"),
        A::DecNwTtl(ids) if ids.is_empty() => f.write_str("dec_ttl"),
        A::DecNwTtl(ids) => {
            let ids: Vec<String> = ids.iter().map(|i| i.0.to_string()).collect();
            write!(f, "dec_ttl({})", ids.join(","))
        }
        A::CopyTtlOut => f.write_str("copy_ttl_out"),
        A::CopyTtlIn => f.write_str("copy_ttl_in"),
        // The rest is fmt_action's.
        _ => Ok(()),
    }
}

fn fmt_output(f: &mut fmt::Formatter<'_>, p: OfPort, max_len: u16, w: &Words<'_>) -> fmt::Result {
    if p < OfPort::MAX {
        f.write_str("output:")?;
    }
    w.port(p).fmt(f)?;
    if p == OfPort::CONTROLLER {
        write!(f, ":{max_len}")?;
    }
    Ok(())
}

fn fmt_load(f: &mut fmt::Formatter<'_>, v: &LoadValue) -> fmt::Result {
    write!(f, "load:{}->{}", Hex(v.value), v.dst)
}

fn fmt_resubmit(
    f: &mut fmt::Formatter<'_>,
    port: Option<OfPort>,
    table: Option<u8>,
    w: &Words<'_>,
) -> fmt::Result {
    match (port, table) {
        (Some(p), None) => write!(f, "resubmit:{}", w.port(p)),
        (p, t) => {
            f.write_str("resubmit(")?;
            if let Some(p) = p {
                w.port(p).fmt(f)?;
            }
            f.write_str(",")?;
            if let Some(t) = t {
                write!(f, "{t}")?;
            }
            f.write_str(")")
        }
    }
}

fn fmt_fin_timeout(f: &mut fmt::Formatter<'_>, idle: u16, hard: u16) -> fmt::Result {
    f.write_str("fin_timeout(")?;
    if idle != 0 {
        write!(f, "idle_timeout={idle}")?;
    }
    if idle != 0 && hard != 0 {
        f.write_str(",")?;
    }
    if hard != 0 {
        write!(f, "hard_timeout={hard}")?;
    }
    f.write_str(")")
}
