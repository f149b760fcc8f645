//! Frames, wires and a slow path made of a closure.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Arc;

use rvs_datapath::{Caches, Config, Datapath, FrameBatch};
use rvs_dpif::upcall::UpcallRefused;
use rvs_dpif::{
    Actions, DpAction, DpCommand, DropReason, Egress, FlowId, FlowStats, Megaflow, Upcall,
    UpcallSink, WorkerId,
};
use rvs_flow::{DpPort, FlowKey, Key, Mask};
use rvs_packet::{Csum, Frame, Gso, GsoKind, MacAddr, Now, Offload};

/// What left, in order.
#[derive(Debug, Default)]
pub struct Wires {
    pub sent: Vec<(u32, Frame)>,
    /// A port that refuses, with the reason.
    pub refuses: Option<(u32, DropReason)>,
}

impl Egress for Wires {
    fn output(&mut self, port: DpPort, frame: Frame) -> Result<(), DropReason> {
        match self.refuses {
            Some((p, reason)) if p == port.0 => Err(reason),
            _ => {
                self.sent.push((port.0, frame));
                Ok(())
            }
        }
    }
}

impl Wires {
    /// Ports and frames sent since the last call.
    pub fn take(&mut self) -> Vec<(u32, Frame)> {
        std::mem::take(&mut self.sent)
    }

    /// Last octet and port of each frame sent since the last call.
    pub fn labels(&mut self) -> Vec<(u32, u8)> {
        let label = |(p, f): (u32, Frame)| (p, *f.bytes().last().unwrap());
        self.take().into_iter().map(label).collect()
    }
}

/// A bounded queue of questions.
#[derive(Debug)]
pub struct Questions {
    pub queue: VecDeque<Upcall>,
    pub room: usize,
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            room: 100_000,
        }
    }
}

impl UpcallSink for Questions {
    fn has_room(&self, _in_port: DpPort) -> bool {
        self.queue.len() < self.room
    }

    fn offer(&mut self, upcall: Upcall) -> Result<(), UpcallRefused> {
        if self.queue.len() >= self.room {
            return Err(UpcallRefused);
        }
        self.queue.push_back(upcall);
        Ok(())
    }
}

/// One worker between wires and questions.
pub struct Rig {
    pub dp: Datapath,
    pub tx: Wires,
    pub up: Questions,
    pub now: Now,
    pub next_id: u64,
}

impl Rig {
    pub fn new(caches: Caches) -> Self {
        let mut config = Config::new(WorkerId(1), [11, 13]);
        config.caches = caches;
        config.emc_odds = 1;
        Self::with(config)
    }

    pub fn with(config: Config) -> Self {
        Self {
            dp: Datapath::new(config),
            tx: Wires::default(),
            up: Questions::default(),
            now: Now::from_secs(1),
            next_id: 1,
        }
    }

    pub fn process(&mut self, frames: impl IntoIterator<Item = (u32, Frame)>) {
        let mut batch = FrameBatch::new();
        for (port, frame) in frames {
            if batch.is_full() {
                self.dp
                    .process(self.now, &mut batch, &mut self.tx, &mut self.up);
            }
            batch.push(DpPort(port), frame).unwrap();
        }
        self.dp
            .process(self.now, &mut batch, &mut self.tx, &mut self.up);
        assert!(batch.is_empty());
    }

    pub fn command(&mut self, command: DpCommand) {
        self.dp
            .command(self.now, command, &mut self.tx, &mut self.up);
    }

    pub fn tick(&mut self) {
        self.dp.tick(self.now, &mut self.tx, &mut self.up);
    }

    /// A flow for `key` under `mask`; not installed.
    pub fn flow(
        &mut self,
        key: &FlowKey,
        mask: Mask<FlowKey>,
        actions: &[DpAction],
    ) -> Arc<Megaflow> {
        self.next_id += 1;
        Arc::new(Megaflow {
            id: FlowId(self.next_id),
            key: mask.apply(key),
            mask,
            actions: actions.into(),
            drop: actions.is_empty().then_some(DropReason::Action),
            stats: Arc::new(FlowStats::default()),
            version: 1,
        })
    }

    /// Answers `key` and installs the answer.
    pub fn answer(
        &mut self,
        key: FlowKey,
        mask: Mask<FlowKey>,
        actions: &[DpAction],
    ) -> Arc<Megaflow> {
        let flow = self.flow(&key, mask, actions);
        let actions: Actions = Arc::clone(&flow.actions);
        self.command(DpCommand::Verdict {
            key,
            actions,
            drop: flow.drop,
            flow: Some(Arc::clone(&flow)),
        });
        flow
    }

