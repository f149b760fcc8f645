//! Each request to what answers it.

use rvs_flow::OfPort;
use rvs_openflow::message::{
    Capabilities, Features, FlowCommand, FlowMod, Fragments, PacketIn, QueueConfig, QueueSelector,
    SwitchConfig, TlvCommand, TlvTableMod, TlvTableReply, QUEUE_ALL,
};
use rvs_openflow::{ErrorCode, Message, OfError, TableId, Version};

use super::agent::{Agent, Call};
use super::connection::Connection;
use super::limits::MISS_SEND_LEN;
use super::status::ConnKind;
use crate::plant::Plant;
use crate::state::Mod;
use crate::Author;

/// The change that a message asks for; `None` for other messages.
///
/// # Errors
/// It names a frame of the switch: none are kept. It adds to a table that is not for controllers.
pub(super) fn to_mod(m: Message) -> Result<Option<Mod>, OfError> {
    Ok(Some(match m {
        Message::FlowMod(m) => {
            check_flow_buffer(&m)?;
            check_table(&m)?;
            Mod::Flow(m)
        }
        Message::PacketOut(m) => {
            check_buffer(m.buffer_id)?;
            check_frame(&m.data)?;
            Mod::PacketOut(m)
        }
        Message::GroupMod(m) => Mod::Group(m),
        Message::MeterMod(m) => Mod::Meter(m),
        Message::TableMod(m) => Mod::Table(m),
        Message::PortMod(m) => Mod::Port(m),
        _ => return Ok(None),
    }))
}

/// Open vSwitch keeps a table for itself behind those that it shows, and says so to who would add to it.
fn check_table(m: &FlowMod) -> Result<(), OfError> {
    if m.command == FlowCommand::Add && m.table.0 == TableId::MAX.0 + 1 {
        return Err(ErrorCode::BrcEperm.because("table 254 is not for controllers"));
    }
    Ok(())
}

fn check_buffer(id: Option<u32>) -> Result<(), OfError> {
    id.map_or(Ok(()), |id| {
        Err(ErrorCode::BrcBufferUnknown.because(format!(
            "buffer {id:#x}; this switch keeps no frames, a packet-in holds all of it"
        )))
    })
}

/// A delete has nothing to do with a frame, and some controllers leave zeros there.
fn check_flow_buffer(m: &FlowMod) -> Result<(), OfError> {
    match m.command {
        FlowCommand::Add | FlowCommand::Modify | FlowCommand::ModifyStrict => {
            check_buffer(m.buffer_id)
        }
        FlowCommand::Delete | FlowCommand::DeleteStrict => Ok(()),
    }
}

/// Octets of an Ethernet header.
const ETH_HEADER: usize = 14;

fn check_frame(frame: &[u8]) -> Result<(), OfError> {
    if frame.len() < ETH_HEADER {
        return Err(ErrorCode::BrcBadLen.because(format!(
            "a frame of {} octets; an Ethernet header has {ETH_HEADER}",
            frame.len()
        )));
    }
    Ok(())
}

