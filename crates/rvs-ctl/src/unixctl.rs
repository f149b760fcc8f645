//! Client of the daemon's control socket: JSON-RPC, one call per connection.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{json, Value};

use crate::failure::Failure;

/// Octets of an answer that are read at most: a dump of a full cache as JSON fits.
const MAX_ANSWER: usize = 256 << 20;

/// Where the daemon of a run directory listens: the socket that carries the pid in its pid file.
pub fn socket(rundir: &Path) -> Result<PathBuf, Failure> {
    let pidfile = rundir.join("rvswitchd.pid");
    let pid = std::fs::read_to_string(&pidfile)
        .map_err(|e| Failure::not_running(&pidfile, &e))?
        .trim()
        .to_owned();
    Ok(rundir.join(format!("rvswitchd.{pid}.ctl")))
}

/// Calls a command of the daemon and returns its result.
pub fn call(
    rundir: &Path,
    timeout: Option<Duration>,
    method: &str,
    params: &[&str],
) -> Result<Value, Failure> {
    let path = socket(rundir)?;
    let mut stream = UnixStream::connect(&path).map_err(|e| Failure::not_running(&path, &e))?;
    stream
        .set_read_timeout(timeout)
        .and_then(|()| stream.set_write_timeout(timeout))
        .map_err(Failure::io)?;
    let request = json!({"id": 0, "method": method, "params": params});
    stream
        .write_all(request.to_string().as_bytes())
        .map_err(Failure::io)?;
    let answer = read_value(&mut stream, &path)?;
    match (answer.get("error"), answer.get("result")) {
        (Some(Value::String(e)), _) => Err(Failure::Refused(e.trim_end().to_owned())),
        (_, Some(result)) if !result.is_null() => Ok(result.clone()),
        _ => Err(Failure::Refused(format!(
            "{} gave no result for {method}",
            path.display()
        ))),
    }
}

/// Reads one JSON value: the stream has no framing, so that it is complete when it parses.
fn read_value(stream: &mut UnixStream, path: &Path) -> Result<Value, Failure> {
    let mut text = Vec::new();
    let mut chunk = vec![0; 65_536];
    loop {
        let n = stream.read(&mut chunk).map_err(Failure::io)?;
        if n == 0 {
            return Err(Failure::Refused(format!(
                "{} closed the connection without an answer",
                path.display()
            )));
        }
        text.extend_from_slice(&chunk[..n]);
        if text.len() > MAX_ANSWER {
            return Err(Failure::Refused(format!(
                "the answer exceeds {} MiB",
                MAX_ANSWER >> 20
            )));
        }
        // Only an object's end can end the answer: parse no more often than that.
        if text.last() == Some(&b'}') || text.ends_with(b"}\n") {
            if let Ok(value) = serde_json::from_slice(&text) {
                return Ok(value);
            }
        }
    }
}
