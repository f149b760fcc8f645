//! The channels with real sockets, a clock of the test's own, and agents that echo.

mod lab;
mod limits;
mod posts;
mod tls;
