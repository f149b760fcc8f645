//! From the compiled object to instructions: ELF sections are programs, relocations are maps.
//!
//! This replaces a loader library. The crate must call bpf(2) by itself anyway (the ingress drop has to work without any
//! object file), the object uses neither BTF nor global data nor functions of its own, and the arrays that tier 0 lives
//! on are mapped, which loaders do not offer. What is left is this file: find a section, fill in the map descriptors.

use std::os::fd::BorrowedFd;

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationTarget};

use crate::asm::{Insn, MapRef};
use crate::pins::fnv;

/// The program that ships; `bpf/build` makes it.
pub(crate) const OBJECT: &[u8] = include_bytes!("../../bpf/kcache.bpf.o");

/// The name of the program among what outlives a daemon: another program has another.
pub(crate) fn name() -> String {
    format!("program-{:016x}", fnv(OBJECT))
}

/// The instructions of the program in `section` of an object, with every map that it names filled in.
///
/// # Errors
/// A sentence: our object is not what this crate expects, which is a mistake in the build.
pub(crate) fn program<'a>(
    object: &[u8],
    section: &str,
    maps: impl Fn(&str) -> Option<(BorrowedFd<'a>, MapRef)>,
) -> Result<Vec<Insn>, String> {
    let elf = ElfFile64::<LittleEndian, &[u8]>::parse(object).map_err(|e| e.to_string())?;
    let code = elf
        .section_by_name(section)
        .ok_or_else(|| format!("no section {section}"))?;
    let data = code.data().map_err(|e| e.to_string())?;
    let slots = data
        .chunks(8)
        .map(|slot| slot.try_into().map(Insn::from_object));
    let whole: Result<Vec<_>, _> = slots.collect();
    let mut insns = whole.map_err(|_| format!("{section} is not whole instructions"))?;
    for (offset, relocation) in code.relocations() {
        let RelocationTarget::Symbol(symbol) = relocation.target() else {
            return Err(format!(
                "{section}+{offset:#x} is not relocated by a symbol"
            ));
        };
        let symbol = elf.symbol_by_index(symbol).map_err(|e| e.to_string())?;
        let name = symbol.name().map_err(|e| e.to_string())?;
        let (fd, what) = maps(name).ok_or_else(|| format!("no map named {name}"))?;
        usize::try_from(offset / 8)
            .ok()
            .and_then(|at| insns.get_mut(at))
            .and_then(|insn| {
                *insn = insn.with_map(fd, what)?;
                Some(())
            })
            .ok_or_else(|| format!("{section}+{offset:#x} does not load {name}"))?;
    }
    Ok(insns)
}
