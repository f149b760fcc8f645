//! Datapath actions as Open vSwitch's traces list them.
//!
//! The datapath of this switch rewrites a field the moment an action says so. Open vSwitch's collects rewrites and commits
//! them before each output: one `set` for each header, with the fields that differ from what was sent last; a tag that
//! changes is popped and pushed; and what a bucket or clone changed is put back by another `set`. The two lists do the same to
//! the frame. This is the second one, worked out from the first and from the frame that is traced.

use rvs_dpif::{ActionText, DpAction, Masked, PuntReason, SetField};
use rvs_flow::{DpPort, FlowKey, Present};
use rvs_packet::{EtherType, IpProto, MacAddr, VlanTci};

/// What puts names to things.
pub struct Committed<'a> {
    pub port: &'a dyn Fn(DpPort) -> String,
    /// The copy for a controller that a cookie means, if it is known.
    pub punt: &'a dyn Fn(u64) -> Option<String>,
}

/// A tag: its TPID, and its VID and PCP.
type Tag = (u16, u16);

/// What the frame is, and what the list has made of it so far.
#[derive(Clone)]
struct State {
    now: FlowKey,
    base: FlowKey,
    /// Bits that were written, of any value.
    written: FlowKey,
    /// Innermost first.
    tags: Vec<Tag>,
    base_tags: Vec<Tag>,
    /// A label that was pushed and that the list does not have yet.
    label: Option<(EtherType, u32)>,
    /// Of the frame's queue, now and in the list.
    priority: [u32; 2],
}

impl State {
    fn new(key: &FlowKey) -> Self {
        let mut tags = Vec::new();
        if key.present.has(Present::VLAN1) {
            tags.push(tag(key.vlan1_tpid.get(), key.vlan1_tci.get()));
        }
        if key.present.has(Present::VLAN0) {
            tags.push(tag(key.vlan0_tpid.get(), key.vlan0_tci.get()));
        }
        Self {
            now: *key,
            base: *key,
            written: FlowKey::default(),
            base_tags: tags.clone(),
            tags,
            label: None,
            priority: [0; 2],
        }
    }
}

/// A tag without the bit that is DEI in a frame and presence in a key.
const fn tag(tpid: u16, tci: u16) -> Tag {
    (tpid, tci & 0xefff)
}

impl Committed<'_> {
    /// The list for a frame with this key; `drop` when nothing is sent.
    pub fn text(&self, key: &FlowKey, actions: &[DpAction]) -> String {
        let mut list = Vec::new();
        self.run(&mut State::new(key), actions, &mut list);
        match list.is_empty() {
            true => "drop".to_owned(),
            false => list.join(","),
        }
    }

    fn nested(&self, state: &State, actions: &[DpAction]) -> String {
        let mut list = Vec::new();
        self.run(&mut state.clone(), actions, &mut list);
        match list.is_empty() {
            true => "drop".to_owned(),
            false => list.join(","),
        }
    }

    fn run(&self, state: &mut State, actions: &[DpAction], list: &mut Vec<String>) {
        for action in actions {
            self.one(state, action, list);
        }
    }

    fn one(&self, state: &mut State, action: &DpAction, list: &mut Vec<String>) {
        match action {
            DpAction::Set(field) => set(state, field),
            DpAction::PushVlan { tpid, tci } => state.tags.push(tag(tpid.0, tci.0)),
            DpAction::PopVlan => {
                state.tags.pop();
            }
            DpAction::PushMpls { ethertype, lse } => {
                commit_label(state, list);
                state.label = Some((*ethertype, *lse));
            }
            DpAction::PopMpls { .. } if state.label.is_some() => state.label = None,
            DpAction::Priority(priority) => state.priority[0] = *priority,
            DpAction::Clone(inner) if can_be_undone(inner) => {
                let (now, tags, label) = (state.now, state.tags.clone(), state.label);
                let priority = state.priority[0];
                self.run(state, inner, list);
                (state.now, state.tags, state.label) = (now, tags, label);
                state.priority[0] = priority;
            }
            DpAction::Clone(inner) => list.push(format!("clone({})", self.nested(state, inner))),
            DpAction::CheckPktLen {
                max_len,
                larger,
                otherwise,
            } => {
                commit(state, list);
                list.push(format!(
                    "check_pkt_len(size={max_len},gt({}),le({}))",
                    self.nested(state, larger),
                    self.nested(state, otherwise)
                ));
            }
            DpAction::Meter(_) => list.push(self.plain(action)),
            DpAction::Punt {
                reason: PuntReason::Controller,
                cookie,
            } => {
                commit(state, list);
                list.push((self.punt)(*cookie).unwrap_or_else(|| self.plain(action)));
            }
            DpAction::PopMpls { .. }
            | DpAction::Output(_)
            | DpAction::OutputTruncated { .. }
            | DpAction::CopyTtlOut
            | DpAction::CopyTtlIn
            | DpAction::PushPbb { .. }
            | DpAction::PopPbb
            | DpAction::Announce(_)
            | DpAction::Recirc(_)
            | DpAction::Punt { .. } => {
                commit(state, list);
                list.push(self.plain(action));
            }
        }
    }

    fn plain(&self, action: &DpAction) -> String {
        let actions = std::slice::from_ref(action);
        let port = self.port;
        ActionText { actions, port }.to_string()
    }
}

