//! Frames onto a device, octet by octet, as no stack would send them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::Netns;

const PROGRAM: &str = r#"
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind((sys.argv[1], 0))
for line in sys.stdin:
    s.send(bytes.fromhex(line))
    print(flush=True)
"#;

/// A program that sends what it is told on one device.
pub struct Sender {
    child: Child,
    orders: Option<ChildStdin>,
    done: BufReader<ChildStdout>,
}

impl Sender {
    /// `None`, said loudly, without python3.
    pub fn new(ns: &Netns, device: &str) -> Option<Self> {
        let spawned = ns.run(|| {
            Command::new("python3")
                .args(["-c", PROGRAM, device])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
        });
        let Ok(mut child) = spawned else {
            println!("SKIPPED: no python3 to send frames with");
            return None;
        };
        let orders = child.stdin.take();
        let done = BufReader::new(child.stdout.take().unwrap());
        Some(Self {
            child,
            orders,
            done,
        })
    }

    /// Returns once the device has taken the frame.
    pub fn send(&mut self, frame: &[u8]) {
        let mut line: String = frame.iter().map(|b| format!("{b:02x}")).collect();
        line.push('\n');
        let orders = self.orders.as_mut().unwrap();
        orders.write_all(line.as_bytes()).unwrap();
        assert_eq!(self.done.read_line(&mut line).unwrap(), 1, "{line}");
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}
