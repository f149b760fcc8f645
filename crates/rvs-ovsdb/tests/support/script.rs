//! Random transactions over part of the Open_vSwitch schema: legal and illegal ones.
#![allow(dead_code)]

use serde_json::{json, Map, Value};

/// A small deterministic generator (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// The tables that scripts use, with the columns that they set.
pub const TABLES: &[(&str, &[&str])] = &[
    (
        "Open_vSwitch",
        &["bridges", "next_cfg", "external_ids", "ovs_version"],
    ),
    (
        "Bridge",
        &[
            "name",
            "ports",
            "mirrors",
            "flow_tables",
            "other_config",
            "fail_mode",
            "flood_vlans",
        ],
    ),
    (
        "Port",
        &["name", "interfaces", "tag", "trunks", "qos", "external_ids"],
    ),
    (
        "Interface",
        &["name", "type", "ofport_request", "statistics", "mtu"],
    ),
    (
        "Mirror",
        &["name", "select_src_port", "output_port", "select_all"],
    ),
    ("Flow_Table", &["name", "flow_limit", "groups"]),
    ("QoS", &["type", "queues", "other_config"]),
    ("Queue", &["dscp", "external_ids"]),
    ("Flow_Sample_Collector_Set", &["id", "bridge"]),
];

/// The UUID of row `n` of a table.
pub fn uuid(table: usize, n: usize) -> String {
    format!("{table:08x}-0000-4000-8000-{n:012x}")
}

const ROWS: usize = 6;

fn reference(random: &mut Random, table: &str) -> Value {
    let index = TABLES
        .iter()
        .position(|(name, _)| *name == table)
        .unwrap_or(0);
    if random.chance(8) {
        return json!(["named-uuid", format!("n{}", random.below(3))]);
    }
    json!(["uuid", uuid(index, random.below(ROWS))])
}

fn set(random: &mut Random, max: usize, mut one: impl FnMut(&mut Random) -> Value) -> Value {
    let mut elements: Vec<Value> = Vec::new();
    for _ in 0..random.below(max + 1) {
        let element = one(random);
        if !elements.contains(&element) || random.chance(3) {
            elements.push(element);
        }
    }
    json!(["set", elements])
}

fn map(
    random: &mut Random,
    mut key: impl FnMut(&mut Random) -> Value,
    mut value: impl FnMut(&mut Random) -> Value,
) -> Value {
    let mut pairs: Vec<Value> = Vec::new();
    for _ in 0..random.below(4) {
        let pair = json!([key(random), value(random)]);
        if !pairs.iter().any(|have| have[0] == pair[0]) || random.chance(3) {
            pairs.push(pair);
        }
    }
    json!(["map", pairs])
}

fn text(random: &mut Random) -> Value {
    json!(*random.pick(&["a", "b", "c", "", "ä"]))
}

/// A value for a column; now and then one that it does not take.
pub fn value(random: &mut Random, column: &str) -> Value {
    if random.chance(2) {
        return random
            .pick(&[
                json!(null),
                json!({}),
                json!([]),
                json!(["set"]),
                json!("x"),
                json!(-1.5),
                json!(true),
            ])
            .clone();
    }
    match column {
        "bridges" => set(random, 3, |r| reference(r, "Bridge")),
        "ports" => set(random, 3, |r| reference(r, "Port")),
        "interfaces" => set(random, 2, |r| reference(r, "Interface")),
        "mirrors" => set(random, 2, |r| reference(r, "Mirror")),
        "select_src_port" => set(random, 3, |r| reference(r, "Port")),
        "output_port" => set(random, 1, |r| reference(r, "Port")),
        "qos" => set(random, 1, |r| reference(r, "QoS")),
        "bridge" => reference(random, "Bridge"),
        "flow_tables" => map(
            random,
            |r| json!(r.below(3)),
            |r| reference(r, "Flow_Table"),
        ),
        "queues" => map(random, |r| json!(r.below(3)), |r| reference(r, "Queue")),
        "external_ids" | "other_config" => map(random, text, text),
        "statistics" => map(random, text, |r| json!(r.below(5))),
        "name" => json!(format!("n{}", random.below(6))),
        "type" => text(random),
        "ovs_version" => set(random, 1, text),
        "groups" => set(random, 3, text),
        "fail_mode" => set(random, 1, |r| {
            json!(*r.pick(&["standalone", "secure", "secure", "other"]))
        }),
        "tag" | "mtu" => set(random, 1, |r| json!(*r.pick(&[0, 5, 100, 4095, 4096]))),
        "trunks" | "flood_vlans" => set(random, 4, |r| json!(*r.pick(&[0, 1, 2, 3, 4095, 9999]))),
        "ofport_request" => set(random, 1, |r| json!(*r.pick(&[1, 2, 65279, 70000]))),
        "flow_limit" => set(random, 1, |r| json!(r.below(4) as i64 - 1)),
        "dscp" => set(random, 1, |r| json!(r.below(70))),
        "select_all" => json!(random.chance(50)),
        "id" => json!(random.below(3)),
        _ => json!(random.below(20) as i64 - 5),
    }
}

