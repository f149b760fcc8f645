//! Certificates for tests.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{date_time_ymd, BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};

use rvs_switch::controllers::SslConfig;

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
}
