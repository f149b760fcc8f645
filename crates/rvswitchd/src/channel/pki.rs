//! Certificates for tests, and clients that have them or an address.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::socket::{bind, connect, socket, AddressFamily, SockFlag, SockType, SockaddrIn};
use rcgen::{date_time_ymd, BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};

use rvs_switch::controllers::SslConfig;

use super::session::Session;
use super::target::{Address, Host};
use super::tls::Credentials;

/// A directory with a CA (`ca.pem`) and certificates that it signed for `switch` and `controller`.
pub struct Pki {
    dir: tempfile::TempDir,
    ca: Certificate,
    key: KeyPair,
}

impl Pki {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        let this = Self { dir, ca, key };
        this.issue("switch");
        this.issue("controller");
        this
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new key and certificate of that name.
    pub fn issue(&self, name: &str) {
        self.issue_until(name, 2100);
    }

    /// One that was good until the first day of `year`.
    pub fn issue_until(&self, name: &str, year: i32) {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.ca, &self.key).unwrap();
        let path = self.path(&format!("{name}.key"));
        fs::write(&path, key.serialize_pem()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(self.path(&format!("{name}.pem")), cert.pem()).unwrap();
    }

    /// As table SSL would name them.
    pub fn files(&self, name: &str) -> SslConfig {
        SslConfig {
            private_key: self.path(&format!("{name}.key")),
            certificate: self.path(&format!("{name}.pem")),
            ca_cert: self.path("ca.pem"),
            bootstrap_ca: false,
        }
    }

    /// A client of a listener with these files, whose first words go out together with the last ones of its handshake.
    pub fn dial_early(&self, port: u16, words: &[u8]) -> Early {
        let mut socket = dial_from("127.0.0.1", port);
        socket.set_nonblocking(true).unwrap();
        let mut credentials = Credentials::default();
        credentials.set(Some(self.files("controller")));
        let host = Host::Address(Address {
            ip: [127, 0, 0, 1].into(),
            scope: None,
        });
        let mut tls = Session::dial(credentials.dialling().unwrap(), &host).unwrap();
        // The library keeps them until it may send them.
        assert_eq!(tls.write(&mut socket, words).unwrap(), words.len());
        Early {
            socket,
            tls,
            open: false,
            heard: Vec::new(),
        }
    }
}

pub struct Early {
    socket: TcpStream,
    tls: Session,
    open: bool,
    heard: Vec<u8>,
}

impl Early {
    /// Goes on with what has come; what was heard so far.
    pub fn hears(&mut self) -> String {
        self.open = self.open || self.tls.handshake(&mut self.socket).unwrap();
        if self.open {
            self.tls
                .read(&mut self.socket, &mut self.heard, 4096)
                .unwrap();
        }
        String::from_utf8_lossy(&self.heard).into_owned()
    }
}

/// Connects to a port of 127.0.0.1 from another address of loopback.
pub fn dial_from(from: &str, port: u16) -> TcpStream {
    let fd = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::empty(),
        None,
    )
    .unwrap();
    let from: SocketAddrV4 = format!("{from}:0").parse().unwrap();
    bind(fd.as_raw_fd(), &SockaddrIn::from(from)).unwrap();
    let to: SocketAddrV4 = format!("127.0.0.1:{port}").parse().unwrap();
    connect(fd.as_raw_fd(), &SockaddrIn::from(to)).unwrap();
    fd.into()
}