/// Whether what a list changes can be put back: there is nothing in it but rewrites and ways out.
fn can_be_undone(actions: &[DpAction]) -> bool {
    actions.iter().all(|a| match a {
        DpAction::Output(_)
        | DpAction::OutputTruncated { .. }
        | DpAction::Set(_)
        | DpAction::PushVlan { .. }
        | DpAction::PopVlan
        | DpAction::Priority(_)
        | DpAction::Punt { .. } => true,
        DpAction::Clone(inner) => can_be_undone(inner),
        _ => false,
    })
}

/// Writes a field, if the frame has it.
fn set(state: &mut State, field: &SetField) {
    let layer = layer(field);
    if layer != Present::NONE && !state.now.present.any(layer) {
        return;
    }
    let (k, w) = (&mut state.now, &mut state.written);
    match field {
        SetField::EthSrc(m) => octets(&mut k.dl_src, &mut w.dl_src, m.value.0, m.mask.0),
        SetField::EthDst(m) => octets(&mut k.dl_dst, &mut w.dl_dst, m.value.0, m.mask.0),
        SetField::Vlan(m) => {
            if let Some((_, tci)) = state.tags.last_mut() {
                *tci = (*tci & !m.mask | m.value) & 0xefff;
            }
        }
        SetField::Ipv4Src(m) | SetField::ArpSpa(m) => {
            octets(&mut k.nw_src, &mut w.nw_src, m.value, m.mask);
        }
        SetField::Ipv4Dst(m) | SetField::ArpTpa(m) => {
            octets(&mut k.nw_dst, &mut w.nw_dst, m.value, m.mask);
        }
        SetField::Ipv6Src(m) => octets(&mut k.ipv6_src, &mut w.ipv6_src, m.value, m.mask),
        SetField::Ipv6Dst(m) => octets(&mut k.ipv6_dst, &mut w.ipv6_dst, m.value, m.mask),
        SetField::Ipv6Label(m) => {
            k.ipv6_label = (k.ipv6_label.get() & !m.mask | m.value).into();
            w.ipv6_label = (w.ipv6_label.get() | m.mask).into();
        }
        SetField::NwTos(m) => {
            k.nw_tos = k.nw_tos & !m.mask | m.value;
            w.nw_tos |= m.mask;
        }
        SetField::NwTtl(ttl) => k.nw_ttl = *ttl,
        SetField::TpSrc(m) => sixteen(&mut k.tp_src, &mut w.tp_src, *m),
        SetField::TpDst(m) => sixteen(&mut k.tp_dst, &mut w.tp_dst, *m),
        SetField::IcmpType(m) => sixteen(&mut k.tp_src, &mut w.tp_src, wide(*m)),
        SetField::IcmpCode(m) => sixteen(&mut k.tp_dst, &mut w.tp_dst, wide(*m)),
        SetField::ArpOp(op) => k.nw_proto = *op as u8,
        SetField::ArpSha(m) | SetField::NdSll(m) => {
            octets(&mut k.arp_sha, &mut w.arp_sha, m.value.0, m.mask.0);
        }
        SetField::ArpTha(m) | SetField::NdTll(m) => {
            octets(&mut k.arp_tha, &mut w.arp_tha, m.value.0, m.mask.0);
        }
        SetField::NdTarget(m) => octets(&mut k.nd_target, &mut w.nd_target, m.value, m.mask),
        SetField::MplsLse(m) => match &mut state.label {
            Some((_, lse)) => *lse = *lse & !m.mask | m.value,
            None if !k.present.has(Present::MPLS0) => {}
            None => k.mpls_lse[0] = (k.mpls_lse[0].get() & !m.mask | m.value).into(),
        },
        SetField::PbbIsid(m) => k.pbb_isid = (k.pbb_isid.get() & !m.mask | m.value).into(),
    }
}

