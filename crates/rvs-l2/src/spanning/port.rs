//! A port of a spanning tree: its variables (IEEE 802.1D-2004 clause 17.19), by their names in the standard.

use std::time::Duration;

use rvs_packet::Now;

use super::bpdu::{Body, Says};
use super::vector::{PortId, Times, Vector};

/// Seconds that a port stays with the version of the protocol that it has found out (17.13.9).
pub(super) const MIGRATE_TIME: u16 = 3;

/// What is wanted of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortConfig {
    pub id: PortId,
    pub path_cost: u32,
    /// There is a link, and nobody has taken the port down.
    pub enabled: bool,
    /// Nothing but hosts is behind it: forwards at once, until a BPDU says otherwise. Of the rapid protocol.
    pub admin_edge: bool,
    /// The same is found out, by hearing nothing for three seconds. Of the rapid protocol.
    pub auto_edge: bool,
    /// There is one other bridge at most behind it. Without that nothing is rapid.
    pub point_to_point: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Disabled,
    Root,
    Designated,
    Alternate,
    Backup,
}

impl Role {
    /// As the tools of the field write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disabled => "Disabled",
            Self::Root => "Root",
            Self::Designated => "Designated",
            Self::Alternate => "Alternate",
            Self::Backup => "Backup",
        }
    }

    pub(super) const fn blocks(self) -> bool {
        matches!(self, Self::Disabled | Self::Alternate | Self::Backup)
    }
}

/// Whether and how a port takes part in forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    Discarding,
    Learning,
    Forwarding,
}

/// Where a port's information comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum InfoIs {
    #[default]
    Disabled,
    Aged,
    Mine,
    Received,
}

/// Port protocol migration (17.24).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Migration {
    #[default]
    CheckingRapid,
    SelectingOld,
    Sensing,
}

/// Topology change (17.31).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Change {
    #[default]
    Inactive,
    Learning,
    Active,
}

/// Counters of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    pub tx: u64,
    pub rx: u64,
    /// BPDUs that were not understood.
    pub errors: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Port {
    /// The caller's number.
    pub key: u32,
    pub cfg: PortConfig,

    pub role: Role,
    pub selected_role: Role,
    pub info_is: InfoIs,
    pub port_priority: Vector,
    pub port_times: Times,
    pub designated_priority: Vector,
    pub designated_times: Times,

    pub agree: bool,
    pub agreed: bool,
    pub disputed: bool,
    pub forward: bool,
    pub learn: bool,
    pub learning: bool,
    pub forwarding: bool,
    pub new_info: bool,
    pub oper_edge: bool,
    pub proposed: bool,
    pub proposing: bool,
    pub re_root: bool,
    pub reselect: bool,
    pub selected: bool,
    pub sync: bool,
    pub synced: bool,
    pub updt_info: bool,

    /// What was received and is still to be looked at (`rcvdMsg`).
    pub message: Option<Body>,
    pub rcvd_rstp: bool,
    pub rcvd_stp: bool,
    pub rcvd_tc: bool,
    pub rcvd_tcn: bool,
    pub rcvd_tc_ack: bool,
    pub tc_ack: bool,
    pub tc_prop: bool,
    pub send_rstp: bool,
    pub mcheck: bool,

    // Timers, in seconds.
    pub edge_delay_while: u16,
    pub fd_while: u16,
    pub hello_when: u16,
    pub mdelay_while: u16,
    pub rb_while: u16,
    pub rcvd_info_while: u16,
    pub rr_while: u16,
    pub tc_while: u16,
    pub tx_count: u16,
    /// Until addresses may be forgotten again, and whether they shall be then.
    pub flush_while: u16,
    pub flush_pending: bool,

    pub migration: Migration,
    pub change: Change,
    /// The port has stopped to forward after it got its role.
    pub settled: bool,
    pub counters: PortCounters,
    /// When the shown state last changed, and the port came.
    pub since: Option<Now>,
    pub born: Option<Now>,
}

