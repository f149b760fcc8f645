//! OpenFlow flows of a bridge, put into its tables as the OpenFlow agent's one writer does: rules of version n + 1, then
//! version n + 1 of the bridge.

use std::sync::Arc;

use rvs_classifier::{Config, Filter};
use rvs_flow::{Match, NoPortNames, PipelineKey};
use rvs_openflow::{Action, Instructions, TableId};
use rvs_pipeline::{Bridge, Rule, Table};

use crate::switch::TestSwitch;

impl TestSwitch {
    /// Adds a flow to table 0: `add_flow("br", 5, "ip,nw_dst=10.0.0.1", [Action::output(OfPort(1))])`.
    pub fn add_flow(
        &mut self,
        bridge: &str,
        priority: u16,
        matching: &str,
        actions: impl Into<Box<[Action]>>,
    ) {
        let m = Match::parse(matching, &NoPortNames).unwrap();
        self.add_match(bridge, priority, &m, actions);
    }

    /// As [`Self::add_flow`], with a match that is there already. A flow of the same match and priority is replaced.
    pub fn add_match(
        &mut self,
        bridge: &str,
        priority: u16,
        m: &Match<PipelineKey>,
        actions: impl Into<Box<[Action]>>,
    ) {
        let rule = Rule::new(TableId(0), priority, Instructions::apply(actions));
        self.change_bridge(bridge, |b, version| {
            let table = match b.table(TableId(0)) {
                Some(t) => t.clone(),
                None => {
                    let hasher = ahash::RandomState::with_seeds(5, 6, 7, 8);
                    let config = Config {
                        hasher,
                        round_prefixes: true,
                    };
                    Arc::new(Table::new(TableId(0), config))
                }
            };
            let (value, mask, priority) = (m.value(), m.mask(), i32::from(priority));
            let mut rules = table.write();
            let old = rules.find_exact(version - 1, value, mask, priority);
            if let Some(old) = old.map(|r| r.id()) {
                rules.remove_at(old, version).unwrap();
            }
            rules
                .insert(value, mask, priority, Arc::new(rule), version)
                .unwrap();
            drop(rules);
            b.tables = Arc::new(b.tables.with(table));
        });
    }

    /// Removes the flow of exactly that match and priority.
    pub fn del_flow(&mut self, bridge: &str, priority: u16, matching: &str) {
        let m = Match::<PipelineKey>::parse(matching, &NoPortNames).unwrap();
        self.change_bridge(bridge, |b, version| {
            let mut rules = b.table(TableId(0)).unwrap().write();
            let found = rules.find_exact(version - 1, m.value(), m.mask(), i32::from(priority));
            let id = found.unwrap().id();
            rules.remove_at(id, version).unwrap();
        });
    }

    /// Removes every flow of table 0, the one that says NORMAL too.
    pub fn clear_flows(&mut self, bridge: &str) {
        self.change_bridge(bridge, |b, version| {
            let Some(table) = b.table(TableId(0)) else {
                return;
            };
            let mut rules = table.write();
            let at = version - 1;
            let ids: Vec<_> = rules.select(at, Filter::All).map(|r| r.id()).collect();
            for id in ids {
                rules.remove_at(id, version).unwrap();
            }
        });
    }

    /// Forgets removed flows for good, as the agent's writer does when nobody reads old versions any more.
    pub fn purge_flows(&mut self, bridge: &str) {
        let slow = self.slow();
        let bridge = slow.world().bridge_by_name(bridge).unwrap();
        for table in bridge.tables.iter() {
            table.write().purge(bridge.version, usize::MAX, drop);
        }
    }

    /// Publishes a bridge changed by `f`, which is told the version that it will have.
    pub fn change_bridge(&mut self, name: &str, f: impl FnOnce(&mut Bridge, u64)) {
        self.with_slow(|slow, wires| {
            let old = slow.world().bridge_by_name(name).unwrap();
            let mut bridge = (**old).clone();
            let macs = slow.macs().get(bridge.id).unwrap().config();
            bridge.version += 1;
            let version = bridge.version;
            f(&mut bridge, version);
            let wait = slow.set_bridge(bridge, macs, wires);
            if let Some((token, workers)) = wait {
                rvs_switch::Rim::settle(wires, token, &workers);
                for w in workers {
                    slow.acknowledged(w, token, wires);
                }
            }
        });
    }
}
