//! Real TCP/IP hosts (smoltcp) on the ports of the switch: ARP, ping, TCP, without root and in virtual time.

use std::collections::VecDeque;
use std::time::Duration;

use rvs_packet::{edit, EtherType, Frame, Now, VlanTci};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{icmp, tcp};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, Icmpv4Packet, Icmpv4Repr, IpAddress, IpCidr, Ipv4Address,
};

use crate::packet::mac;
use crate::switch::TestSwitch;

/// Identifier of the hosts' echo requests.
const IDENT: u16 = 0x7276;
/// Length of a step of [`Lan::run_until`].
const STEP: Duration = Duration::from_millis(1);

/// The host's end of a wire.
#[derive(Debug, Default)]
struct Wire {
    rx: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        self.0.push_back(bytes);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.rx.pop_front()?), Tx(&mut self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut c = DeviceCapabilities::default();
        c.medium = Medium::Ethernet;
        c.max_transmission_unit = 1514;
        c
    }
}

fn echo_socket() -> icmp::Socket<'static> {
    let packets = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 16], vec![0; 4096]);
    let mut socket = icmp::Socket::new(packets(), packets());
    socket.bind(icmp::Endpoint::Ident(IDENT)).unwrap();
    socket
}

fn stream_socket() -> tcp::Socket<'static> {
    let octets = || tcp::SocketBuffer::new(vec![0; 65_535]);
    tcp::Socket::new(octets(), octets())
}

/// A host: address 10.0.0.n/24, MAC 02:00:00:00:00:n, on a port.
pub struct SimHost {
    /// The port of the switch that its wire ends at.
    pub port: String,
    pub n: u8,
    /// The host tags what it sends and takes only what is tagged so: a host behind a trunk.
    pub vlan: Option<u16>,
    interface: Interface,
    sockets: SocketSet<'static>,
    wire: Wire,
    echo: SocketHandle,
    stream: SocketHandle,
    /// What came over the TCP connection.
    pub received: Vec<u8>,
    to_send: VecDeque<u8>,
    local_port: u16,
}

impl SimHost {
    pub fn new(port: &str, n: u8) -> Self {
        let mut wire = Wire::default();
        let address = HardwareAddress::Ethernet(EthernetAddress(mac(n).0));
        let mut config = Config::new(address);
        config.random_seed = u64::from(n);
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|a| {
            a.push(IpCidr::new(IpAddress::v4(10, 0, 0, n), 24)).unwrap();
        });
        let mut sockets = SocketSet::new(Vec::new());
        let (echo, stream) = (sockets.add(echo_socket()), sockets.add(stream_socket()));
        Self {
            port: port.to_owned(),
            n,
            vlan: None,
            interface,
            sockets,
            wire,
            echo,
            stream,
            received: Vec::new(),
            to_send: VecDeque::new(),
            local_port: 49_152,
        }
    }

    /// A host that is on the trunk `port` in `vlan`.
    pub fn tagged(port: &str, n: u8, vlan: u16) -> Self {
        Self {
            vlan: Some(vlan),
            ..Self::new(port, n)
        }
    }

    /// Sends an echo request to host `to` (after ARP, if need be).
    pub fn ping(&mut self, to: u8, sequence: u16) {
        let repr = Icmpv4Repr::EchoRequest {
            ident: IDENT,
            seq_no: sequence,
            data: b"rvswitch",
        };
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.echo);
        let bytes = socket
            .send(repr.buffer_len(), IpAddress::v4(10, 0, 0, to))
            .unwrap();
        let mut packet = Icmpv4Packet::new_unchecked(bytes);
        repr.emit(&mut packet, &smoltcp::phy::ChecksumCapabilities::default());
    }

    /// Hosts that answered, with the number of the request, since the last call.
    pub fn replies(&mut self) -> Vec<(u8, u16)> {
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.echo);
        let mut out = Vec::new();
        while socket.can_recv() {
            let (bytes, IpAddress::Ipv4(from)) = socket.recv().unwrap() else {
                continue;
            };
            let packet = Icmpv4Packet::new_unchecked(bytes);
            out.push((from.octets()[3], packet.echo_seq_no()));
        }
        out
    }

    /// Forgets requests that found nobody: the next one must not wait behind them.
    fn give_up(&mut self) {
        self.sockets.remove(self.echo);
        self.echo = self.sockets.add(echo_socket());
    }

    fn fresh_stream(&mut self) {
        self.sockets.remove(self.stream);
        self.stream = self.sockets.add(stream_socket());
        self.local_port += 1;
        self.received.clear();
        self.to_send.clear();
    }

    /// Waits for a connection.
    pub fn listen(&mut self, port: u16) {
        self.fresh_stream();
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.stream);
        socket.listen(port).unwrap();
    }

    /// Connects to host `to` and sends `data`, then closes its side.
    pub fn send(&mut self, to: u8, port: u16, data: &[u8]) {
        self.fresh_stream();
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.stream);
        let address = Ipv4Address::new(10, 0, 0, to);
        socket
            .connect(self.interface.context(), (address, port), self.local_port)
            .unwrap();
        self.to_send.extend(data);
    }

    fn poll(&mut self, now: Now) {
        let at = Instant::from_micros((now.0 / 1000) as i64);
        self.interface.poll(at, &mut self.wire, &mut self.sockets);
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.stream);
        while socket.can_recv() {
            let received = &mut self.received;
            socket
                .recv(|bytes| {
                    received.extend_from_slice(bytes);
                    (bytes.len(), ())
                })
                .unwrap();
        }
        while socket.can_send() && !self.to_send.is_empty() {
            let (bytes, _) = self.to_send.as_slices();
            let n = socket.send_slice(bytes).unwrap();
            self.to_send.drain(..n);
            if self.to_send.is_empty() {
                socket.close();
            }
        }
        self.interface.poll(at, &mut self.wire, &mut self.sockets);
    }

    fn take_sent(&mut self) -> Vec<Vec<u8>> {
        let vlan = self.vlan;
        let tag = |bytes: Vec<u8>| match vlan {
            None => bytes,
            Some(vid) => {
                let mut frame = Frame::from_slice(&bytes);
                edit::push_vlan(&mut frame, EtherType::VLAN, VlanTci(vid));
                frame.bytes().to_vec()
            }
        };
        self.wire.tx.drain(..).map(tag).collect()
    }

    fn give(&mut self, bytes: Vec<u8>) {
        match self.vlan {
            None => self.wire.rx.push_back(bytes),
            Some(vid) => {
                let tag = [&[0x81, 0][..], &vid.to_be_bytes()].concat();
                if bytes.get(12..16) == Some(&tag) {
                    self.wire
                        .rx
                        .push_back([&bytes[..12], &bytes[16..]].concat());
                }
            }
        }
    }
}

