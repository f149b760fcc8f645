//! OVSDB, the database of a switch's configuration and state (RFC 7047), without I/O: schemas, rows,
//! transactions, monitors, the JSON-RPC session, the log on disk, and a client.
//!
//! What Open vSwitch's `ovs-vsctl`, `ovsdb-client`, `ovsdb-tool` and its C and Python clients expect of
//! `ovsdb-server` is answered as they expect it; a differential test runs random transactions through both.
//!
//! # The way of a change
//! ```text
//!  bytes ─► jsonrpc::Framer ─► server ─► transaction::execute ─► database::Txn ─► Prepared
//!                                                                                    │ Delta
//!             log (fsync) ◄── 1. durable ────────────────────────────────────────────┤
//!             Database    ◄── 2. applied, cannot fail ───────────────────────────────┤
//!             monitors    ◄── 3. told ───────────────────────────────────────────────┤
//!             Event       ◄── 4. to the daemon, which reconfigures by difference ────┤
//!             reply       ◄── 5. ────────────────────────────────────────────────────┘
//! ```
//! One description of the change, [`Delta`](database::Delta), serves all of them. A fault at step 1 leaves
//! everything as it was.
//!
//! # How a daemon uses it
//! ```
//! use rvs_ovsdb::log::{Log, MemoryStorage};
//! use rvs_ovsdb::schema::Schema;
//! use rvs_ovsdb::server::{Event, Server};
//! use rvs_ovsdb::value::Datum;
//! use rvs_ovsdb::{Now, UuidGenerator};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // At start. A daemon seeds with random bytes and uses `FileStorage::open(path)`, whose error says
//! // when another process has the database.
//! let mut uuids = UuidGenerator::new([1; 16]);
//! let opened = Log::open(MemoryStorage::default(), &Schema::open_vswitch(), &mut uuids)?;
//! for note in &opened.notes {
//!     eprintln!("database: {note}");
//! }
//! let mut server = Server::new(uuids, Default::default());
//! server.add_database(opened.db, Box::new(opened.log));
//!
//! // The daemon's own transactions: the row that clients expect to be there.
//! let table = Schema::open_vswitch().table_index("Open_vSwitch").ok_or("no such table")?;
//! let root = server.update("Open_vSwitch", |txn, uuids| {
//!     let uuid = uuids.generate();
//!     txn.insert(table, rvs_ovsdb::Row::new(uuid, &txn.database().schema().tables()[table]));
//!     Ok(uuid)
//! })?;
//! while server.next_event().is_some() {}
//!
//! // A client connects; its bytes go in, ...
//! let client = server.connect(Now(0), 0)?;
//! let request = br#"{"id": 1, "method": "transact", "params": ["Open_vSwitch",
//!     {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]}]}"#;
//! server.input(client, request, Now(1));
//!
//! // ... what it changed is reconfigured and acknowledged, ...
//! while let Some(event) = server.next_event() {
//!     let Event::Committed(committed) = event else { continue };
//!     for change in committed.delta.table("Open_vSwitch").filter(|c| c.changed("next_cfg")) {
//!         let next_cfg = change.after().map_or(0, |row| row.int("next_cfg"));
//!         server.update_status("Open_vSwitch", |txn, _| {
//!             txn.set(table, root, "cur_cfg", Datum::scalar(next_cfg))
//!         })?;
//!     }
//! }
//!
//! // ... and the reply goes out.
//! assert!(server.output(client).starts_with(b"{\"id\":1,\"result\":[{\"count\":1}]"));
//! let count = server.output(client).len();
//! server.sent(client, count, Now(2));
//! let db = server.database("Open_vSwitch").ok_or("no such database")?;
//! let row = db.table("Open_vSwitch").and_then(|table| table.row(root)).ok_or("no such row")?;
//! assert_eq!(row.int("cur_cfg"), 1);
//! # Ok(())
//! # }
//! ```
//! `examples/ovsdb-serve.rs` is the same with a Unix socket and `poll`.

#![forbid(unsafe_code)]

pub mod client;
pub mod condition;
pub mod database;
pub mod error;
pub mod jsonrpc;
pub mod limits;
pub mod log;
pub mod mutation;
mod parser;
mod row;
pub mod schema;
pub mod server;
pub mod transaction;
mod uuid;
pub mod value;

pub use error::{OvsdbError, Result};
pub use row::{Row, RowRef};
pub use uuid::{NotAUuid, Uuid, UuidGenerator};

/// Nanoseconds since some moment of the daemon's choice; never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);
