//! Peers that mean harm, or are broken, at the real daemon's sockets: each is closed or bounded, and nobody else notices.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rvs_tests::lab::within;
use rvs_tests::{eventually, Daemon, Lab};

use crate::hosts::red_and_green;

const ADDRESS: &str = "127.0.0.1:6650";
/// HELLO and a request for all flows, of 1.3.
const HELLO: [u8; 8] = [4, 0, 0, 8, 0, 0, 0, 1];
const ECHO: [u8; 8] = [4, 2, 0, 8, 0, 0, 0, 2];

fn dial() -> TcpStream {
    let s = TcpStream::connect(ADDRESS).unwrap();
    s.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    s
}

/// True when the other end has closed.
fn is_over(s: &mut TcpStream) -> bool {
    let mut octets = [0; 4096];
    loop {
        match s.read(&mut octets) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false
            }
            Err(_) => return true,
        }
    }
}

/// Octets of memory that the daemon holds.
fn resident(switch: &Daemon<'_>) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/statm", switch.pid())).unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Nobody else notices: the tool is answered within five seconds, and hosts talk.
fn others_are_well(lab: &Lab, switch: &Daemon<'_>, beside: &str) {
    let started = Instant::now();
    let flows = switch.ctl("dump-flows br1");
    assert!(flows.contains("NORMAL"), "{beside}: {flows}");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{beside}: {took:?}");
    let out = lab.sh_in("red", "ping -q -n -c 20 -i 0.02 -W 1 10.0.0.2");
    assert!(out.contains(" 20 received"), "{beside}: {out}");
}

/// Garbage, silence, a dribble, a request without end, thirty clients of one address, one who asks and never reads.
pub fn nobody_suffers_from_a_bad_peer(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    switch.expects(&["a client was turned away"]);
    switch.ctl("set-controller br1 ptcp:6650:127.0.0.1");
    switch.ctl("set bridge br1 fail_mode=standalone");
    eventually("the listener is there", || {
        TcpStream::connect(ADDRESS).is_ok()
    });
    lab.ping("red", "10.0.0.2");
    let before = resident(&switch);

    // Garbage: refused and closed at once, a thousand times.
    for n in 0..1000u32 {
        let mut s = dial();
        let octets: Vec<u8> = (0..64).map(|i| (n * 31 + i * 7) as u8).collect();
        let _ = s.write_all(&octets);
        if n % 250 == 0 {
            others_are_well(lab, &switch, "garbage");
        }
    }
    let mut garbage = dial();
    garbage.write_all(&[0xff; 64]).unwrap();
    within(Duration::from_secs(5), "garbage is closed", || {
        is_over(&mut garbage)
    });

    // One that says nothing, one that says a HELLO of 65,535 octets a few at a time, one in the middle of a message.
    let mut silent = dial();
    let mut dribble = dial();
    let mut half = dial();
    half.write_all(&HELLO).unwrap();
    half.write_all(&[4, 14, 0xff, 0xff, 0, 0]).unwrap();
    let _ = dribble.write_all(&[4, 0, 0xff, 0xff]);
    let started = Instant::now();
    let (mut silent_over, mut dribble_over) = (false, false);
    while started.elapsed() < Duration::from_secs(13) && !(silent_over && dribble_over) {
        let _ = dribble.write_all(&[0]);
        silent_over |= is_over(&mut silent);
        dribble_over |= is_over(&mut dribble);
    }
    assert!(
        silent_over,
        "who says no HELLO is closed within ten seconds"
    );
    assert!(dribble_over, "a HELLO that never ends is none");
    let took = started.elapsed();
    assert!(took > Duration::from_secs(8), "closed after {took:?}");
    others_are_well(lab, &switch, "half a message");

    // Eight connections of an address, and no ninth.
    drop((garbage, silent, dribble, half));
    let mut many = Vec::new();
    eventually("eight of thirty are kept", || {
        many.clear();
        // Those of before are forgotten, those of now are looked at.
        std::thread::sleep(Duration::from_millis(300));
        many.extend((0..30).map(|_| dial()));
        std::thread::sleep(Duration::from_millis(300));
        let open = many.iter_mut().map(is_over).filter(|over| !over).count();
        (6..=8).contains(&open)
    });
    others_are_well(lab, &switch, "thirty clients");
    drop(many);

    deaf(lab, &switch);
    let grown = resident(&switch).saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} octets more");
}

/// A service client that sends echo requests for ever and reads no reply: it is not read either, then.
fn deaf(lab: &Lab, switch: &Daemon<'_>) {
    let mut s = UnixStream::connect(switch.rundir().join("br1.mgmt")).unwrap();
    s.set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    s.write_all(&HELLO).unwrap();
    let many = ECHO.repeat(8192);
    let (mut sent, most) = (0, 64 << 20);
    while sent < most {
        match s.write(&many) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    assert!(sent < most, "everything is taken of who reads nothing");
    others_are_well(lab, switch, "a deaf peer");
}