/// What a frame must have for this field; nothing for those that every frame has, or that a list may have pushed.
fn layer(field: &SetField) -> Present {
    match field {
        SetField::EthSrc(_)
        | SetField::EthDst(_)
        | SetField::Vlan(_)
        | SetField::MplsLse(_)
        | SetField::PbbIsid(_) => Present::NONE,
        SetField::Ipv4Src(_) | SetField::Ipv4Dst(_) => Present::IPV4,
        SetField::Ipv6Src(_) | SetField::Ipv6Dst(_) | SetField::Ipv6Label(_) => Present::IPV6,
        SetField::NwTos(_) | SetField::NwTtl(_) => Present::IP,
        SetField::TpSrc(_) | SetField::TpDst(_) => {
            Present::TCP.with(Present::UDP).with(Present::SCTP)
        }
        SetField::IcmpType(_) | SetField::IcmpCode(_) => Present::ICMP,
        SetField::ArpOp(_)
        | SetField::ArpSpa(_)
        | SetField::ArpTpa(_)
        | SetField::ArpSha(_)
        | SetField::ArpTha(_) => Present::ARP,
        SetField::NdTarget(_) | SetField::NdSll(_) | SetField::NdTll(_) => Present::IPV6,
    }
}

fn octets<const N: usize>(key: &mut [u8; N], written: &mut [u8; N], value: [u8; N], mask: [u8; N]) {
    for i in 0..N {
        key[i] = key[i] & !mask[i] | value[i];
        written[i] |= mask[i];
    }
}

fn sixteen<W: From<u16> + Copy + Into<u16>>(key: &mut W, written: &mut W, m: Masked<u16>) {
    *key = ((*key).into() & !m.mask | m.value).into();
    *written = ((*written).into() | m.mask).into();
}

fn wide(m: Masked<u8>) -> Masked<u16> {
    Masked::new(
        m.value.into(),
        if m.mask == u8::MAX {
            u16::MAX
        } else {
            m.mask.into()
        },
    )
}

/// Fields of a header that differ, as text.
#[derive(Default)]
struct Fields(Vec<String>);

impl Fields {
    /// Of a field that was written in part, only that part is said.
    fn add<V: Bits>(
        &mut self,
        name: &str,
        [now, base, written]: [V; 3],
        whole: V,
        show: impl Fn(V) -> String,
    ) {
        let (now, base) = (now.and(written), base.and(written));
        if now == base {
            return;
        }
        let mask = match written == whole {
            true => String::new(),
            false => format!("/{}", written.as_mask(show(written))),
        };
        self.0.push(format!("{name}={}{mask}", show(now)));
    }

    fn commit(self, header: &str, list: &mut Vec<String>) {
        if !self.0.is_empty() {
            list.push(format!("set({header}({}))", self.0.join(",")));
        }
    }
}

/// The value of a field.
trait Bits: PartialEq + Copy {
    fn and(self, mask: Self) -> Self;

    /// How it looks as a mask, given how it looks as a value.
    fn as_mask(self, text: String) -> String {
        text
    }
}

impl Bits for u8 {
    fn and(self, mask: Self) -> Self {
        self & mask
    }
}

impl Bits for u16 {
    fn and(self, mask: Self) -> Self {
        self & mask
    }

    fn as_mask(self, _: String) -> String {
        format!("{self:#x}")
    }
}

impl Bits for u32 {
    fn and(self, mask: Self) -> Self {
        self & mask
    }
}

impl<const N: usize> Bits for [u8; N] {
    fn and(self, mask: Self) -> Self {
        std::array::from_fn(|i| self[i] & mask[i])
    }
}

