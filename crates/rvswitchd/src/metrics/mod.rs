//! `--metrics ADDR`: the figures of the switch for Prometheus, over HTTP.
//!
//! A thread of its own answers one scrape after the other: each has two seconds in all and 8 KiB for its request, so that a
//! client that dawdles delays the next scrape, and nothing else. For the figures it asks the daemon through the control socket, as
//! `ovs-appctl` does (`rvs/metrics`): the control thread only writes text into memory and never waits for a scrape.

mod figures;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rvs_ovsdb::jsonrpc::{Framer, Message};
use serde_json::{json, Value};

pub use figures::text;

/// What one scrape may take in all.
const PATIENCE: Duration = Duration::from_secs(2);
/// Octets of a request's head.
const MAX_REQUEST: usize = 8192;
/// Without file descriptors it makes no sense to ask again at once.
const RECOVERY: Duration = Duration::from_millis(100);

/// Answers scrapes on `address` from now on; `control` is the daemon's control socket.
///
/// # Errors
/// Nobody can listen on the address.
pub fn serve(address: SocketAddr, control: PathBuf) -> Result<()> {
    let listener = TcpListener::bind(address)
        .with_context(|| format!("--metrics {address}: can't listen; is another program there?"))?;
    let answer = move || loop {
        match listener.accept() {
            // A client that went away or spoke no HTTP has no answer.
            Ok((stream, _)) => drop(scrape(stream, &control)),
            Err(_) => std::thread::sleep(RECOVERY),
        }
    };
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(answer)
        .context("can't start the thread of --metrics")?;
    Ok(())
}

fn scrape(mut stream: TcpStream, control: &Path) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    let head = match head(&mut stream, end)? {
        Some(head) => head,
        None => return respond(&mut stream, "431 Request Header Fields Too Large", "", end),
    };
    let mut words = head.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some("GET"), Some("/metrics")) => match figures_of(control, end) {
            Ok(text) => respond(&mut stream, "200 OK", &text, end),
            Err(_) => respond(&mut stream, "503 Service Unavailable", "", end),
        },
        (Some("GET"), _) => respond(&mut stream, "404 Not Found", "see /metrics\n", end),
        _ => respond(&mut stream, "405 Method Not Allowed", "", end),
    }
}

/// What is left until `end`.
fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

/// The head of a request; `None` if it is too long.
fn head(stream: &mut TcpStream, end: Instant) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    while !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
        if bytes.len() >= MAX_REQUEST {
            return Ok(None);
        }
        stream.set_read_timeout(Some(left(end)?))?;
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn respond(stream: &mut TcpStream, status: &str, body: &str, end: Instant) -> io::Result<()> {
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(end)?))?;
        match stream.write(rest)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => rest = &rest[n..],
        }
    }
    Ok(())
}

/// Asks the daemon for its figures.
fn figures_of(control: &Path, end: Instant) -> io::Result<String> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let mut stream = UnixStream::connect(control)?;
    let request = json!({"id": 0, "method": "rvs/metrics", "params": []});
    stream.set_write_timeout(Some(left(end)?))?;
    stream.write_all(request.to_string().as_bytes())?;
    let mut framer = Framer::with_max(rvs_ovsdb::limits::MAX_REPLY_BYTES);
    let mut chunk = vec![0; 65_536];
    loop {
        if let Some(object) = framer.next_object().map_err(|_| broken())? {
            return match Message::from_json(object).map_err(|_| broken())? {
                Message::Response {
                    result: Ok(Value::String(text)),
                    ..
                } => Ok(text),
                _ => Err(broken()),
            };
        }
        stream.set_read_timeout(Some(left(end)?))?;
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => framer.push(&chunk[..n]),
        }
    }
}
