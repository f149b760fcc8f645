//! A program that ends with its owner, though it hangs on a device by a filter, which outlives everybody.
//!
//! What hangs there is a program of its own, which only jumps to the real one through the single place of a map. The kernel
//! empties a map of this kind when its last descriptor is closed and its last name removed (programs that use it do not
//! count): the moment the owner ends, however it ends. With nowhere to jump to every frame passes. So nobody has to guess
//! from silence whether the owner is dead, and a busy one is never taken for it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::asm::{self, Reg};
use crate::attr;
use crate::error::Error;
use crate::program;
use crate::sys::bpf::Map;

/// `TC_ACT_UNSPEC`: no opinion, on to the next filter.
const PASS: i32 = -1;
const BPF_TAIL_CALL: i32 = 12;
const NAME: &str = "rvs_gate";
const OP: &str = "make the gate of a program";

/// Open as long as somebody holds it, or a name of it is there.
#[derive(Debug)]
pub(crate) struct Gate(Map);

impl Gate {
    /// A gate, and the program that goes through it: it passes every frame until the gate is opened.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new() -> Result<(Self, OwnedFd), Error> {
        let map =
            Map::create(attr::MAP_PROG_ARRAY, 4, 4, 1, 0, NAME).map_err(|e| Error::new(OP, e))?;
        let mut entrance = asm::load_map(Reg::R2, map.as_fd()).to_vec();
        entrance.extend([
            asm::mov_imm(Reg::R3, 0),
            asm::call(BPF_TAIL_CALL),
            asm::mov_imm(Reg::R0, PASS),
            asm::exit(),
        ]);
        let entrance = program::load(&entrance, NAME)?;
        Ok((Self(map), entrance))
    }

    /// One that was found under its name.
    ///
    /// # Errors
    /// It is something else.
    pub fn found(fd: OwnedFd) -> io::Result<Self> {
        Map::found(fd, attr::MAP_PROG_ARRAY, 4, 4, Some(1), 0).map(|(map, _)| Self(map))
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Puts the program behind it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(&self, program: BorrowedFd<'_>) -> Result<(), Error> {
        let program = program.as_raw_fd().to_ne_bytes();
        self.0
            .update(&0u32.to_ne_bytes(), &program)
            .map_err(|e| Error::new(OP, e))
    }
}