/// Adds what the list lacks so that a frame leaves as it is now.
fn commit(state: &mut State, list: &mut Vec<String>) {
    let (k, b, w) = (state.now, state.base, state.written);
    let mac = |a: [u8; 6]| MacAddr(a).to_string();
    let mut eth = Fields::default();
    eth.add("src", [k.dl_src, b.dl_src, w.dl_src], [0xff; 6], mac);
    eth.add("dst", [k.dl_dst, b.dl_dst, w.dl_dst], [0xff; 6], mac);
    eth.commit("eth", list);
    commit_network(&k, &b, &w, list);
    commit_transport(&k, &b, &w, list);
    commit_label(state, list);
    let common = state.tags.iter().zip(&state.base_tags);
    let common = common.take_while(|(a, b)| a == b).count();
    list.extend((common..state.base_tags.len()).map(|_| "pop_vlan".to_owned()));
    for (tpid, tci) in state.tags.iter().skip(common) {
        let push = DpAction::PushVlan {
            tpid: EtherType(*tpid),
            tci: VlanTci(*tci),
        };
        let actions = std::slice::from_ref(&push);
        let port = &|p: DpPort| p.to_string();
        list.push(ActionText { actions, port }.to_string());
    }
    state.base_tags.clone_from(&state.tags);
    let [priority, listed] = state.priority;
    if priority != listed {
        let prefix = if priority == 0 { "" } else { "0x" };
        list.push(format!("set(skb_priority({prefix}{priority:x}))"));
        state.priority[1] = priority;
    }
    state.base = state.now;
}

fn commit_network(k: &FlowKey, b: &FlowKey, w: &FlowKey, list: &mut Vec<String>) {
    let mac = |a: [u8; 6]| MacAddr(a).to_string();
    let v4 = |a: [u8; 4]| std::net::Ipv4Addr::from(a).to_string();
    let v6 = |a: [u8; 16]| std::net::Ipv6Addr::from(a).to_string();
    let hex = |v: u8| match v {
        0 => "0".to_owned(),
        v => format!("{v:#x}"),
    };
    let ttl = [k.nw_ttl, b.nw_ttl, u8::MAX];
    let tos = [k.nw_tos, b.nw_tos, w.nw_tos];
    let mut f = Fields::default();
    if k.present.has(Present::IPV4) {
        f.add("src", [k.nw_src, b.nw_src, w.nw_src], [0xff; 4], v4);
        f.add("dst", [k.nw_dst, b.nw_dst, w.nw_dst], [0xff; 4], v4);
        f.add("tos", tos, u8::MAX, hex);
        f.add("ttl", ttl, u8::MAX, |v| v.to_string());
        f.commit("ipv4", list);
    } else if k.present.has(Present::IPV6) {
        f.add("src", [k.ipv6_src, b.ipv6_src, w.ipv6_src], [0xff; 16], v6);
        f.add("dst", [k.ipv6_dst, b.ipv6_dst, w.ipv6_dst], [0xff; 16], v6);
        let label = [k.ipv6_label, b.ipv6_label, w.ipv6_label].map(|l| l.get());
        f.add("label", label, 0xf_ffff, |v| format!("{v:#x}"));
        f.add("tclass", tos, u8::MAX, hex);
        f.add("hlimit", ttl, u8::MAX, |v| v.to_string());
        f.commit("ipv6", list);
    } else if k.present.has(Present::ARP) {
        f.add("sip", [k.nw_src, b.nw_src, w.nw_src], [0xff; 4], v4);
        f.add("tip", [k.nw_dst, b.nw_dst, w.nw_dst], [0xff; 4], v4);
        let op = [k.nw_proto, b.nw_proto, u8::MAX];
        f.add("op", op, u8::MAX, |v| v.to_string());
        f.add("sha", [k.arp_sha, b.arp_sha, w.arp_sha], [0xff; 6], mac);
        f.add("tha", [k.arp_tha, b.arp_tha, w.arp_tha], [0xff; 6], mac);
        f.commit("arp", list);
    }
}