    /// Installs a flow that decides every frame of `port`.
    pub fn all_of_port(&mut self, port: u32, actions: &[DpAction]) -> Arc<Megaflow> {
        let key = FlowKey {
            in_port: port,
            ..Default::default()
        };
        let flow = self.flow(&key, port_mask(), actions);
        self.command(DpCommand::Install(Arc::clone(&flow)));
        flow
    }

    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        self.dp.counters().drops.iter().collect()
    }

    /// The next question, which must be there.
    pub fn question(&mut self) -> Upcall {
        self.up.queue.pop_front().expect("a question")
    }
}

/// Port and recirculation only.
pub fn port_mask() -> Mask<FlowKey> {
    Mask(FlowKey {
        in_port: u32::MAX,
        recirc_id: u32::MAX,
        ..Default::default()
    })
}

/// Everything that the frame can have.
pub fn exact() -> Mask<FlowKey> {
    Mask::exact()
}

pub fn mac(n: u32) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 + u64::from(n))
}

/// Port, presence, type and addresses: what a learning bridge looks at.
pub fn l2_mask() -> Mask<FlowKey> {
    let mut mask = port_mask();
    mask.0.words_mut()[1] = u64::MAX;
    mask.0.dl_src = [0xff; 6];
    mask.0.dl_dst = [0xff; 6];
    mask
}

/// A TCP segment from `src` to `dst` with source port `port`, ending in `label`.
pub fn tcp(src: u32, dst: u32, port: u16, flags: u8, label: u8) -> Frame {
    let mut b = ethernet(src, dst, 0x0800);
    b.extend_from_slice(&ipv4(6, 20 + 6, src, dst));
    b.extend_from_slice(&port.to_be_bytes());
    b.extend_from_slice(&[
        0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0,
    ]);
    b.extend_from_slice(&[0, 0, 0, 0, 0, label]);
    Frame::from_slice(&b)
}

/// A UDP datagram of `len` octets of payload, the last of which is `label`.
pub fn udp(src: u32, dst: u32, port: u16, len: usize, label: u8) -> Frame {
    let mut b = ethernet(src, dst, 0x0800);
    b.extend_from_slice(&ipv4(17, 8 + len, src, dst));
    b.extend_from_slice(&port.to_be_bytes());
    b.extend_from_slice(&[0, 53]);
    b.extend_from_slice(&(8 + len as u16).to_be_bytes());
    b.extend_from_slice(&[0, 0]);
    b.resize(b.len() + len, 0);
    *b.last_mut().unwrap() = label;
    Frame::from_slice(&b)
}

pub fn ethernet(src: u32, dst: u32, ether_type: u16) -> Vec<u8> {
    let mut b = Vec::with_capacity(128);
    b.extend_from_slice(&mac(dst).0);
    b.extend_from_slice(&mac(src).0);
    b.extend_from_slice(&ether_type.to_be_bytes());
    b
}

/// An IPv4 header with a true checksum.
pub fn ipv4(proto: u8, payload: usize, src: u32, dst: u32) -> [u8; 20] {
    let mut h = [0u8; 20];
    h[0] = 0x45;
    h[2..4].copy_from_slice(&(20 + payload as u16).to_be_bytes());
    h[8] = 64;
    h[9] = proto;
    h[12..16].copy_from_slice(&(0x0a00_0000 + src).to_be_bytes());
    h[16..20].copy_from_slice(&(0x0a00_0000 + dst).to_be_bytes());
    let sum = rvs_packet::csum::Sum::of(&h).checksum();
    h[10..12].copy_from_slice(&sum.to_be_bytes());
    h
}

/// A TCP super-frame of `segments` segments of `size` octets, checksum partial, as a veth hands it up.
pub fn super_frame(segments: usize, size: usize) -> Frame {
    let mut b = ethernet(1, 2, 0x0800);
    b.extend_from_slice(&ipv4(6, 20 + segments * size, 1, 2));
    b.extend_from_slice(&[
        3, 0xe8, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff,
    ]);
    b.extend_from_slice(&[0, 0, 0, 0]);
    b.extend((0..segments * size).map(|i| (i / size) as u8));
    let mut f = Frame::from_slice(&b);
    f.offload = Offload {
        csum: Csum::Partial {
            start: 34,
            offset: 16,
        },
        gso: Some(Gso {
            kind: GsoKind::TcpV4,
            size: size as u16,
            hdr_len: 54,
            ecn: false,
        }),
    };
    let pseudo = rvs_packet::csum::Sum::pseudo_v4(
        [10, 0, 0, 1].into(),
        [10, 0, 0, 2].into(),
        rvs_packet::IpProto::TCP,
        20 + segments * size,
    );
    f.bytes_mut()[50..52].copy_from_slice(&pseudo.value().to_be_bytes());
    f
}
