//! Certificates and keys of the `SSL` table, and who is trusted by them.
//!
//! Both sides always show a certificate, and each must be signed (directly or by intermediates that the peer sends) by a CA
//! of the `ca_cert` file. Names in certificates are not compared with anything: controllers are commonly addressed by
//! number, and the CA is the operator's own, made for this purpose. TLS 1.2 and 1.3.
//!
//! The files are looked at whenever a session begins and read again when they changed. While a changed set is unusable (a
//! key written before its certificate) the last good one stays in use, and the log says so.
//!
//! `bootstrap_ca_cert`: when the CA file does not exist, the CA that the first *dialled* controller sends is believed, and
//! written to the file; who sits between at that moment is trusted from then on. Listeners do not bootstrap: whoever
//! connects first would choose the CA.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    ring, verify_tls12_signature, verify_tls13_signature, CryptoProvider, WebPkiSupportedAlgorithms,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    ServerConfig, SignatureScheme,
};
use rvs_switch::controllers::SslConfig;

/// Largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Why there is nothing to believe while bootstrapping.
const NO_CA_SENT: &str = "the controller does not send its CA certificate, so that bootstrap_ca_cert has nothing to keep: \
                          make it send the CA (--peer-ca-cert of some), or copy the CA to ca_cert";

/// The CA that a bootstrapping session saw, until it is written.
pub type Seen = Arc<Mutex<Option<Vec<u8>>>>;

/// What a dialling session starts with.
pub struct Dialling {
    pub config: Arc<ClientConfig>,
    /// Set while bootstrapping: what was seen must be kept by [`keep_ca`] before a byte of the session is believed.
    pub bootstrap: Option<(Seen, PathBuf)>,
}

/// Keys and certificates in use.
pub struct Credentials {
    provider: Arc<CryptoProvider>,
    files: Option<SslConfig>,
    stamps: [Option<Stamp>; 3],
    /// Why what the files hold now is not used.
    fault: Option<String>,
    loaded: Option<Loaded>,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Permissions that keep a file from being read change this alone.
    changed: (i64, i64),
}

#[derive(Clone)]
struct Loaded {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    trust: Option<Trust>,
}

#[derive(Clone)]
struct Trust {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            provider: Arc::new(ring::default_provider()),
            files: None,
            stamps: [None; 3],
            fault: None,
            loaded: None,
        }
    }
}

impl Credentials {
    /// Uses other files from now on. Sessions that exist go on.
    pub fn set(&mut self, files: Option<SslConfig>) {
        if self.files != files {
            self.files = files;
            self.stamps = [None; 3];
            self.fault = None;
            self.loaded = None;
        }
    }

    /// For a session that this switch begins.
    ///
    /// # Errors
    /// What is missing or wrong in the files, in words.
    pub fn dialling(&mut self) -> Result<Dialling, String> {
        let files = self.refresh()?;
        let loaded = self.loaded.as_ref().ok_or_else(|| self.fault())?;
        if let Some(trust) = &loaded.trust {
            return Ok(Dialling {
                config: trust.client.clone(),
                bootstrap: None,
            });
        }
        let seen = Seen::default();
        let verifier = Arc::new(FirstUse {
            seen: seen.clone(),
            algorithms: self.provider.signature_verification_algorithms,
        });
        Ok(Dialling {
            config: client_config(&self.provider, verifier, loaded)?,
            bootstrap: Some((seen, files.ca_cert)),
        })
    }

    /// For a session that the other side begins.
    ///
    /// # Errors
    /// What is missing or wrong in the files, in words.
    pub fn listening(&mut self) -> Result<Arc<ServerConfig>, String> {
        let files = self.refresh()?;
        let loaded = self.loaded.as_ref().ok_or_else(|| self.fault())?;
        match &loaded.trust {
            Some(trust) => Ok(trust.server.clone()),
            None => Err(format!(
                "the CA certificate {} does not exist, and is bootstrapped from dialled controllers only",
                files.ca_cert.display()
            )),
        }
    }

    fn fault(&self) -> String {
        let fault = self.fault.clone();
        fault.unwrap_or_else(|| "no certificates are loaded".to_owned())
    }

    /// Reads the files anew if they changed.
    fn refresh(&mut self) -> Result<SslConfig, String> {
        let files = self.files.clone().ok_or(
            "TLS needs the files of table SSL: set them by set-ssl PRIVATE-KEY CERTIFICATE CA-CERT (for a DATABASE: --private-key, --certificate and --ca-cert)",
        )?;
        let paths = [&files.private_key, &files.certificate, &files.ca_cert];
        let stamps = paths.map(|p| Stamp::of(p));
        if stamps == self.stamps && (self.loaded.is_some() || self.fault.is_some()) {
            return Ok(files);
        }
        self.stamps = stamps;
        match load(&self.provider, &files) {
            Ok(loaded) => {
                if self.loaded.is_some() {
                    tracing::info!("TLS: certificates were read again");
                }
                self.loaded = Some(loaded);
                self.fault = None;
            }
            Err(why) => {
                let meanwhile = match self.loaded {
                    Some(_) => "; those read before stay in use",
                    None => "",
                };
                tracing::warn!("TLS: {why}{meanwhile}");
                self.fault = Some(why);
            }
        }
        Ok(files)
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let m = fs::metadata(path).ok()?;
        Some(Self {
            inode: m.ino(),
            size: m.len(),
            modified: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
        })
    }
}

