//! VLANs of a port: which VLAN an arriving frame is in, and what its tags look like where it leaves.
//!
//! A frame is seen as a stack of tags. On the way in, a port either *consumes* the outermost tag as the frame's VLAN or
//! leaves the stack alone and gives the frame a VLAN of its own. The answer, [`Inside`], says which; everything behind the
//! VLAN tag is payload that no port touches. On the way out, a port that carries the VLAN answers with one [`TagEdit`]
//! relative to the frame *as it arrived*. Nothing here depends on time, tables or other ports.
//!
//! Invariants
//! - Membership is judged by presence, never by "VID 0 means none": a frame with a second tag never leaves an access port,
//!   whatever the VID of that tag.
//! - A tag is never uncovered: where a trunk would strip the VLAN tag (VLAN 0, or the native VLAN of a native-untagged
//!   port) and another tag stands behind it, the VLAN tag stays. Otherwise the frame would arrive at the neighbour in the
//!   VLAN of the second tag (the double-tagging attack). A dot1q-tunnel port uncovers by design.
//! - The TPID and PCP of a consumed tag stay as they are, so that neither has to be known to forward the frame.
//!
//! Sources: IEEE 802.1Q-2018 clauses 6.9 and 9.6; the names and defaults of the columns `tag`, `trunks`, `vlan_mode`,
//! `cvlans`, `other_config:qinq-ethtype` and `other_config:priority-tags` of the `Port` table.

use std::fmt;

use rvs_packet::{EtherType, VlanId, VlanTci};

/// A set of VLAN ids, 0..=4095. In `trunks`, 0 stands for frames without a VLAN.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct VlanSet(
    /// `None` exactly when there is no member: the common set costs no memory and no search.
    Option<Box<[u64; 64]>>,
);

impl VlanSet {
    pub fn empty() -> Self {
        Self(None)
    }

    pub fn insert(&mut self, vid: VlanId) {
        let words = self.0.get_or_insert_with(|| Box::new([0; 64]));
        words[usize::from(vid.get() >> 6)] |= 1 << (vid.get() & 63);
    }

    pub fn contains(&self, vid: VlanId) -> bool {
        let words = self.0.as_deref();
        words.is_some_and(|w| w[usize::from(vid.get() >> 6)] >> (vid.get() & 63) & 1 != 0)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = VlanId> + '_ {
        (0..=VlanId::MAX)
            .filter_map(VlanId::new)
            .filter(|v| self.contains(*v))
    }

    /// As a port's list: an empty list carries everything.
    pub fn carries(&self, vid: VlanId) -> bool {
        self.contains(vid) || self.is_empty()
    }
}

impl FromIterator<VlanId> for VlanSet {
    fn from_iter<I: IntoIterator<Item = VlanId>>(ids: I) -> Self {
        let mut set = Self::empty();
        ids.into_iter().for_each(|v| set.insert(v));
        set
    }
}

impl fmt::Debug for VlanSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(VlanId::get)).finish()
    }
}

/// How a port takes part in VLANs. It acts in NORMAL (and in mirrors), never in `output:N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VlanMode {
    /// One VLAN, untagged on the wire.
    Access(VlanId),
    /// Tagged. An empty set carries every VLAN and untagged frames; otherwise 0 in the set stands for untagged frames.
    Trunk { trunks: VlanSet },
    /// A trunk whose untagged frames are in `tag`, which is carried even if not in `trunks` and leaves tagged.
    NativeTagged { tag: VlanId, trunks: VlanSet },
    /// The same, but `tag` leaves untagged.
    NativeUntagged { tag: VlanId, trunks: VlanSet },
    /// Every frame is the customer's: an outer tag `tag` of type `ethertype` is added inside and removed on the way out.
    /// A non-empty `cvlans` limits the customer's VLANs both ways; 0 in it stands for the customer's untagged frames.
    Dot1qTunnel {
        tag: VlanId,
        cvlans: VlanSet,
        ethertype: EtherType,
    },
}

impl Default for VlanMode {
    /// A port without configuration: a trunk of everything.
    fn default() -> Self {
        Self::Trunk {
            trunks: VlanSet::empty(),
        }
    }
}

