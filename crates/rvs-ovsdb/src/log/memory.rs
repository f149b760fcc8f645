//! A storage in memory that fails on demand.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use super::{Durability, Storage};

/// What goes wrong in one call of [`MemoryStorage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: this call succeeds.
    None,
    /// The call fails and nothing is written (full disk).
    Full,
    /// So many bytes are written, then the call fails (full disk, short write).
    Short(usize),
    /// All bytes are written but the flush fails (EIO).
    Flush,
}

/// Bytes in memory; each call that writes takes the next fault of a queue.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    /// The content.
    pub bytes: Vec<u8>,
    /// What was kept aside.
    pub aside: Vec<Vec<u8>>,
    /// Faults of the calls to come; when none is left, calls succeed.
    pub faults: VecDeque<Fault>,
    /// Calls of `append`, `truncate` and `replace` so far.
    pub writes: usize,
}

impl MemoryStorage {
    /// A storage with this content.
    pub fn with(bytes: impl Into<Vec<u8>>) -> MemoryStorage {
        MemoryStorage {
            bytes: bytes.into(),
            ..MemoryStorage::default()
        }
    }

    fn next_fault(&mut self) -> Fault {
        self.writes += 1;
        self.faults.pop_front().unwrap_or(Fault::None)
    }
}

fn full() -> io::Error {
    io::Error::new(ErrorKind::StorageFull, "no space left on device")
}

impl Storage for MemoryStorage {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.bytes.clone())
    }

    fn append(&mut self, bytes: &[u8], _: Durability) -> io::Result<()> {
        match self.next_fault() {
            Fault::None => {
                self.bytes.extend_from_slice(bytes);
                Ok(())
            }
            Fault::Full => Err(full()),
            Fault::Short(count) => {
                self.bytes.extend(bytes.iter().take(count));
                Err(full())
            }
            Fault::Flush => {
                self.bytes.extend_from_slice(bytes);
                Err(io::Error::other("input/output error"))
            }
        }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        match self.next_fault() {
            Fault::None => {
                self.bytes
                    .truncate(usize::try_from(length).unwrap_or(usize::MAX));
                Ok(())
            }
            _ => Err(io::Error::other("input/output error")),
        }
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.next_fault() {
            Fault::None => {
                self.bytes = bytes.to_vec();
                Ok(())
            }
            Fault::Full | Fault::Short(_) => Err(full()),
            Fault::Flush => Err(io::Error::other("input/output error")),
        }
    }

    fn keep_aside(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.aside.push(bytes.to_vec());
        Ok(())
    }

    fn wall_clock(&self) -> Option<u64> {
        None
    }
}
