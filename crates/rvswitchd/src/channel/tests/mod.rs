//! The channels with real sockets, a clock of the test's own, and agents that echo.
#![allow(clippy::unwrap_used)]

mod lab;
mod limits;
mod posts;
mod tls;
