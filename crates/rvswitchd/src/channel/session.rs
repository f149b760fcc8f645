//! A TLS session over a non-blocking socket.

use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConfig, ServerConnection};

use super::target::Host;
use super::tls::{keep_ca, words, Dialling, Seen};

/// Reads from the socket in one turn; a record is at most 16 KiB and a read of rustls' less than that.
const READS: usize = 16;

/// One side of a session, and the CA that it is to keep.
pub struct Session {
    tls: Box<Connection>,
    bootstrap: Option<(Seen, PathBuf)>,
}

/// What reading brought besides bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More may come.
    Open,
    /// The other side has said, or shown, that no more comes.
    Ended,
}

impl Session {
    /// # Errors
    /// None that a caller can cause; words of the library.
    pub fn dial(start: Dialling, host: &Host) -> Result<Self, String> {
        let name = match host {
            // Sent along (SNI), so that a server with several certificates can choose.
            Host::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|_| format!("\"{name}\" can't be asked for by TLS"))?,
            Host::Address(a) => ServerName::IpAddress(a.ip.into()),
        };
        let tls = ClientConnection::new(start.config, name).map_err(|e| words(&e))?;
        Ok(Self {
            tls: Box::new(tls.into()),
            bootstrap: start.bootstrap,
        })
    }

    /// # Errors
    /// None that a caller can cause; words of the library.
    pub fn accept(config: Arc<ServerConfig>) -> Result<Self, String> {
        let tls = ServerConnection::new(config).map_err(|e| words(&e))?;
        Ok(Self {
            tls: Box::new(tls.into()),
            bootstrap: None,
        })
    }

    /// Whether the socket should be polled for room.
    pub fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Goes on with the handshake; true when it is done.
    pub fn handshake(&mut self, io: &mut (impl Read + Write)) -> Result<bool, String> {
        self.push(io)?;
        if self.tls.is_handshaking() && self.pull(io)? == Flow::Ended {
            return Err("the peer closed the connection during the TLS handshake".to_owned());
        }
        self.push(io)?;
        if self.tls.is_handshaking() {
            return Ok(false);
        }
        if let Some((seen, path)) = self.bootstrap.take() {
            keep_ca(&seen, &path)?;
        }
        Ok(true)
    }

    /// Appends what has come to `buffer`, which grows to little more than `enough`.
    pub fn read(
        &mut self,
        io: &mut (impl Read + Write),
        buffer: &mut Vec<u8>,
        enough: usize,
    ) -> Result<Flow, String> {
        // The handshake may have brought the first bytes.
        if self.drain(buffer)? == Flow::Ended {
            return Ok(Flow::Ended);
        }
        for _ in 0..READS {
            if buffer.len() >= enough {
                break;
            }
            let flow = self.pull_once(io)?;
            if self.drain(buffer)? == Flow::Ended || flow == Some(Flow::Ended) {
                return Ok(Flow::Ended);
            }
            if flow.is_none() {
                break;
            }
        }
        // Renewed keys are answered.
        self.push(io)?;
        Ok(Flow::Open)
    }

    /// Takes as many of `bytes` as it has room for; how many.
    pub fn write(&mut self, io: &mut impl Write, bytes: &[u8]) -> Result<usize, String> {
        self.push(io)?;
        let n = match self.tls.writer().write(bytes) {
            Ok(n) => n,
            Err(e) => return Err(format!("TLS: {e}")),
        };
        self.push(io)?;
        Ok(n)
    }

    /// Tells the other side that it is over, if the socket takes it.
    pub fn close(&mut self, io: &mut impl Write) {
        self.tls.send_close_notify();
        let _ = self.push(io);
    }

    /// Moves ciphertext to the socket.
    fn push(&mut self, io: &mut impl Write) -> Result<(), String> {
        while self.tls.wants_write() {
            match self.tls.write_tls(io) {
                Ok(0) => return Err("the socket takes nothing".to_owned()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(super::stream::io_words(&e)),
            }
        }
        Ok(())
    }

    /// Moves ciphertext from the socket while the handshake lasts.
    fn pull(&mut self, io: &mut (impl Read + Write)) -> Result<Flow, String> {
        for _ in 0..READS {
            match self.pull_once(io)? {
                Some(Flow::Open) if self.tls.is_handshaking() => {}
                Some(Flow::Ended) => return Ok(Flow::Ended),
                _ => break,
            }
        }
        Ok(Flow::Open)
    }

    /// One read. `None`: nothing is there.
    fn pull_once(&mut self, io: &mut (impl Read + Write)) -> Result<Option<Flow>, String> {
        let n = match self.tls.read_tls(io) {
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(None)
            }
            Err(e) => return Err(super::stream::io_words(&e)),
        };
        if let Err(e) = self.tls.process_new_packets() {
            // The other side is told why.
            let _ = self.push(io);
            return Err(words(&e));
        }
        Ok(Some(if n == 0 { Flow::Ended } else { Flow::Open }))
    }

    /// Moves plaintext to `buffer`. Nothing may stay behind: no poll would tell of it.
    fn drain(&mut self, buffer: &mut Vec<u8>) -> Result<Flow, String> {
        match self.tls.reader().read_to_end(buffer) {
            Ok(_) => Ok(Flow::Ended),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(Flow::Open),
            // Without a farewell; OpenFlow's messages say themselves where they end.
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(Flow::Ended),
            Err(e) => Err(io::Error::to_string(&e)),
        }
    }
}
