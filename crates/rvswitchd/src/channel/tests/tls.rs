//! TLS both ways, with certificates that are right, wrong, missing and late.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rvs_switch::controllers::SslConfig;

use super::super::means::{HANDSHAKE, MAX_HANDSHAKES};
use super::super::pki::Pki;
use super::super::session::Session;
use super::super::stream::{Socket, Stream};
use super::super::target::{Host, Target};
use super::super::tls::Credentials;
use super::lab::Lab;

fn credentials(files: SslConfig) -> Credentials {
    let mut c = Credentials::default();
    c.set(Some(files));
    c
}

/// A lab that listens with the certificate of `switch`, and its port.
fn listening(pki: &Pki) -> (u16, Lab) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut lab = Lab::new(&[]);
    lab.switch.ssl = Some(pki.files("switch"));
    lab.configure(&[&format!("pssl:{port}:127.0.0.1")]);
    (port, lab)
}

/// A controller that connects.
fn dial(port: u16, files: SslConfig) -> Stream {
    let target = Target::parse(&format!("ssl:127.0.0.1:{port}"), "/".as_ref()).unwrap();
    let Target::Dial { host, .. } = &target else {
        panic!("a dialled one")
    };
    let host: &Host = host;
    let tls = Session::dial(credentials(files).dialling().unwrap(), host).unwrap();
    Stream::dial(&target, Some(tls), 0, &Default::default()).unwrap()
}

/// A lab that dials a listener, and the listener.
fn dialling(pki: &Pki, edit: impl Fn(&mut SslConfig)) -> (TcpListener, Lab) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut files = pki.files("switch");
    edit(&mut files);
    let mut lab = Lab::new(&[]);
    lab.switch.ssl = Some(files);
    lab.configure(&[&format!("ssl:{}", listener.local_addr().unwrap())]);
    (listener, lab)
}

/// The controller's side of the next connection.
fn accept(listener: &TcpListener, files: SslConfig) -> Stream {
    let (s, _) = listener.accept().unwrap();
    let tls = Session::accept(credentials(files).listening().unwrap()).unwrap();
    Stream::accepted(Socket::Tcp(s), Some(tls)).unwrap()
}

/// Moves both sides until the peer has read `len` octets, or why it has not.
fn read(lab: &mut Lab, peer: &mut Stream, len: usize) -> Result<Vec<u8>, String> {
    let mut heard = Vec::new();
    let mut failure = None;
    lab.until(|_| {
        let step = peer.establish().and_then(|_| peer.read(&mut heard));
        failure = step.err();
        failure.is_some() || heard.len() >= len
    });
    match failure {
        Some(why) if heard.len() < len => Err(why),
        _ => Ok(heard),
    }
}

/// What the switch reports about its controller, once there is an error.
fn error(lab: &mut Lab, peer: &mut Stream) -> String {
    lab.until(|l| {
        let _ = peer.establish();
        let _ = peer.read(&mut Vec::new());
        l.channels.links.is_empty()
    });
    lab.pass(Duration::from_secs(1));
    lab.row(1).2
}

#[test]
fn both_sides_show_certificates_and_talk() {
    let pki = Pki::new();
    let (port, mut lab) = listening(&pki);
    let mut peer = dial(port, pki.files("controller"));
    assert_eq!(read(&mut lab, &mut peer, 1).unwrap(), b"H");
    assert_eq!(peer.write(b"hello").unwrap(), 5);
    assert_eq!(read(&mut lab, &mut peer, 5).unwrap(), b"hello");
    // More than a record, a buffer, and a turn.
    let words = vec![b'w'; 300_000];
    let (mut sent, mut heard) = (0, Vec::new());
    lab.until(|_| {
        sent += peer.write(&words[sent..]).unwrap();
        peer.read(&mut heard).unwrap();
        heard.len() == words.len()
    });
    assert_eq!(heard, words);
    peer.close();
    lab.until(|l| l.switch.conns.is_empty());
    lab.settle();

    let (listener, mut lab) = dialling(&pki, |_| ());
    let mut peer = accept(&listener, pki.files("controller"));
    assert_eq!(read(&mut lab, &mut peer, 1).unwrap(), b"H");
    peer.write(b"H").unwrap();
    assert_eq!(read(&mut lab, &mut peer, 1).unwrap(), b"H");
    lab.pass(Duration::from_secs(1));
    assert!(lab.row(1).0);
}

