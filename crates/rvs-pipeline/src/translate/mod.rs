//! From a flow key to datapath actions.
//!
//! One [`Ctx`] walks the tables. It keeps three views of the packet:
//! - `key`: the packet as the tables see it now, rewritten by the actions so far;
//! - `wc`: the bits of the packet *as it arrived* that anything has looked at; they only ever grow;
//! - `known`: the bits of `key` that no longer come from the packet (a constant was written, or a value that was looked at
//!   first), so that looking at them says nothing about the packet.
//!
//! Everything that reads the packet goes through [`Ctx::see`], which adds to `wc` what is not `known`. That is the whole of
//! megaflow soundness on this side of the classifier: a decision may depend on `key` bits only after they were seen.
//! Edits are emitted without looking at the old value, so that a rewrite costs no bits of the mask.
//!
//! Files: `instruction` (tables and instructions), `action` (the list interpreter), `set` (fields), `tags` (VLAN, MPLS,
//! PBB), `output` and `patch`, `protocol` (what ends at the bridge itself), `normal`, `mirror`, `group` and `select`, `controller`, `learn`, `compose` (the list), `limits`.

mod action;
mod compose;
mod controller;
mod ctx;
mod freeze;
mod group;
mod instruction;
mod learn;
pub(crate) mod limits;
mod meter;
mod mirror;
mod normal;
pub mod output;
mod patch;
mod protocol;
mod select;
mod set;
mod tags;
mod vlan;

use rvs_dpif::DropReason;
use rvs_flow::{DpPort, FlowKey, Mask, OfPort, Present};
use rvs_openflow::TableId;

use crate::bridge::FragMode;
use crate::trace::Trace;
use crate::translation::{FrozenState, Translation};
use crate::world::PipelineView;
use ctx::Ctx;
use protocol::Door;

/// Decides what happens to packets with this key. Pure: the same view and key give the same answer, and nothing changes.
pub fn translate(view: &PipelineView<'_>, key: &FlowKey, trace: &mut impl Trace) -> Translation {
    let mut ctx = Ctx::new(view, *key, trace);
    if let Err(reason) = ctx.start() {
        ctx.drop_with(reason);
    }
    ctx.finish()
}

impl<T: Trace> Ctx<'_, '_, T> {
    /// Finds where the packet comes in and sends it through the tables.
    fn start(&mut self) -> Result<(), DropReason> {
        let arrived = self.key.flow;
        if arrived.recirc_id != 0 {
            return self.start_again(arrived.recirc_id);
        }
        let Some((bridge, port)) = self.view.world.port(DpPort(arrived.in_port)) else {
            // The port is about to come or has just gone: an entry depends on no bridge and would outlive that.
            self.cacheable = false;
            return Err(DropReason::NoBridge);
        };
        self.see(|m| m.present |= Present::BAD_L2);
        if arrived.present.has(Present::BAD_L2) {
            return Err(DropReason::BadFrame);
        }
        self.enter(bridge, port.of);
        if let Door::Taken = self.admit(bridge, port)? {
            return Ok(());
        }
        let drops_fragments = bridge.settings.frags == FragMode::Drop;
        if drops_fragments {
            self.see(|m| {
                m.present |= Present::IP;
                m.nw_frag = 0xff;
            });
        }
        self.hide_inner_tag();
        self.show_fragment_ports();
        self.mirror_arrival(port);
        let dropped = drops_fragments && arrived.nw_frag != 0;
        if !dropped {
            self.run_tables(TableId(0));
            self.boundary(true);
        }
        if !port.stp.forwards() {
            self.silence();
            return Err(DropReason::StpBlocked);
        }
        if dropped {
            return Err(DropReason::FragDrop);
        }
        Ok(())
    }

    /// Goes on with a packet that a controller resumes, or starts with one that it sends.
    fn inject(&mut self, state: &FrozenState) -> Result<(), DropReason> {
        let bridge = self.at.bridge.filter(|_| state.arriving);
        let port = bridge.and_then(|b| Some((b, b.ports.get(OfPort(state.fields.of_port))?)));
        self.mirrored = state.mirrored.clone();
        if let Some((bridge, port)) = port {
            self.not_reserved(bridge, port)?;
            self.mirror_arrival(port);
        }
        // Its frame is a new one, of no queue.
        self.set_priority(state.priority);
        self.thaw(state);
        Ok(())
    }

    /// Goes on with a frame that recirculated.
    fn start_again(&mut self, id: u32) -> Result<(), DropReason> {
        let world = self.view.world;
        let state = self
            .view
            .frozen
            .get(&id)
            .cloned()
            .ok_or(DropReason::RecircUnknown)?;
        let bridge = world.bridge(state.bridge).ok_or(DropReason::NoBridge)?;
        self.enter(bridge, OfPort(state.fields.of_port));
        if !state.two_tags {
            self.hide_inner_tag();
        }
        self.show_fragment_ports();
        self.mirrored = state.mirrored.clone();
        self.priority = state.priority;
        self.thaw(&state);
        Ok(())
    }
}

