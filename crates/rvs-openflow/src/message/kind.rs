//! Numbers of messages (`OFPT_*`, `OFPMP_*`, Nicira's and ONF's subtypes).

pub(crate) const HELLO: u8 = 0;
pub(crate) const ERROR: u8 = 1;
pub(crate) const ECHO_REQUEST: u8 = 2;
pub(crate) const ECHO_REPLY: u8 = 3;
pub(crate) const EXPERIMENTER: u8 = 4;
pub(crate) const FEATURES_REQUEST: u8 = 5;
pub(crate) const FEATURES_REPLY: u8 = 6;
pub(crate) const GET_CONFIG_REQUEST: u8 = 7;
pub(crate) const GET_CONFIG_REPLY: u8 = 8;
pub(crate) const SET_CONFIG: u8 = 9;
pub(crate) const PACKET_IN: u8 = 10;
pub(crate) const FLOW_REMOVED: u8 = 11;
pub(crate) const PORT_STATUS: u8 = 12;
pub(crate) const PACKET_OUT: u8 = 13;
pub(crate) const FLOW_MOD: u8 = 14;

/// OpenFlow 1.0 alone.
pub(crate) mod of10 {
    pub(crate) const PORT_MOD: u8 = 15;
    pub(crate) const STATS_REQUEST: u8 = 16;
    pub(crate) const STATS_REPLY: u8 = 17;
    pub(crate) const BARRIER_REQUEST: u8 = 18;
    pub(crate) const BARRIER_REPLY: u8 = 19;
    pub(crate) const QUEUE_GET_CONFIG_REQUEST: u8 = 20;
    pub(crate) const QUEUE_GET_CONFIG_REPLY: u8 = 21;
}

/// OpenFlow 1.1 and later.
pub(crate) mod of11 {
    pub(crate) const GROUP_MOD: u8 = 15;
    pub(crate) const PORT_MOD: u8 = 16;
    pub(crate) const TABLE_MOD: u8 = 17;
    pub(crate) const MULTIPART_REQUEST: u8 = 18;
    pub(crate) const MULTIPART_REPLY: u8 = 19;
    pub(crate) const BARRIER_REQUEST: u8 = 20;
    pub(crate) const BARRIER_REPLY: u8 = 21;
    pub(crate) const QUEUE_GET_CONFIG_REQUEST: u8 = 22;
    pub(crate) const QUEUE_GET_CONFIG_REPLY: u8 = 23;
    pub(crate) const ROLE_REQUEST: u8 = 24;
    pub(crate) const ROLE_REPLY: u8 = 25;
    pub(crate) const GET_ASYNC_REQUEST: u8 = 26;
    pub(crate) const GET_ASYNC_REPLY: u8 = 27;
    pub(crate) const SET_ASYNC: u8 = 28;
    pub(crate) const METER_MOD: u8 = 29;
    pub(crate) const ROLE_STATUS: u8 = 30;
    pub(crate) const TABLE_STATUS: u8 = 31;
    pub(crate) const REQUESTFORWARD: u8 = 32;
    pub(crate) const BUNDLE_CONTROL: u8 = 33;
    pub(crate) const BUNDLE_ADD: u8 = 34;
    pub(crate) const CONTROLLER_STATUS: u8 = 35;
}