fn load(provider: &Arc<CryptoProvider>, files: &SslConfig) -> Result<Loaded, String> {
    let path = &files.private_key;
    let (bytes, mode) = read_file(path, "private key")?;
    if mode & 0o077 != 0 {
        tracing::warn!(
            "TLS: the private key {} can be read by others than its owner: chmod 600 it",
            path.display()
        );
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|e| format!("{} holds no private key in PEM form: {e}", path.display()))?;
    let chain = certificates(&files.certificate, "certificate")?;
    let mut loaded = Loaded {
        chain,
        key: Arc::new(key),
        trust: None,
    };
    if files.bootstrap_ca && !files.ca_cert.exists() {
        // Whether key and certificate belong together is found out when a session begins.
        return Ok(loaded);
    }
    let mut roots = RootCertStore::empty();
    for cert in certificates(&files.ca_cert, "CA certificate")? {
        let path = files.ca_cert.display();
        roots.add(cert).map_err(|e| {
            format!(
                "{path} holds a certificate that can't be a CA: {}",
                words(&e)
            )
        })?;
    }
    let roots = Arc::new(roots);
    let verifier = Arc::new(SignedByCa {
        roots: roots.clone(),
        algorithms: provider.signature_verification_algorithms,
    });
    let client = client_config(provider, verifier, &loaded)?;
    let server = server_config(provider, roots, &loaded)?;
    loaded.trust = Some(Trust { client, server });
    Ok(loaded)
}

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let (bytes, _) = read_file(path, what)?;
    let list: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{} is not in PEM form: {e}", path.display()))?;
    if list.is_empty() {
        return Err(format!("{} holds no certificate", path.display()));
    }
    Ok(list)
}

/// Content and permissions of a file; a database client may name any path, so devices, pipes and huge files are refused.
fn read_file(path: &Path, what: &str) -> Result<(Vec<u8>, u32), String> {
    if path.as_os_str().is_empty() {
        return Err(format!("table SSL names no {what}"));
    }
    let fail = |e: std::io::Error| format!("can't read the {what} {}: {e}", path.display());
    let file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
        .map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Err(format!(
            "the {what} {} is not a file of at most 1 MiB",
            path.display()
        ));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(fail)?;
    Ok((bytes, meta.mode()))
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    ours: &Loaded,
) -> Result<Arc<ClientConfig>, String> {
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| words(&e))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(ours.chain.clone(), ours.key.clone_key())
        .map_err(|e| words(&e))?;
    Ok(Arc::new(config))
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    ours: &Loaded,
) -> Result<Arc<ServerConfig>, String> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|e| format!("the CA certificate can't be used: {e}"))?;
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| words(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(ours.chain.clone(), ours.key.clone_key())
        .map_err(|e| words(&e))?;
    Ok(Arc::new(config))
}

/// Believes a server whose certificate leads to one of the roots.
#[derive(Debug)]
struct SignedByCa {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Believes a server whose certificate leads to the CA that it sends along, and remembers that CA.
#[derive(Debug)]
struct FirstUse {
    seen: Seen,
    algorithms: WebPkiSupportedAlgorithms,
}

fn check_chain(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    algorithms: &WebPkiSupportedAlgorithms,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let cert = ParsedCertificate::try_from(end_entity)?;
    verify_server_cert_signed_by_trust_anchor(&cert, roots, intermediates, now, algorithms.all)?;
    Ok(ServerCertVerified::assertion())
}

/// The part of a verifier that is about signatures, not about trust.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for SignedByCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        check_chain(
            end_entity,
            intermediates,
            &self.roots,
            &self.algorithms,
            now,
        )
    }

    signatures!();
}

impl ServerCertVerifier for FirstUse {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ca = intermediates.last().unwrap_or(end_entity);
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let checked = check_chain(end_entity, intermediates, &roots, &self.algorithms, now);
        let checked = checked.map_err(|e| match e {
            Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Error::General(NO_CA_SENT.to_owned()),
            other => other,
        })?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(ca.to_vec());
        Ok(checked)
    }

    signatures!();
}

/// Writes the CA that a bootstrapping session saw. An existing file is not touched.
///
/// # Errors
/// When nothing was seen or nothing could be written; the session must end then.
pub fn keep_ca(seen: &Seen, path: &Path) -> Result<(), String> {
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    let der = seen.ok_or("the controller showed no CA certificate")?;
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
        .and_then(|mut file| file.write_all(pem(&der).as_bytes()));
    match written {
        Ok(()) => {
            tracing::warn!(
                "TLS: {} was written with the CA that the first controller sent, unverified",
                path.display()
            );
            Ok(())
        }
        Err(e) => Err(format!(
            "can't write the CA certificate {}: {e}",
            path.display()
        )),
    }
}

