//! The program's parser on its own: what key does it make of a frame? For tests and the doctor, which hold it against
//! [`rvs_flow::extract`].

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rvs_flow::{DpPort, FlowKey, Key};

use super::layout::{config, cpu, pair, KEY_WORDS};
use super::{array, little_endian, object, possible_cpus};
use crate::asm::MapRef;
use crate::attr::TCX_INGRESS;
use crate::error::Error;
use crate::program;
use crate::sys::bpf::{self, Map};
use crate::sys::mapped::Mapped;

/// Places in the words of `struct __sk_buff`.
const SKB_MARK: usize = 2;
pub(super) const SKB_IFINDEX: usize = 10;
pub(super) const TC_ACT_REDIRECT: i32 = 7;
/// What the program leaves of a frame that it knows: 1 + `PARSED`.
const PARSED: u64 = 1;

/// What the program's parser made of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    Key(FlowKey),
    /// Left to user space.
    Unparsed,
}

/// The parser, loaded.
#[derive(Debug)]
pub struct KeyProbe {
    prog: OwnedFd,
    cpus: Mapped,
    _maps: [Map; 2],
}

impl KeyProbe {
    /// Loads the parser; `vlan_limit` (1 or 2) tags are looked behind.
    ///
    /// # Errors
    /// As for [`super::KernelCache::open`].
    pub fn open(vlan_limit: u8) -> Result<Self, Error> {
        Self::of_object(object::OBJECT, vlan_limit)
    }

    /// Loads the parser of another compilation of the same sources.
    ///
    /// # Errors
    /// As [`Self::open`]; octets that are no such object.
    pub fn of_object(object: &[u8], vlan_limit: u8) -> Result<Self, Error> {
        const OP: &str = "load the kernel's parser";
        little_endian()?;
        let fail = |e| Error::new(OP, e);
        let (configs, words) = array(config::WORDS, 1, "rvs_config").map_err(fail)?;
        let (cpu_map, cpus) = array(cpu::WORDS, possible_cpus(), "rvs_cpus").map_err(fail)?;
        if let Some(word) = words.words().get(config::MASKS_VLANS) {
            word.store(
                pair(0, u32::from(vlan_limit.clamp(1, 2))),
                Ordering::Relaxed,
            );
        }
        let insns = object::program(object, "tc/key", |name| match name {
            "config" => Some((configs.as_fd(), MapRef::Value)),
            "cpus" => Some((cpu_map.as_fd(), MapRef::Map)),
            _ => None,
        })
        .map_err(|cause| Error::Unsupported { op: OP, cause })?;
        let prog = program::load(&insns, "rvs_key")?;
        Ok(Self {
            prog,
            cpus,
            _maps: [configs, cpu_map],
        })
    }

    /// Parses a frame as one that arrived on `in_port`. One thread at a time.
    ///
    /// # Errors
    /// The kernel's: frames that end in the Ethernet header, or in the IP header behind it, or are longer than about a page.
    pub fn key_of(&mut self, frame: &[u8], in_port: DpPort) -> Result<Parsed, Error> {
        let mut skb = [0; 12];
        skb[SKB_MARK] = in_port.0;
        self.forget();
        bpf::test_run(self.prog.as_fd(), frame, &skb, 1, &mut [])
            .map_err(|e| Error::new("run the kernel's parser", e))?;
        Ok(self.seen().unwrap_or(Parsed::Unparsed))
    }

    /// Has the parser read every frame that arrives on a device, until the descriptor is closed (tcx only). Frames go on as
    /// if it were not there; [`Self::seen`] tells what it made of the last one, as of one that arrived on port 0.
    ///
    /// # Errors
    /// The kernel's.
    pub fn listen(&self, ifindex: u32) -> Result<OwnedFd, Error> {
        bpf::link_create(self.prog.as_fd(), ifindex, TCX_INGRESS)
            .map_err(|e| Error::on_device("attach the kernel's parser", ifindex, e))
    }

    /// Forgets what [`Self::seen`] tells.
    pub fn forget(&mut self) {
        for word in self.cpus.words().iter().skip(cpu::AT).step_by(cpu::WORDS) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// What the parser made of the frame that it read since [`Self::forget`]; `None`: there was none.
    pub fn seen(&self) -> Option<Parsed> {
        let verdict = |cpu: &[AtomicU64]| cpu.get(cpu::AT).map_or(0, |w| w.load(Ordering::Acquire));
        let mut cpus = self.cpus.words().chunks(cpu::WORDS);
        let cpu = cpus.find(|cpu| verdict(cpu) != 0)?;
        if verdict(cpu) != PARSED {
            return Some(Parsed::Unparsed);
        }
        let mut key = FlowKey::default();
        let words = key.words_mut().iter_mut().take(KEY_WORDS);
        for (to, from) in words.zip(cpu.iter().skip(cpu::KEY)) {
            *to = from.load(Ordering::Relaxed);
        }
        Some(Parsed::Key(key))
    }
}
