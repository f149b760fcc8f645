//! What has to be in the database before the switch starts: its own row, and the bridges of the command line.

use rvs_ovsdb::database::Database;
use rvs_ovsdb::server::Server;
use rvs_ovsdb::Uuid;
use serde_json::json;

use crate::status;
use crate::switch::DATABASE;

/// The one row of table Open_vSwitch.
pub fn root(db: &Database) -> Option<Uuid> {
    db.table("Open_vSwitch")?.rows().next().map(|r| r.uuid())
}

/// Makes sure of the switch's own row, where it says whether its ports are in memory (`dummies`), and of these bridges. Returns the row's UUID, which identifies the database for good.
///
/// # Errors
/// When the database refuses (a full disk, a name that is taken), with the reason.
pub fn prepare(
    server: &mut Server,
    bridges: &[String],
    version: &str,
    dummies: bool,
) -> Result<Uuid, String> {
    let found = |server: &Server| server.database(DATABASE).and_then(root);
    if found(server).is_none() {
        let insert = json!({"op": "insert", "table": "Open_vSwitch", "row": {}});
        server
            .transact_internal(DATABASE, &[insert])
            .map_err(|e| e.to_string())?;
    }
    let root = found(server).ok_or("the database has no row in table Open_vSwitch")?;
    let identity = status::identity(root, version, dummies);
    server
        .update_status(DATABASE, |txn, _| identity.write(txn))
        .map_err(|e| e.to_string())?;
    for name in bridges {
        ensure_bridge(server, name).map_err(|e| format!("bridge {name}: {e}"))?;
    }
    Ok(root)
}

fn ensure_bridge(server: &mut Server, name: &str) -> Result<(), String> {
    check_bridge_name(name)?;
    let table = server.database(DATABASE).and_then(|db| db.table("Bridge"));
    if table.is_some_and(|t| t.find("name", name).is_some()) {
        return Ok(());
    }
    let named = |n: &str| json!(["named-uuid", n]);
    let operations = [
        json!({"op": "insert", "table": "Interface", "uuid-name": "i", "row": {"name": name, "type": "internal"}}),
        json!({"op": "insert", "table": "Port", "uuid-name": "p", "row": {"name": name, "interfaces": named("i")}}),
        json!({"op": "insert", "table": "Bridge", "uuid-name": "b", "row": {"name": name, "ports": named("p")}}),
        json!({"op": "mutate", "table": "Open_vSwitch", "where": [],
               "mutations": [["bridges", "insert", named("b")], ["next_cfg", "+=", 1]]}),
    ];
    server
        .transact_internal(DATABASE, &operations)
        .map(drop)
        .map_err(|e| e.to_string())
}

/// A bridge's name is the name of a device: 1 to 15 octets, none of them `/` or white space.
fn check_bridge_name(name: &str) -> Result<(), String> {
    let bad = |c: char| c == '/' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > 15 || name.contains(bad) || name == "." || name == ".." {
        return Err(
            "a bridge's name is a device's name: 1 to 15 characters without slash or space"
                .to_owned(),
        );
    }
    Ok(())
}
