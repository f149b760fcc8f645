//! Standard actions, and which family an action belongs to.

use rvs_flow::OfPort;
use rvs_packet::{EtherType, MacAddr, VlanId};

use super::{field, nicira, Budget, EXPERIMENTER};
use crate::error::{ErrorCode, OfError, NICIRA, ONF};
use crate::model::{Action, GroupId, MetadataWrite, MeterId};
use crate::version::Version;
use crate::wire::Reader;

pub(super) enum Pulled {
    Action(Action),
    Metadata(MetadataWrite),
}

/// Reads the one action that is all of `r`: 8 octets at least, a multiple of 8.
pub(super) fn pull_action(r: &mut Reader<'_>, budget: &mut Budget) -> Result<Pulled, OfError> {
    let (kind, len) = (r.u16()?, r.u16()?);
    if kind == EXPERIMENTER {
        return match r.u32()? {
            NICIRA => nicira::pull(r, usize::from(len), budget),
            ONF => pull_onf(r, budget.version).map(Pulled::Action),
            id => Err(ErrorCode::BacBadVendor.because(format!("actions of experimenter {id:#x}"))),
        };
    }
    let action = if budget.version == Version::Of10 {
        pull_of10(r, kind)?
    } else {
        pull_of11(r, kind, budget.version)?
    };
    exhausted(r, len)?;
    Ok(Pulled::Action(action))
}

/// An action of fixed size has no more octets than that.
pub(super) fn exhausted(r: &Reader<'_>, len: u16) -> Result<(), OfError> {
    if r.is_empty() {
        return Ok(());
    }
    Err(ErrorCode::BacBadLen.because(format!(
        "an action of {len} octets has {} too many",
        r.len()
    )))
}

fn pull_onf(r: &mut Reader<'_>, version: Version) -> Result<Action, OfError> {
    let kind = r.u16()?;
    if kind == 3200 && matches!(version, Version::Of13 | Version::Of14) {
        r.skip(2)?;
        return field::pull_copy_field(r);
    }
    Err(ErrorCode::BacBadVendorType.because(format!("ONF action {kind}")))
}

pub(super) fn bad_argument(why: String) -> OfError {
    ErrorCode::BacBadArgument.because(why)
}

fn unknown(kind: u16) -> OfError {
    ErrorCode::BacBadType.because(format!("action type {kind}"))
}

/// Checks that a flow may output to `port`.
pub(crate) fn output_port(port: OfPort) -> Result<OfPort, OfError> {
    let reserved = port.is_reserved() && port >= OfPort::IN_PORT && port <= OfPort::LOCAL;
    if reserved || port < OfPort::MAX {
        return Ok(port);
    }
    Err(ErrorCode::BacBadOutPort.because(format!(
        "output to port {:#x}; ports are numbered 1 to 0xfeff, or reserved",
        port.0
    )))
}

fn pull_of10(r: &mut Reader<'_>, kind: u16) -> Result<Action, OfError> {
    let action = match kind {
        0 => {
            let port = output_port(OfPort::from_u16(r.u16()?))?;
            return Ok(Action::Output {
                port,
                max_len: r.u16()?,
            });
        }
        11 => {
            let port = OfPort::from_u16(r.u16()?);
            r.skip(6)?;
            let fits = port < OfPort::MAX || matches!(port, OfPort::IN_PORT | OfPort::LOCAL);
            if !fits {
                return Err(ErrorCode::BacBadOutPort
                    .because(format!("enqueue on {port}, which has no queues")));
            }
            return Ok(Action::Enqueue {
                port,
                queue: r.u32()?,
            });
        }
        1 => set_vlan_vid(r, true)?,
        2 => set_vlan_pcp(r, true)?,
        3 => {
            r.skip(4)?;
            Action::PopVlan
        }
        4 => Action::SetEthSrc(mac(r)?),
        5 => Action::SetEthDst(mac(r)?),
        6 => Action::SetNwSrc(r.array()?),
        7 => Action::SetNwDst(r.array()?),
        8 => set_tos(r)?,
        9 => Action::SetTpSrc(port16(r)?),
        10 => Action::SetTpDst(port16(r)?),
        _ => return Err(unknown(kind)),
    };
    Ok(action)
}