/// Runs `actions` on a packet of a controller's (packet-out), or goes on with one that a controller resumes: as
/// [`translate`], but the packet does not start in the first table of its input port.
pub fn translate_actions(
    view: &PipelineView<'_>,
    key: &FlowKey,
    state: &FrozenState,
    trace: &mut impl Trace,
) -> Translation {
    let mut ctx = Ctx::new(view, *key, trace);
    ctx.cacheable = false;
    match view.world.bridge(state.bridge) {
        None => ctx.drop_with(DropReason::NoBridge),
        Some(bridge) => {
            ctx.enter(bridge, OfPort(state.fields.of_port));
            if !state.two_tags {
                ctx.hide_inner_tag();
            }
            ctx.show_fragment_ports();
            if let Err(reason) = ctx.inject(state) {
                ctx.drop_with(reason);
            }
        }
    }
    ctx.finish()
}

/// The mask of a translation that looked at nothing but where the packet came from.
fn origin_mask(mut mask: Mask<FlowKey>) -> Mask<FlowKey> {
    mask.0.in_port = u32::MAX;
    mask.0.recirc_id = u32::MAX;
    mask
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use rvs_classifier::Config;
    use rvs_dpif::DpAction;
    use rvs_flow::{OfPort, PipelineKey};
    use rvs_l2::{BundleId, FdbKey, GratuitousArp, Lesson, MacConfig, MacTable, VlanMode};
    use rvs_openflow::{Action, Instructions};
    use rvs_packet::{MacAddr, Now, VlanId, VlanTci};

    use super::*;
    use crate::{
        Bridge, BridgeId, CachedEffect, FrozenStates, MacTables, NoTrace, Port, Ports, Rule, Table,
        Tables, World,
    };

    fn out(n: u32) -> DpAction {
        DpAction::Output(DpPort(n))
    }

    /// Access ports 1 and 2 in VLAN 100, a trunk 3, an access port 4 in VLAN 200.
    fn world() -> World {
        let v = |n| VlanMode::Access(VlanId::new(n).unwrap());
        let port = |n| Port::device(OfPort(n), DpPort(n), &format!("p{n}"));
        let ports = Ports::singles([
            (port(1), v(100)),
            (port(2), v(100)),
            (port(3), VlanMode::default()),
            (port(4), v(200)),
        ]);
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let table = Table::new(
            TableId(0),
            Config {
                hasher,
                round_prefixes: true,
            },
        );
        let actions = vec![Action::output(OfPort::NORMAL)];
        let rule = Arc::new(Rule::new(TableId(0), 0, Instructions::apply(actions)));
        table
            .write()
            .insert(&PipelineKey::default(), &Mask::none(), 0, rule, 1)
            .unwrap();
        let mut bridge = Bridge::new(BridgeId(1), "br1");
        bridge.ports = Arc::new(ports.unwrap());
        bridge.tables = Arc::new(Tables::default().with(Arc::new(table)));
        World::new(0).with_bridge(1, bridge)
    }

    fn key(in_port: u32, dst: MacAddr) -> FlowKey {
        FlowKey {
            in_port,
            dl_src: [2, 0, 0, 0, 0, 1],
            dl_dst: dst.0,
            ..Default::default()
        }
    }

    #[test]
    fn normal_floods_then_knows() {
        let world = world();
        let mut macs = MacTables::default();
        macs.insert(BridgeId(1), MacTable::new(MacConfig::default()));
        let frozen = FrozenStates::default();
        let k = key(1, MacAddr::BROADCAST);
        let view = PipelineView {
            world: &world,
            macs: &macs,
            frozen: &frozen,
        };
        let t = translate(&view, &k, &mut NoTrace);
        let vlan = VlanId::new(100).unwrap();
        let push = DpAction::PushVlan {
            tpid: rvs_packet::EtherType::VLAN,
            tci: VlanTci::new(vlan, 0),
        };
        assert_eq!(t.actions, vec![out(2), push.clone(), out(3)]);
        assert!(t
            .effects
            .iter()
            .any(|e| matches!(e, CachedEffect::Learn { lesson, .. }
            if lesson.key.vlan == vlan && lesson.port == BundleId(1))));

        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        let lesson = Lesson {
            key: FdbKey { vlan, mac },
            port: BundleId(3),
            arp: GratuitousArp::No,
        };
        macs.get_mut(BridgeId(1)).unwrap().learn(Now::ZERO, lesson);
        let view = PipelineView {
            world: &world,
            macs: &macs,
            frozen: &frozen,
        };
        let t = translate(&view, &key(1, mac), &mut NoTrace);
        assert_eq!(t.actions, vec![push, out(3)]);
        assert_eq!(t.deps.macs.len(), 1);
        let t = translate(&view, &key(9, mac), &mut NoTrace);
        assert_eq!((t.actions, t.drop), (vec![], Some(DropReason::NoBridge)));
        assert!(!t.cacheable, "the port may come at any moment");
    }
}
