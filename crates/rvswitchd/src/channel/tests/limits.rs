//! At the limits and one past them; peers that misbehave.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use super::super::means::{MAX_CLIENTS, MAX_CLIENTS_OF_SOURCE};
use super::lab::{Lab, ROOM};

fn dial(lab: &Lab) -> UnixStream {
    let s = UnixStream::connect(lab.path("br0.mgmt")).unwrap();
    s.set_nonblocking(true).unwrap();
    s
}

#[test]
fn a_listener_has_64_clients_and_the_65th_is_turned_away() {
    let mut lab = Lab::new(&[]);
    let mut clients = Vec::new();
    for n in 1..=MAX_CLIENTS {
        clients.push(dial(&lab));
        lab.until(|l| l.switch.conns.len() == n);
    }
    let mut late = dial(&lab);
    lab.hears_end(&mut late);
    assert_eq!(lab.switch.conns.len(), MAX_CLIENTS);
    // The others are as they were, and a place that comes free is taken.
    for c in &mut clients {
        assert_eq!(lab.hear(c, 1), b"H");
    }
    clients.pop();
    lab.until(|l| l.switch.conns.len() == MAX_CLIENTS - 1);
    let mut next = dial(&lab);
    assert_eq!(lab.hear(&mut next, 1), b"H");
}

#[test]
fn many_knock_at_once() {
    let mut lab = Lab::new(&[]);
    // The backlog is 64, and twice as many want in.
    let mut clients: Vec<UnixStream> = Vec::new();
    for _ in 0..2 * MAX_CLIENTS {
        clients.push(dial(&lab));
        if clients.len() % 32 == 0 {
            lab.settle();
        }
    }
    lab.settle();
    assert_eq!(lab.switch.conns.len(), MAX_CLIENTS);
}

#[test]
fn an_address_has_8_connections_and_the_9th_is_turned_away() {
    let (port, mut lab) = listening();
    let dial = |from: &str| {
        let s = super::super::pki::dial_from(from, port);
        s.set_nonblocking(true).unwrap();
        s
    };
    let mut clients = Vec::new();
    for n in 1..=MAX_CLIENTS_OF_SOURCE {
        clients.push(dial("127.0.0.1"));
        lab.until(|l| l.switch.conns.len() == n);
    }
    lab.hears_end(&mut dial("127.0.0.1"));
    assert_eq!(lab.hear(&mut dial("127.0.0.2"), 1), b"H");
}

/// A lab that listens on a free TCP port.
pub fn listening() -> (u16, Lab) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    (port, Lab::new(&[&format!("ptcp:{port}:127.0.0.1")]))
}

#[test]
fn who_does_not_read_costs_its_own_connection_and_no_time() {
    let mut lab = Lab::new(&[]);
    let mut deaf = dial(&lab);
    // Everything that fits is written; the agent echoes until it has its fill.
    let words = [7u8; 65536];
    let mut written = 0;
    for _ in 0..2000 {
        match deaf.write(&words) {
            Ok(n) => written += n,
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
        }
        lab.step();
    }
    assert!(written > ROOM && written < 4 * ROOM, "{written}");
    // It waits in poll, not in a loop.
    lab.settle();
    assert_eq!(lab.channels.deadline(), None);
    let mut other = dial(&lab);
    other.write_all(b"quick").unwrap();
    assert_eq!(lab.hear(&mut other, 6), b"Hquick");
    // It reads after all: not an octet is lost.
    let mut heard = 0;
    lab.until(|_| {
        let mut buffer = [0; 65536];
        loop {
            match deaf.read(&mut buffer) {
                Ok(n) => heard += n,
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::WouldBlock);
                    break heard == written + 1;
                }
            }
        }
    });
}

#[test]
fn who_does_not_read_and_goes_is_forgotten_within_a_second() {
    let mut lab = Lab::new(&[]);
    let mut deaf = dial(&lab);
    for _ in 0..200 {
        let _ = deaf.write(&[7u8; 65536]);
        lab.step();
    }
    deaf.shutdown(std::net::Shutdown::Write).unwrap();
    lab.settle();
    lab.pass(std::time::Duration::from_secs(2));
    lab.settle();
    drop(deaf);
    lab.until(|l| l.switch.conns.is_empty());
}

#[test]
fn a_dribble_is_passed_on_and_nobody_waits_for_it() {
    let (port, mut lab) = listening();
    let mut slow = TcpStream::connect(("127.0.0.1", port)).unwrap();
    slow.set_nonblocking(true).unwrap();
    slow.set_nodelay(true).unwrap();
    let mut other = dial(&lab);
    for n in 0..50 {
        slow.write_all(b"d").unwrap();
        other.write_all(b"o").unwrap();
        lab.hear(&mut other, if n == 0 { 2 } else { 1 });
    }
    assert_eq!(lab.hear(&mut slow, 51).len(), 51);
}
