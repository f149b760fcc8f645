//! A switch under test, and `rvs-ctl` to talk to it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::{eventually, ran, Background, Lab, Ran};

/// Where the binaries are: `$RVS_BIN`, else the release build, else the one that this test was built beside.
pub fn binary(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let beside = std::env::current_exe()
            .unwrap()
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .to_owned();
        let release = beside.parent().unwrap().join("release");
        let given = std::env::var_os("RVS_BIN").map(PathBuf::from);
        let found = match given {
            Some(directory) => Some(directory),
            None => [release, beside]
                .into_iter()
                .find(|d| d.join("rvswitchd").exists()),
        };
        let found = found.expect("no rvswitchd to test: build it first (cargo build --release)");
        println!(
            "the switch under test: {}",
            found.join("rvswitchd").display()
        );
        found
    });
    directory.join(name)
}

/// A running switch daemon with a run directory and a database of its own. A test whose daemon logs a warning or an error
/// fails at the daemon's end, unless it has said [`Daemon::expects`].
pub struct Daemon<'a> {
    lab: &'a Lab,
    name: String,
    arguments: String,
    process: Background,
    /// Parts of the warnings and errors that belong to the test.
    expected: RefCell<Vec<&'static str>>,
}

impl<'a> Daemon<'a> {
    /// Starts the daemon and waits until it is ready.
    pub fn start(lab: &'a Lab, arguments: &str) -> Self {
        Self::named(lab, "switch", arguments)
    }

    /// The same, for tests with several: the name tells their run directories and databases apart.
    pub fn named(lab: &'a Lab, name: &str, arguments: &str) -> Self {
        let mut daemon = Self {
            lab,
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            process: Self::launch(lab, name, arguments),
            expected: RefCell::default(),
        };
        daemon.wait_ready();
        daemon
    }

