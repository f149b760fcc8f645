//! The assembled switch, without I/O: configuration in, commands to workers and devices out.
#![forbid(unsafe_code)]

pub mod bonds;
pub mod config;
pub mod controllers;
mod inert;
mod macs;
mod mirrors;
mod mtu;
mod numbers;
mod openflow;
pub mod patch;
mod plant;
pub mod platform;
mod policing;
pub mod ports;
pub mod prepare;
pub mod qos;
mod remote;
mod snapshot;
pub mod spanning;
mod status;
pub mod survive;
pub mod switch;
mod tables;

pub use plant::SwitchPlant;
pub use switch::{Rim, Switch, DATABASE};
