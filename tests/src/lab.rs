//! The machine of a test: its files, commands, namespaces and devices.

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A single command of a test takes no longer.
const COMMAND_SECS: u64 = 60;
/// How long [`eventually`] waits.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// What a command said.
#[derive(Clone, Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The machine of one test: this thread's namespaces and a directory.
pub struct Lab {
    dir: TempDir,
    /// What daemons are started by.
    wrapper: RefCell<String>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self {
            // On the test's own /run, which goes with its namespaces however the test ends, and with what is mounted there.
            dir: tempfile::Builder::new()
                .prefix("rvt-")
                .tempdir_in("/run")
                .unwrap(),
            wrapper: RefCell::default(),
        }
    }

    /// Has daemons started by another program from now on, which is given their command line.
    pub fn daemons_within(&self, wrapper: &str) {
        *self.wrapper.borrow_mut() = wrapper.to_owned();
    }

    pub(crate) fn wrapper(&self) -> String {
        self.wrapper.borrow().clone()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs shell commands here, whatever their end.
    pub fn try_sh(&self, script: &str) -> Ran {
        self.bounded(&[], script)
    }

    /// Runs shell commands within `wrapper`, for a bounded time.
    fn bounded(&self, wrapper: &[&str], script: &str) -> Ran {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "timeout", "-k", "1"])
            .arg(COMMAND_SECS.to_string())
            .args(wrapper)
            .args(["bash", "-c", &format!("set -eu -o pipefail; {script}")]);
        ran(command.current_dir(self.dir.path()))
    }

    /// Runs shell commands here that have to succeed; what they print.
    pub fn sh(&self, script: &str) -> String {
        let ran = self.try_sh(script);
        assert_eq!(ran.code, 0, "{script}\n{}{}", ran.out, ran.err);
        ran.out
    }

    /// Runs shell commands in a named namespace.
    pub fn sh_in(&self, ns: &str, script: &str) -> String {
        let ran = self.try_sh_in(ns, script);
        assert_eq!(ran.code, 0, "{ns}: {script}\n{}{}", ran.out, ran.err);
        ran.out
    }

    pub fn try_sh_in(&self, ns: &str, script: &str) -> Ran {
        self.bounded(&["ip", "netns", "exec", ns], script)
    }

    /// Starts a program that runs beside the test and ends with it. Its output goes to the files `NAME.out` and `NAME.err`.
    pub fn spawn(&self, name: &str, program: &str) -> Background {
        let file = |end: &str| File::create(self.path(&format!("{name}.{end}"))).unwrap();
        let child = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "bash",
                "-c",
                &format!("exec {program}"),
            ])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .unwrap();
        Background {
            child,
            out: self.path(&format!("{name}.out")),
            err: self.path(&format!("{name}.err")),
        }
    }

    /// Makes named namespaces with a working loopback device.
    pub fn namespaces(&self, names: &[&str]) {
        for name in names {
            self.sh(&format!("ip netns add {name}; ip -n {name} link set lo up"));
        }
    }

    /// Gives each of these namespaces a default route.
    pub fn gateways(&self, of: &[(&str, &str)]) {
        for (ns, gateway) in of {
            self.sh(&format!("ip -n {ns} route add default via {gateway}"));
        }
    }

    /// Makes a veth pair: `here` in the test's own namespace, `there` in a named one with an address; both are up.
    pub fn host(&self, ns: &str, here: &str, there: &str, address: &str) {
        self.sh(&format!(
            "ip link add {there} type veth peer name {here}; ip link set {there} netns {ns}; ip link set {here} up; \
             ip -n {ns} addr add {address} dev {there}; ip -n {ns} link set {there} up"
        ));
    }

    /// MAC address of a device in a named namespace.
    pub fn mac(&self, ns: &str, device: &str) -> String {
        self.sh_in(ns, &format!("cat /sys/class/net/{device}/address"))
            .trim()
            .to_owned()
    }

    /// `ip -j link show DEVICE` here: flags, MTU, address ...; nothing when there is no such device.
    pub fn link(&self, device: &str) -> Option<serde_json::Value> {
        let ran = self.try_sh(&format!("ip -j -d link show dev {device}"));
        (ran.code == 0)
            .then(|| serde_json::from_str::<serde_json::Value>(&ran.out).unwrap()[0].clone())
    }

    /// Names of all devices here.
    pub fn devices(&self) -> Vec<String> {
        let links: serde_json::Value = serde_json::from_str(&self.sh("ip -j link show")).unwrap();
        let name = |l: &serde_json::Value| l["ifname"].as_str().unwrap().to_owned();
        links.as_array().unwrap().iter().map(name).collect()
    }
}

/// Runs a command to its end.
pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A program beside the test; it is killed when this is dropped.
pub struct Background {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Background {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn out(&self) -> String {
        read(&self.out)
    }

    pub fn err(&self) -> String {
        read(&self.err)
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
    }

    /// Its exit code once it has ended by itself (128 and the signal's number if a signal ended it).
    pub fn ended(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.try_wait().unwrap()?;
        Some(
            status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        )
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> i32 {
        let mut code = None;
        eventually("the program ends", || {
            code = self.ended();
            code.is_some()
        });
        code.unwrap()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// Waits until something is so; the test fails when it is not within [`DEADLINE`].
pub fn eventually(what: &str, is: impl FnMut() -> bool) {
    within(DEADLINE, what, is);
}

/// Waits until something is so, no longer than this. Returns how long it took.
pub fn within(limit: Duration, what: &str, mut is: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    loop {
        if is() {
            return started.elapsed();
        }
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
