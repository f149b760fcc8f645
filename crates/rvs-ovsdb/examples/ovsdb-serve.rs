//! Serves a database on a Unix socket: `ovsdb-serve DATABASE SOCKET`. The loop is the one of the tests.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use rvs_ovsdb::server::Event;

#[path = "../tests/support/mod.rs"]
mod support;

fn main() {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(database), Some(socket)) = (args.next(), args.next()) else {
        eprintln!("usage: ovsdb-serve DATABASE SOCKET");
        std::process::exit(2);
    };
    let _stale = std::fs::remove_file(&socket);
    support::serve(
        support::open(&database, 1),
        &socket,
        &AtomicBool::new(false),
        |_, event| match event {
            Event::Committed(committed) => println!("{} row(s) changed", committed.delta.len()),
            Event::Closed { reason, .. } => println!("client dropped: {reason}"),
        },
    );
}
