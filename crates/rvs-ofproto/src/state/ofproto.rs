//! The state of one bridge's agent, and its way in: transactions, settings, events, garbage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use ahash::RandomState;
use rvs_classifier::Config;
use rvs_flow::OfPort;
use rvs_openflow::message::{FlowCommand, FlowMod, Port, PortConfig};
use rvs_openflow::{
    Action, ErrorCode, FlowMatch, GroupId, Instructions, MeterId, OfError, TableId,
};
use rvs_packet::Now;
use rvs_pipeline::{BridgeId, FragMode, Miss, Settings};

use super::garbage::{Dying, Faded};
use super::group_mod::{GroupInfo, Parents};
use super::index::Index;
use super::learn::Lessons;
use super::limits::{Limits, MANY};
use super::meter_mod::MeterInfo;
use super::slices::{Outcome, Running, Task};
use super::table_mod::{TableLimit, TableState};
use super::txn::{Scratch, Txn};
use super::{Event, Mod};
use crate::{Author, Plant};

/// The one writer of a bridge's tables, groups, meters and port configurations.
///
/// What packets see lives in the published [`rvs_pipeline::Bridge`] and is read from there; here is what only the agent
/// needs beside it.
pub struct Ofproto {
    pub(super) id: BridgeId,
    pub(super) hasher: RandomState,
    pub(super) limits: Limits,
    pub(super) index: Index,
    pub(super) groups: BTreeMap<GroupId, GroupInfo>,
    pub(super) parents: Parents,
    pub(super) meters: BTreeMap<MeterId, MeterInfo>,
    pub(super) tables: BTreeMap<TableId, TableState>,
    /// Tables that may hold more flows than their limit and are to evict them, or have to put them in order first.
    pub(super) large: BTreeSet<TableId>,
    /// Limits that were set while a transaction was under way.
    pub(super) coming: BTreeMap<TableId, TableLimit>,
    pub(super) ports: BTreeMap<OfPort, Port>,
    pub(super) configs: BTreeMap<OfPort, PortConfig>,
    frags: FragMode,
    invalid_ttl: bool,
    miss: Miss,
    /// Somebody monitors flows.
    pub(super) watched: bool,
    /// Changes to come are later than those that monitors were told of before they paused.
    pub(super) not_before: Now,
    pub(super) events: Vec<Event>,
    /// Versions that dumps show.
    pub(super) pins: Vec<Weak<u64>>,
    /// Tables with removed rules.
    pub(super) dirty: BTreeSet<TableId>,
    /// Tables that others have taken the place of.
    pub(super) dying: Vec<Dying>,
    /// Groups and meters that are gone.
    pub(super) faded: Faded,
    pub(super) scratch: Scratch,
    /// A transaction under way in slices, and what became of the last.
    pub(super) running: Option<Box<Running>>,
    pub(super) outcome: Option<Outcome>,
    pub(super) lessons: Lessons,
}

impl Ofproto {
    /// The agent of a bridge that has no flows beyond those that [`Self::adopt`] finds.
    pub fn new(id: BridgeId, hasher: RandomState) -> Self {
        Self::with_limits(id, hasher, Limits::default())
    }

    /// As [`Self::new`], with other limits.
    pub fn with_limits(id: BridgeId, hasher: RandomState, limits: Limits) -> Self {
        Self {
            id,
            limits,
            index: Index::new(&hasher),
            groups: BTreeMap::new(),
            parents: Parents::new(),
            meters: BTreeMap::new(),
            hasher,
            tables: BTreeMap::new(),
            large: BTreeSet::new(),
            coming: BTreeMap::new(),
            ports: BTreeMap::new(),
            configs: BTreeMap::new(),
            frags: FragMode::Normal,
            invalid_ttl: false,
            miss: Miss::Drop,
            watched: false,
            not_before: Now::ZERO,
            events: Vec::new(),
            pins: Vec::new(),
            dirty: BTreeSet::new(),
            dying: Vec::new(),
            faded: Faded::default(),
            scratch: Scratch::default(),
            running: None,
            outcome: None,
            lessons: Lessons::default(),
        }
    }