#[test]
fn a_controller_of_another_ca_is_not_believed_and_neither_are_we() {
    let (ours, theirs) = (Pki::new(), Pki::new());
    let (listener, mut lab) = dialling(&ours, |_| ());
    let mut peer = accept(&listener, theirs.files("controller"));
    let why = error(&mut lab, &mut peer);
    assert!(why.contains("not signed by our ca_cert"), "{why}");
    assert!(lab.switch.gone.is_empty(), "an agent heard of it");
    // It is signed by our CA, and does not believe ours.
    let mut files = ours.files("controller");
    files.ca_cert = theirs.path("ca.pem");
    let (listener, mut lab) = dialling(&ours, |_| ());
    let mut peer = accept(&listener, files);
    let why = error(&mut lab, &mut peer);
    assert!(why.contains("the peer refused us"), "{why}");

    let (port, mut lab) = listening(&ours);
    let mut peer = dial(port, {
        let mut files = theirs.files("controller");
        files.ca_cert = ours.path("ca.pem");
        files
    });
    assert!(read(&mut lab, &mut peer, 1).is_err());
    assert!(lab.switch.conns.is_empty() && lab.switch.gone.is_empty());
}

#[test]
fn an_expired_certificate_is_refused_and_a_new_one_is_read_from_the_same_file() {
    let pki = Pki::new();
    pki.issue_until("controller", 2001);
    let (listener, mut lab) = dialling(&pki, |_| ());
    let mut peer = accept(&listener, pki.files("controller"));
    let why = error(&mut lab, &mut peer);
    assert!(why.contains("has expired"), "{why}");

    let (port, mut lab) = listening(&pki);
    let mut peer = dial(port, pki.files("controller"));
    assert!(read(&mut lab, &mut peer, 1).is_err());
    pki.issue("controller");
    let mut peer = dial(port, pki.files("controller"));
    assert_eq!(read(&mut lab, &mut peer, 1).unwrap(), b"H");
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let pki = Pki::new();
    let (port, mut lab) = listening(&pki);
    let mut roots = rustls::RootCertStore::empty();
    let pem = fs::read(pki.path("ca.pem")).unwrap();
    use rustls::pki_types::pem::PemObject;
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // The certificate has no name to compare, which would be this client's affair; it refuses, or is refused.
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let mut tls = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut s = TcpStream::connect(("127.0.0.1", port)).unwrap();
    s.set_nonblocking(true).unwrap();
    let mut over = false;
    lab.until(|_| {
        let _ = tls.write_tls(&mut s);
        let read = tls.read_tls(&mut s);
        over |= matches!(read, Ok(0)) || tls.process_new_packets().is_err();
        over
    });
    lab.settle();
    assert!(lab.switch.conns.is_empty() && lab.switch.gone.is_empty());
}

#[test]
fn plain_bytes_to_a_tls_port_and_tls_to_a_plain_one() {
    let pki = Pki::new();
    let (port, mut lab) = listening(&pki);
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.set_nonblocking(true).unwrap();
    // HELLO of OpenFlow 1.3.
    plain.write_all(&[4, 0, 0, 8, 0, 0, 0, 1]).unwrap();
    lab.hears_end(&mut plain);
    assert!(lab.switch.gone.is_empty());

    let (listener, mut lab) = dialling(&pki, |_| ());
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(&[4, 0, 0, 8, 0, 0, 0, 1]).unwrap();
    lab.until(|l| l.channels.links.is_empty());
    lab.pass(Duration::from_secs(1));
    let why = lab.row(1).2;
    assert!(why.contains("does not speak TLS"), "{why}");
}

