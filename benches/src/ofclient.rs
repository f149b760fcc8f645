//! A controller that sends flow-mods as fast as the switch takes them.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use rvs_flow::{NoPortNames, OfPort};
use rvs_openflow::message::{FlowCommand, FlowMod, Hello, PacketOut, SwitchConfig};
use rvs_openflow::{Action, Dialect, FlowMatch, Framer, Instructions, Message, Version};

/// A switch that says nothing for so long has failed.
const SILENCE: Duration = Duration::from_secs(20);
const VERSION: Version = Version::Of13;

pub struct Controller {
    stream: UnixStream,
    dialect: Dialect,
    framer: Framer,
    xid: u32,
    out: Vec<u8>,
}

impl Controller {
    /// Connects to a bridge's service and shakes hands.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("{}", socket.display()))?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let mut this = Self {
            stream,
            dialect: Dialect::new(VERSION),
            framer: Framer::new(),
            xid: 0,
            out: Vec::new(),
        };
        this.put(&Message::Hello(Hello {
            versions: [VERSION].into_iter().collect(),
        }))?;
        this.barrier()?;
        Ok(this)
    }

    /// Encodes a message; [`Self::barrier`] sends it.
    pub fn put(&mut self, message: &Message) -> Result<()> {
        self.xid += 1;
        let bytes = self.dialect.encode(message, self.xid)?;
        self.out.extend_from_slice(&bytes);
        Ok(())
    }

    /// Sends what has been put and waits until the switch has done it. An error from the switch is an error here.
    pub fn barrier(&mut self) -> Result<()> {
        self.ask(&Message::BarrierRequest)
    }

    /// How long the switch takes to echo.
    pub fn echo(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.ask(&Message::EchoRequest(Vec::new()))?;
        Ok(start.elapsed())
    }

    /// Sends a request behind what has been put, and waits for its reply.
    fn ask(&mut self, request: &Message) -> Result<()> {
        self.put(request)?;
        self.flush()?;
        let mut chunk = [0; 16 << 10];
        loop {
            while let Some(bytes) = self.framer.next_message()? {
                let (header, message) = self.dialect.decode(bytes)?;
                match message {
                    Message::BarrierReply | Message::EchoReply(_) if header.xid == self.xid => {
                        return Ok(())
                    }
                    Message::EchoRequest(data) => {
                        let answer = self.dialect.encode(&Message::EchoReply(data), header.xid)?;
                        self.stream.write_all(&answer)?;
                    }
                    Message::Error(e) => {
                        bail!("the switch refused: error {} code {}", e.kind, e.code)
                    }
                    _ => {}
                }
            }
            match self.stream.read(&mut chunk)? {
                0 => bail!("the switch hung up"),
                n => self.framer.push(&chunk[..n]),
            }
        }
    }
}

impl Controller {
    fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Asks for packet-ins: a service connection gets them when it says how long those of misses may be.
    pub fn listen(&mut self) -> Result<()> {
        self.put(&Message::SetConfig(SwitchConfig {
            miss_send_len: u16::MAX,
            ..SwitchConfig::default()
        }))?;
        self.barrier()
    }

    /// Sends every packet-in of so long back as a packet-out to a port. Returns how many there were.
    pub fn reflect(&mut self, time: Duration, to: OfPort) -> Result<u64> {
        let (end, mut count) = (Instant::now() + time, 0);
        let mut chunk = [0; 64 << 10];
        self.stream
            .set_read_timeout(Some(Duration::from_millis(20)))?;
        while Instant::now() < end {
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("the switch hung up"),
                Ok(n) => self.framer.push(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e.into()),
            }
            while let Some(bytes) = self.framer.next_message()? {
                let (_, Message::PacketIn(p)) = self.dialect.decode(bytes)? else {
                    continue;
                };
                count += 1;
                let from = OfPort(p.metadata.value().of_port);
                let out = PacketOut::new(from, vec![Action::output(to)], p.data);
                self.put(&Message::PacketOut(Box::new(out)))?;
            }
            self.flush()?;
        }
        self.stream.set_read_timeout(Some(SILENCE))?;
        Ok(count)
    }
}

/// A flow that outputs to a port, or the deletion of one.
pub fn flow_mod(
    command: FlowCommand,
    priority: u16,
    matching: &str,
    actions: Vec<Action>,
) -> Result<Message> {
    let matching =
        FlowMatch::parse(matching, &NoPortNames).map_err(|e| anyhow::anyhow!("{matching}: {e}"))?;
    let mut f = FlowMod::new(command, matching);
    f.priority = priority;
    f.instructions = Instructions::apply(actions);
    Ok(Message::FlowMod(Box::new(f)))
}
