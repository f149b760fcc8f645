//! A host's VLAN where the kernel has no VLAN devices (8021q): for measurements and tests of tagged traffic.

use std::os::fd::{AsFd, OwnedFd};

use crate::asm::{self, Insn, Reg};
use crate::attr::{TCX_EGRESS, TCX_INGRESS};
use crate::error::Error;
use crate::program;
use crate::sys::bpf;

const BPF_SKB_VLAN_PUSH: i32 = 18;
const BPF_SKB_VLAN_POP: i32 = 19;
/// 0x8100, as the helper expects it.
const TPID: i32 = 0x8100u16.to_be() as i32;
/// The next program decides; without one the frame passes.
const NEXT: i32 = -1;

/// While it lives, whatever the device's own host sends gets a tag beside the frame, and whatever arrives loses one.
#[derive(Debug)]
pub struct Tagger {
    _links: [OwnedFd; 2],
}

impl Tagger {
    /// Works on a device of the calling thread's network namespace. `vid`: 1 to 4,094.
    ///
    /// # Errors
    /// No tcx (Linux 6.6), no privileges, no such device.
    pub fn attach(ifindex: u32, vid: u16) -> Result<Self, Error> {
        let end = [asm::mov_imm(Reg::R0, NEXT), asm::exit()];
        let push = [
            asm::mov_imm(Reg::R2, TPID),
            asm::mov_imm(Reg::R3, i32::from(vid & 0xfff)),
            asm::call(BPF_SKB_VLAN_PUSH),
        ];
        let pop = [asm::call(BPF_SKB_VLAN_POP)];
        let put = |body: &[Insn], hook| {
            let prog = program::load(&[body, &end[..]].concat(), "rvs_tagger")?;
            bpf::link_create(prog.as_fd(), ifindex, hook)
                .map_err(|e| Error::on_device("tag a host's frames", ifindex, e))
        };
        Ok(Self {
            _links: [put(&push, TCX_EGRESS)?, put(&pop, TCX_INGRESS)?],
        })
    }
}
