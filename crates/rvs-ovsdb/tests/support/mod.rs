//! A small event loop around [`Server`]: Unix socket, `poll`, one thread. This is all that a daemon needs.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Instant;

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use rvs_ovsdb::log::{FileStorage, Log};
use rvs_ovsdb::schema::Schema;
use rvs_ovsdb::server::{Event, Server, SessionId};
use rvs_ovsdb::{Now, UuidGenerator};

/// Opens the database at `path` and a server for it.
pub fn open(path: &Path, seed: u8) -> Server {
    let mut uuids = UuidGenerator::new([seed; 16]);
    let storage = FileStorage::open(path).unwrap();
    let opened = Log::open(storage, &Schema::open_vswitch(), &mut uuids).unwrap();
    for note in &opened.notes {
        println!("{}: {note}", path.display());
    }
    let mut server = Server::new(uuids, Default::default());
    server.add_database(opened.db, Box::new(opened.log));
    server
}

/// Serves a socket until `stop`; `on_event` plays the daemon.
pub fn serve(
    mut server: Server,
    socket: &Path,
    stop: &AtomicBool,
    mut on_event: impl FnMut(&mut Server, &Event),
) {
    let listener = UnixListener::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let start = Instant::now();
    let mut streams: HashMap<SessionId, UnixStream> = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        let now = || Now(start.elapsed().as_nanos() as u64);
        wait(&server, &listener, &streams);
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).unwrap();
            if let Ok(id) = server.connect(now(), 0) {
                streams.insert(id, stream);
            }
        }
        let mut gone = Vec::new();
        for (&id, stream) in &mut streams {
            if !receive(&mut server, id, stream, now()) {
                gone.push(id);
            }
        }
        server.tick(now());
        while let Some(event) = server.next_event() {
            if let Event::Closed { session, .. } = &event {
                gone.push(*session);
            }
            on_event(&mut server, &event);
        }
        for (&id, stream) in &mut streams {
            while !server.output(id).is_empty() {
                match stream.write(server.output(id)) {
                    Ok(count) => server.sent(id, count, now()),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => {
                        gone.push(id);
                        break;
                    }
                }
            }
        }
        for id in gone {
            streams.remove(&id);
            server.disconnect(id);
        }
    }
}

fn wait(server: &Server, listener: &UnixListener, streams: &HashMap<SessionId, UnixStream>) {
    let mut fds = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    for (&id, stream) in streams {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, server.wants_input(id));
        flags.set(PollFlags::POLLOUT, !server.output(id).is_empty());
        fds.push(PollFd::new(stream.as_fd(), flags));
    }
    let _ = poll(&mut fds, PollTimeout::from(10u8));
}

fn receive(server: &mut Server, id: SessionId, stream: &mut UnixStream, now: Now) -> bool {
    let mut buffer = [0; 64 << 10];
    while server.wants_input(id) {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => server.input(id, &buffer[..count], now),
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
    true
}

/// A server in a thread of its own.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Serves `db` on `socket`.
    pub fn start(
        server: Server,
        socket: &Path,
        on_event: impl FnMut(&mut Server, &Event) + Send + 'static,
    ) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, path) = (stop.clone(), socket.to_owned());
        let thread = std::thread::spawn(move || serve(server, &path, &flag, on_event));
        while !socket.exists() {
            std::thread::yield_now();
        }
        Running {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            if !std::thread::panicking() {
                result.unwrap();
            }
        }
    }
}
