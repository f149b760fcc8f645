//! Connection targets, as the `target` column spells them.
//!
//! `tcp:HOST[:PORT]`, `ssl:HOST[:PORT]` and `unix:FILE` are dialled; `ptcp:[PORT][:HOST]`, `pssl:[PORT][:HOST]` and
//! `punix:FILE` are listened on. IPv6 addresses stand in brackets, link-local ones with their interface:
//! `tcp:[fe80::1%eth0]:6653`. The port is 6653 (IANA's for OpenFlow) when none is given. A listener without an address
//! takes IPv4 connections on all of them; `[::]` takes IPv6 ones too.
//!
//! The database can be written from other machines, so files of `unix:` and `punix:` are names within the run directory,
//! never other paths: a database client does not get to talk to, or replace, sockets elsewhere in the file system.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};

/// IANA's port of OpenFlow.
pub const DEFAULT_PORT: u16 = 6653;

/// Where a peer (a controller, a manager, a database server) is, or where connections are expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `tcp:`, `ssl:`: this switch connects.
    Dial { host: Host, port: u16, tls: bool },
    /// `unix:`
    DialUnix(PathBuf),
    /// `ptcp:`, `pssl:`: this switch listens. Port 0 lets the kernel choose.
    Listen { at: Address, port: u16, tls: bool },
    /// `punix:`
    ListenUnix(PathBuf),
}

/// Who is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Address(Address),
    /// To be asked of the system's resolver.
    Name(String),
}

/// A numeric address; `scope` is the interface of a link-local one, looked up when the address is used, because it may come
/// and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub ip: IpAddr,
    pub scope: Option<String>,
}

/// Why a target can't be used: what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTarget(String);

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTarget {}

impl Target {
    /// Reads a target; relative file names are within `rundir`.
    ///
    /// # Errors
    /// One sentence that names cause and cure.
    pub fn parse(text: &str, rundir: &Path) -> Result<Self, BadTarget> {
        Self::parse_with(text, rundir, DEFAULT_PORT)
    }

    /// As [`Self::parse`], with another port where none is given.
    ///
    /// # Errors
    /// One sentence that names cause and cure.
    pub fn parse_with(text: &str, rundir: &Path, usual: u16) -> Result<Self, BadTarget> {
        let (method, rest) = text.split_once(':').ok_or_else(|| unknown(text))?;
        let read = match method {
            "tcp" | "ssl" => dial(rest, method == "ssl", usual),
            "ptcp" | "pssl" => listen(rest, method == "pssl", usual),
            "unix" => file(rest, rundir).map(Self::DialUnix),
            "punix" => file(rest, rundir).map(Self::ListenUnix),
            _ => return Err(unknown(text)),
        };
        read.map_err(|why| BadTarget(format!("\"{text}\": {why}")))
    }

    /// Whether the other side connects.
    pub fn is_passive(&self) -> bool {
        matches!(self, Self::Listen { .. } | Self::ListenUnix(_))
    }

    pub fn is_tls(&self) -> bool {
        matches!(
            self,
            Self::Dial { tls: true, .. } | Self::Listen { tls: true, .. }
        )
    }
}

impl Address {
    const ANY: Self = Self {
        ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        scope: None,
    };

    fn plain(ip: impl Into<IpAddr>) -> Self {
        Self {
            ip: ip.into(),
            scope: None,
        }
    }

    /// The address as system calls want it.
    ///
    /// # Errors
    /// When its interface does not exist now.
    pub fn socket(&self, port: u16) -> Result<SocketAddr, String> {
        let scope = match &self.scope {
            None => 0,
            Some(name) => nix::net::if_::if_nametoindex(name.as_str())
                .map_err(|_| format!("there is no interface {name}"))?,
        };
        Ok(match self.ip {
            IpAddr::V4(ip) => SocketAddrV4::new(ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
        })
    }
}

fn unknown(text: &str) -> BadTarget {
    BadTarget(format!(
        "\"{text}\" is not a target: write tcp:HOST[:PORT], ssl:HOST[:PORT], unix:FILE, ptcp:[PORT][:HOST], \
         pssl:[PORT][:HOST] or punix:FILE"
    ))
}

fn dial(text: &str, tls: bool, usual: u16) -> Result<Target, String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(inner) => {
            let (ip, rest) = inner
                .split_once(']')
                .ok_or("the bracket of the IPv6 address is not closed")?;
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(port),
                None if rest.is_empty() => None,
                None => return Err("after ] only :PORT may follow".to_owned()),
            };
            (Host::Address(bracketed(ip)?), port)
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            if port.is_some_and(|p| p.contains(':')) {
                return Err("an IPv6 address stands in brackets, as in tcp:[::1]:6653".to_owned());
            }
            (named(host)?, port)
        }
    };
    let port = match port {
        None => usual,
        Some(p) => match number(p)? {
            0 => return Err("nobody listens on port 0".to_owned()),
            port => port,
        },
    };
    Ok(Target::Dial { host, port, tls })
}