#[test]
fn sixteen_handshakes_are_under_way_at_most_and_ten_seconds_each() {
    let pki = Pki::new();
    let (port, mut lab) = listening(&pki);
    // From two addresses, since one may have 8.
    let silent = |last: u8| {
        use nix::sys::socket::SockaddrIn;
        use nix::sys::socket::{bind, connect, socket, AddressFamily, SockFlag, SockType};
        use std::os::fd::AsRawFd;
        let fd = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::empty(),
            None,
        )
        .unwrap();
        bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, last, 0)).unwrap();
        connect(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
        let s = TcpStream::from(fd);
        s.set_nonblocking(true).unwrap();
        s
    };
    let mut clients: Vec<TcpStream> = (0..MAX_HANDSHAKES as u8)
        .map(|n| silent(2 + n / 8))
        .collect();
    lab.until(|l| l.channels.links.len() == MAX_HANDSHAKES);
    lab.hears_end(&mut silent(9));
    // One that is through makes room.
    lab.pass(HANDSHAKE - Duration::from_millis(1));
    assert_eq!(lab.channels.links.len(), MAX_HANDSHAKES);
    // Half of a record, at last, does not help.
    clients[0].write_all(&[22, 3, 1]).unwrap();
    lab.settle();
    lab.pass(Duration::from_millis(1));
    assert!(lab.channels.links.is_empty());
    for c in &mut clients {
        lab.hears_end(c);
    }
    let mut peer = dial(port, pki.files("controller"));
    assert_eq!(read(&mut lab, &mut peer, 1).unwrap(), b"H");
    // An open connection has no such deadline.
    lab.pass(2 * HANDSHAKE);
    assert_eq!(lab.switch.conns.len(), 1);
}

#[test]
fn the_ca_of_the_first_controller_is_kept_and_then_demanded() {
    let (pki, other) = (Pki::new(), Pki::new());
    let kept = pki.path("kept.pem");
    let edit = |files: &mut SslConfig| {
        files.ca_cert = kept.clone();
        files.bootstrap_ca = true;
    };
    // A certificate alone is no CA to keep.
    let (listener, mut lab) = dialling(&pki, edit);
    let mut peer = accept(&listener, pki.files("controller"));
    let why = error(&mut lab, &mut peer);
    assert!(why.contains("does not send its CA"), "{why}");
    assert!(!kept.exists());
    // One that sends its CA along.
    let chain = ["controller.pem", "ca.pem"].map(|f| fs::read_to_string(pki.path(f)).unwrap());
    let mut files = pki.files("controller");
    files.certificate = pki.path("chain.pem");
    fs::write(&files.certificate, chain.concat()).unwrap();
    let (listener, mut lab) = dialling(&pki, edit);
    let mut peer = accept(&listener, files);
    assert_eq!(read(&mut lab, &mut peer, 1).unwrap(), b"H");
    let normal = |text: &str| text.replace(['\r', '\n'], "");
    let ca = fs::read_to_string(pki.path("ca.pem")).unwrap();
    assert_eq!(normal(&fs::read_to_string(&kept).unwrap()), normal(&ca));
    // From now on it is that or nothing.
    let (listener, mut lab) = dialling(&pki, edit);
    let mut files = other.files("controller");
    files.ca_cert = pki.path("ca.pem");
    let mut peer = accept(&listener, files);
    let why = error(&mut lab, &mut peer);
    assert!(why.contains("not signed by our ca_cert"), "{why}");
}

#[test]
fn without_table_ssl_the_row_says_what_to_do() {
    let mut lab = Lab::new(&["ssl:127.0.0.1:6653"]);
    lab.pass(Duration::from_secs(1));
    let why = lab.row(1).2;
    assert!(why.contains("set-ssl"), "{why}");
}

#[test]
fn words_that_come_with_the_end_of_the_handshake_are_heard() {
    let pki = Pki::new();
    let (port, mut lab) = listening(&pki);
    let mut client = pki.dial_early(port, b"hello");
    lab.until(|_| client.hears() == "Hhello");
}
