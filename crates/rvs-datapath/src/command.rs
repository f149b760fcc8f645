//! Commands of the slow path, and the passing of time.
//!
//! Commands take effect in the order given, each before [`Datapath::command`] returns; that is what an acknowledged
//! [`AckToken`] promises. A refused install is counted and costs speed; removals never fail.

use std::sync::Arc;
use std::time::Duration;

use rvs_dpif::{AckToken, Actions, DpCommand, DropReason, Egress, Megaflow, UpcallSink};
use rvs_flow::{extract, DpPort, FlowKey};
use rvs_packet::Now;

use crate::cache::{FlowRef, InstallRefused};
use crate::datapath::{Datapath, Tally};
use crate::execute::{Io, Origin};
use crate::park::Parked;

/// How often subtables are ordered by their hits.
const RANK_EVERY: Duration = Duration::from_secs(1);

/// What the slow path answered about one key.
struct Verdict {
    key: FlowKey,
    actions: Actions,
    drop: Option<DropReason>,
    flow: Option<Arc<Megaflow>>,
}

impl Datapath {
    /// Does what the slow path says. Returns the token when it asked for one.
    pub fn command(
        &mut self,
        now: Now,
        command: DpCommand,
        tx: &mut impl Egress,
        up: &mut impl UpcallSink,
    ) -> Option<AckToken> {
        let mut io = Io { now, tx, up };
        self.exec.reset();
        match command {
            DpCommand::Verdict {
                key,
                actions,
                drop,
                flow,
            } => {
                let verdict = Verdict {
                    key,
                    actions,
                    drop,
                    flow,
                };
                self.verdict(&mut io, &verdict);
            }
            DpCommand::Install(flow) => {
                self.install(flow);
            }
            DpCommand::Remove(id) => {
                let removed = self.tiers.flows.remove(id);
                self.counters.removes.add(u64::from(removed));
            }
            DpCommand::Flush => {
                self.counters.removes.add(self.tiers.flows.len() as u64);
                self.tiers.flows.flush();
            }
            DpCommand::Execute {
                frame,
                in_port,
                actions,
            } => {
                let key = extract(&frame, in_port, self.parse);
                let from = Origin {
                    key: &key,
                    depth: 0,
                };
                self.exec.run(&mut io, from, &actions, None, frame);
                self.recirculate(&mut io, in_port);
            }
            DpCommand::Meter { id, meter } => {
                match meter {
                    Some(meter) => self.exec.meters.insert(id, meter),
                    None => self.exec.meters.remove(&id),
                };
            }
            DpCommand::Police { port, policer } => {
                match policer {
                    Some(policer) => self.policers.insert(port, policer),
                    None => self.policers.remove(&port),
                };
            }
            DpCommand::Ack(token) => return Some(token),
        }
        self.publish();
        None
    }

    /// Lets time pass: questions without an answer in time, order of the subtables. Call it when
    /// [`Datapath::deadline`] is reached, or as often as you like.
    pub fn tick(&mut self, now: Now, tx: &mut impl Egress, up: &mut impl UpcallSink) {
        if now.since(self.ranked) >= RANK_EVERY {
            self.ranked = now;
            self.tiers.flows.rank();
        }
        let overdue = self.parking.overdue(now);
        if overdue.is_empty() {
            return;
        }
        let mut io = Io { now, tx, up };
        self.exec.reset();
        for key in overdue {
            // The verdict is lost, but another flow may decide the frames by now.
            if self.find_one(&key).is_none() {
                while let Some(parked) = self.take_first(&key) {
                    self.exec.drop(parked.frame, DropReason::ParkTimeout);
                }
            }
            self.release(&mut io, &key);
        }
        self.publish();
    }

    /// When [`Datapath::tick`] has something to do, short of housekeeping; `None` while nothing is parked.
    pub fn deadline(&self) -> Option<Now> {
        self.parking.deadline()
    }

    fn install(&mut self, flow: Arc<Megaflow>) -> Option<FlowRef> {
        let c = &self.counters;
        match self.tiers.flows.install(flow) {
            Ok(at) => {
                c.installs.add(1);
                Some(at)
            }
            Err(refused) => {
                match refused {
                    InstallRefused::Full => &c.refused_full,
                    InstallRefused::PortMasks | InstallRefused::WorkerMasks => &c.refused_masks,
                    InstallRefused::Chain => &c.refused_chain,
                    InstallRefused::NotCanonical => &c.refused_invalid,
                }
                .add(1);
                None
            }
        }
    }

    /// Installs the flow, then sends on the frames that asked and what waits behind them.
    fn verdict<T: Egress, U: UpcallSink>(&mut self, io: &mut Io<'_, T, U>, v: &Verdict) {
        if let Some(at) = v.flow.clone().and_then(|f| self.install(f)) {
            let decides = self.tiers.flows.decides(at, &v.key);
            if decides {
                self.tiers.remember(self.tiers.hash.key(&v.key), at);
            }
        }
        let mut tally = Tally::default();
        while let Some(parked) = self.take_first(&v.key) {
            let Parked { key, frame, depth } = parked;
            let in_port = DpPort(key.in_port);
            tally.add(&key, &frame);
            self.counters.released.add(1);
            let from = Origin { key: &key, depth };
            self.exec.run(io, from, &v.actions, v.drop, frame);
            self.recirculate(io, in_port);
        }
        if let Some(flow) = &v.flow {
            tally.count(io.now, &flow.stats);
        }
        self.release(io, &v.key);
    }

    /// Takes the first frame of the connection's queue if it has exactly this key.
    fn take_first(&mut self, key: &FlowKey) -> Option<Parked> {
        let queue = self.parking.queue_of(key)?;
        self.parking.first(queue).filter(|p| p.key == *key)?;
        self.parking.take(queue)
    }

    /// Sends on what waits in the connection's queue: what the caches decide by now, up to the first frame that they
    /// don't, which becomes the next question.
    fn release<T: Egress, U: UpcallSink>(&mut self, io: &mut Io<'_, T, U>, connection: &FlowKey) {
        // The queue is looked up anew each time: executing a frame may open and close queues.
        while let Some(queue) = self.parking.queue_of(connection) {
            let Some(key) = self.parking.first(queue).map(|p| p.key) else {
                return;
            };
            let found = self.find_one(&key);
            if found.is_none() && self.is_asked(io, queue) {
                return;
            }
            let Some(parked) = self.parking.take(queue) else {
                return;
            };
            match found {
                Some(at) => {
                    self.counters.released.add(1);
                    self.hit(io, &key, at, parked.frame, parked.depth);
                    self.recirculate(io, DpPort(key.in_port));
                }
                None => self.exec.drop(parked.frame, DropReason::UpcallQueueFull),
            }
        }
    }

    /// Sees to it that the question about the first frame of a queue is up. False when the slow path has no room.
    fn is_asked<T, U: UpcallSink>(&mut self, io: &mut Io<'_, T, U>, queue: u32) -> bool {
        if self.parking.is_asked(queue) {
            return true;
        }
        let Some(first) = self.parking.first(queue) else {
            return false;
        };
        let taken = self.exec.ask_about(io, &first.key, &first.frame);
        if taken {
            self.parking.asked(queue, io.now);
        }
        taken
    }
}
