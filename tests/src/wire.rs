//! Frames into and out of a switch under test through real veth devices, written as Scapy expressions: who builds and who judges
//! the octets is a foreign program.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{json, Value};

/// The devices `h1`.. of the namespace `wire` ([`crate::Peer::wires`]).
pub struct Wires {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// A foreign client that is kept with the tests.
pub fn client(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("system/clients")
        .join(name)
}

/// The interpreter of the Python environment that the packages stage makes (`tests/packages.sh`).
pub fn python() -> PathBuf {
    installed("python_environment system/clients/requirements.txt").join("bin/python")
}

/// For `PYTHONPATH`: OS-Ken with the applications that it was released with.
pub fn applications() -> PathBuf {
    let clients = "system/clients";
    installed(&format!(
        "python_overlay {clients}/requirements.txt {clients}/applications.txt"
    ))
}

/// The directory of `cargo-deb`, for `PATH`.
pub fn cargo_deb() -> PathBuf {
    installed("cargo_deb_environment").join("bin")
}

/// The directory that a function of `packages.sh` names, which has to be whole.
fn installed(named_by: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let script = format!(". ./packages.sh; {named_by}");
    let out = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&root)
        .output()
        .unwrap();
    let directory = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim());
    assert!(
        directory.join("complete").exists(),
        "nothing in {}: run `tests/run packages` first",
        directory.display()
    );
    directory
}

impl Wires {
    pub fn open(count: u32) -> Self {
        let mut child = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "ip",
                "netns",
                "exec",
                "wire",
                "/usr/bin/python3",
            ])
            .arg(client("wire.py"))
            .arg(count.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut wires = Self { child, to, from };
        assert_eq!(wires.answer(), json!({"ready": true}));
        wires
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("wire.py: {e}: {line}"))
    }

    fn ask(&mut self, order: Value) -> Value {
        writeln!(self.to, "{order}").unwrap();
        let answer = self.answer();
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    /// Sends frames, each at a device, and says what differs when not exactly these frames come out.
    pub fn exchange(&mut self, send: &[(u32, &str)], expect: &[(u32, &str)]) -> Result<(), String> {
        let mut by_port = json!({});
        for (port, frame) in expect {
            let key = port.to_string();
            let list = &mut by_port[&key];
            match list.as_array_mut() {
                Some(list) => list.push(json!(frame)),
                None => *list = json!([frame]),
            }
        }
        let answer = self.ask(json!({"send": send, "expect": by_port}));
        match answer["ok"] == json!(true) {
            true => Ok(()),
            false => Err(format!(
                "missing {:#}\nsurplus {:#}",
                answer["missing"], answer["surplus"]
            )),
        }
    }

    /// The same, which has to come out so.
    pub fn sees(&mut self, what: &str, send: &[(u32, &str)], expect: &[(u32, &str)]) {
        if let Err(e) = self.exchange(send, expect) {
            panic!("{what}: sent {send:?}\n{e}");
        }
    }

    /// Sends at a rate (frames a second) for some seconds, the frames in turn; frames and octets that arrive meanwhile.
    pub fn flood(&mut self, port: u32, rate: u32, seconds: f64, frames: &[&str]) -> Flood {
        let answer = self.ask(json!({"flood": [port, rate, seconds, frames]}));
        Flood(answer)
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came of a flood.
#[derive(Debug)]
pub struct Flood(Value);

impl Flood {
    pub fn sent(&self) -> u64 {
        self.0["sent"].as_u64().unwrap()
    }

    /// How long sending took, in seconds.
    pub fn took(&self) -> f64 {
        self.0["took"].as_f64().unwrap()
    }

    /// Frames that arrived at a device.
    pub fn frames(&self, port: u32) -> u64 {
        self.0["frames"][port.to_string()].as_u64().unwrap_or(0)
    }

    pub fn octets(&self, port: u32) -> u64 {
        self.0["octets"][port.to_string()].as_u64().unwrap_or(0)
    }

    /// How often each frame arrived at a device (its first 64 octets in hexadecimal).
    pub fn kinds(&self, port: u32) -> Vec<(String, u64)> {
        let prefix = format!("{port} ");
        self.0["kinds"]
            .as_object()
            .unwrap()
            .iter()
            .filter_map(|(k, n)| Some((k.strip_prefix(&prefix)?.to_owned(), n.as_u64()?)))
            .collect()
    }
}