fn listen(text: &str, tls: bool, usual: u16) -> Result<Target, String> {
    let (port, host) = match text.split_once(':') {
        Some((port, host)) => (port, Some(host)),
        None => (text, None),
    };
    let port = match port {
        "" => usual,
        p => number(p).map_err(|e| format!("{e}; the port of a listener is before its address"))?,
    };
    let at = match host {
        None => Address::ANY,
        Some(host) => match host.strip_prefix('[') {
            Some(inner) => {
                let ip = inner
                    .strip_suffix(']')
                    .ok_or("the bracket of the IPv6 address is not closed at the end")?;
                bracketed(ip)?
            }
            None if host.contains(':') => {
                return Err("an IPv6 address stands in brackets, as in ptcp:6653:[::1]".to_owned())
            }
            None => match named(host)? {
                Host::Address(a) => a,
                Host::Name(n) => {
                    return Err(format!(
                        "{n} is a name: a listener needs one of this machine's addresses in digits"
                    ))
                }
            },
        },
    };
    Ok(Target::Listen { at, port, tls })
}

fn number(text: &str) -> Result<u16, String> {
    // `parse` would take a sign.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten();
    port.ok_or_else(|| format!("\"{text}\" is not a port (0 to 65535)"))
}

/// What stands between brackets.
fn bracketed(text: &str) -> Result<Address, String> {
    let (ip, scope) = match text.split_once('%') {
        Some((ip, scope)) => (ip, Some(scope)),
        None => (text, None),
    };
    let ip = ip
        .parse()
        .map_err(|_| format!("\"{ip}\" is not an IPv6 address"))?;
    if scope.is_some_and(|s| s.is_empty() || s.len() > 15 || s.contains('/')) {
        return Err("after % the name of an interface is expected".to_owned());
    }
    Ok(Address {
        ip: IpAddr::V6(ip),
        scope: scope.map(str::to_owned),
    })
}

/// A host without brackets.
fn named(text: &str) -> Result<Host, String> {
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(Address::plain(ip)));
    }
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Host::Address(Address::plain(Ipv4Addr::LOCALHOST)));
    }
    // RFC 1123 section 2.1, and underscores, which names in use have.
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let last_is_word = name
        .rsplit('.')
        .next()
        .is_some_and(|l| !l.bytes().all(|b| b.is_ascii_digit()));
    if name.len() <= 253 && name.split('.').all(label) && last_is_word {
        return Ok(Host::Name(text.to_owned()));
    }
    if text.is_empty() {
        return Err("a host is missing".to_owned());
    }
    Err(format!("\"{text}\" is neither an IPv4 address nor a name"))
}