/// What a port that gets a link waits for before it learns: `MaxAge` (17.29.1), in the old protocol a forward delay.
pub(super) fn disabled_delay(times: &Times, rapid: bool) -> u16 {
    if rapid {
        times.max_age_secs()
    } else {
        times.forward_delay_secs()
    }
}

impl Port {
    pub fn new(key: u32, cfg: PortConfig, times: Times, rapid: bool) -> Self {
        Self {
            key,
            cfg,
            role: Role::Disabled,
            selected_role: Role::Disabled,
            info_is: InfoIs::Disabled,
            port_priority: Vector::default(),
            port_times: times,
            designated_priority: Vector::default(),
            designated_times: times,
            agree: false,
            agreed: false,
            disputed: false,
            forward: false,
            learn: false,
            learning: false,
            forwarding: false,
            new_info: true,
            oper_edge: cfg.admin_edge && rapid,
            proposed: false,
            proposing: false,
            re_root: true,
            reselect: true,
            selected: false,
            sync: true,
            synced: false,
            updt_info: false,
            message: None,
            rcvd_rstp: false,
            rcvd_stp: false,
            rcvd_tc: false,
            rcvd_tcn: false,
            rcvd_tc_ack: false,
            tc_ack: false,
            tc_prop: false,
            send_rstp: rapid,
            mcheck: false,
            edge_delay_while: MIGRATE_TIME,
            fd_while: disabled_delay(&times, rapid),
            hello_when: times.hello_secs(),
            mdelay_while: MIGRATE_TIME,
            rb_while: 0,
            rcvd_info_while: 0,
            rr_while: times.forward_delay_secs(),
            tc_while: 0,
            tx_count: 0,
            flush_while: 0,
            flush_pending: false,
            migration: Migration::CheckingRapid,
            change: Change::Inactive,
            settled: false,
            counters: PortCounters::default(),
            since: None,
            born: None,
        }
    }

    pub fn state(&self) -> Forwarding {
        match (self.learning, self.forwarding) {
            (_, true) => Forwarding::Forwarding,
            (true, false) => Forwarding::Learning,
            (false, false) => Forwarding::Discarding,
        }
    }

    /// `FwdDelay`
    pub fn fwd_delay(&self) -> u16 {
        self.designated_times.forward_delay_secs()
    }

    pub fn hello_time(&self) -> u16 {
        self.designated_times.hello_secs()
    }

    /// `forwardDelay`: towards a rapid neighbour a hello time is enough.
    pub fn forward_delay(&self) -> u16 {
        if self.send_rstp {
            self.hello_time()
        } else {
            self.fwd_delay()
        }
    }

    pub fn edge_delay(&self) -> u16 {
        if self.cfg.point_to_point {
            MIGRATE_TIME
        } else {
            self.designated_times.max_age_secs()
        }
    }

    pub fn is_root_or_designated(&self) -> bool {
        matches!(self.role, Role::Root | Role::Designated)
    }

    /// What this port says of itself.
    pub fn says(&self) -> Says {
        match self.role {
            Role::Root => Says::Root,
            Role::Designated => Says::Designated,
            Role::Alternate | Role::Backup => Says::AlternateOrBackup,
            Role::Disabled => Says::Unknown,
        }
    }

    /// One second.
    pub fn tick(&mut self) {
        for timer in [
            &mut self.edge_delay_while,
            &mut self.fd_while,
            &mut self.hello_when,
            &mut self.mdelay_while,
            &mut self.rb_while,
            &mut self.rcvd_info_while,
            &mut self.rr_while,
            &mut self.tc_while,
            &mut self.tx_count,
            &mut self.flush_while,
        ] {
            *timer = timer.saturating_sub(1);
        }
    }

    pub fn in_state_for(&self, now: Now) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.since(since))
    }
}
