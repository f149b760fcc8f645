//! Just enough of an eBPF assembler for programs of a dozen instructions (RFC 9669), so that the ingress drop needs no
//! compiler, no object file and no BTF.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Registers by their role: `R0` is the result of calls and of the program, `R1`-`R5` are arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reg {
    R0 = 0,
    R2 = 2,
    R3 = 3,
}

/// One instruction slot (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    code: u8,
    regs: u8,
    off: i16,
    imm: i32,
}

const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;
const LOAD_IMM64: u8 = 0x18;

const fn insn(code: u8, dst: Reg, src: u8, off: i16, imm: i32) -> Insn {
    // The two register nibbles swap with the byte order of the machine (bit fields of struct bpf_insn).
    let regs = if cfg!(target_endian = "little") {
        dst as u8 | src << 4
    } else {
        (dst as u8) << 4 | src
    };
    Insn {
        code,
        regs,
        off,
        imm,
    }
}

/// `dst = imm`
pub const fn mov_imm(dst: Reg, imm: i32) -> Insn {
    insn(0xb7, dst, 0, 0, imm)
}

/// Calls the helper function with this number.
pub const fn call(helper: i32) -> Insn {
    insn(0x85, Reg::R0, 0, 0, helper)
}

/// Returns `R0`.
pub const fn exit() -> Insn {
    insn(0x95, Reg::R0, 0, 0, 0)
}

/// `dst = map`, for helper functions; takes two slots.
pub fn load_map(dst: Reg, map: BorrowedFd<'_>) -> [Insn; 2] {
    let low = insn(LOAD_IMM64, dst, PSEUDO_MAP_FD, 0, map.as_raw_fd());
    [low, insn(0, Reg::R0, 0, 0, 0)]
}

/// What a compiled program loads where it names a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapRef {
    /// The map, for helper functions.
    Map,
    /// The first octet of an array map's value.
    Value,
}

impl Insn {
    /// The instruction that a compiler wrote as these eight octets.
    pub const fn from_object(bytes: [u8; 8]) -> Self {
        let [code, regs, o0, o1, i0, i1, i2, i3] = bytes;
        let (off, imm) = (
            i16::from_le_bytes([o0, o1]),
            i32::from_le_bytes([i0, i1, i2, i3]),
        );
        Self {
            code,
            regs,
            off,
            imm,
        }
    }

    /// Makes a `load_imm64` load a map instead of a number. `None` for any other instruction.
    pub fn with_map(self, map: BorrowedFd<'_>, what: MapRef) -> Option<Self> {
        let kind = match what {
            MapRef::Map => PSEUDO_MAP_FD,
            MapRef::Value => PSEUDO_MAP_VALUE,
        };
        let regs = self.regs & 0x0f | kind << 4;
        (self.code == LOAD_IMM64).then_some(Self {
            regs,
            imm: map.as_raw_fd(),
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::fd::AsFd;

    /// Bytes as `llvm-mc -triple bpfel` encodes them.
    #[test]
    #[cfg(target_endian = "little")]
    fn encodes_like_a_compiler() {
        let bytes = |i: Insn| {
            let mut b = vec![i.code, i.regs];
            b.extend(i.off.to_le_bytes());
            b.extend(i.imm.to_le_bytes());
            b
        };
        assert_eq!(bytes(mov_imm(Reg::R0, 2)), [0xb7, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(
            bytes(mov_imm(Reg::R0, -1)),
            [0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]
        );
        assert_eq!(bytes(call(5)), [0x85, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(bytes(exit()), [0x95, 0, 0, 0, 0, 0, 0, 0]);
        let stdin = std::io::stdin();
        let fd = stdin.as_fd();
        assert_eq!(
            bytes(load_map(Reg::R2, fd)[0]),
            [0x18, 0x12, 0, 0, 0, 0, 0, 0]
        );
        let compiled = Insn::from_object([0x18, 3, 0, 0, 9, 0, 0, 0]);
        let map = compiled.with_map(fd, MapRef::Map).unwrap();
        assert_eq!(bytes(map), [0x18, 0x13, 0, 0, 0, 0, 0, 0]);
        assert_eq!(exit().with_map(fd, MapRef::Map), None);
    }
}
