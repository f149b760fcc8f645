//! The program's parser on its own: what key does it make of a frame? For tests and the doctor, which hold it against
//! [`rvs_flow::extract`].

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use rvs_flow::{DpPort, FlowKey, Key};

use super::layout::{config, pair, parsed, KEY_WORDS};
use super::{array, little_endian, object};
use crate::asm::MapRef;
use crate::error::Error;
use crate::program;
use crate::sys::bpf::{self, Map};
use crate::sys::mapped::Mapped;

/// Places in the words of `struct __sk_buff`.
const SKB_MARK: usize = 2;
pub(super) const SKB_IFINDEX: usize = 10;

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
    keys: Mapped,
    _maps: [Map; 2],
}

impl KeyProbe {
    /// Loads the parser; `vlan_limit` (1 or 2) tags are looked behind.
    ///
    /// # Errors
    /// As for [`super::KernelCache::open`].
    pub fn open(vlan_limit: u8) -> Result<Self, Error> {
        const OP: &str = "load the kernel's parser";
        little_endian()?;
        let fail = |e| Error::new(OP, e);
        let (configs, words) = array(config::WORDS, 1, "rvs_config").map_err(fail)?;
        let (key_map, keys) = array(parsed::WORDS, 1, "rvs_keys").map_err(fail)?;
        if let Some(word) = words.words().get(config::MASKS_VLANS) {
            word.store(
                pair(0, u32::from(vlan_limit.clamp(1, 2))),
                Ordering::Relaxed,
            );
        }
        let insns = object::program("tc/key", |name| match name {
            "config" => Some((configs.as_fd(), MapRef::Value)),
            "keys" => Some((key_map.as_fd(), MapRef::Map)),
            _ => None,
        })
        .map_err(|cause| Error::Unsupported { op: OP, cause })?;
        let prog = program::load(&insns, "rvs_key")?;
        Ok(Self {
            prog,
            keys,
            _maps: [configs, key_map],
        })
    }

    /// Parses a frame as one that arrived on `in_port`. One thread at a time.
    ///
    /// # Errors
    /// The kernel's: frames that end in the Ethernet header, or in the IP header behind it, or are longer than about a page.
    pub fn key_of(&mut self, frame: &[u8], in_port: DpPort) -> Result<Parsed, Error> {
        let mut skb = [0; 12];
        skb[SKB_MARK] = in_port.0;
        let (verdict, _) = bpf::test_run(self.prog.as_fd(), frame, &skb, 1)
            .map_err(|e| Error::new("run the kernel's parser", e))?;
        if verdict != 0 {
            return Ok(Parsed::Unparsed);
        }
        let mut key = FlowKey::default();
        let words = key.words_mut().iter_mut().take(KEY_WORDS);
        for (to, from) in words.zip(self.keys.words()) {
            *to = from.load(Ordering::Relaxed);
        }
        Ok(Parsed::Key(key))
    }
}
