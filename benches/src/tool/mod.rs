//! Tools of the run that this program is itself, inside a host: hidden subcommands.

mod flood;
mod receive;
mod tcp;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::Subcommand;

pub use flood::{flow, FloodArgs};

/// UDP port that floods are sent to.
pub const DISCARD: u16 = 9;
/// Flows of a flood that differ in the source port alone.
pub const PORTS: u64 = 50_000;
/// TCP port of `answer`.
pub const ANSWER: u16 = 5300;

#[derive(Subcommand, Debug)]
pub enum Tool {
    /// Send frames from one device as fast as one thread can, or at a rate.
    Flood(FloodArgs),
    /// Count the datagrams of a flood for some milliseconds; prints when they paused, and how many were overtaken.
    Receive { millis: u64 },
    /// Tag what leaves a device and untag what arrives, until killed: a host's VLAN without VLAN devices.
    Tag { device: String, vid: u16 },
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
        Tool::Tag { device, vid } => tag(&device, vid),
        Tool::Answer => tcp::answer(),
        Tool::Connect { to, millis } => tcp::connect(to, millis),
        Tool::Probe { to } => tcp::probe(to),
    }
}

fn tag(device: &str, vid: u16) -> Result<()> {
    let index = nix::net::if_::if_nametoindex(device).context("no such device")?;
    let _tagger = rvs_kcache::Tagger::attach(index, vid)?;
    println!("tagging");
    loop {
        std::thread::park();
    }
}
