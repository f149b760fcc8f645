//! HELLO: which versions a peer speaks (OpenFlow 1.3.5 section 7.5.1).

use crate::error::{ErrorCode, OfError};
use crate::message::props;
use crate::version::{Version, VersionSet};
use crate::wire::{Reader, Writer};

/// `OFPHET_VERSIONBITMAP`.
const VERSIONBITMAP: u16 = 1;

/// The versions that the sender speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    pub versions: VersionSet,
}

impl Hello {
    /// Reads the body under a header of wire version `wire`. Elements that are unknown or cut short are passed over, and
    /// so is a body of octets that no version defines: a HELLO must not fail for what it may learn to say.
    pub(crate) fn pull(r: &mut Reader<'_>, wire: u8) -> Self {
        let mut r = Reader::new(r.rest(), ErrorCode::BrcBadLen);
        while let Ok(Some((kind, mut e))) = props::pull(&mut r) {
            if kind == VERSIONBITMAP {
                if let Ok(bits) = e.u32() {
                    return Self {
                        versions: VersionSet::from_bits(bits),
                    };
                }
            }
        }
        Self {
            versions: VersionSet::up_to(wire),
        }
    }

    /// The version of the header: the newest of the set.
    pub(crate) fn wire_version(&self) -> u8 {
        let highest = 31 - (self.versions.bits() | 2).leading_zeros();
        highest as u8
    }

    /// Writes the body. A bitmap only where it says more than the header does, as old peers may choke on it.
    pub(crate) fn put(&self, w: &mut Writer) {
        if self.versions == VersionSet::up_to(self.wire_version()) {
            return;
        }
        props::put(w, VERSIONBITMAP, |w| w.u32(self.versions.bits()));
    }

    /// The version to speak.
    ///
    /// # Errors
    /// [`ErrorCode::HfcIncompatible`]; its text is meant for the peer, too.
    pub fn negotiate(&self, ours: VersionSet) -> Result<Version, OfError> {
        ours.common(self.versions).newest().ok_or_else(|| {
            let names: Vec<_> = ours.iter().map(Version::name).collect();
            ErrorCode::HfcIncompatible.because(format!(
                "no version in common: the peer speaks versions {:#x}, this switch {} ({:#x})",
                self.versions.bits(),
                names.join(", "),
                ours.bits()
            ))
        })
    }
}