    /// Lets the daemon log warnings and errors that contain one of these texts: what this test does to it deserves them.
    pub fn expects(&self, texts: &[&'static str]) {
        self.expected.borrow_mut().extend(texts);
    }

    /// Fails when it has logged a warning or an error that the test does not expect.
    fn check_log(&self) {
        let log = self.log();
        let said = complaints(&log, &self.expected.borrow());
        assert!(
            said.is_empty(),
            "the daemon complained:\n{}",
            said.join("\n")
        );
    }

    /// Starts it without waiting for anything.
    pub fn launch(lab: &Lab, name: &str, arguments: &str) -> Background {
        let dir = lab.path(name);
        let dir = dir.display();
        // In a namespace of that name when there is one.
        let within = match std::path::Path::new("/run/netns").join(name).exists() {
            true => format!("ip netns exec {name} "),
            false => String::new(),
        };
        let database = match arguments.contains("--db ") {
            true => String::new(),
            false => format!("--db {dir}.db"),
        };
        let daemon = binary("rvswitchd");
        lab.spawn(
            name,
            &format!(
                "{within}{} {} --rundir {dir} {database} {arguments}",
                lab.wrapper(),
                daemon.display()
            ),
        )
    }

    fn wait_ready(&mut self) {
        let mut ended = None;
        eventually("the daemon is ready or ends", || {
            ended = self.process.ended();
            ended.is_some() || self.process.out().contains("rvswitchd: ready")
        });
        assert_eq!(ended, None, "the daemon ended: {}", self.process.err());
    }

    /// Starts it anew with the same directories after its end.
    pub fn again(&mut self) {
        self.check_log();
        self.process = Self::launch(self.lab, &self.name, &self.arguments);
        self.wait_ready();
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn rundir(&self) -> PathBuf {
        self.lab.path(&self.name)
    }

    pub fn database(&self) -> PathBuf {
        self.lab.path(&format!("{}.db", self.name))
    }

    /// What it has logged since its start.
    pub fn log(&self) -> String {
        self.process.err()
    }

    pub fn kill9(&mut self) {
        self.process.signal(Signal::SIGKILL);
        assert_eq!(self.process.wait(), 128 + 9);
    }

    /// Asks for a clean end; the exit code.
    pub fn terminate(&mut self) -> i32 {
        self.process.signal(Signal::SIGTERM);
        self.process.wait()
    }

    pub fn wait_end(&mut self) -> i32 {
        self.process.wait()
    }

    /// `rvs-ctl` with these words, whatever its end.
    pub fn try_ctl(&self, words: &str) -> Ran {
        ctl(&self.rundir(), words)
    }

    /// `rvs-ctl` with these words, which has to succeed; what it prints.
    pub fn ctl(&self, words: &str) -> String {
        let ran = self.try_ctl(words);
        assert_eq!(
            ran.code,
            0,
            "rvs-ctl {words}\n{}{}\n{}",
            ran.out,
            ran.err,
            self.log()
        );
        ran.out
    }

    pub fn json(&self, words: &str) -> Value {
        let text = self.ctl(&format!("--json {words}"));
        serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("rvs-ctl --json {words}: {e}\n{text}"))
    }

    /// `rvs-ctl` with these words must be refused with this exit code and one line that says all of `says`, and must change
    /// nothing. The line.
    pub fn refuses(&self, words: &str, code: i32, says: &[&str]) -> String {
        let (before, devices) = (self.configuration(), self.lab.devices());
        let ran = self.try_ctl(words);
        assert_eq!(ran.code, code, "rvs-ctl {words}\n{}{}", ran.out, ran.err);
        assert_eq!(
            ran.err.trim_end().lines().count(),
            1,
            "rvs-ctl {words}: not one line: {}",
            ran.err
        );
        for s in says {
            assert!(
                ran.err.contains(s),
                "rvs-ctl {words}: no \"{s}\" in: {}",
                ran.err
            );
        }
        eventually(&format!("nothing changed by rvs-ctl {words}"), || {
            self.configuration() == before && self.lab.devices() == devices
        });
        ran.err
    }

    /// Everything that the user has configured.
    pub fn configuration(&self) -> String {
        [
            "show",
            "list bridge",
            "list port",
            "list interface --columns=name,type,mac,mtu_request,ofport_request",
        ]
        .map(|c| self.ctl(c))
        .join("--\n")
    }

    /// A column of an interface as text, without quotes.
    pub fn interface(&self, name: &str, column: &str) -> String {
        self.ctl(&format!("get interface {name} {column}"))
            .trim()
            .trim_matches('"')
            .to_owned()
    }

    /// Waits until the port is open.
    pub fn wait_port(&self, name: &str) {
        eventually(&format!("port {name} is open"), || {
            let number: i64 = self.interface(name, "ofport").parse().unwrap_or(-1);
            number > 0 && self.interface(name, "error") == "[]"
        });
    }

    /// A counter of the daemon.
    pub fn counter(&self, name: &str) -> u64 {
        self.json("coverage")[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no counter {name}"))
    }

    /// Ports where the bridge has learned an address, by VLAN and MAC.
    pub fn fdb(&self, bridge: &str) -> Vec<(u64, String, String)> {
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let rows = self.json(&format!("fdb-show {bridge}"));
        let row = |r: &Value| {
            (
                r["vlan"].as_u64().unwrap(),
                text(&r["mac"]),
                text(&r["name"]),
            )
        };
        rows.as_array().unwrap().iter().map(row).collect()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // A test that fails already says why.
        if !std::thread::panicking() {
            self.check_log();
        }
    }
}

/// What a daemon may say on a machine that gave it no processor for a second.
const BUSY: [&str; 2] = [
    "a forwarding thread has not answered for a second",
    "a forwarding thread did not let go of port",
];

/// The warnings and errors of a log that contain none of these texts.
pub fn complaints<'l>(log: &'l str, expected: &[&str]) -> Vec<&'l str> {
    let bad = |line: &&str| {
        ["|WARN|", "|ERR|", "|EMER|"]
            .iter()
            .any(|level| line.contains(level))
    };
    log.lines()
        .filter(bad)
        .filter(|line| !expected.iter().chain(&BUSY).any(|e| line.contains(e)))
        .collect()
}

/// `rvs-ctl` for a run directory.
pub fn ctl(rundir: &Path, words: &str) -> Ran {
    let mut command = Command::new(binary("rvs-ctl"));
    command
        .args(words.split_whitespace())
        .env_remove("OVS_RUNDIR")
        .env("RVS_RUNDIR", rundir)
        .env("NO_COLOR", "1");
    ran(&mut command)
}
