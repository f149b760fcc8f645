//! Every mode against every kind of frame, in and out.
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