impl Agent {
    pub(super) fn dispatch<P: Plant>(
        &mut self,
        conn: &mut Connection,
        call: &mut Call<'_, P>,
        m: Message,
    ) -> Result<(), OfError> {
        use Message as M;
        let xid = call.xid;
        conn.has_changed |= matches!(m, M::FlowMod(_) | M::GroupMod(_) | M::MeterMod(_));
        match m {
            M::FlowMod(_)
            | M::PacketOut(_)
            | M::GroupMod(_)
            | M::MeterMod(_)
            | M::TableMod(_)
            | M::PortMod(_) => self.change(conn, call, m),
            M::BarrierRequest => {
                self.tell_wishes(Some(conn), call.plant);
                // Stock clients send barriers between the messages of a bundle and its commit.
                if conn.has_changed && !conn.bundles.any() {
                    call.plant.completed(self.id, conn.is_controller());
                }
                call.plant.settle();
                conn.send(xid, &M::BarrierReply);
                Ok(())
            }
            M::FeaturesRequest => {
                self.send_features(conn, xid);
                Ok(())
            }
            M::GetConfigRequest => {
                let config = self.config(conn);
                conn.send(xid, &M::GetConfigReply(config));
                Ok(())
            }
            M::SetConfig(config) => self.set_config(conn, config),
            M::MultipartRequest(part) => self.multipart(conn, call, part),
            M::QueueGetConfigRequest(port) => {
                let all = QueueSelector {
                    port,
                    queue: QUEUE_ALL,
                };
                let queues = self.queues(call.now, all, call.plant)?;
                let queues = queues.into_iter().map(|(queue, _)| queue).collect();
                conn.send(
                    xid,
                    &M::QueueGetConfigReply(Box::new(QueueConfig { port, queues })),
                );
                Ok(())
            }
            M::RoleRequest(m) => self.role_request(conn, xid, m),
            M::GetAsyncRequest => {
                let config = conn.masks.report(conn.version());
                conn.send(xid, &M::GetAsyncReply(Box::new(config)));
                Ok(())
            }
            M::SetAsync(config) => {
                conn.masks.set(&config, conn.version());
                // Who says what it wants to hear wants to hear: a service connection is deaf otherwise.
                if conn.kind == ConnKind::Service && conn.miss_send_len == 0 {
                    conn.miss_send_len = MISS_SEND_LEN;
                }
                self.wishes_changed = true;
                Ok(())
            }
            M::BundleControl(m) => {
                conn.check_may_change()?;
                self.bundle_control(conn, call, m)
            }
            M::BundleAdd(m) => {
                conn.check_may_change()?;
                self.bundle_add(conn, call, &m)
            }
            M::Resume(m) => self.resume(call, &m),
            M::FlowMonitorCancel(id) => {
                self.wishes_changed = true;
                conn.monitors.cancel(id)
            }
            _ => self.set_extension(conn, xid, m),
        }
    }

    /// Nicira's settings of a connection. What is left are messages that switches send.
    fn set_extension(
        &mut self,
        conn: &mut Connection,
        xid: u32,
        m: Message,
    ) -> Result<(), OfError> {
        use Message as M;
        match m {
            M::SetFlowFormat(f) => conn.dialect.flow_format = f,
            M::FlowModTableId(on) => conn.dialect.flow_mod_table_id = on,
            M::SetPacketInFormat(f) => conn.dialect.packet_in = f,
            M::SetControllerId(id) => conn.controller = id,
            M::FlowAge => {}
            M::TlvTableRequest => conn.send(xid, &M::TlvTableReply(TlvTableReply::default())),
            M::TlvTableMod(m) => {
                conn.check_may_change()?;
                check_tlv_mod(&m)?;
            }
            _ => {
                return Err(ErrorCode::BrcBadType
                    .because("a message that switches send and controllers don't"))
            }
        }
        Ok(())
    }

    fn change<P: Plant>(
        &mut self,
        conn: &mut Connection,
        call: &mut Call<'_, P>,
        m: Message,
    ) -> Result<(), OfError> {
        conn.check_may_change()?;
        let author = Author {
            conn: Some(conn.id),
            version: conn.version(),
            xid: call.xid,
        };
        let change = to_mod(m)?;
        if change.as_ref().is_some_and(|m| self.state.is_long(m)) {
            self.begin_long(
                conn,
                call,
                Box::new(change.into_iter().map(Into::into)),
                None,
                None,
            );
            return Ok(());
        }
        self.state
            .apply(call.now, &author, change, call.plant)
            .map_err(|(_, e)| e)
    }

