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
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VlanSet(Box<[u64; 64]>);

impl VlanSet {
    pub fn empty() -> Self {
        Self(Box::new([0; 64]))
    }

    pub fn insert(&mut self, vid: VlanId) {
        self.0[usize::from(vid.get() >> 6)] |= 1 << (vid.get() & 63);
    }

    pub fn contains(&self, vid: VlanId) -> bool {
        self.0[usize::from(vid.get() >> 6)] >> (vid.get() & 63) & 1 != 0
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|w| *w == 0)
    }

    /// Members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = VlanId> + '_ {
        (0..=VlanId::MAX)
            .filter_map(VlanId::new)
            .filter(|v| self.contains(*v))
    }

    /// As a port's list: an empty list carries everything.
    fn carries(&self, vid: VlanId) -> bool {
        self.contains(vid) || self.is_empty()
    }
}

impl Default for VlanSet {
    fn default() -> Self {
        Self::empty()
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn v(n: u16) -> VlanId {
        VlanId::new(n).unwrap()
    }

    fn set(ids: &[u16]) -> VlanSet {
        ids.iter().map(|n| v(*n)).collect()
    }

    fn tag(vid: u16, pcp: u8) -> Tag {
        Tag {
            tpid: EtherType::VLAN,
            vid: v(vid),
            pcp,
        }
    }

    fn untagged() -> TagStack {
        TagStack::default()
    }

    fn one(vid: u16, pcp: u8) -> TagStack {
        TagStack {
            outer: Some(tag(vid, pcp)),
            inner: None,
        }
    }

    fn two(outer: u16, inner: u16) -> TagStack {
        TagStack {
            outer: Some(tag(outer, 0)),
            inner: Some(tag(inner, 0)),
        }
    }

    /// VLAN that the mode gives, or why not.
    fn vlan_in(mode: &VlanMode, tags: TagStack) -> Result<u16, VlanDrop> {
        mode.input(&tags).map(|i| i.vlan.get())
    }

    #[test]
    fn input_matrix() {
        use VlanDrop::*;
        let access = VlanMode::Access(v(100));
        let trunk_all = VlanMode::default();
        let trunk = VlanMode::Trunk {
            trunks: set(&[100, 4095]),
        };
        let trunk0 = VlanMode::Trunk {
            trunks: set(&[0, 100]),
        };
        let native = VlanMode::NativeTagged {
            tag: v(1),
            trunks: set(&[100]),
        };
        let native_u = VlanMode::NativeUntagged {
            tag: v(1),
            trunks: set(&[100]),
        };
        let tunnel = VlanMode::Dot1qTunnel {
            tag: v(100),
            cvlans: VlanSet::empty(),
            ethertype: EtherType::QINQ,
        };
        let tunnel_c = VlanMode::Dot1qTunnel {
            tag: v(100),
            cvlans: set(&[10]),
            ethertype: EtherType::QINQ,
        };
        let rows: &[(&VlanMode, [Result<u16, VlanDrop>; 6])] = &[
            // untagged, priority-tagged, VID 100, VID 200, VID 4095, 100 over 10
            (
                &access,
                [
                    Ok(100),
                    Ok(100),
                    Err(TagOnAccess),
                    Err(TagOnAccess),
                    Err(TagOnAccess),
                    Err(TagOnAccess),
                ],
            ),
            (
                &trunk_all,
                [Ok(0), Ok(0), Ok(100), Ok(200), Ok(4095), Ok(100)],
            ),
            (
                &trunk,
                [
                    Err(NotInTrunk),
                    Err(NotInTrunk),
                    Ok(100),
                    Err(NotInTrunk),
                    Ok(4095),
                    Ok(100),
                ],
            ),
            (
                &trunk0,
                [
                    Ok(0),
                    Ok(0),
                    Ok(100),
                    Err(NotInTrunk),
                    Err(NotInTrunk),
                    Ok(100),
                ],
            ),
            (
                &native,
                [
                    Ok(1),
                    Ok(1),
                    Ok(100),
                    Err(NotInTrunk),
                    Err(NotInTrunk),
                    Ok(100),
                ],
            ),
            (
                &native_u,
                [
                    Ok(1),
                    Ok(1),
                    Ok(100),
                    Err(NotInTrunk),
                    Err(NotInTrunk),
                    Ok(100),
                ],
            ),
            (&tunnel, [Ok(100); 6]),
            (&tunnel_c, [Err(CvlanNotAllowed); 6]),
        ];
        for (mode, want) in rows {
            let frames = [
                untagged(),
                one(0, 5),
                one(100, 0),
                one(200, 0),
                one(4095, 0),
                two(100, 10),
            ];
            for (frame, want) in frames.iter().zip(want) {
                assert_eq!(vlan_in(mode, *frame), *want, "{mode:?} {frame:?}");
            }
        }
        assert_eq!(vlan_in(&tunnel_c, one(10, 0)), Ok(100));
        assert_eq!(
            vlan_in(&native, one(1, 0)),
            Ok(1),
            "the native VLAN, tagged, not in trunks"
        );
    }

    #[test]
    fn output_matrix() {
        let push = |tpid, vid| TagEdit::Push {
            tpid,
            tci: VlanTci::new(v(vid), 0),
        };
        let from_access = VlanMode::Access(v(100));
        let from_trunk = VlanMode::default();
        let from_tunnel = VlanMode::Dot1qTunnel {
            tag: v(100),
            cvlans: VlanSet::empty(),
            ethertype: EtherType::QINQ,
        };
        let outs = [
            VlanMode::Access(v(100)),
            VlanMode::default(),
            VlanMode::Trunk {
                trunks: set(&[0, 200]),
            },
            VlanMode::NativeTagged {
                tag: v(100),
                trunks: set(&[200]),
            },
            VlanMode::NativeUntagged {
                tag: v(100),
                trunks: set(&[200]),
            },
            VlanMode::Dot1qTunnel {
                tag: v(100),
                cvlans: set(&[0, 10]),
                ethertype: EtherType::QINQ,
            },
        ];
        use TagEdit::*;
        let p = Some(push(EtherType::VLAN, 100));
        let s = Some(push(EtherType::QINQ, 100));
        let rows: &[(&VlanMode, TagStack, [Option<TagEdit>; 6])] = &[
            (
                &from_access,
                untagged(),
                [Some(Keep), p, None, p, Some(Keep), Some(Keep)],
            ),
            (
                &from_access,
                one(0, 5),
                [
                    Some(Pop),
                    Some(SetVid(v(100))),
                    None,
                    Some(SetVid(v(100))),
                    Some(Pop),
                    Some(Pop),
                ],
            ),
            (
                &from_trunk,
                one(100, 3),
                [
                    Some(Pop),
                    Some(Keep),
                    None,
                    Some(Keep),
                    Some(Pop),
                    Some(Pop),
                ],
            ),
            (
                &from_trunk,
                one(200, 0),
                [None, Some(Keep), Some(Keep), Some(Keep), Some(Keep), None],
            ),
            (
                &from_trunk,
                untagged(),
                [None, Some(Keep), Some(Keep), None, None, None],
            ),
            (
                &from_trunk,
                one(0, 5),
                [None, Some(Pop), Some(Pop), None, None, None],
            ),
            // Nothing is uncovered: the access port does not carry it, the native port keeps the tag.
            (
                &from_trunk,
                two(100, 10),
                [None, Some(Keep), None, Some(Keep), Some(Keep), Some(Pop)],
            ),
            (
                &from_trunk,
                two(100, 11),
                [None, Some(Keep), None, Some(Keep), Some(Keep), None],
            ),
            (
                &from_trunk,
                two(0, 11),
                [None, Some(Keep), Some(Keep), None, None, None],
            ),
            (
                &from_tunnel,
                untagged(),
                [Some(Keep), s, None, s, Some(Keep), Some(Keep)],
            ),
            (&from_tunnel, one(10, 0), [None, s, None, s, s, Some(Keep)]),
        ];
        for (from, frame, want) in rows {
            let inside = from.input(frame).unwrap();
            for (out, want) in outs.iter().zip(want) {
                assert_eq!(
                    out.output(&inside, PriorityTags::No),
                    *want,
                    "{frame:?} -> {out:?}"
                );
            }
        }
    }

    #[test]
    fn priority_tags_on_the_way_out() {
        let out = VlanMode::Access(v(100));
        let from_trunk = |pcp| VlanMode::default().input(&one(100, pcp)).unwrap();
        let from_access = |t: TagStack| VlanMode::Access(v(100)).input(&t).unwrap();
        let zero = TagEdit::SetVid(VlanId::ZERO);
        let rows = [
            (PriorityTags::No, from_trunk(5), TagEdit::Pop),
            (PriorityTags::IfNonzero, from_trunk(5), zero),
            (PriorityTags::IfNonzero, from_trunk(0), TagEdit::Pop),
            (PriorityTags::Always, from_trunk(0), zero),
            (
                PriorityTags::IfNonzero,
                from_access(one(0, 1)),
                TagEdit::Keep,
            ),
            (PriorityTags::Always, from_access(one(0, 0)), TagEdit::Keep),
            (PriorityTags::Always, from_access(untagged()), TagEdit::Keep),
        ];
        for (tags, frame, want) in rows {
            assert_eq!(out.output(&frame, tags), Some(want), "{tags:?} {frame:?}");
        }
    }
}
