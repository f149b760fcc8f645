//! What one daemon leaves for the next: names in a bpf file system, and beside the database a file that says what the flows
//! in the kernel were decided from.
//!
//! The file is written once a second, when something has changed, to another name and then renamed: a reader finds a whole
//! one or none. It speaks of one loaded program only, whose id it names, and so of one boot of this machine; it is never
//! read for anything else. A file that is not understood to its last line is no file.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use rvs_flow::DpPort;
use rvs_kcache::{old_filters, KernelCache, OldLink, Pins};
use rvs_packet::{MacAddr, Now, VlanId};
use rvs_switch::survive::{BundleMemory, Memory};

use crate::clock;
use crate::devices::Past;
use crate::tier0::Tier0;

/// Addresses that are remembered, the youngest.
pub const MACS: usize = 16_384;
/// A larger file is not ours.
const LARGEST: u64 = 4 << 20;
const HEAD: &str = "rvswitch state 1";
/// When an address was heard is written in steps of this many nanoseconds, so that the file need not change for it.
const COARSE: u64 = 8_000_000_000;

/// Whether and how flows outlive this daemon.
#[derive(Debug)]
pub struct Survival {
    /// Where things have names, or why they have none.
    pins: Result<Pins, String>,
    /// The bpf file system asked for, and whose names they are.
    asked: Option<(PathBuf, String)>,
    file: PathBuf,
    written: String,
    /// How often what was to have names had none any more, or got none.
    lost: u64,
}

/// What is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub program: u32,
    /// Number, device and name of each port.
    pub ports: Vec<(DpPort, u32, String)>,
    pub memory: Memory,
}

/// A dead daemon's flows that go on.
#[derive(Debug)]
pub struct Resume {
    pub memory: Memory,
    /// How long undecided ones may.
    pub deadline: Now,
    /// The highest port number that they know.
    pub last_port: DpPort,
}

/// What was found at the start.
#[derive(Default)]
pub struct Found {
    pub cache: Option<KernelCache>,
    pub past: Past,
    pub resume: Option<Resume>,
}

impl Survival {
    /// `bpffs` as the command line has it, the database's file.
    pub fn new(bpffs: Option<&Path>, instance: &str, database: &Path) -> Self {
        let pins = match bpffs {
            None => Err(
                "off; --bpffs DIR turns it on (DIR: a bpf file system such as /sys/fs/bpf)"
                    .to_owned(),
            ),
            Some(dir) => Pins::open(dir, instance).map_err(|e| {
                tracing::warn!("flows in the kernel end with the daemon: {e}");
                e.to_string()
            }),
        };
        let mut file = database.as_os_str().to_owned();
        file.push(".survive");
        Self {
            lost: u64::from(bpffs.is_some() && pins.is_err()),
            pins,
            asked: bpffs.map(|dir| (dir.to_owned(), instance.to_owned())),
            file: file.into(),
            written: String::new(),
        }
    }

    /// Looks for what a dead daemon left on this machine's devices.
    pub fn find(&self, instance: &str) -> Found {
        let mut found = Found::default();
        let filters = old_filters(instance).unwrap_or_else(|e| {
            tracing::warn!("{e}");
            Vec::new()
        });
        let links = self.pins.as_ref().map_or(Vec::new(), Pins::old_links);
        let all = links.into_iter().chain(filters);
        found.past.links = all.map(|l: OldLink| (l.ifindex(), l)).collect();
        let Ok(pins) = &self.pins else { return found };
        found.past.gate = pins.hold_gate();
        let inherited = KernelCache::inherit(instance, pins, clock::now()).unwrap_or_else(|e| {
            tracing::warn!("{e}");
            None
        });
        let state = self.read();
        let both = inherited.zip(state);
        let Some(((cache, past), state)) = both.filter(|((c, _), s)| s.program == c.prog_id())
        else {
            // Nobody goes on with them; programs that are still on devices hold what they need.
            pins.forget_objects();
            return found;
        };
        let known = state.ports.iter().map(|(dp, ..)| *dp);
        let inside = cache.inherited_ports().into_values();
        found.resume = Some(Resume {
            last_port: known.chain(inside).max().unwrap_or(DpPort(0)),
            memory: state.memory,
            deadline: past.deadline,
        });
        let numbers = state.ports.into_iter();
        found.past.numbers = numbers
            .map(|(dp, index, name)| ((name, index), dp))
            .collect();
        // Dead is who does not beat.
        cache.beat(clock::now());
        found.cache = Some(cache);
        found
    }

    /// Gives a new cache its names. True when links are to be named, too.
    pub fn pin(&mut self, tier0: &Tier0) -> bool {
        let Ok(pins) = &self.pins else { return false };
        match tier0.pin(pins) {
            Ok(()) => true,
            Err(e) => {
                tracing::warn!("flows in the kernel end with the daemon: {e}");
                self.lost += 1;
                self.pins = Err(e.to_string());
                false
            }
        }
    }