    pub fn id(&self) -> BridgeId {
        self.id
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Does all of `mods` or nothing, in one version with one publication. `Ok` says that it will be done: where many flows lose
    /// their teacher by it, it is published by [`Self::proceed`], and until then [`Self::is_busy`].
    ///
    /// # Errors
    /// The first modification that failed, and why. Nothing has changed then, not a counter, not a timeout.
    pub fn apply(
        &mut self,
        now: Now,
        author: &Author,
        mods: impl IntoIterator<Item = Mod>,
        plant: &mut impl Plant,
    ) -> Result<(), (usize, OfError)> {
        let Some(mut txn) = Txn::begin(self, now, *author, plant) else {
            return Err((0, ErrorCode::BrcEperm.because("the bridge is not up")));
        };
        for (i, m) in mods.into_iter().enumerate() {
            if let Err(e) = txn.modify(m) {
                txn.rollback();
                return Err((i, e));
            }
        }
        txn.commit();
        Ok(())
    }

    /// A time that no change so far is later than, and every change to come is, although clocks may stand still.
    pub fn divide(&mut self, now: Now) -> Now {
        let at = now.max(self.not_before);
        self.not_before = at + std::time::Duration::from_nanos(1);
        at
    }

    /// Deletes all flows, groups and meters, as when the set of controllers changes; then, if `standalone`, adds the flow
    /// by which the bridge is a learning switch. Where there is much to delete, [`Self::proceed`] does it.
    pub fn reset(&mut self, now: Now, standalone: bool, plant: &mut impl Plant) {
        self.lessons.clear();
        let mut all = FlowMod::new(FlowCommand::Delete, FlowMatch::any());
        all.table = TableId::ALL;
        let mut mods = vec![
            Task::Mod(Mod::Flow(Box::new(all))),
            Task::ForgetGroups,
            Task::ForgetMeters,
        ];
        if standalone {
            let mut normal = FlowMod::new(FlowCommand::Add, FlowMatch::any());
            normal.priority = 0;
            normal.instructions = Instructions::apply([Action::output(OfPort::NORMAL)]);
            mods.push(Task::Mod(Mod::Flow(Box::new(normal))));
        }
        // Packets taught by the old flows until now.
        mods.push(Task::ForgetLessons);
        self.begin(
            now,
            &Author::switch(),
            Box::new(mods.into_iter()),
            false,
            plant,
        );
        if self.index.flows + self.groups.len() + self.meters.len() <= MANY {
            self.finish(plant);
        }
    }

    /// Counts flows that the published bridge has already, and that no transaction put there.
    pub fn adopt(&mut self, now: Now, plant: &impl Plant) {
        let Some(bridge) = plant.bridge(self.id) else {
            return;
        };
        self.index = Index::new(&self.hasher);
        for table in bridge.tables.iter() {
            for r in table
                .read()
                .select(bridge.version, rvs_classifier::Filter::All)
            {
                let id = super::index::FlowId {
                    table: table.id,
                    rule: r.id(),
                };
                self.index.add(now, id, r.payload(), false, || r.value());
            }
        }
    }

    /// Tells every flow that is added, changed or removed from now on, or not. Costs a copy of each flow.
    pub fn set_watched(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// What happened since the last call, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Changes the settings in which OpenFlow has a say. Whoever publishes the bridge calls it.
    pub fn adjust(&self, settings: &mut Settings) {
        settings.frags = self.frags;
        settings.invalid_ttl_to_controller = self.invalid_ttl;
        settings.miss = self.miss;
    }

    /// `OFPT_SET_CONFIG`.
    pub fn set_config(&mut self, frags: FragMode, invalid_ttl: bool, plant: &mut impl Plant) {
        if (self.frags, self.invalid_ttl) != (frags, invalid_ttl) {
            (self.frags, self.invalid_ttl) = (frags, invalid_ttl);
            self.publish_settings(plant);
        }
    }

    /// (fragments, packets whose TTL expires go to controllers), as set.
    pub fn config(&self) -> (FragMode, bool) {
        (self.frags, self.invalid_ttl)
    }

    /// What a packet without a flow does: it goes to the controller while one is connected that speaks 1.2 or less.
    pub fn set_miss(&mut self, miss: Miss, plant: &mut impl Plant) {
        if self.miss != miss {
            self.miss = miss;
            self.publish_settings(plant);
        }
    }

    fn publish_settings(&mut self, plant: &mut impl Plant) {
        let Some(mut txn) = Txn::begin(self, Now::ZERO, Author::switch(), plant) else {
            return;
        };
        let mut settings = (*txn.w.bridge.settings).clone();
        txn.state.adjust(&mut settings);
        txn.w.bridge.settings = Arc::new(settings);
        txn.changed_everything();
        txn.commit();
    }

    /// Of tables of a bridge with these settings.
    pub(super) fn classifier_config(&self, settings: &Settings) -> Config {
        Config {
            hasher: self.hasher.clone(),
            // Who compares flows of a dummy with Open vSwitch's wants the same bits.
            round_prefixes: !settings.dummy,
        }
    }
}
