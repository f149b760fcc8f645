//! The log file: the database on disk, in the format of Open vSwitch's standalone databases.
//!
//! # Format
//! A file is a sequence of records, `OVSDB JSON <length> <sha1>\n<body>`, where the body is one JSON
//! object and a newline, and length and SHA-1 are the body's. The first record is the schema. Each other
//! record is a transaction: `{"<table>": {"<uuid>": {"<column>": <value>} | null}, "_date": ms,
//! "_comment": text, "_is_diff": true}`; with `_is_diff` the columns of rows that already exist are
//! differences, which keeps a record as small as its change. Columns with their default, ephemeral
//! columns and `_version` are left out.
//!
//! # Promises
//! - [`Log::commit`] returns success only after the record is on the disk (`fsync`), unless
//!   [`Durability::Buffered`] is asked for, as the daemon does for its own status.
//! - If it fails, the record does not count: the file is cut back, and when even that is impossible the
//!   next commit writes a whole new file first. A fault that has passed needs no restart.
//! - [`Log::open`] recovers the longest prefix of whole records. What follows it is kept aside by the
//!   storage and cut off before the next commit, not before: a file that is only read stays as it is.
//! - A record that is whole but cannot be applied (wrong type, unknown row) is corruption that the
//!   checksum does not see; opening is refused and the file untouched.
//! - Compaction replaces the file atomically by its content as two records.
//!
//! I/O goes through [`Storage`]: [`FileStorage`] in the daemon, [`MemoryStorage`] with faults in tests.

mod file;
mod memory;
mod record;

use std::io;
use std::sync::Arc;

pub use file::FileStorage;
pub use memory::{Fault, MemoryStorage};
pub use record::{split_records, Tail};

use crate::database::{Database, Delta};
use crate::error::{kind, OvsdbError};
use crate::limits::{MAX_RECORD_BYTES, MIN_COMPACT_BYTES};
use crate::schema::Schema;
use crate::uuid::UuidGenerator;

/// Where the bytes of a log are kept. Only one log uses a storage at a time.
pub trait Storage {
    /// The whole content; empty if there is none yet.
    fn read(&mut self) -> io::Result<Vec<u8>>;
    /// Adds bytes at the end and, if asked to, returns when they and all before them are durable. After
    /// an error any part of them may be there, durable or not.
    fn append(&mut self, bytes: &[u8], durability: Durability) -> io::Result<()>;
    /// Cuts the content to this many bytes, durably.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Puts other content in place of all there is, durably and atomically: after an error or a crash
    /// the content is the old or the new one.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Keeps a copy of damaged bytes for a person to look at.
    fn keep_aside(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Milliseconds since 1970 for the record's date; `None` leaves the date out.
    fn wall_clock(&self) -> Option<u64>;
}

/// What a crash of the machine may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: the change is on the disk before it counts.
    Synced,
    /// The change, together with all later unsynced ones. For what the daemon finds out again after a
    /// restart. (A crash of the daemon alone takes nothing.)
    Buffered,
}

/// Why a log cannot be opened or written. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is not a standalone OVSDB log.
    #[error("not a standalone OVSDB database: {0}")]
    NotALog(String),
    /// A whole record says something impossible.
    #[error("record {number} of the database is corrupt: {error}")]
    Corrupt {
        /// The record, from 1.
        number: usize,
        /// What is impossible.
        error: OvsdbError,
    },
    /// The file belongs to another schema or to a newer version that lacks what is needed.
    #[error(
        "the database has schema {found}, which this program (schema {expected}) cannot serve"
    )]
    Schema {
        /// Name and version found.
        found: String,
        /// Name and version expected.
        expected: String,
    },
    /// The database has reached the largest size that a log may have.
    #[error("the database exceeds {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
}

impl LogError {
    /// The error that the client of a refused transaction gets.
    pub fn into_ovsdb(self) -> OvsdbError {
        let kind = match self {
            LogError::TooLarge { .. } => kind::EXHAUSTED,
            _ => kind::IO,
        };
        OvsdbError::new(kind, self.to_string())
    }
}

/// Where transactions become durable before they count.
pub trait Journal {
    /// Writes the change. `db` is the database before it.
    ///
    /// # Errors
    /// The change must then not be applied.
    fn commit(
        &mut self,
        db: &Database,
        delta: &Delta,
        comment: Option<&str>,
        durability: Durability,
    ) -> Result<(), LogError>;