/// A switch with hosts on its ports.
pub struct Lan {
    pub switch: TestSwitch,
    pub hosts: Vec<SimHost>,
}

impl Lan {
    pub fn new(switch: TestSwitch, hosts: Vec<SimHost>) -> Self {
        Self { switch, hosts }
    }

    /// Lets everybody speak and listen once, then a millisecond pass.
    pub fn step(&mut self) {
        let now = self.switch.now();
        for host in &mut self.hosts {
            host.poll(now);
            for frame in host.take_sent() {
                self.switch.inject(&host.port, &frame);
            }
        }
        self.switch.run();
        let ports: std::collections::BTreeSet<String> =
            self.hosts.iter().map(|h| h.port.clone()).collect();
        for port in ports {
            for frame in self.switch.sent(&port) {
                for host in self.hosts.iter_mut().filter(|h| h.port == port) {
                    host.give(frame.clone());
                }
            }
        }
        self.switch.advance(STEP);
    }

    /// Steps until `done`; false when that is not so after `limit`.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.switch.now() + limit;
        while self.switch.now() < end {
            if done(self) {
                return true;
            }
            self.step();
        }
        done(self)
    }

    /// Pings host `to` from the host at index `from`; true when it answers within three seconds (a host asks for an address
    /// at most once a second).
    pub fn ping(&mut self, from: usize, to: u8) -> bool {
        let sequence = (self.switch.now().as_millis() & 0xffff) as u16;
        self.hosts[from].ping(to, sequence);
        let answered = self.run_until(Duration::from_secs(3), |lan| {
            lan.hosts[from].replies().contains(&(to, sequence))
        });
        if !answered {
            self.hosts[from].give_up();
        }
        answered
    }

    /// Sends `data` over TCP from one host to another, by index; true when all of it arrives within `limit`.
    pub fn transfer(&mut self, from: usize, to: usize, data: &[u8], limit: Duration) -> bool {
        let n = self.hosts[to].n;
        self.hosts[to].listen(5001);
        self.hosts[from].send(n, 5001, data);
        let arrived = |lan: &mut Self| lan.hosts[to].received.len() >= data.len();
        self.run_until(limit, arrived) && self.hosts[to].received == data
    }
}