/// A certificate in the form of RFC 7468.
fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    // 48 octets are a line of 64 digits.
    for line in der.chunks(48) {
        for three in line.chunks(3) {
            let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
            let bits = at(0) << 16 | at(1) << 8 | at(2);
            for digit in 0..4 {
                let index = (bits >> (18 - 6 * digit) & 63) as usize;
                text.push(if digit <= three.len() {
                    char::from(DIGITS[index])
                } else {
                    '='
                });
            }
        }
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// What went wrong, for the one who has to repair it.
pub fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(e) => certificate_words(e),
        Error::NoCertificatesPresented => {
            "the peer showed no certificate: give it one signed by our ca_cert".to_owned()
        }
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "the peer does not speak TLS here: use ssl: with pssl:, and tcp: with ptcp:".to_owned()
        }
        Error::PeerIncompatible(e) => {
            format!("no version or cipher of TLS 1.2 or 1.3 in common with the peer ({e:?})")
        }
        Error::AlertReceived(alert) => {
            format!("the peer refused us ({alert:?}): it may not trust the CA of our certificate")
        }
        Error::InconsistentKeys(_) => {
            "private_key and certificate of table SSL do not belong together".to_owned()
        }
        Error::General(why) => why.clone(),
        other => other.to_string(),
    }
}

fn certificate_words(error: &CertificateError) -> String {
    let why = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet (is this machine's clock right?)"
        }
        // A CA of the same name with another key makes a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not signed by our ca_cert"
        }
        CertificateError::Other(OtherError(e)) => {
            return format!("a certificate can't be used: {e:?}");
        }
        other => return format!("a certificate can't be used: {other}"),
    };
    format!("the peer's certificate {why}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::pki::Pki;
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let mut c = Credentials::default();
        let fault = |c: &mut Credentials| c.dialling().err().unwrap();
        assert!(fault(&mut c).contains("set-ssl"));
        let pki = Pki::new();
        let good = pki.files("switch");
        let with = |edit: &dyn Fn(&mut SslConfig)| {
            let mut files = good.clone();
            edit(&mut files);
            let mut c = Credentials::default();
            c.set(Some(files));
            fault(&mut c)
        };
        let none = with(&|f| f.private_key = PathBuf::new());
        assert_eq!(none, "table SSL names no private key");
        assert!(with(&|f| f.private_key = "/nonexistent/k".into()).contains("/nonexistent/k"));
        assert!(with(&|f| f.private_key = f.certificate.clone()).contains("holds no private key"));
        assert!(with(&|f| f.certificate = f.private_key.clone()).contains("holds no certificate"));
        assert!(with(&|f| f.ca_cert = "/dev/zero".into()).contains("is not a file"));
        let other = pki.files("controller").private_key;
        assert!(with(&|f| f.private_key = other.clone()).contains("do not belong together"));
    }

    #[test]
    fn files_that_change_are_read_again_and_bad_ones_leave_the_last_good() {
        let pki = Pki::new();
        let mut c = Credentials::default();
        c.set(Some(pki.files("switch")));
        let first = c.dialling().unwrap().config;
        assert!(Arc::ptr_eq(&first, &c.dialling().unwrap().config));
        fs::write(pki.path("switch.key"), "half of a key").unwrap();
        assert!(Arc::ptr_eq(&first, &c.dialling().unwrap().config));
        assert!(c.fault.as_deref().unwrap().contains("private key"));
        pki.issue("switch");
        assert!(!Arc::ptr_eq(&first, &c.dialling().unwrap().config));
        assert_eq!(c.fault, None);
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let pki = Pki::new();
        let path = pki.path("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read_file(&path, "certificate")
            .unwrap_err()
            .contains("is not a file"));
    }

    #[test]
    fn listeners_do_not_bootstrap() {
        let pki = Pki::new();
        let mut files = pki.files("switch");
        files.ca_cert = pki.path("nobody-yet.pem");
        files.bootstrap_ca = true;
        let mut c = Credentials::default();
        c.set(Some(files.clone()));
        assert!(c.listening().unwrap_err().contains("dialled"));
        assert!(c.dialling().unwrap().bootstrap.is_some());
        fs::copy(pki.path("ca.pem"), &files.ca_cert).unwrap();
        assert!(c.listening().is_ok());
        assert!(c.dialling().unwrap().bootstrap.is_none());
    }

    #[test]
    fn pem_reads_back() {
        for len in [1, 2, 3, 47, 48, 49, 200] {
            let der: Vec<u8> = (0..len).map(|i| (i * 37) as u8).collect();
            let text = pem(&der);
            let read = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
            assert_eq!(read.as_ref(), der);
        }
    }
}
