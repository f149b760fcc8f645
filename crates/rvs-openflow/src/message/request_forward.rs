//! REQUESTFORWARD: another controller's group- or meter-mod (OpenFlow 1.4; ONF's extension for 1.3, Nicira's before).

use super::kind::{self, of11};
use super::{Dialect, Message};
use crate::error::{ErrorCode, OfError};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// The request of another controller, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestForward {
    /// Of the request.
    pub xid: u32,
    /// A group-mod or a meter-mod.
    pub request: Message,
}

impl RequestForward {
    pub(crate) fn pull(r: &mut Reader<'_>, d: &Dialect) -> Result<Self, OfError> {
        let bytes = r.rest();
        let nicira_group = [0, 0, 0x23, 0x20, 0, 0, 0, kind::nxt::GROUP_MOD as u8];
        let forwarded = match bytes.get(1) {
            Some(&(of11::GROUP_MOD | of11::METER_MOD)) => d.version > Version::Of10,
            // Only these: a forward within a forward has no end.
            Some(&kind::EXPERIMENTER) => bytes.get(8..16) == Some(&nicira_group[..]),
            _ => false,
        };
        if !forwarded {
            return Err(ErrorCode::BrcBadType
                .because("a forwarded request that is no group-mod or meter-mod"));
        }
        let (header, request) = d.decode(bytes)?;
        Ok(Self {
            xid: header.xid,
            request,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer, d: &Dialect) {
        match d.encode(&self.request, self.xid) {
            Ok(bytes) => w.bytes(&bytes),
            Err(e) => w.fault(e),
        }
    }
}