    fn send_features(&self, conn: &mut Connection, xid: u32) {
        let version = conn.version();
        let ports = if version <= Version::Of12 {
            // As many as fit; a list that fills the message tells the controller to ask for descriptions.
            const HEADER: usize = 32;
            let entry = if version == Version::Of10 { 48 } else { 64 };
            let room = (rvs_openflow::framer::MAX_LEN - HEADER) / entry;
            self.state.ports().take(room).collect()
        } else {
            Vec::new()
        };
        let features = Features {
            datapath_id: self.identity.datapath_id,
            n_buffers: 0,
            n_tables: TableId::MAX.0 + 1,
            auxiliary_id: 0,
            capabilities: capabilities(version),
            actions: if version == Version::Of10 {
                ACTIONS10
            } else {
                0
            },
            ports,
        };
        conn.send(xid, &Message::FeaturesReply(Box::new(features)));
    }

    fn config(&self, conn: &Connection) -> SwitchConfig {
        let ttl = rvs_openflow::PacketInReason::InvalidTtl;
        SwitchConfig {
            fragments: self.fragments,
            invalid_ttl_to_controller: conn.masks.wants_packet_in(ttl, false),
            miss_send_len: conn.miss_send_len,
        }
    }

    fn set_config(&mut self, conn: &mut Connection, config: SwitchConfig) -> Result<(), OfError> {
        if config.fragments == Fragments::Reassemble {
            return Err(ErrorCode::ScfcBadFlags
                .because("fragments are not reassembled; choose normal, drop or nx-match"));
        }
        conn.miss_send_len = config.miss_send_len;
        if conn.check_may_change().is_ok() {
            self.fragments = config.fragments;
        }
        if conn.version() <= Version::Of12 {
            conn.masks.set_invalid_ttl(config.invalid_ttl_to_controller);
        }
        self.wishes_changed = true;
        Ok(())
    }

    /// # Errors
    /// The bridge has no such port.
    pub(super) fn check_queue_port(&self, port: OfPort) -> Result<(), OfError> {
        if port == OfPort::ANY || self.has_port(port) {
            return Ok(());
        }
        Err(ErrorCode::QofcBadPort.because(format!("the bridge has no port {}", port.0)))
    }

    pub(super) fn has_port(&self, port: OfPort) -> bool {
        self.state.port(port).is_some()
    }

    /// `NXT_RESUME`: a paused translation goes on, with the frame and the pipeline's fields that the controller gives back.
    fn resume<P: Plant>(&mut self, call: &mut Call<'_, P>, m: &PacketIn) -> Result<(), OfError> {
        check_frame(&m.data)?;
        let mut state = self.continuations.take(&m.continuation).ok_or_else(|| {
            ErrorCode::NxrStale
                .because("what was paused is gone: resumed already, or longer ago than 30 s")
        })?;
        super::packet_in::restore_fields(&mut state.fields, &m.metadata);
        call.plant.execute(call.now, *state, m.data.clone());
        Ok(())
    }
}

/// There are no tunnel fields yet, so no option can have one.
fn check_tlv_mod(m: &TlvTableMod) -> Result<(), OfError> {
    match m.command {
        TlvCommand::Add if !m.maps.is_empty() => Err(ErrorCode::NxttmfcTableFull
            .because("this switch has no tun_metadata fields that an option could be mapped to")),
        TlvCommand::Add | TlvCommand::Delete | TlvCommand::Clear => Ok(()),
    }
}

/// Types 0 to 11: output to enqueue.
const ACTIONS10: u32 = 0xfff;

fn capabilities(version: Version) -> Capabilities {
    let mut bits = Capabilities::FLOW_STATS.0
        | Capabilities::TABLE_STATS.0
        | Capabilities::PORT_STATS.0
        | Capabilities::QUEUE_STATS.0;
    if version >= Version::Of11 {
        bits |= Capabilities::GROUP_STATS.0;
    }
    if version <= Version::Of11 {
        bits |= Capabilities::ARP_MATCH_IP.0;
    }
    if version >= Version::Of14 {
        bits |= Capabilities::BUNDLES.0;
    }
    Capabilities(bits)
}
