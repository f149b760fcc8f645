//! Managers of a switch whose devices are in memory; their clients are real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollTimeout};
use rvs_switch::controllers::SslConfig;
use rvs_testkit::TestSwitch;
use serde_json::{json, Value};

use super::*;
use crate::channel::means::{HANDSHAKE, MAX_CLIENTS, MAX_HANDSHAKES};
use crate::channel::pki::Pki;

const QUESTION: &[u8] = br#"{"id":1,"method":"list_dbs","params":[]}"#;

struct Lab {
    _dir: tempfile::TempDir,
    managers: Managers,
    kit: TestSwitch,
    now: Now,
}

impl Lab {
    fn new(targets: &[&str], ssl: Option<SslConfig>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut lab = Self {
            managers: Managers::new(dir.path()),
            _dir: dir,
            kit: TestSwitch::default(),
            now: Now::from_secs(1000),
        };
        let mut operations = Vec::new();
        let mut names = Vec::new();
        for (n, target) in targets.iter().enumerate() {
            let name = format!("m{n}");
            operations.push(json!({"op": "insert", "table": "Manager", "uuid-name": name, "row": {"target": target}}));
            names.push(json!(["named-uuid", name]));
        }
        let mut root = json!({"manager_options": ["set", names]});
        if let Some(ssl) = ssl {
            let row = json!({"private_key": ssl.private_key, "certificate": ssl.certificate, "ca_cert": ssl.ca_cert});
            operations
                .push(json!({"op": "insert", "table": "SSL", "uuid-name": "ssl", "row": row}));
            root["ssl"] = json!(["named-uuid", "ssl"]);
        }
        operations.push(json!({"op": "update", "table": "Open_vSwitch", "where": [], "row": root}));
        lab.kit.transact(&operations);
        lab.turn();
        lab
    }

    fn turn(&mut self) {
        self.managers.turn(self.now, &mut self.kit.switch);
        self.managers.send(self.now, &mut self.kit.switch);
    }

    /// Polls for a moment, as the control thread does, and gives a turn if there is reason for one.
    fn step(&mut self) {
        let interests = self.managers.interests(self.now, &self.kit.switch.server);
        let fds = interests
            .iter()
            .map(|(_, fd, flags)| PollFd::new(*fd, *flags));
        let mut fds: Vec<_> = fds.collect();
        poll(&mut fds, PollTimeout::from(5u8)).unwrap();
        let tokens = interests.iter().map(|(token, ..)| *token);
        let found = tokens.zip(fds.iter().filter_map(PollFd::revents));
        let found: Vec<_> = found.filter(|(_, flags)| !flags.is_empty()).collect();
        let due = self.managers.deadline().is_some_and(|at| at <= self.now);
        if found.is_empty() && !due {
            return;
        }
        for (token, flags) in found {
            self.managers.ready(token, flags);
        }
        self.turn();
    }

    /// Steps until `done`, without the test's clock moving.
    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < Duration::from_secs(20), "it never comes");
            self.step();
        }
    }

    /// Whether the client's socket is ended by the other side.
    fn hears_end(&mut self, client: &mut TcpStream) {
        self.until(|_| match client.read(&mut [0; 64]) {
            Ok(n) => n == 0,
            Err(e) => e.kind() != ErrorKind::WouldBlock,
        });
    }

    fn rows(&mut self) -> Vec<Value> {
        let select = json!({"op": "select", "table": "Manager", "where": []});
        let answers = self.kit.transact(&[select]);
        answers[0]["rows"].as_array().unwrap().clone()
    }
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

/// From one of loopback's addresses.
fn dial(from: &str, port: u16) -> TcpStream {
    let client = crate::channel::pki::dial_from(from, port);
    client.set_nonblocking(true).unwrap();
    client
}

#[test]
fn a_bad_target_is_said_and_costs_no_time() {
    let mut lab = Lab::new(&["ptcp:6640:name.example", "tcp:", "frob"], None);
    for _ in 0..3 {
        let at = lab.managers.deadline().unwrap();
        assert!(at > lab.now, "it asks for a turn at once, for ever");
        lab.now = at;
        lab.turn();
    }
    for row in lab.rows() {
        let status = row["status"].to_string();
        assert!(status.contains("last_error"), "{status}");
    }
}

#[test]
fn all_64_clients_may_be_of_one_address_and_the_65th_is_turned_away() {
    let port = free_port();
    let mut lab = Lab::new(&[&format!("ptcp:{port}:127.0.0.1")], None);
    let mut clients = Vec::new();
    for n in 1..=MAX_CLIENTS {
        clients.push(dial("127.0.0.1", port));
        lab.until(|l| l.managers.links.len() == n);
    }
    lab.hears_end(&mut dial("127.0.0.1", port));
    assert_eq!(lab.managers.links.len(), MAX_CLIENTS);
    // They are answered.
    let mut other = clients.remove(0);
    other.write_all(QUESTION).unwrap();
    let mut answer = Vec::new();
    lab.until(|_| {
        let mut buffer = [0; 256];
        let n = other.read(&mut buffer).unwrap_or(0);
        answer.extend_from_slice(&buffer[..n]);
        String::from_utf8_lossy(&answer).contains("Open_vSwitch")
    });
}

#[test]
fn handshakes_are_counted_and_timed() {
    let pki = Pki::new();
    let port = free_port();
    let target = format!("pssl:{port}:127.0.0.1");
    let mut lab = Lab::new(&[&target], Some(pki.files("switch")));
    let mut silent = Vec::new();
    for n in 0..MAX_HANDSHAKES {
        silent.push(dial(&format!("127.0.0.{}", 1 + n / 4), port));
        lab.until(|l| l.managers.links.len() == n + 1);
    }
    lab.hears_end(&mut dial("127.0.0.9", port));
    assert_eq!(lab.managers.links.len(), MAX_HANDSHAKES);
    lab.now = lab.now + HANDSHAKE;
    lab.until(|l| l.managers.links.is_empty());
    lab.hears_end(&mut silent[0]);
}

#[test]
fn a_request_that_comes_with_the_end_of_the_handshake_is_answered() {
    let pki = Pki::new();
    let port = free_port();
    let target = format!("pssl:{port}:127.0.0.1");
    let mut lab = Lab::new(&[&target], Some(pki.files("switch")));
    let mut client = pki.dial_early(port, QUESTION);
    lab.until(|l| !l.managers.links.is_empty());
    // The turn that ends the handshake is one that something else brought: no poll has found the octets.
    lab.until(|l| {
        client.hears();
        l.turn();
        l.managers.links.values().all(|l| l.session.is_some())
    });
    lab.until(|_| client.hears().contains("Open_vSwitch"));
}
