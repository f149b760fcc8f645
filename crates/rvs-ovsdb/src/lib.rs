//! OVSDB (RFC 7047) without I/O.
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

/// Nanoseconds since some moment of the daemon's choice; never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);

pub use error::{OvsdbError, Result};
pub use row::{Row, RowRef};
pub use uuid::{NotAUuid, Uuid, UuidGenerator};
