//! Where the configuration is: in a database of this daemon's own, or with a database server that runs already.
//!
//! The line that starts Open vSwitch's daemon names a server's socket. When a server answers there, this daemon is its
//! client, as the other one would be. When nobody answers at `unix:RUNDIR/db.sock`, there is no server to wait for: this
//! daemon serves the database at that very place. `--db FILE` says that it serves, whoever runs.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rvs_switch::controllers::SslConfig;

use crate::args::{self, Args};
use crate::channel::target::Target;

/// IANA's port of OVSDB (RFC 7047 section 4).
pub const DATABASE_PORT: u16 = 6640;

/// Where the configuration is.
pub enum Source {
    /// In this file, served by this daemon.
    Own(PathBuf),
    /// With a server; what it was called, and how to reach it.
    Server(String, Target),
}

impl Source {
    /// # Errors
    /// When the DATABASE argument is no address, in words.
    pub fn find(args: &Args, rundir: &Path) -> Result<Self, String> {
        let socket = rundir.join("db.sock");
        let usual = || format!("unix:{}", socket.display());
        let named = match (&args.db, &args.remote) {
            (Some(_), _) => None,
            (None, Some(remote)) => Some(remote.clone()),
            (None, None) => args::is_stock().then(usual),
        };
        let Some(name) = named else {
            return Ok(Self::Own(args::database(args)));
        };
        let target = parse(&name)?;
        let nobody = matches!(&target, Target::DialUnix(p) if *p == socket)
            && UnixStream::connect(&socket).is_err();
        if nobody {
            return Ok(Self::Own(args::database(args)));
        }
        if !args.bridges.is_empty() {
            return Err(format!(
                "--bridge makes bridges in a database of this daemon's own; at {name} a server runs: use ovs-vsctl add-br"
            ));
        }
        Ok(Self::Server(name, target))
    }
}

/// Reads the DATABASE argument. Unlike a target in the database it may name any socket.
fn parse(name: &str) -> Result<Target, String> {
    if let Some(path) = name.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return std::path::absolute(&path)
            .map(Target::DialUnix)
            .map_err(|e| format!("{name}: {e}"));
    }
    match Target::parse_with(name, Path::new(""), DATABASE_PORT) {
        Ok(target) if !target.is_passive() => Ok(target),
        Ok(_) => Err(format!(
            "{name}: a server's address is unix:FILE, tcp:HOST[:PORT] or ssl:HOST[:PORT]"
        )),
        Err(e) => Err(e.to_string()),
    }
}

/// The files for a server that is reached over TLS.
pub fn ssl(args: &Args) -> Option<SslConfig> {
    let ca = args.bootstrap_ca_cert.as_ref().or(args.ca_cert.as_ref())?;
    Some(SslConfig {
        private_key: args.private_key.clone()?,
        certificate: args.certificate.clone()?,
        ca_cert: ca.clone(),
        bootstrap_ca: args.bootstrap_ca_cert.is_some(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_servers_address_is_any_socket_or_host_and_no_listener() {
        assert_eq!(
            parse("unix:/tmp/other.sock").unwrap(),
            Target::DialUnix("/tmp/other.sock".into())
        );
        assert!(parse("unix:db.sock").is_ok());
        assert!(matches!(
            parse("tcp:127.0.0.1").unwrap(),
            Target::Dial {
                port: DATABASE_PORT,
                tls: false,
                ..
            }
        ));
        assert!(parse("ssl:h:1").unwrap().is_tls());
        for wrong in ["ptcp:6640", "punix:x", "nonsense", "tcp:"] {
            assert!(parse(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