fn row(random: &mut Random, columns: &[&str], percent: usize) -> Value {
    let mut row = Map::new();
    for column in columns {
        if random.chance(percent) {
            row.insert((*column).to_owned(), value(random, column));
        }
    }
    Value::Object(row)
}

fn condition(random: &mut Random, table: usize) -> Value {
    let (_, columns) = TABLES[table];
    match random.below(10) {
        0 => json!([]),
        1..=5 => json!([["_uuid", "==", ["uuid", uuid(table, random.below(ROWS))]]]),
        _ => {
            let column = *random.pick(columns);
            let functions = [
                "==", "!=", "<", "<=", ">", ">=", "includes", "excludes", "includes", "==",
            ];
            let function = *random.pick(&functions);
            json!([[column, function, value(random, column)]])
        }
    }
}

fn mutation(random: &mut Random, table: usize) -> Value {
    let column = *random.pick(TABLES[table].1);
    let mutators = [
        "insert", "delete", "insert", "delete", "+=", "-=", "*=", "/=", "%=",
    ];
    let mutator = *random.pick(&mutators);
    let operand = match mutator {
        "insert" | "delete" => value(random, column),
        // Multiplying by zero makes ovsdb-server 3.1 divide by it.
        "*=" => json!(1 + random.below(3)),
        _ => json!(random.below(4)),
    };
    json!([column, mutator, operand])
}

fn operation(random: &mut Random) -> Value {
    let table = random.below(TABLES.len());
    let (name, columns) = TABLES[table];
    match random.below(20) {
        0..=8 => {
            let mut insert = json!({
                "op": "insert", "table": name, "uuid": uuid(table, random.below(ROWS)),
                "row": row(random, columns, 70),
            });
            if random.chance(20) {
                insert["uuid-name"] = json!(format!("n{}", random.below(3)));
            }
            insert
        }
        9..=11 => {
            let columns: Vec<&str> = columns.iter().copied().filter(|c| *c != "name").collect();
            json!({
                "op": "update", "table": name, "where": condition(random, table),
                "row": row(random, &columns, 30),
            })
        }
        12..=15 => json!({
            "op": "mutate", "table": name, "where": condition(random, table),
            "mutations": (0..random.below(3)).map(|_| mutation(random, table)).collect::<Vec<_>>(),
        }),
        16 => json!({"op": "delete", "table": name, "where": condition(random, table)}),
        17 => json!({
            "op": "wait", "table": name, "timeout": 0, "where": condition(random, table),
            "columns": [columns[0]], "until": if random.chance(80) { "!=" } else { "==" },
            "rows": [row(random, &columns[..1], 50)],
        }),
        18 => json!({
            "op": "select", "table": name, "where": condition(random, table),
            "columns": [columns[random.below(columns.len())]],
        }),
        _ if random.chance(10) => json!({"op": "abort"}),
        _ => json!({"op": "comment", "comment": "x"}),
    }
}

/// The parameters of a `transact`.
pub fn transaction(random: &mut Random) -> Vec<Value> {
    let mut params = vec![json!("Open_vSwitch")];
    if random.chance(25) {
        params.extend(whole_bridge(random));
    }
    for _ in 0..1 + random.below(3) {
        params.push(operation(random));
    }
    params
}

/// Operations that leave a legal bridge, so that random ones have something to break.
fn whole_bridge(random: &mut Random) -> Vec<Value> {
    let (bridge, port, interface) = (random.below(ROWS), random.below(ROWS), random.below(ROWS));
    let (b, p, i) = (uuid(1, bridge), uuid(2, port), uuid(3, interface));
    vec![
        json!({"op": "delete", "table": "Open_vSwitch", "where": []}),
        json!({"op": "insert", "table": "Interface", "uuid": i, "row": {"name": format!("n{interface}")}}),
        json!({"op": "insert", "table": "Port", "uuid": p,
               "row": {"name": format!("n{port}"), "interfaces": ["uuid", i]}}),
        json!({"op": "insert", "table": "Bridge", "uuid": b,
               "row": {"name": format!("n{bridge}"), "ports": ["uuid", p]}}),
        json!({"op": "insert", "table": "Open_vSwitch", "uuid": uuid(0, random.below(ROWS)),
               "row": {"bridges": ["uuid", b]}}),
    ]
}
