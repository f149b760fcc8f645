//! Where entries go as they come: lines of text under a heading, or one JSON array with an entry to a line.

use serde_json::Value;

use crate::output::{print, Style};
use rvs_openflow::text::message::version_note;
use rvs_openflow::Version;

/// Prints entries one after the other, so that a million of them take no room.
pub struct Printer {
    style: Style,
    started: bool,
}

impl Printer {
    pub fn new(style: Style) -> Self {
        Self {
            style,
            started: false,
        }
    }

    /// An entry: its text with the newline, or its JSON.
    pub fn entry(&mut self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) {
        if self.style.json {
            print(if self.started { ",\n" } else { "[\n" });
            print(&json().to_string());
        } else {
            print(&text());
        }
        self.started = true;
    }

    /// The end of the array.
    pub fn finish(self) {
        match (self.style.json, self.started) {
            (false, _) => {}
            (true, true) => print("\n]\n"),
            (true, false) => print("[]\n"),
        }
    }
}

/// The heading of an answer as `ovs-ofctl` has it, for programs; people do without.
pub fn heading(style: Style, name: impl std::fmt::Display, v: Version, xid: u32) -> String {
    if style.json || style.terminal {
        return String::new();
    }
    format!("{name} reply{} (xid={xid:#x}):\n", version_note(v))
}

/// `OFPST_NAME`, or `NXST_NAME` where OpenFlow 1.0 has it from Nicira.
pub fn nicira10(v: Version, name: &str) -> String {
    match v {
        Version::Of10 => format!("NXST_{name}"),
        _ => format!("OFPST_{name}"),
    }
}
