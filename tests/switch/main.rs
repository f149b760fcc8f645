//! The simulated switch: the shipping crates on virtual wires, without root.
//!
//! `RVS_SEED` repeats a random case, `RVS_CASES` multiplies how many are tried.
#![allow(clippy::unwrap_used)]

mod attacks;
mod effects;
mod fuzz;
mod guests;
mod hosts;
mod learning;
mod limits;
mod openflow;
mod parking;
mod policing;
mod random;
mod script;
mod spanning;
mod steady;
mod vlan;
