//! Configured channels: what comes, goes, reconnects and is reported.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rvs_ofproto::agent::ConnKind;
use rvs_switch::config::FailMode;

use super::super::resolve::Resolver;
use super::lab::Lab;

const SECOND: Duration = Duration::from_secs(1);

fn dial(lab: &Lab, name: &str) -> UnixStream {
    let s = UnixStream::connect(lab.path(name)).unwrap();
    s.set_nonblocking(true).unwrap();
    s
}

fn listener() -> (TcpListener, String) {
    let l = TcpListener::bind("127.0.0.1:0").unwrap();
    l.set_nonblocking(true).unwrap();
    let target = format!("tcp:{}", l.local_addr().unwrap());
    (l, target)
}

fn accept(lab: &mut Lab, l: &TcpListener) -> TcpStream {
    let mut found = None;
    lab.until(|_| {
        found = l.accept().ok();
        found.is_some()
    });
    let s = found.unwrap().0;
    s.set_nonblocking(true).unwrap();
    s
}

#[test]
fn the_service_sockets_come_and_go_with_their_bridge() {
    let mut lab = Lab::new(&[]);
    for name in ["br0.mgmt", "br0.snoop"] {
        let mode = lab.path(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    }
    let mut mgmt = dial(&lab, "br0.mgmt");
    let _snoop = dial(&lab, "br0.snoop");
    assert_eq!(lab.hear(&mut mgmt, 1), b"H");
    lab.until(|l| l.switch.conns.len() == 2);
    let mut kinds = lab.kinds();
    kinds.sort_by_key(|k| *k as u8);
    assert_eq!(kinds, [ConnKind::Service, ConnKind::Snoop]);
    lab.switch.configs.clear();
    lab.reconfigure();
    assert!(lab.switch.conns.is_empty());
    assert!(!lab.path("br0.mgmt").exists() && !lab.path("br0.snoop").exists());
    lab.hears_end(&mut mgmt);
}

#[test]
fn a_bridge_name_does_not_lead_out_of_the_run_directory() {
    let mut lab = Lab::new(&[]);
    lab.switch.configs[0].name = "../br0".to_owned();
    lab.reconfigure();
    lab.settle();
    assert_eq!(lab.dir.path().read_dir().unwrap().count(), 0);
    assert!(!lab.path("../br0.mgmt").exists());
}

#[test]
fn who_closes_at_once_has_every_request_done_and_answered() {
    let mut lab = Lab::new(&[]);
    let mut client = dial(&lab, "br0.mgmt");
    let words = vec![b'x'; 100_000];
    let mut all = vec![b'H'];
    all.extend_from_slice(&words);
    client.write_all(&words).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(lab.hear(&mut client, all.len()), all);
    lab.hears_end(&mut client);
    assert_eq!(lab.switch.gone, [&words[..]]);
    // And one that does not wait for the answer.
    let mut client = dial(&lab, "br0.mgmt");
    client.write_all(&words).unwrap();
    drop(client);
    lab.until(|l| l.switch.gone.len() == 2);
    assert_eq!(lab.switch.gone[1], words);
    lab.settle();
}

#[test]
fn what_an_agent_gives_up_hears_its_last_words() {
    let mut lab = Lab::new(&[]);
    let mut client = dial(&lab, "br0.mgmt");
    client.write_all(b"bad").unwrap();
    lab.until(|l| l.switch.conns.values().any(|c| !c.heard.is_empty()));
    let conn = *lab.switch.conns.keys().next().unwrap();
    lab.switch.closed.push((conn, "it was bad".to_owned()));
    assert_eq!(lab.hear(&mut client, 4), b"Hbad");
    lab.hears_end(&mut client);
    assert!(lab.switch.conns.is_empty());
}

#[test]
fn a_controller_is_dialled_lost_and_dialled_again() {
    let (listener, target) = listener();
    let mut lab = Lab::new(&[&target]);
    let mut peer = accept(&mut lab, &listener);
    assert_eq!(lab.hear(&mut peer, 1), b"H");
    assert_eq!(lab.kinds(), [ConnKind::Primary]);
    // A socket is not a connection yet.
    lab.pass(SECOND);
    assert_eq!(lab.row(1), (false, "CONNECTING".into(), String::new()));
    peer.write_all(b"H").unwrap();
    assert_eq!(lab.hear(&mut peer, 1), b"H");
    lab.pass(SECOND);
    assert_eq!(lab.row(1), (true, "ACTIVE".into(), String::new()));
    drop(peer);
    lab.until(|l| l.switch.conns.is_empty());
    lab.pass(SECOND);
    let (connected, _, error) = lab.row(1);
    assert!(!connected);
    assert!(error.contains("closed"), "{error}");
    let mut peer = accept(&mut lab, &listener);
    peer.write_all(b"H").unwrap();
    lab.until(|l| l.switch.conns.values().any(|c| !c.heard.is_empty()));
    lab.pass(SECOND);
    assert!(lab.row(1).0);
    // Quiet from here on: no descriptor is ready, and the next thing to do is the regular report.
    lab.settle();
    assert!(lab.channels.deadline().unwrap() >= lab.now + SECOND);
}

#[test]
fn who_is_not_there_is_tried_again_and_says_why() {
    let (listener, target) = listener();
    drop(listener);
    let mut lab = Lab::new(&[&target, "unix:nobody", "tcp:[fe80::1%nonesuch0]", "tcp"]);
    lab.settle();
    lab.pass(Duration::from_millis(1100));
    lab.settle();
    lab.pass(SECOND);
    assert_eq!(lab.row(1).2, "Connection refused");
    assert_eq!(lab.row(2).2, "No such file or directory");
    assert_eq!(lab.row(3).2, "there is no interface nonesuch0");
    let (connected, state, error) = lab.row(4);
    assert_eq!((connected, state.as_str()), (false, "VOID"));
    assert!(error.contains("write tcp:HOST"), "{error}");
}

#[test]
fn a_blackhole_is_given_up_and_tried_again() {
    // Nobody accepts, and a full backlog answers to no knock.
    let (listener, target) = listener_with_full_backlog();
    let mut lab = Lab::new(&[&target]);
    lab.settle();
    assert!(lab.switch.conns.is_empty());
    lab.pass(Duration::from_secs(8));
    lab.pass(SECOND);
    assert_eq!(lab.row(1).2, "no connection in time");
    drop(listener);
}

fn listener_with_full_backlog() -> ((TcpListener, Vec<TcpStream>), String) {
    use nix::sys::socket::{listen, Backlog};
    let (l, target) = listener();
    listen(&l, Backlog::new(0).unwrap()).unwrap();
    let at = l.local_addr().unwrap();
    let mut fill = Vec::new();
    while let Ok(s) = TcpStream::connect_timeout(&at, Duration::from_millis(100)) {
        fill.push(s);
    }
    ((l, fill), target)
}

#[test]
fn a_name_is_looked_up_and_its_addresses_are_tried_in_turn() {
    let (listener, target) = listener();
    let port = target.rsplit_once(':').unwrap().1.to_owned();
    let mut lab = Lab::new(&[]);
    lab.channels.resolver = Resolver::with(|name| match name {
        "c1.example.org" => Ok(vec![
            "127.0.0.3".parse().unwrap(),
            "127.0.0.1".parse().unwrap(),
        ]),
        _ => Err(std::io::Error::other("no such name")),
    });
    let target = format!("tcp:c1.example.org:{port}");
    lab.configure(&[&target, "tcp:c2.example.org"]);
    let mut found = false;
    lab.until(|l| {
        l.pass(Duration::from_millis(100));
        found |= listener.accept().is_ok();
        found
    });
    lab.until(|l| {
        l.pass(Duration::from_millis(100));
        l.row(2).2 == "can't look up c2.example.org: no such name"
    });
}

#[test]
fn without_its_controllers_a_standalone_bridge_is_left_to_itself() {
    let (listener, target) = listener();
    let mut lab = Lab::new(&[&target, "unix:nobody", "ptcp:0:127.0.0.1"]);
    let wait = |lab: &mut Lab, secs: u64| {
        for _ in 0..secs * 10 {
            lab.step();
            lab.pass(Duration::from_millis(100));
        }
    };
    // The first accepts and never says HELLO: that is no connection.
    wait(&mut lab, 14);
    assert!(!lab.switch.fail_open);
    wait(&mut lab, 2);
    assert!(lab.switch.fail_open);
    let greet = |lab: &mut Lab| {
        // The newest connection is the one that lives.
        let mut peers = Vec::new();
        lab.until(|_| {
            peers.extend(listener.accept().ok());
            if let Some((s, _)) = peers.last_mut() {
                s.write_all(b"H").ok();
            }
            true
        });
        peers
    };
    let mut kept = Vec::new();
    for _ in 0..200 {
        kept.extend(greet(&mut lab));
        wait(&mut lab, 1);
        if !lab.switch.fail_open {
            break;
        }
    }
    assert!(!lab.switch.fail_open);
    kept.clear();
    drop(listener);
    wait(&mut lab, 16);
    assert!(lab.switch.fail_open);
    lab.switch.configs[0].fail_mode = FailMode::Secure;
    lab.reconfigure();
    assert!(!lab.switch.fail_open);
}

#[test]
fn a_bridge_without_primary_controllers_is_never_left_to_itself() {
    let mut lab = Lab::new(&["ptcp:0:127.0.0.1"]);
    for _ in 0..10 {
        lab.pass(Duration::from_secs(60));
        assert!(!lab.switch.fail_open);
    }
}

#[test]
fn settings_change_in_place_and_targets_do_not() {
    let (first, target) = listener();
    let mut lab = Lab::new(&[&target]);
    let mut peer = accept(&mut lab, &first);
    assert_eq!(lab.hear(&mut peer, 1), b"H");
    lab.switch.configs[0].controllers[0].inactivity_probe = None;
    lab.switch.configs[0].controllers[0].rate_limit = Some((1000, 100));
    lab.reconfigure();
    let manner = lab.switch.conns.values().next().unwrap().manner;
    assert_eq!(manner.probe, None);
    assert_eq!(manner.options.rate_limit, Some(1000));
    assert_eq!(manner.options.burst_limit, Some(100));
    let (second, target) = listener();
    lab.switch.configs[0].controllers[0].target = target;
    lab.reconfigure();
    lab.hears_end(&mut peer);
    let mut peer = accept(&mut lab, &second);
    assert_eq!(lab.hear(&mut peer, 1), b"H");
    // An epoch that changes nothing disturbs nobody.
    lab.reconfigure();
    lab.settle();
    assert_eq!(lab.switch.conns.len(), 1);
}

#[test]
fn a_listener_waits_for_its_address_and_reports_its_clients() {
    let (busy, target) = listener();
    let port = busy.local_addr().unwrap().port();
    drop(target);
    let mut lab = Lab::new(&[&format!("ptcp:{port}:127.0.0.1"), "punix:br0.controller"]);
    let (_, state, error) = lab.row(1);
    assert_eq!(state, "VOID");
    assert!(error.contains("Address already in use"), "{error}");
    assert!(lab.path("br0.controller").exists());
    drop(busy);
    lab.pass(2 * SECOND);
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_nonblocking(true).unwrap();
    client.write_all(b"H").unwrap();
    assert_eq!(lab.hear(&mut client, 2), b"HH");
    assert_eq!(lab.kinds(), [ConnKind::Service]);
    lab.pass(SECOND);
    assert_eq!(lab.row(1), (true, "ACTIVE".into(), String::new()));
    drop(client);
    lab.until(|l| l.switch.conns.is_empty());
    lab.pass(SECOND);
    assert_eq!(lab.row(1), (false, String::new(), String::new()));
    lab.configure(&[]);
    assert!(!lab.path("br0.controller").exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn reports_are_a_second_apart_at_least_and_regular() {
    let mut lab = Lab::new(&["unix:nobody"]);
    for _ in 0..1000 {
        lab.pass(Duration::from_millis(10));
    }
    // 10 s: at most one a second, and at least one every five.
    assert!(
        (2..=11).contains(&lab.switch.reports),
        "{}",
        lab.switch.reports
    );
    let quiet = Lab::new(&[]);
    assert_eq!(quiet.switch.reports, 0);
    assert_eq!(quiet.channels.deadline(), None);
}