fn pull_of11(r: &mut Reader<'_>, kind: u16, version: Version) -> Result<Action, OfError> {
    let since = |v: Version| version >= v;
    let action = match kind {
        0 => {
            let port = output_port(OfPort(r.u32()?))?;
            let max_len = r.u16()?;
            r.skip(6)?;
            Action::Output { port, max_len }
        }
        1 => set_vlan_vid(r, false)?,
        2 => set_vlan_pcp(r, false)?,
        3 => Action::SetEthSrc(mac(r)?),
        4 => Action::SetEthDst(mac(r)?),
        5 => Action::SetNwSrc(r.array()?),
        6 => Action::SetNwDst(r.array()?),
        7 => set_tos(r)?,
        8 => Action::SetNwEcn(bits(r, 3, "nw_ecn")?),
        9 => Action::SetTpSrc(port16(r)?),
        10 => Action::SetTpDst(port16(r)?),
        11 => void(r, Action::CopyTtlOut)?,
        12 => void(r, Action::CopyTtlIn)?,
        13 => Action::SetMplsLabel(mpls_label(r.u32()?)?),
        14 => Action::SetMplsTc(bits(r, 7, "mpls_tc")?),
        15 => Action::SetMplsTtl(bits(r, 255, "mpls_ttl")?),
        16 => void(r, Action::DecMplsTtl)?,
        17 => Action::PushVlan(tag_type(
            r,
            &[EtherType::VLAN, EtherType::QINQ],
            "push_vlan",
        )?),
        18 => void(r, Action::PopVlan)?,
        19 => Action::PushMpls(mpls_type(port16(r)?)?),
        20 => Action::PopMpls(EtherType(port16(r)?)),
        21 => Action::SetQueue(r.u32()?),
        22 => group(r.u32()?)?,
        23 => Action::SetNwTtl(bits(r, 255, "nw_ttl")?),
        24 => void(r, Action::DecNwTtl(Box::new([])))?,
        25 if since(Version::Of12) => field::pull_set_field(r, version)?,
        26 if since(Version::Of13) => Action::PushPbb(tag_type(r, &[EtherType::PBB], "push_pbb")?),
        27 if since(Version::Of13) => void(r, Action::PopPbb)?,
        28 if since(Version::Of15) => return field::pull_copy_field(r),
        29 if since(Version::Of15) => meter(r.u32()?)?,
        _ => return Err(unknown(kind)),
    };
    Ok(action)
}

fn void(r: &mut Reader<'_>, action: Action) -> Result<Action, OfError> {
    r.skip(4)?;
    Ok(action)
}

fn mac(r: &mut Reader<'_>) -> Result<MacAddr, OfError> {
    let mac = MacAddr(r.array()?);
    r.skip(6)?;
    Ok(mac)
}

fn port16(r: &mut Reader<'_>) -> Result<u16, OfError> {
    let v = r.u16()?;
    r.skip(2)?;
    Ok(v)
}

/// One octet of at most `max`, and its padding.
fn bits(r: &mut Reader<'_>, max: u8, what: &str) -> Result<u8, OfError> {
    let v = r.u8()?;
    r.skip(3)?;
    if v > max {
        return Err(bad_argument(format!("{what} is {v}; {max} is the most")));
    }
    Ok(v)
}

fn set_vlan_vid(r: &mut Reader<'_>, push: bool) -> Result<Action, OfError> {
    let v = port16(r)?;
    let vid = VlanId::new(v).ok_or_else(|| bad_argument(format!("VLAN {v}; 4095 is the most")))?;
    Ok(Action::SetVlanVid { vid, push })
}

fn set_vlan_pcp(r: &mut Reader<'_>, push: bool) -> Result<Action, OfError> {
    let pcp = bits(r, 7, "VLAN priority")?;
    Ok(Action::SetVlanPcp { pcp, push })
}

fn set_tos(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let tos = bits(r, 255, "nw_tos")?;
    if tos & 3 != 0 {
        return Err(bad_argument(format!(
            "nw_tos is {tos}; its two low bits are ECN and stay 0"
        )));
    }
    Ok(Action::SetNwTos(tos))
}

pub(super) fn mpls_label(label: u32) -> Result<u32, OfError> {
    if label > 0xf_ffff {
        return Err(bad_argument(format!(
            "MPLS label {label:#x} has more than 20 bits"
        )));
    }
    Ok(label)
}

pub(super) fn mpls_type(kind: u16) -> Result<EtherType, OfError> {
    let kind = EtherType(kind);
    if !kind.is_mpls() {
        return Err(bad_argument(format!(
            "push_mpls with Ethernet type {:#06x}; it takes 0x8847 or 0x8848",
            kind.0
        )));
    }
    Ok(kind)
}

fn tag_type(r: &mut Reader<'_>, allowed: &[EtherType], what: &str) -> Result<EtherType, OfError> {
    let kind = EtherType(port16(r)?);
    if !allowed.contains(&kind) {
        return Err(bad_argument(format!(
            "{what} with Ethernet type {:#06x}; it takes {:#06x}",
            kind.0,
            allowed.first().map_or(0, |t| t.0)
        )));
    }
    Ok(kind)
}

pub(super) fn group(id: u32) -> Result<Action, OfError> {
    if id > GroupId::MAX.0 {
        return Err(ErrorCode::BacBadOutGroup
            .because(format!("group {id:#x}; groups are numbered to 0xffffff00")));
    }
    Ok(Action::Group(GroupId(id)))
}

/// A meter that a flow may name.
pub(crate) fn meter(id: u32) -> Result<Action, OfError> {
    if id == 0 || id > MeterId::MAX.0 {
        return Err(ErrorCode::MmfcInvalidMeter.because(format!(
            "meter {id:#x}; meters are numbered 1 to 0xffff0000"
        )));
    }
    Ok(Action::Meter(MeterId(id)))
}