/// When a frame of VLAN 0 (on the wire of that port) keeps or gets an 802.1Q header for its priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PriorityTags {
    /// Never.
    #[default]
    No,
    /// When the priority is not 0.
    IfNonzero,
    /// Whenever the frame arrived with a header.
    Always,
}

/// One tag of a frame. DEI is not looked at and stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    pub tpid: EtherType,
    pub vid: VlanId,
    /// 0..=7.
    pub pcp: u8,
}

/// The outermost two tags of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TagStack {
    pub outer: Option<Tag>,
    /// Never without `outer`.
    pub inner: Option<Tag>,
}

/// A frame inside the bridge: its VLAN, and where in the frame that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inside {
    pub vlan: VlanId,
    /// The frame's outermost tag, when that is the VLAN tag (or a priority tag in its place); `None` when the frame has no
    /// such tag and gets its VLAN from the port.
    pub consumed: Option<Tag>,
    /// Type of the tag to push where the VLAN has to be written and no tag was consumed.
    pub push_tpid: EtherType,
    /// The tag behind the VLAN tag.
    pub behind: Option<Tag>,
}

/// Why the input port does not take a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VlanDrop {
    /// An access port takes no VLAN tag, not even its own.
    TagOnAccess,
    NotInTrunk,
    CvlanNotAllowed,
}

/// How much of the tag behind the VLAN tag a decision depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LookBehind {
    Nothing,
    /// Whether there is one.
    Presence,
    /// Its VID.
    Vid,
}

/// What to do with the tags of the frame as it arrived before it leaves a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TagEdit {
    Keep,
    /// Rewrites the VID of the outermost tag.
    SetVid(VlanId),
    Push {
        tpid: EtherType,
        tci: VlanTci,
    },
    Pop,
}

impl VlanMode {
    /// The port's own VLAN, where it has one.
    pub fn tag(&self) -> Option<VlanId> {
        match self {
            Self::Trunk { .. } => None,
            Self::Access(tag)
            | Self::NativeTagged { tag, .. }
            | Self::NativeUntagged { tag, .. }
            | Self::Dot1qTunnel { tag, .. } => Some(*tag),
        }
    }

    /// Which VLAN a frame with these tags is in when it arrives on this port.
    pub fn input(&self, tags: &TagStack) -> Result<Inside, VlanDrop> {
        let vid = tags.outer.map_or(VlanId::ZERO, |t| t.vid);
        let untagged = vid == VlanId::ZERO;
        let inside = |vlan| Inside {
            vlan,
            consumed: tags.outer,
            push_tpid: EtherType::VLAN,
            behind: tags.inner,
        };
        match self {
            Self::Access(tag) if untagged => Ok(inside(*tag)),
            Self::Access(_) => Err(VlanDrop::TagOnAccess),
            Self::Trunk { trunks } if trunks.carries(vid) => Ok(inside(vid)),
            Self::NativeTagged { tag, .. } | Self::NativeUntagged { tag, .. } if untagged => {
                Ok(inside(*tag))
            }
            Self::NativeTagged { tag, trunks } | Self::NativeUntagged { tag, trunks }
                if vid == *tag || trunks.carries(vid) =>
            {
                Ok(inside(vid))
            }
            Self::Trunk { .. } | Self::NativeTagged { .. } | Self::NativeUntagged { .. } => {
                Err(VlanDrop::NotInTrunk)
            }
            Self::Dot1qTunnel {
                tag,
                cvlans,
                ethertype,
            } => {
                if !cvlans.carries(vid) {
                    return Err(VlanDrop::CvlanNotAllowed);
                }
                Ok(Inside {
                    vlan: *tag,
                    consumed: None,
                    push_tpid: *ethertype,
                    behind: tags.outer,
                })
            }
        }
    }

    /// What [`Self::output`] of a frame in that VLAN looks at behind the VLAN tag.
    pub fn looks_behind(&self, vlan: VlanId) -> LookBehind {
        let presence = match self {
            Self::Access(tag) | Self::NativeUntagged { tag, .. } => vlan == *tag,
            Self::Trunk { .. } => vlan == VlanId::ZERO,
            Self::NativeTagged { .. } => false,
            Self::Dot1qTunnel { tag, cvlans, .. } if vlan == *tag && !cvlans.is_empty() => {
                return LookBehind::Vid;
            }
            Self::Dot1qTunnel { .. } => false,
        };
        if presence {
            LookBehind::Presence
        } else {
            LookBehind::Nothing
        }
    }