    /// Looks whether the names are still there (their file system may have been unmounted), and gives them anew when that
    /// works again. True when links are to be named, too.
    pub fn look_after(&mut self, tier0: &Tier0) -> bool {
        let Some((dir, instance)) = &self.asked else {
            return false;
        };
        if let Ok(pins) = &self.pins {
            if !pins.is_whole() {
                let text = format!("the names in {} are gone", pins.dir().display());
                tracing::warn!("flows in the kernel end with the daemon: {text}");
                tier0.forget_names();
                self.lost += 1;
                self.pins = Err(text);
            }
            return false;
        }
        // What is found there is a dead daemon's, of which nothing was gone on with, or was covered up and is this one's.
        let own = tier0.prog_id();
        let again = Pins::open(dir, instance).and_then(|old| {
            if let Err(e) = old.remove_but(Some(own)) {
                tracing::debug!("{}: {e}", old.dir().display());
            }
            Pins::open(dir, instance)
        });
        match again {
            Ok(pins) if tier0.pin(&pins).is_ok() => {
                tracing::info!(
                    "flows in the kernel outlive the daemon: {}",
                    pins.dir().display()
                );
                self.pins = Ok(pins);
                self.written.clear();
                true
            }
            _ => false,
        }
    }

    /// How often what was to have names had none any more, or got none.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Where things have names, or why they have none.
    pub fn pins(&self) -> Result<&Pins, &str> {
        self.pins.as_ref().map_err(String::as_str)
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Writes what the next daemon should know, unless that is written.
    pub fn save(&mut self, state: &State) {
        let text = render(state);
        if self.pins.is_err() || text == self.written {
            return;
        }
        let mut other = self.file.as_os_str().to_owned();
        other.push(".new");
        let done = fs::write(&other, &text).and_then(|()| fs::rename(&other, &self.file));
        match done {
            Ok(()) => self.written = text,
            Err(e) => tracing::warn!(
                "{}: {e}; flows in the kernel would not survive",
                self.file.display()
            ),
        }
    }

    /// Nothing of this daemon outlives it.
    pub fn remove(&self) {
        if let Ok(pins) = &self.pins {
            if let Err(e) = pins.remove() {
                tracing::warn!("{}: {e}", pins.dir().display());
            }
        }
        if self.asked.is_some() {
            let _ = fs::remove_file(&self.file);
        }
    }

    fn read(&self) -> Option<State> {
        let size = fs::metadata(&self.file).ok()?.len();
        let text = (size <= LARGEST).then(|| fs::read_to_string(&self.file));
        let state = text.and_then(Result::ok).and_then(|t| parse(&t));
        if state.is_none() {
            tracing::warn!(
                "{} is not whole: flows of the last daemon are not gone on with",
                self.file.display()
            );
        }
        state
    }
}

fn render(state: &State) -> String {
    let mut text = format!("{HEAD}\nprogram {}\n", state.program);
    for (dp, index, name) in &state.ports {
        // The name ends the line, whatever is in it; one with a line's end has no device.
        let _ = writeln!(text, "port {} {index} {name}", dp.0);
    }
    let _ = writeln!(text, "configuration {:x}", state.memory.configuration);
    for bundle in &state.memory.bundles {
        let _ = writeln!(text, "bundle {:x}", bundle.identity);
        for (vlan, mac, used) in &bundle.macs {
            let used = used.0 / COARSE * COARSE;
            let _ = writeln!(text, "mac {} {mac} {used}", vlan.get());
        }
    }
    text.push_str("end\n");
    text
}

fn parse(text: &str) -> Option<State> {
    let body = text.strip_prefix(HEAD)?.strip_prefix('\n')?;
    let body = body.strip_suffix("\nend\n")?;
    let mut state = State::default();
    for line in body.lines() {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "program" => state.program = rest.parse().ok()?,
            "port" => {
                let mut parts = rest.splitn(3, ' ');
                let dp = DpPort(parts.next()?.parse().ok()?);
                let index = parts.next()?.parse().ok()?;
                state.ports.push((dp, index, parts.next()?.to_owned()));
            }
            "configuration" => state.memory.configuration = u64::from_str_radix(rest, 16).ok()?,
            "bundle" => state.memory.bundles.push(BundleMemory {
                identity: u64::from_str_radix(rest, 16).ok()?,
                macs: Vec::new(),
            }),
            "mac" => {
                let mut parts = rest.split(' ');
                let vlan = VlanId::new(parts.next()?.parse().ok()?)?;
                let mac: MacAddr = parts.next()?.parse().ok()?;
                let used = Now(parts.next()?.parse().ok()?);
                let last = state.memory.bundles.last_mut()?;
                last.macs.push((vlan, mac, used));
            }
            _ => return None,
        }
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn state() -> State {
        let vlan = VlanId::new(7).unwrap();
        let mac = "02:00:00:00:00:01".parse().unwrap();
        let bundle = |identity, macs| BundleMemory { identity, macs };
        State {
            program: 9,
            ports: vec![
                (DpPort(1), 4, "veth r".into()),
                (DpPort(3), 9, "br1".into()),
            ],
            memory: Memory {
                configuration: 0xfeed,
                bundles: vec![
                    bundle(1, vec![]),
                    bundle(2, vec![(vlan, mac, Now(16_000_000_000))]),
                ],
            },
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(parse(&render(&state())), Some(state()));
    }

    #[test]
    fn half_a_file_is_none() {
        let whole = render(&state());
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), None, "{end}");
        }
        for (from, to) in [
            ("port 3 9", "port 3 x"),
            ("mac 7", "mac 5000"),
            ("state 1", "state 2"),
            ("bundle", "bungle"),
        ] {
            assert_eq!(parse(&whole.replace(from, to)), None, "{to}");
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_only_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let mut survival = Survival::new(None, "x", &dir.path().join("conf.db"));
        survival.save(&state());
        assert!(
            !survival.file().exists(),
            "nothing survives: nothing is written"
        );
        fs::write(survival.file(), "garbage").unwrap();
        assert_eq!(survival.read(), None);
        fs::write(survival.file(), render(&state())).unwrap();
        assert_eq!(survival.read(), Some(state()));
    }
}