/// Nicira's messages (`NXT_*`).
pub(crate) mod nxt {
    pub(crate) const ROLE_REQUEST: u32 = 10;
    pub(crate) const ROLE_REPLY: u32 = 11;
    pub(crate) const SET_FLOW_FORMAT: u32 = 12;
    pub(crate) const FLOW_MOD: u32 = 13;
    pub(crate) const FLOW_REMOVED: u32 = 14;
    pub(crate) const FLOW_MOD_TABLE_ID: u32 = 15;
    pub(crate) const SET_PACKET_IN_FORMAT: u32 = 16;
    pub(crate) const PACKET_IN: u32 = 17;
    pub(crate) const FLOW_AGE: u32 = 18;
    pub(crate) const SET_ASYNC_CONFIG: u32 = 19;
    pub(crate) const SET_CONTROLLER_ID: u32 = 20;
    pub(crate) const FLOW_MONITOR_CANCEL: u32 = 21;
    pub(crate) const FLOW_MONITOR_PAUSED: u32 = 22;
    pub(crate) const FLOW_MONITOR_RESUMED: u32 = 23;
    pub(crate) const TLV_TABLE_MOD: u32 = 24;
    pub(crate) const TLV_TABLE_REQUEST: u32 = 25;
    pub(crate) const TLV_TABLE_REPLY: u32 = 26;
    pub(crate) const SET_ASYNC_CONFIG2: u32 = 27;
    pub(crate) const RESUME: u32 = 28;
    pub(crate) const PACKET_IN2: u32 = 30;
    pub(crate) const GROUP_MOD: u32 = 31;
    pub(crate) const REQUESTFORWARD: u32 = 132;
}

/// ONF's messages for 1.3 (`ONFT_*`).
pub(crate) mod onft {
    pub(crate) const ROLE_STATUS: u32 = 1911;
    pub(crate) const FLOW_MONITOR_CANCEL: u32 = 1870;
    pub(crate) const FLOW_MONITOR_PAUSED: u32 = 1871;
    pub(crate) const FLOW_MONITOR_RESUMED: u32 = 1872;
    pub(crate) const BUNDLE_CONTROL: u32 = 2300;
    pub(crate) const BUNDLE_ADD: u32 = 2301;
    pub(crate) const REQUESTFORWARD: u32 = 2350;
}

/// Multipart types (`OFPMP_*`).
pub(crate) mod mp {
    pub(crate) const DESC: u16 = 0;
    pub(crate) const FLOW: u16 = 1;
    pub(crate) const AGGREGATE: u16 = 2;
    pub(crate) const TABLE: u16 = 3;
    pub(crate) const PORT: u16 = 4;
    pub(crate) const QUEUE: u16 = 5;
    pub(crate) const GROUP: u16 = 6;
    pub(crate) const GROUP_DESC: u16 = 7;
    pub(crate) const GROUP_FEATURES: u16 = 8;
    pub(crate) const METER: u16 = 9;
    pub(crate) const METER_CONFIG: u16 = 10;
    pub(crate) const METER_FEATURES: u16 = 11;
    pub(crate) const TABLE_FEATURES: u16 = 12;
    pub(crate) const PORT_DESC: u16 = 13;
    pub(crate) const TABLE_DESC: u16 = 14;
    pub(crate) const QUEUE_DESC: u16 = 15;
    pub(crate) const FLOW_MONITOR: u16 = 16;
    /// Flow statistics without instructions (OpenFlow 1.5).
    pub(crate) const FLOW_STATS: u16 = 17;
    /// OpenFlow 1.5.
    pub(crate) const CONTROLLER_STATUS: u16 = 18;
    pub(crate) const BUNDLE_FEATURES: u16 = 19;
    pub(crate) const EXPERIMENTER: u16 = 0xffff;
}

/// Nicira's multipart types (`NXST_*`).
pub(crate) mod nxst {
    pub(crate) const FLOW: u32 = 0;
    pub(crate) const AGGREGATE: u32 = 1;
    pub(crate) const FLOW_MONITOR: u32 = 2;
    /// Of the bridge and of flows.
    pub(crate) const IPFIX: [u32; 2] = [3, 4];
    pub(crate) const GROUP: u32 = 7;
    pub(crate) const GROUP_DESC: u32 = 8;
    pub(crate) const GROUP_FEATURES: u32 = 9;
}

/// ONF's multipart types for 1.3 (`ONFST_*`).
pub(crate) mod onfst {
    pub(crate) const FLOW_MONITOR: u32 = 1870;
}