fn commit_transport(k: &FlowKey, b: &FlowKey, w: &FlowKey, list: &mut Vec<String>) {
    let src = [k.tp_src, b.tp_src, w.tp_src].map(|p| p.get());
    let dst = [k.tp_dst, b.tp_dst, w.tp_dst].map(|p| p.get());
    let (mut f, number) = (Fields::default(), |v: u16| v.to_string());
    if k.present.any(Present::ICMP) {
        let v6 = k.present.has(Present::IPV6);
        f.add("type", src, u16::MAX, number);
        f.add("code", dst, u16::MAX, number);
        f.commit(if v6 { "icmpv6" } else { "icmp" }, list);
        let mac = |a: [u8; 6]| MacAddr(a).to_string();
        let v6 = |a: [u8; 16]| std::net::Ipv6Addr::from(a).to_string();
        let mut nd = Fields::default();
        if k.present.has(Present::IPV6) {
            let target = [k.nd_target, b.nd_target, w.nd_target];
            nd.add("target", target, [0xff; 16], v6);
            nd.add("sll", [k.arp_sha, b.arp_sha, w.arp_sha], [0xff; 6], mac);
            nd.add("tll", [k.arp_tha, b.arp_tha, w.arp_tha], [0xff; 6], mac);
            nd.commit("nd", list);
        }
        return;
    }
    let header = match IpProto(k.nw_proto) {
        IpProto::TCP => "tcp",
        IpProto::UDP => "udp",
        IpProto::SCTP => "sctp",
        _ => return,
    };
    f.add("src", src, u16::MAX, number);
    f.add("dst", dst, u16::MAX, number);
    f.commit(header, list);
}

fn commit_label(state: &mut State, list: &mut Vec<String>) {
    let lse = state.now.mpls_lse[0];
    if lse != state.base.mpls_lse[0] {
        list.push(format!("set(mpls({}))", label(lse.get())));
        state.base.mpls_lse[0] = lse;
    }
    if let Some((ethertype, lse)) = state.label.take() {
        let kind = ethertype.0;
        list.push(format!("push_mpls({},eth_type={kind:#x})", label(lse)));
    }
}

