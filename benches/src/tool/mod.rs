//! Tools of the run that this program is itself, inside a host: hidden subcommands.

mod flood;
mod receive;
mod tcp;

use std::net::SocketAddr;

use anyhow::Result;
use clap::Subcommand;

pub use flood::{flow, FloodArgs};

/// UDP port that floods are sent to.
pub const DISCARD: u16 = 9;
/// TCP port of `answer`.
pub const ANSWER: u16 = 5300;

#[derive(Subcommand, Debug)]
pub enum Tool {
    /// Send frames from one device as fast as one thread can, or at a rate.
    Flood(FloodArgs),
    /// Count the datagrams of a flood for some milliseconds; prints when they paused.
    Receive { millis: u64 },
    /// Answer connections of `connect` and `probe`.
    Answer,
    /// Make connection after connection with one request each; prints how many a second.
    Connect { to: SocketAddr, millis: u64 },
    /// Carry 256 KiB over one connection; fails if this takes longer than 2 s.
    Probe { to: SocketAddr },
}

pub fn run(tool: Tool) -> Result<()> {
    match tool {
        Tool::Flood(args) => flood::run(&args),
        Tool::Receive { millis } => receive::run(millis),
        Tool::Answer => tcp::answer(),
        Tool::Connect { to, millis } => tcp::connect(to, millis),
        Tool::Probe { to } => tcp::probe(to),
    }
}