    /// Called after the change was applied, to `db`: time for upkeep whose failure does no harm.
    fn committed(&mut self, db: &Database);

    /// Makes what is kept as short as it can be.
    ///
    /// # Errors
    /// What was kept before is still there and in use.
    fn compact(&mut self, db: &Database) -> Result<(), LogError>;

    /// The last failure, until a later write succeeds; `None` means healthy.
    fn last_error(&self) -> Option<&str>;
}

/// The journal of a database that lives only in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn commit(
        &mut self,
        _: &Database,
        _: &Delta,
        _: Option<&str>,
        _: Durability,
    ) -> Result<(), LogError> {
        Ok(())
    }

    fn committed(&mut self, _: &Database) {}

    fn compact(&mut self, _: &Database) -> Result<(), LogError> {
        Ok(())
    }

    fn last_error(&self) -> Option<&str> {
        None
    }
}

/// The state of the file with respect to the database in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    /// The first `length` bytes are the database; nothing follows.
    Clean,
    /// The first `length` bytes are the database; what follows must be cut off before appending.
    Tail,
    /// The content is unknown: only a whole new file is safe.
    Unknown,
}

/// A log and what is known of its file.
#[derive(Debug)]
pub struct Log<S> {
    storage: S,
    /// Bytes that count.
    length: u64,
    /// Bytes after the last compaction.
    compacted: u64,
    health: Health,
    /// Largest size of the file in bytes.
    limit: u64,
    last_error: Option<String>,
}

/// What [`Log::open`] found.
#[derive(Debug)]
pub struct Opened<S> {
    /// The log, ready to commit.
    pub log: Log<S>,
    /// The database that the log describes.
    pub db: Database,
    /// What an operator should know: a damaged tail, a conversion.
    pub notes: Vec<String>,
}

impl<S: Storage> Log<S> {
    /// Opens a log for a program written for `schema`, and creates it if the storage is empty.
    ///
    /// An older schema of the same name is converted; a newer one is served as it is if it
    /// [covers](Schema::covers) `schema`.
    ///
    /// # Errors
    /// See [`LogError`]; the storage is unchanged then.
    pub fn open(
        mut storage: S,
        schema: &Arc<Schema>,
        uuids: &mut UuidGenerator,
    ) -> Result<Opened<S>, LogError> {
        let bytes = storage.read()?;
        if bytes.is_empty() {
            let db = Database::new(schema.clone());
            let mut log = Log::with(storage, 0, Health::Unknown);
            log.rewrite(&db, None)?;
            return Ok(Opened {
                log,
                db,
                notes: Vec::new(),
            });
        }
        let (records, tail) = split_records(&bytes);
        let mut db = record::replay(&records, uuids).map_err(|error| first_error(error, &tail))?;
        let mut notes = Vec::new();
        let length = tail.offset as u64;
        let mut log = Log::with(storage, length, Health::Clean);
        if let Some(why) = tail.damage {
            log.health = Health::Tail;
            let lost = bytes.len() - tail.offset;
            notes.push(format!(
                "the last {lost} byte(s) of the database are damaged ({why}) and ignored; everything \
                 before them is kept"
            ));
            if let Err(error) = log.storage.keep_aside(&bytes) {
                notes.push(format!(
                    "a copy of the damaged file could not be kept: {error}"
                ));
            }
        }
        if *db.schema() != *schema {
            match Self::reconcile(&db, schema, uuids)? {
                None => notes.push(format!(
                    "the database has schema {} {}, newer than this program's {}; it is served as it is",
                    db.schema().name,
                    db.schema().version,
                    schema.version
                )),
                Some(converted) => {
                    notes.push(format!(
                        "the database was converted from schema version {} to {}",
                        db.schema().version,
                        schema.version
                    ));
                    db = converted;
                    log.rewrite(&db, None)?;
                }
            }
        }
        Ok(Opened { log, db, notes })
    }