fn label(lse: u32) -> String {
    let (value, tc, bos, ttl) = (lse >> 12, lse >> 9 & 7, lse >> 8 & 1, lse & 0xff);
    format!("label={value},tc={tc},ttl={ttl},bos={bos}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::trace::key_of;
    use rvs_flow::NoPortNames;

    fn text(flow: &str, actions: &[DpAction]) -> String {
        let (key, _) = key_of(flow, &NoPortNames).unwrap();
        let how = Committed {
            port: &|p| p.to_string(),
            punt: &|cookie| Some(format!("userspace({cookie})")),
        };
        how.text(&key.flow, actions)
    }

    fn out(port: u32) -> DpAction {
        DpAction::Output(DpPort(port))
    }

    fn eth_src(last: u8) -> DpAction {
        let mac = MacAddr([2, 0, 0, 0, 0, last]);
        DpAction::Set(SetField::EthSrc(Masked::new(mac, MacAddr::BROADCAST)))
    }

    fn vlan(value: u16, mask: u16) -> DpAction {
        DpAction::Set(SetField::Vlan(Masked::new(value, mask)))
    }

    fn push(tci: u16) -> DpAction {
        DpAction::PushVlan {
            tpid: EtherType::VLAN,
            tci: VlanTci(tci),
        }
    }

    #[test]
    fn rewrites_of_a_header_are_one_set_before_the_output() {
        let nw_src = SetField::Ipv4Src(Masked::new([1, 2, 3, 4], [0xff; 4]));
        let tos = SetField::NwTos(Masked::new(4, 0xfc));
        let port = SetField::TpDst(Masked::new(80, u16::MAX));
        let sets = [SetField::NwTtl(63), nw_src, tos, port].map(DpAction::Set);
        let mut list = sets.to_vec();
        list.extend([out(1), out(2)]);
        let wanted = "set(ipv4(src=1.2.3.4,tos=0x4/0xfc,ttl=63)),set(tcp(dst=80)),1,2";
        assert_eq!(text("tcp,nw_ttl=64", &list), wanted);
        // Of a part that is written only the part is said.
        let part = [
            SetField::Ipv4Src(Masked::new([1, 2, 0, 0], [0xff, 0xff, 0, 0])),
            SetField::NwTos(Masked::new(4, 0xfc)),
            SetField::TpSrc(Masked::new(0x100, 0xff00)),
        ];
        let mut partly = part.map(DpAction::Set).to_vec();
        partly.push(out(1));
        assert_eq!(
            text(
                "tcp,nw_src=9.9.9.9,nw_tos=252,nw_ecn=3,tp_src=0x1234",
                &partly
            ),
            "set(ipv4(src=1.2.0.0/255.255.0.0,tos=0x4/0xfc)),set(tcp(src=256/0xff00)),1"
        );
        // What a frame lacks, has already, or does not take anywhere is not listed.
        assert_eq!(text("arp", &list), "1,2");
        assert_eq!(text("dl_src=02:00:00:00:00:01", &[eth_src(1), out(1)]), "1");
        assert_eq!(text("tcp", &[out(1), eth_src(1)]), "1");
        assert_eq!(text("tcp", &[eth_src(1)]), "drop");
    }

    #[test]
    fn a_tag_that_changes_is_popped_and_pushed() {
        let list = [push(4), vlan(0x6000, 0xe000), out(1)];
        assert_eq!(text("in_port=1", &list), "push_vlan(vid=4,pcp=3),1");
        let list = [vlan(4, 0xfff), out(1), DpAction::PopVlan, out(2)];
        let wanted = "pop_vlan,push_vlan(vid=4,pcp=0),1,pop_vlan,2";
        assert_eq!(text("dl_vlan=5", &list), wanted);
        assert_eq!(text("dl_vlan=5", &[vlan(5, 0xfff), out(1)]), "1");
        assert_eq!(text("in_port=1", &[vlan(5, 0xfff), out(1)]), "1");
    }

    #[test]
    fn what_a_copy_changed_is_put_back() {
        let bucket = DpAction::Clone([eth_src(9), out(3)].into());
        let flow = "dl_src=02:00:00:00:00:01";
        let wanted = "1,set(eth(src=02:00:00:00:00:09)),3,set(eth(src=02:00:00:00:00:01)),4";
        assert_eq!(text(flow, &[out(1), bucket.clone(), out(4)]), wanted);
        // Nothing is put back for nobody.
        let wanted = "set(eth(src=02:00:00:00:00:09)),3";
        assert_eq!(text(flow, &[bucket]), wanted);
        let meter = DpAction::Meter(rvs_dpif::MeterId(0));
        let metered = DpAction::Clone([meter, out(3)].into());
        assert_eq!(text(flow, &[metered, out(4)]), "clone(meter(0),3),4");
    }

    #[test]
    fn a_queue_is_chosen_where_a_frame_leaves() {
        let queue = DpAction::Priority;
        let list = [queue(7), queue(1), out(2), queue(0), out(3), queue(5)];
        let wanted = "set(skb_priority(0x1)),2,set(skb_priority(0)),3";
        assert_eq!(text("arp", &list), wanted);
    }

    #[test]
    fn a_pushed_label_is_written_whole() {
        let label = DpAction::PushMpls {
            ethertype: EtherType::MPLS,
            lse: 0x140,
        };
        let set = |value, mask| DpAction::Set(SetField::MplsLse(Masked::new(value, mask)));
        let list = [label.clone(), set(99 << 12, 0xffff_f000), out(2)];
        let wanted = "push_mpls(label=99,tc=0,ttl=64,bos=1,eth_type=0x8847),2";
        assert_eq!(text("dl_type=0x1234", &list), wanted);
        let list = [set(4, 0xff), out(2)];
        let wanted = "set(mpls(label=0,tc=0,ttl=4,bos=0)),2";
        assert_eq!(text("mpls,mpls_ttl=5", &list), wanted);
        let pop = DpAction::PopMpls {
            ethertype: EtherType::IPV4,
        };
        assert_eq!(text("ip", &[label, pop, out(2)]), "2");
    }

    #[test]
    fn branches_and_controllers_see_the_frame_as_it_is() {
        let branch = DpAction::CheckPktLen {
            max_len: 100,
            larger: [eth_src(2), out(2)].into(),
            otherwise: [].into(),
        };
        let punt = DpAction::Punt {
            reason: PuntReason::Controller,
            cookie: 7,
        };
        let wanted = "set(eth(src=02:00:00:00:00:01)),userspace(7),\
                      check_pkt_len(size=100,gt(set(eth(src=02:00:00:00:00:02)),2),le(drop))";
        assert_eq!(text("arp", &[eth_src(1), punt, branch]), wanted);
    }
}