    /// How the frame leaves this port; `None` when the port does not carry it.
    ///
    /// The priority of `frame.consumed` is looked at only under [`PriorityTags::IfNonzero`].
    pub fn output(&self, frame: &Inside, priority_tags: PriorityTags) -> Option<TagEdit> {
        let vlan = frame.vlan;
        match self {
            Self::Access(tag) => {
                (vlan == *tag && frame.behind.is_none()).then(|| frame.bare(priority_tags))
            }
            Self::Trunk { trunks } => trunks.carries(vlan).then(|| {
                if vlan == VlanId::ZERO {
                    frame.bare_unless_covering(priority_tags)
                } else {
                    frame.tagged()
                }
            }),
            Self::NativeTagged { tag, trunks } => {
                carries_native(*tag, trunks, vlan).then(|| frame.tagged())
            }
            Self::NativeUntagged { tag, trunks } => carries_native(*tag, trunks, vlan).then(|| {
                if vlan == *tag {
                    frame.bare_unless_covering(priority_tags)
                } else {
                    frame.tagged()
                }
            }),
            Self::Dot1qTunnel { tag, cvlans, .. } => {
                let customer = frame.behind.map_or(VlanId::ZERO, |t| t.vid);
                (vlan == *tag && cvlans.carries(customer)).then(|| {
                    if frame.consumed.is_some() {
                        TagEdit::Pop
                    } else {
                        TagEdit::Keep
                    }
                })
            }
        }
    }

    /// How a copy for a mirror leaves this port, which is the mirror's alone, whatever VLANs it is configured to carry.
    ///
    /// The priority of `frame.consumed` is looked at only under [`PriorityTags::IfNonzero`].
    pub fn mirror(&self, frame: &Inside, priority_tags: PriorityTags) -> TagEdit {
        match self {
            Self::Access(_) => frame.bare(priority_tags),
            Self::NativeUntagged { tag, .. } if *tag == frame.vlan => frame.bare(priority_tags),
            Self::Dot1qTunnel { .. } => frame.bare(PriorityTags::No),
            Self::Trunk { .. } | Self::NativeTagged { .. } | Self::NativeUntagged { .. } => {
                if frame.vlan == VlanId::ZERO {
                    TagEdit::Keep
                } else {
                    frame.tagged()
                }
            }
        }
    }
}

/// A native port carries its native VLAN always and VLAN 0 never (untagged frames are in the native VLAN).
fn carries_native(tag: VlanId, trunks: &VlanSet, vlan: VlanId) -> bool {
    vlan == tag || (vlan != VlanId::ZERO && trunks.carries(vlan))
}

impl Inside {
    /// With the VLAN written in the outermost tag.
    fn tagged(&self) -> TagEdit {
        match self.consumed {
            Some(t) if t.vid == self.vlan => TagEdit::Keep,
            Some(_) => TagEdit::SetVid(self.vlan),
            None => TagEdit::Push {
                tpid: self.push_tpid,
                tci: VlanTci::new(self.vlan, 0),
            },
        }
    }

    /// Without a VLAN tag, at most with a priority tag.
    fn bare(&self, priority_tags: PriorityTags) -> TagEdit {
        let Some(t) = self.consumed else {
            return TagEdit::Keep;
        };
        let keep = match priority_tags {
            PriorityTags::No => false,
            PriorityTags::IfNonzero => t.pcp != 0,
            PriorityTags::Always => true,
        };
        match keep {
            false => TagEdit::Pop,
            true if t.vid == VlanId::ZERO => TagEdit::Keep,
            true => TagEdit::SetVid(VlanId::ZERO),
        }
    }

    /// As [`Self::bare`], but a tag with another tag behind it stays.
    fn bare_unless_covering(&self, priority_tags: PriorityTags) -> TagEdit {
        if self.behind.is_some() {
            self.tagged()
        } else {
            self.bare(priority_tags)
        }
    }
}

#[cfg(test)]
mod tests;