    /// The database under `schema`; `None` if it stays under its own, newer one.
    fn reconcile(
        db: &Database,
        schema: &Arc<Schema>,
        uuids: &mut UuidGenerator,
    ) -> Result<Option<Database>, LogError> {
        let (found, wanted) = (db.schema(), schema);
        let refuse = || LogError::Schema {
            found: format!("{} {}", found.name, found.version),
            expected: format!("{} {}", wanted.name, wanted.version),
        };
        if found.name != wanted.name {
            return Err(refuse());
        }
        if found.version_numbers() > wanted.version_numbers() {
            return if found.covers(wanted) {
                Ok(None)
            } else {
                Err(refuse())
            };
        }
        db.convert(schema.clone(), uuids)
            .map(Some)
            .map_err(|error| LogError::Corrupt { number: 1, error })
    }

    fn with(storage: S, length: u64, health: Health) -> Log<S> {
        let limit = MAX_RECORD_BYTES as u64;
        Log {
            storage,
            length,
            compacted: length,
            health,
            limit,
            last_error: None,
        }
    }

    /// The storage.
    pub fn storage_mut(&mut self) -> &mut S {
        &mut self.storage
    }

    /// Bytes of the log that count.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing was ever written.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Changes the largest size of the file in bytes (256 MiB by default).
    pub fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// Appends the records of a change, or writes the file anew when it cannot be appended to.
    fn append(
        &mut self,
        db: &Database,
        delta: &Delta,
        comment: Option<&str>,
        durability: Durability,
    ) -> Result<(), LogError> {
        let Some(bytes) = record::transaction(delta, comment, self.storage.wall_clock()) else {
            // Nothing but ephemeral columns changed.
            return Ok(());
        };
        if self.length + bytes.len() as u64 > self.limit {
            self.rewrite(db, Some(&bytes))?;
            return Ok(());
        }
        if self.health == Health::Tail && self.storage.truncate(self.length).is_err() {
            self.health = Health::Unknown;
        }
        if self.health == Health::Unknown {
            return self.rewrite(db, Some(&bytes));
        }
        if let Err(error) = self.storage.append(&bytes, durability) {
            // After a failed fsync nothing that the kernel says of this file can be relied on: cut the
            // record off so that it does not come back, and trust only a new file from now on.
            let _best_effort = self.storage.truncate(self.length);
            self.health = Health::Unknown;
            return Err(error.into());
        }
        self.health = Health::Clean;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Replaces the file by the schema, `db`, and one record more.
    fn rewrite(&mut self, db: &Database, last: Option<&[u8]>) -> Result<(), LogError> {
        let mut bytes = record::schema(db.schema());
        let snapshot = db.snapshot();
        bytes.extend(
            record::transaction(&snapshot, None, self.storage.wall_clock()).unwrap_or_default(),
        );
        let compacted = bytes.len() as u64;
        bytes.extend(last.unwrap_or_default());
        if bytes.len() as u64 > self.limit {
            return Err(LogError::TooLarge { limit: self.limit });
        }
        self.storage.replace(&bytes)?;
        self.length = bytes.len() as u64;
        self.compacted = compacted;
        self.health = Health::Clean;
        Ok(())
    }
}

/// A log that is damaged in its first record holds nothing worth keeping: say so rather than
/// complain of a missing schema.
fn first_error(error: LogError, tail: &Tail) -> LogError {
    match (&error, &tail.damage) {
        (LogError::NotALog(_), Some(why)) => LogError::NotALog(why.clone()),
        _ => error,
    }
}

impl<S: Storage> Journal for Log<S> {
    fn commit(
        &mut self,
        db: &Database,
        delta: &Delta,
        comment: Option<&str>,
        durability: Durability,
    ) -> Result<(), LogError> {
        let result = self.append(db, delta, comment, durability);
        self.last_error = result.as_ref().err().map(LogError::to_string);
        result
    }

    fn committed(&mut self, db: &Database) {
        if self.length > MIN_COMPACT_BYTES && self.length > 2 * self.compacted {
            if let Err(error) = self.rewrite(db, None) {
                self.last_error = Some(format!("compaction failed: {error}"));
                // Try again only when the log has doubled once more.
                self.compacted = self.length;
            }
        }
    }

    fn compact(&mut self, db: &Database) -> Result<(), LogError> {
        let result = self.rewrite(db, None);
        self.last_error = result.as_ref().err().map(LogError::to_string);
        result
    }

    fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }
}
