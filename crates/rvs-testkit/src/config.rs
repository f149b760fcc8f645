//! Configuration as users do it: transactions of an OVSDB client.

use std::collections::BTreeSet;

use rvs_ovsdb::jsonrpc::Framer;
use rvs_ovsdb::Uuid;
use serde_json::{json, Map, Value};

use crate::switch::TestSwitch;

/// An OVSDB set; what is in it twice is in it once.
pub fn set<T: Into<Value> + Copy + Ord>(members: &[T]) -> Value {
    let members: BTreeSet<T> = members.iter().copied().collect();
    json!([
        "set",
        members.into_iter().map(Into::into).collect::<Vec<Value>>()
    ])
}

/// An OVSDB map of strings.
pub fn map(pairs: &[(&str, &str)]) -> Value {
    json!(["map", pairs])
}

/// Columns of a `Port` row: an access port.
pub fn access(tag: u16) -> Value {
    json!({"tag": tag, "trunks": set::<u16>(&[]), "vlan_mode": set::<u16>(&[]), "cvlans": set::<u16>(&[])})
}

/// A trunk; no VLANs means all of them.
pub fn trunk(vlans: &[u16]) -> Value {
    json!({"tag": set::<u16>(&[]), "trunks": set(vlans), "vlan_mode": "trunk", "cvlans": set::<u16>(&[])})
}

pub fn native_tagged(tag: u16, vlans: &[u16]) -> Value {
    json!({"tag": tag, "trunks": set(vlans), "vlan_mode": "native-tagged", "cvlans": set::<u16>(&[])})
}

pub fn native_untagged(tag: u16, vlans: &[u16]) -> Value {
    json!({"tag": tag, "trunks": set(vlans), "vlan_mode": "native-untagged", "cvlans": set::<u16>(&[])})
}

/// A provider's port: `tag` outside, the customer's `cvlans` inside (none means all of them).
pub fn tunnel(tag: u16, cvlans: &[u16]) -> Value {
    json!({"tag": tag, "trunks": set::<u16>(&[]), "vlan_mode": "dot1q-tunnel", "cvlans": set(cvlans)})
}

/// Columns of both objects.
pub fn and(a: Value, b: Value) -> Value {
    let (Value::Object(mut a), Value::Object(b)) = (a, b) else {
        panic!("columns are objects");
    };
    a.extend(b);
    Value::Object(a)
}

fn row(columns: Value, more: Value) -> Value {
    and(columns, more)
}

fn named(name: &str) -> Value {
    json!(["named-uuid", name])
}

impl TestSwitch {
    /// Runs a transaction as a client; when it returns, the switch has done what it asks for.
    ///
    /// # Errors
    /// What the server says.
    pub fn try_transact(&mut self, operations: &[Value]) -> Result<Vec<Value>, Value> {
        let mut params = vec![json!("Open_vSwitch")];
        params.extend_from_slice(operations);
        let request = json!({"method": "transact", "params": params, "id": 1}).to_string();
        let now = rvs_ovsdb::Now(self.now().0);
        let session = self.session;
        let server = &mut self.switch.server;
        server.input(session, request.as_bytes(), now);
        self.switch.run();
        let server = &mut self.switch.server;
        let output = server.output(session).to_vec();
        server.sent(session, output.len(), now);
        let mut framer = Framer::default();
        framer.push(&output);
        while let Some(reply) = framer.next_object().unwrap() {
            if reply["id"] != json!(1) {
                continue;
            }
            let results = reply["result"].as_array().cloned().unwrap_or_default();
            let failed = results.iter().find(|r| r.get("error").is_some());
            return match failed.or(reply.get("error").filter(|e| !e.is_null())) {
                Some(e) => Err(e.clone()),
                None => Ok(results),
            };
        }
        panic!("the server did not answer");
    }

    /// As [`Self::try_transact`], for transactions that must succeed.
    pub fn transact(&mut self, operations: &[Value]) -> Vec<Value> {
        self.try_transact(operations)
            .unwrap_or_else(|e| panic!("{operations:?}: {e}"))
    }

