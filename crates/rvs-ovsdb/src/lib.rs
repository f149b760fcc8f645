//! OVSDB (RFC 7047) without I/O.
#![forbid(unsafe_code)]

pub mod condition;
pub mod database;
pub mod error;
pub mod limits;
pub mod mutation;
mod parser;
mod row;
pub mod schema;
pub mod transaction;
mod uuid;
pub mod value;

pub use error::{OvsdbError, Result};
pub use row::{Row, RowRef};
pub use uuid::{NotAUuid, Uuid, UuidGenerator};