/// A socket directly within the run directory, named alone or with the whole path.
fn file(text: &str, rundir: &Path) -> Result<PathBuf, String> {
    let given = Path::new(text);
    let name = match given.parent() {
        Some(dir) if dir == Path::new("") || dir == rundir => given.file_name(),
        _ => None,
    };
    match name.and_then(|n| n.to_str()) {
        // A path that ends in a slash or a dot has a file name for `Path`.
        Some(name) if text.ends_with(name) && !name.contains('\0') => Ok(rundir.join(name)),
        _ => Err(format!(
            "the socket must be a file of the run directory, as in unix:{}",
            rundir.join("NAME").display()
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Target, String> {
        Target::parse(text, Path::new("/run/rvs")).map_err(|e| e.to_string())
    }

    fn to(ip: &str, port: u16) -> Target {
        Target::Dial {
            host: Host::Address(Address::plain(ip.parse::<IpAddr>().unwrap())),
            port,
            tls: false,
        }
    }

    fn at(ip: &str, port: u16) -> Target {
        Target::Listen {
            at: Address::plain(ip.parse::<IpAddr>().unwrap()),
            port,
            tls: false,
        }
    }

    #[test]
    fn the_forms_of_a_dialled_target() {
        assert_eq!(parse("tcp:127.0.0.1"), Ok(to("127.0.0.1", 6653)));
        assert_eq!(parse("tcp:10.0.0.1:6633"), Ok(to("10.0.0.1", 6633)));
        assert_eq!(parse("tcp:[::1]"), Ok(to("::1", 6653)));
        assert_eq!(parse("tcp:[2001:db8::1]:1"), Ok(to("2001:db8::1", 1)));
        assert_eq!(parse("tcp:localhost:6653"), Ok(to("127.0.0.1", 6653)));
        assert!(parse("ssl:127.0.0.1").unwrap().is_tls());
        let named = |name: &str| Target::Dial {
            host: Host::Name(name.to_owned()),
            port: 6653,
            tls: false,
        };
        for name in ["faucet", "c1.example.org", "c1.example.org.", "a_b"] {
            assert_eq!(parse(&format!("tcp:{name}")), Ok(named(name)));
        }
        assert_eq!(
            parse("unix:ctl.sock"),
            Ok(Target::DialUnix("/run/rvs/ctl.sock".into()))
        );
    }

    #[test]
    fn the_forms_of_a_listener() {
        assert_eq!(parse("ptcp:"), Ok(at("0.0.0.0", 6653)));
        assert_eq!(parse("ptcp:6654"), Ok(at("0.0.0.0", 6654)));
        assert_eq!(parse("ptcp:0:127.0.0.1"), Ok(at("127.0.0.1", 0)));
        assert_eq!(parse("ptcp::127.0.0.1"), Ok(at("127.0.0.1", 6653)));
        assert_eq!(parse("ptcp:6653:[::]"), Ok(at("::", 6653)));
        assert!(parse("pssl:6653").unwrap().is_tls());
        assert_eq!(
            parse("punix:/run/rvs/br0.controller"),
            Ok(Target::ListenUnix("/run/rvs/br0.controller".into()))
        );
        assert!(parse("punix:x").unwrap().is_passive());
        assert!(!parse("tcp:1.2.3.4").unwrap().is_passive());
    }

    #[test]
    fn a_link_local_address_keeps_its_interface() {
        let Ok(Target::Dial {
            host: Host::Address(a),
            ..
        }) = parse("tcp:[fe80::1%lo]:6653")
        else {
            panic!("an address")
        };
        assert_eq!(a.scope.as_deref(), Some("lo"));
        assert_eq!(a.socket(6653).unwrap().to_string(), "[fe80::1%1]:6653");
        let gone = Address {
            scope: Some("nonesuch0".into()),
            ..a
        };
        assert_eq!(
            gone.socket(1).unwrap_err(),
            "there is no interface nonesuch0"
        );
    }

    #[test]
    fn refusals_say_what_to_write() {
        for (text, cure) in [
            ("127.0.0.1:6653", "write tcp:HOST[:PORT]"),
            ("udp:127.0.0.1", "write tcp:HOST[:PORT]"),
            ("", "write tcp:HOST[:PORT]"),
            ("tcp:", "a host is missing"),
            ("tcp::6653", "a host is missing"),
            ("tcp:1.2.3.4:", "is not a port"),
            ("tcp:1.2.3.4:+5", "is not a port"),
            ("tcp:1.2.3.4:65536", "is not a port"),
            ("tcp:1.2.3.4:0", "nobody listens on port 0"),
            ("tcp:::1:6653", "in brackets"),
            ("tcp:[::1", "not closed"),
            ("tcp:[::1]6653", "only :PORT"),
            ("tcp:[1.2.3.4]:1", "is not an IPv6 address"),
            ("tcp:[fe80::1%]", "the name of an interface"),
            ("tcp:1.2.3", "neither an IPv4 address nor a name"),
            ("tcp:256.1.1.1", "neither an IPv4 address nor a name"),
            ("tcp:a b", "neither an IPv4 address nor a name"),
            ("ptcp:127.0.0.1", "before its address"),
            ("ptcp:1:::1", "in brackets"),
            ("ptcp:1:host", "addresses in digits"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(cure), "{text}: {error}");
        }
    }

    #[test]
    fn files_outside_the_run_directory_are_refused() {
        for text in [
            "unix:/etc/passwd",
            "unix:../x",
            "unix:/run/rvs/../x",
            "unix:/run/rvs/sub/x",
            "unix:sub/x",
            "unix:",
            "unix:.",
            "unix:..",
            "unix:/run/rvs/",
            "unix:/run/rvs/.",
            "unix:x/",
            "unix:/",
            "punix:/tmp/x",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("/run/rvs/NAME"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(p?(tcp|ssl|unix):)?[\\[\\]:%./a-z0-9\u{0}é-]{0,30}") {
            if let Ok(Target::DialUnix(p) | Target::ListenUnix(p)) = parse(&text) {
                prop_assert_eq!(p.parent(), Some(Path::new("/run/rvs")));
            }
        }
    }
}