    pub fn add_bridge(&mut self, name: &str) {
        self.transact(&[
            json!({"op": "insert", "table": "Interface", "uuid-name": "i", "row": {"name": name, "type": "internal"}}),
            json!({"op": "insert", "table": "Port", "uuid-name": "p", "row": {"name": name, "interfaces": named("i")}}),
            json!({"op": "insert", "table": "Bridge", "uuid-name": "b", "row": {"name": name, "ports": named("p")}}),
            json!({"op": "mutate", "table": "Open_vSwitch", "where": [],
                   "mutations": [["bridges", "insert", named("b")], ["next_cfg", "+=", 1]]}),
        ]);
    }

    pub fn del_bridge(&mut self, name: &str) {
        let uuid = self.uuid("Bridge", name).to_string();
        self.transact(
            &[json!({"op": "mutate", "table": "Open_vSwitch", "where": [],
            "mutations": [["bridges", "delete", ["uuid", uuid]], ["next_cfg", "+=", 1]]})],
        );
    }

    /// Adds a port with these columns of table Port, and the device if there is none.
    pub fn add_port(&mut self, bridge: &str, name: &str, columns: Value) {
        self.plug(name);
        self.add_port_of(bridge, name, columns, json!({}));
    }

    /// Adds a port of several interfaces, and the devices that there are not.
    pub fn add_bond(&mut self, bridge: &str, name: &str, interfaces: &[&str], columns: Value) {
        let mut operations = Vec::new();
        for device in interfaces {
            self.plug(device);
            operations.push(json!({"op": "insert", "table": "Interface", "uuid-name": device, "row": {"name": device}}));
        }
        let members: Vec<Value> = interfaces.iter().map(|i| named(i)).collect();
        let row = row(
            json!({"name": name, "interfaces": ["set", members]}),
            columns,
        );
        operations.push(json!({"op": "insert", "table": "Port", "uuid-name": "p", "row": row}));
        operations.push(
            json!({"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]],
                   "mutations": [["ports", "insert", named("p")]]}),
        );
        operations.push(
            json!({"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]}),
        );
        self.transact(&operations);
    }

    /// Adds a port without making the device; `interface` are columns of table Interface.
    pub fn add_port_of(&mut self, bridge: &str, name: &str, columns: Value, interface: Value) {
        self.transact(&[
            json!({"op": "insert", "table": "Interface", "uuid-name": "i", "row": row(json!({"name": name}), interface)}),
            json!({"op": "insert", "table": "Port", "uuid-name": "p",
                   "row": row(json!({"name": name, "interfaces": named("i")}), columns)}),
            json!({"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]],
                   "mutations": [["ports", "insert", named("p")]]}),
            json!({"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]}),
        ]);
    }

    /// Changes columns of a port.
    pub fn set_port(&mut self, name: &str, columns: Value) {
        self.set_columns("Port", name, columns);
    }

    /// Changes columns of a bridge.
    pub fn set_bridge(&mut self, name: &str, columns: Value) {
        self.set_columns("Bridge", name, columns);
    }

    fn set_columns(&mut self, table: &str, name: &str, columns: Value) {
        self.transact(&[
            json!({"op": "update", "table": table, "where": [["name", "==", name]], "row": columns}),
            json!({"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]}),
        ]);
    }

    /// Changes `other_config:vlan-limit`.
    pub fn set_vlan_limit(&mut self, limit: u8) {
        self.set_other_config(&[("vlan-limit", &limit.to_string())]);
    }

    /// Replaces `other_config` of the whole switch.
    pub fn set_other_config(&mut self, pairs: &[(&str, &str)]) {
        self.transact(
            &[json!({"op": "update", "table": "Open_vSwitch", "where": [],
            "row": {"other_config": map(pairs)}})],
        );
    }

    pub fn del_port(&mut self, bridge: &str, name: &str) {
        let uuid = self.uuid("Port", name).to_string();
        self.transact(&[
            json!({"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]],
                   "mutations": [["ports", "delete", ["uuid", uuid]]]}),
            json!({"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]}),
        ]);
    }

    /// A row's UUID.
    pub fn uuid(&self, table: &str, name: &str) -> Uuid {
        let table = self.switch.database().table(table).unwrap();
        table
            .find("name", name)
            .unwrap_or_else(|| panic!("no row {name}"))
            .uuid()
    }

    /// A row as a client reads it.
    pub fn row(&mut self, table: &str, name: &str) -> Map<String, Value> {
        let found = self
            .transact(&[json!({"op": "select", "table": table, "where": [["name", "==", name]]})]);
        let row = found[0]["rows"][0].as_object();
        row.unwrap_or_else(|| panic!("no row {name}")).clone()
    }
}
