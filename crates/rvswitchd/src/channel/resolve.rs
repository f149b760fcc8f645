//! Names of controllers.
//!
//! The system's resolver blocks, for half a minute when no server answers, and the control thread must not. Each question
//! is asked on a thread of its own that ends with the answer; there are [`MAX_QUESTIONS`] at once, and a connection attempt
//! that finds none free fails and backs off like any other. The answer comes through a socket pair, so that the control
//! thread's `poll` wakes for it as for any other descriptor.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// Threads at once.
const MAX_QUESTIONS: usize = 4;
/// Addresses of a name that are used.
const MAX_ADDRESSES: usize = 16;

/// What answers: the addresses of a host.
type Lookup = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// Asks the system's resolver.
#[derive(Clone)]
pub struct Resolver {
    asked: Arc<AtomicUsize>,
    lookup: Lookup,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::with(|host| {
            let list = (host, 0).to_socket_addrs()?;
            Ok(list.map(|a| a.ip()).collect())
        })
    }
}

/// A question that was asked. Dropping it forgets the answer.
#[derive(Debug)]
pub struct Question {
    socket: UnixStream,
    answer: String,
}

/// Given back when the thread ends, however it ends.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Resolver {
    /// Asks somebody else.
    pub fn with(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self {
            asked: Arc::default(),
            lookup: Arc::new(lookup),
        }
    }

    /// # Errors
    /// When too many questions are open, or the system gives no thread.
    pub fn ask(&self, name: &str) -> Result<Question, String> {
        let slot = Slot(self.asked.clone());
        if self.asked.fetch_add(1, Ordering::Relaxed) >= MAX_QUESTIONS {
            return Err(format!(
                "can't look up {name} now: {MAX_QUESTIONS} other names are being looked up"
            ));
        }
        let fail = |e: io::Error| format!("can't look up {name}: {e}");
        let (ours, mut theirs) = UnixStream::pair().map_err(fail)?;
        ours.set_nonblocking(true).map_err(fail)?;
        let host = name.to_owned();
        let lookup = self.lookup.clone();
        std::thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || {
                let _slot = slot;
                let answer = match lookup(&host) {
                    Ok(list) => list
                        .iter()
                        .take(MAX_ADDRESSES)
                        .map(|ip| format!("{ip}\n"))
                        .collect(),
                    Err(e) => format!("!can't look up {host}: {e}"),
                };
                // Nobody may be interested any more.
                let _ = theirs.write_all(answer.as_bytes());
            })
            .map_err(fail)?;
        Ok(Question {
            socket: ours,
            answer: String::new(),
        })
    }
}

impl Question {
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The addresses, at least one; `None`: not yet.
    ///
    /// # Errors
    /// What the resolver said.
    pub fn answer(&mut self, port: u16) -> Result<Option<Vec<SocketAddr>>, String> {
        match self.socket.read_to_string(&mut self.answer) {
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(None)
            }
            Err(e) => return Err(format!("the resolver's answer was lost: {e}")),
        }
        if let Some(error) = self.answer.strip_prefix('!') {
            return Err(error.to_owned());
        }
        let ips = self.answer.lines().filter_map(|l| l.parse::<IpAddr>().ok());
        let list: Vec<_> = ips.map(|ip| SocketAddr::new(ip, port)).collect();
        if list.is_empty() {
            return Err("the name has no address".to_owned());
        }
        Ok(Some(list))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;
    use std::time::Duration;

    use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

    use super::*;

    fn wait(q: &mut Question) -> Result<Vec<SocketAddr>, String> {
        for _ in 0..100 {
            let mut fds = [PollFd::new(q.fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(1000u16)).unwrap();
            if let Some(list) = q.answer(6653)? {
                return Ok(list);
            }
        }
        panic!("no answer")
    }

    #[test]
    fn an_answer_wakes_a_poll() {
        let resolver = Resolver::with(|host| {
            std::thread::sleep(Duration::from_millis(20));
            match host {
                "x" => Ok(vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()]),
                "none" => Ok(Vec::new()),
                _ => Err(io::Error::other("no such name")),
            }
        });
        let mut q = resolver.ask("x").unwrap();
        assert_eq!(q.answer(6653), Ok(None));
        let addresses = ["10.0.0.1:6653", "[::1]:6653"].map(|a| a.parse().unwrap());
        assert_eq!(wait(&mut q).unwrap(), addresses);
        let mut q = resolver.ask("y").unwrap();
        assert!(wait(&mut q).unwrap_err().contains("no such name"));
        let mut q = resolver.ask("none").unwrap();
        assert!(wait(&mut q).unwrap_err().contains("no address"));
    }

    #[test]
    fn questions_are_counted() {
        let gate = Arc::new(Mutex::new(()));
        let shut = gate.lock().unwrap();
        let inner = gate.clone();
        let resolver = Resolver::with(move |_| {
            drop(inner.lock());
            Ok(Vec::new())
        });
        let open: Vec<_> = (0..MAX_QUESTIONS)
            .map(|_| resolver.ask("x").unwrap())
            .collect();
        let refused = resolver.ask("localhost").err().unwrap();
        assert!(refused.contains("other names"), "{refused}");
        // A refusal gives its slot back; an answer too, whether anybody hears it or not.
        drop(open);
        drop(shut);
        for _ in 0..500 {
            if resolver.asked.load(Ordering::Relaxed) == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("a slot is lost");
    }

    #[test]
    fn the_system_knows_this_machine() {
        let mut q = Resolver::default().ask("localhost").unwrap();
        assert!(wait(&mut q).unwrap().iter().all(|a| a.ip().is_loopback()));
    }
}
