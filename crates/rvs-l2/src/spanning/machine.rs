//! The state machines of a port (IEEE 802.1D-2004 clauses 17.21 to 17.31). Each function takes at most one transition and
//! says whether it took one; [`super::SpanningTree`] calls them until none does.
//!
//! Short states that lead back at once (`ROOT_PROPOSED`, `DESIGNATED_SYNCED`, ...) are branches here, not states.

use super::bpdu::{Body, Bpdu, Says};
use super::port::{disabled_delay, Change, InfoIs, Migration, Port, Role, MIGRATE_TIME};
use super::tree::{Event, SpanningTree};

/// What a received message is to the port (17.21.8).
enum Received {
    SuperiorDesignated,
    RepeatedDesignated,
    InferiorDesignated,
    InferiorRootAlternate,
    Other,
}

impl SpanningTree {
    /// One transition of every machine of the port but that which sends.
    pub(super) fn step(&mut self, i: usize) -> bool {
        self.bridge_detection(i)
            | self.migration(i)
            | self.information(i)
            | self.role_transition(i)
            | self.state_transition(i)
            | self.topology_change(i)
    }

    fn bridge_detection(&mut self, i: usize) -> bool {
        let rapid = self.cfg.rapid;
        let Some(p) = self.ports.get_mut(i) else {
            return false;
        };
        let silent = p.edge_delay_while == 0 && p.cfg.auto_edge && p.send_rstp && p.proposing;
        let wanted = match p.oper_edge {
            true => p.cfg.enabled || p.cfg.admin_edge,
            false => rapid && ((!p.cfg.enabled && p.cfg.admin_edge) || silent),
        };
        std::mem::replace(&mut p.oper_edge, wanted) != wanted
    }

    fn migration(&mut self, i: usize) -> bool {
        let rapid = self.cfg.rapid;
        let Some(p) = self.ports.get_mut(i) else {
            return false;
        };
        let check = |p: &mut Port| {
            p.migration = Migration::CheckingRapid;
            p.mcheck = false;
            p.send_rstp = rapid;
            p.mdelay_while = MIGRATE_TIME;
        };
        let sense = |p: &mut Port| {
            p.migration = Migration::Sensing;
            p.rcvd_rstp = false;
            p.rcvd_stp = false;
        };
        match p.migration {
            Migration::CheckingRapid if p.mdelay_while != MIGRATE_TIME && !p.cfg.enabled => {
                check(p)
            }
            Migration::CheckingRapid if p.mdelay_while == 0 => sense(p),
            Migration::SelectingOld if p.mdelay_while == 0 || !p.cfg.enabled || p.mcheck => {
                sense(p)
            }
            Migration::Sensing
                if !p.cfg.enabled || p.mcheck || (rapid && !p.send_rstp && p.rcvd_rstp) =>
            {
                check(p);
            }
            Migration::Sensing if p.send_rstp && p.rcvd_stp => {
                p.migration = Migration::SelectingOld;
                p.send_rstp = false;
                p.mdelay_while = MIGRATE_TIME;
            }
            _ => return false,
        }
        true
    }

    /// Port information (17.27).
    fn information(&mut self, i: usize) -> bool {
        let Some(p) = self.ports.get_mut(i) else {
            return false;
        };
        if !p.cfg.enabled {
            p.message = None;
            if p.info_is == InfoIs::Disabled {
                return false;
            }
            p.proposing = false;
            p.proposed = false;
            p.agree = false;
            p.agreed = false;
            p.rcvd_info_while = 0;
            p.updt_info = false;
            p.info_is = InfoIs::Disabled;
            p.reselect = true;
            p.selected = false;
            return true;
        }
        if p.info_is == InfoIs::Disabled {
            age(p);
        } else if p.selected && p.updt_info {
            update(p);
        } else if p.info_is == InfoIs::Received
            && p.rcvd_info_while == 0
            && !p.updt_info
            && p.message.is_none()
        {
            age(p);
        } else if let (Some(message), false) = (p.message, p.updt_info) {
            p.message = None;
            self.take_message(i, &message);
        } else {
            return false;
        }
        true
    }

    fn take_message(&mut self, i: usize, m: &Body) {
        let rapid = self.cfg.rapid;
        let Some(p) = self.ports.get_mut(i) else {
            return;
        };
        let proposal = rapid && m.role == Says::Designated && m.proposal;
        match classify(p, m) {
            Received::SuperiorDesignated => {
                p.agreed = false;
                p.proposing = false;
                p.proposed |= proposal;
                set_tc_flags(p, m);
                let better_or_same = p.info_is == InfoIs::Received && m.priority <= p.port_priority;
                p.agree &= better_or_same;
                p.port_priority = m.priority;
                p.port_times = m.times;
                update_info_timer(p);
                p.info_is = InfoIs::Received;
                p.reselect = true;
                p.selected = false;
            }
            Received::RepeatedDesignated => {
                p.proposed |= proposal;
                set_tc_flags(p, m);
                update_info_timer(p);
            }
            // A worse bridge believes that it is designated here, and forwards: it does not hear this port.
            Received::InferiorDesignated => {
                if m.rapid && m.learning {
                    p.disputed = true;
                    p.agreed = false;
                }
            }
            Received::InferiorRootAlternate => {
                p.agreed = rapid && p.cfg.point_to_point && m.agreement;
                p.proposing &= !p.agreed;
                set_tc_flags(p, m);
            }
            Received::Other => {}
        }
    }

    /// Port role transitions (17.29).
    fn role_transition(&mut self, i: usize) -> bool {
        let rapid = self.cfg.rapid;
        let Some(p) = self.ports.get_mut(i) else {
            return false;
        };
        if !p.selected || p.updt_info {
            return false;
        }
        let at_rest = disabled_delay(&p.designated_times, rapid);
        if p.role != p.selected_role || (p.role.blocks() && !p.settled) {
            return enter_role(p, at_rest);
        }
        match p.role {
            Role::Disabled => disabled_port(p, at_rest),
            Role::Root => self.root_port(i),
            Role::Designated => designated_port(p),
            Role::Alternate | Role::Backup => self.alternate_port(i),
        }
    }

    fn root_port(&mut self, i: usize) -> bool {
        let (all_synced, re_rooted) = (self.all_synced(i), self.re_rooted(i));
        let rapid = self.cfg.rapid;
        let Some(p) = self.ports.get_mut(i) else {
            return false;
        };
        let may_open = p.fd_while == 0 || (re_rooted && p.rb_while == 0 && rapid);
        if p.proposed && !p.agree {
            p.proposed = false;
            self.ports.iter_mut().for_each(|p| p.sync = true);
        } else if (all_synced && !p.agree) || (p.proposed && p.agree) {
            p.proposed = false;
            p.sync = false;
            p.agree = true;
            // The old protocol has no way to agree.
            p.new_info |= p.send_rstp;
        } else if !p.forward && !p.re_root {
            self.ports.iter_mut().for_each(|p| p.re_root = true);
        } else if p.re_root && p.forward {
            p.re_root = false;
        } else if may_open && !p.learn {
            p.fd_while = p.fwd_delay();
            p.learn = true;
        } else if may_open && !p.forward {
            p.fd_while = 0;
            p.forward = true;
        } else {
            let kept = p.fwd_delay();
            return std::mem::replace(&mut p.rr_while, kept) != kept;
        }
        true
    }

    fn alternate_port(&mut self, i: usize) -> bool {
        let all_synced = self.all_synced(i);
        let Some(p) = self.ports.get_mut(i) else {
            return false;
        };
        if p.proposed && !p.agree {
            p.proposed = false;
            self.ports.iter_mut().for_each(|p| p.sync = true);
        } else if (all_synced && !p.agree) || (p.proposed && p.agree) {
            p.proposed = false;
            p.agree = true;
            p.new_info |= p.send_rstp;
        } else if p.fd_while != p.forward_delay() || p.sync || p.re_root || !p.synced {
            rest(p, p.forward_delay());
        } else if p.role == Role::Backup && p.rb_while != 2 * p.hello_time() {
            p.rb_while = 2 * p.hello_time();
        } else {
            return false;
        }
        true
    }

    /// Every other port is in step with what this one agrees to (17.20.3).
    fn all_synced(&self, i: usize) -> bool {
        self.ports.iter().enumerate().all(|(n, p)| {
            p.selected
                && p.role == p.selected_role
                && !p.updt_info
                && (n == i || p.role == Role::Root || p.synced)
        })
    }

    /// No other port has been the root port lately (17.20.10).
    fn re_rooted(&self, i: usize) -> bool {
        let mut others = self.ports.iter().enumerate().filter(|(n, _)| *n != i);
        others.all(|(_, p)| p.rr_while == 0)
    }

    /// Port state transition (17.30).
    fn state_transition(&mut self, i: usize) -> bool {
        let now = self.now;
        let Some(p) = self.ports.get_mut(i) else {
            return false;
        };
        let next = match (p.learning, p.forwarding) {
            (false, _) if p.learn => (true, false),
            (true, false) if p.forward => (true, true),
            (true, false) if !p.learn => (false, false),
            (true, true) if !p.forward => (false, false),
            _ => return false,
        };
        (p.learning, p.forwarding) = next;
        p.since = now;
        true
    }

    fn topology_change(&mut self, i: usize) -> bool {
        let Some(p) = self.ports.get_mut(i) else {
            return false;
        };
        let told = p.rcvd_tc || p.rcvd_tcn || p.rcvd_tc_ack || p.tc_prop;
        match p.change {
            Change::Inactive if p.learn => forget_told(p),
            Change::Learning if p.is_root_or_designated() && p.forward && !p.oper_edge => {
                new_tc_while(p);
                p.new_info = true;
                p.change = Change::Active;
                self.propagate(i);
            }
            Change::Learning if !p.is_root_or_designated() && !p.learn && !p.learning && !told => {
                p.change = Change::Inactive;
                p.tc_while = 0;
                p.tc_ack = false;
                self.flush(i);
            }
            Change::Learning if told => forget_told(p),
            Change::Active if !p.is_root_or_designated() || p.oper_edge => forget_told(p),
            Change::Active if p.rcvd_tcn || p.rcvd_tc => {
                if p.rcvd_tcn {
                    new_tc_while(p);
                }
                p.tc_ack |= p.rcvd_tcn && p.role == Role::Designated;
                p.rcvd_tcn = false;
                p.rcvd_tc = false;
                self.propagate(i);
            }
            Change::Active if p.tc_prop && !p.oper_edge => {
                new_tc_while(p);
                p.tc_prop = false;
                self.flush(i);
            }
            Change::Active if p.rcvd_tc_ack => {
                p.tc_while = 0;
                p.rcvd_tc_ack = false;
            }
            _ => return false,
        }
        true
    }

    /// `setTcPropTree`
    fn propagate(&mut self, from: usize) {
        let others = self.ports.iter_mut().enumerate();
        others
            .filter(|(n, _)| *n != from)
            .for_each(|(_, p)| p.tc_prop = true);
    }

    /// Port transmit (17.26).
    pub(super) fn transmit(&mut self, i: usize) -> bool {
        let (rapid, hold) = (self.cfg.rapid, self.cfg.transmit_hold);
        let Some(p) = self.ports.get_mut(i) else {
            return false;
        };
        if !p.selected || p.updt_info {
            return false;
        }
        if p.hello_when == 0 {
            p.new_info |= p.role == Role::Designated || (p.role == Role::Root && p.tc_while != 0);
            p.hello_when = p.hello_time();
            return true;
        }
        if !p.new_info || p.tx_count >= hold || !p.cfg.enabled {
            return false;
        }
        let bpdu = match (p.send_rstp && rapid, p.role) {
            (true, _) => Bpdu::Body(body(p, true)),
            (false, Role::Designated) => Bpdu::Body(body(p, false)),
            (false, Role::Root) => Bpdu::Notification,
            (false, _) => return false,
        };
        p.new_info = false;
        p.tx_count += 1;
        if bpdu != Bpdu::Notification {
            p.tc_ack = false;
        }
        p.counters.tx += 1;
        let (port, bpdu) = (p.key, bpdu.encode());
        self.events.push(Event::Send { port, bpdu });
        true
    }
}

fn body(p: &Port, rapid: bool) -> Body {
    Body {
        rapid,
        role: p.says(),
        priority: p.designated_priority,
        times: p.designated_times,
        topology_change: p.tc_while != 0,
        topology_change_ack: !rapid && p.tc_ack,
        proposal: rapid && p.proposing,
        agreement: rapid && p.agree,
        learning: rapid && p.learning,
        forwarding: rapid && p.forwarding,
    }
}

/// `AGED`
fn age(p: &mut Port) {
    p.info_is = InfoIs::Aged;
    p.reselect = true;
    p.selected = false;
}

/// `UPDATE`
fn update(p: &mut Port) {
    p.proposing = false;
    p.proposed = false;
    let better_or_same = p.info_is == InfoIs::Mine && p.designated_priority <= p.port_priority;
    p.agreed &= better_or_same;
    p.synced &= p.agreed;
    p.port_priority = p.designated_priority;
    p.port_times = p.designated_times;
    p.updt_info = false;
    p.info_is = InfoIs::Mine;
    p.new_info = true;
}

fn classify(p: &Port, m: &Body) -> Received {
    let same = m.priority == p.port_priority;
    match m.role {
        Says::Designated if m.priority.supersedes(&p.port_priority) => Received::SuperiorDesignated,
        Says::Designated if same && m.times != p.port_times => Received::SuperiorDesignated,
        Says::Designated if same => Received::RepeatedDesignated,
        Says::Designated => Received::InferiorDesignated,
        Says::Root | Says::AlternateOrBackup if m.priority >= p.port_priority => {
            Received::InferiorRootAlternate
        }
        _ => Received::Other,
    }
}

/// Enters the state in which changes of others do not concern the port.
fn forget_told(p: &mut Port) {
    p.change = Change::Learning;
    p.rcvd_tc = false;
    p.rcvd_tcn = false;
    p.rcvd_tc_ack = false;
    p.tc_prop = false;
}

fn set_tc_flags(p: &mut Port, m: &Body) {
    p.rcvd_tc |= m.topology_change;
    p.rcvd_tc_ack |= m.topology_change_ack;
}

/// `updtRcvdInfoWhile`: what is not repeated three times is gone.
fn update_info_timer(p: &mut Port) {
    /// The longest hello time that the standard allows.
    const LONGEST_HELLO: u16 = 10;
    let hello = p.port_times.hello_secs().min(LONGEST_HELLO);
    p.rcvd_info_while = if p.port_times.lives() { 3 * hello } else { 0 };
}

fn new_tc_while(p: &mut Port) {
    if p.tc_while == 0 && p.send_rstp {
        p.tc_while = p.hello_time() + 1;
        p.new_info = true;
    } else if p.tc_while == 0 {
        let t = &p.designated_times;
        p.tc_while = t.max_age_secs() + t.forward_delay_secs();
    }
}

/// A role that the port does not have yet. Where it is to block, nothing goes on until it does.
fn enter_role(p: &mut Port, disabled: u16) -> bool {
    if p.role != p.selected_role {
        p.role = p.selected_role;
        p.settled = false;
        match p.role {
            Role::Root => p.rr_while = p.fwd_delay(),
            Role::Designated => {}
            Role::Disabled | Role::Alternate | Role::Backup => {
                p.learn = false;
                p.forward = false;
            }
        }
        return true;
    }
    if p.learning || p.forwarding {
        return false;
    }
    p.settled = true;
    let delay = match p.role {
        Role::Disabled => disabled,
        _ => p.forward_delay(),
    };
    rest(p, delay);
    true
}

/// The port blocks, and is in step with whatever the others do.
fn rest(p: &mut Port, delay: u16) {
    p.fd_while = delay;
    p.synced = true;
    p.rr_while = 0;
    p.sync = false;
    p.re_root = false;
}

fn disabled_port(p: &mut Port, at_rest: u16) -> bool {
    let moved = p.fd_while != at_rest || p.sync || p.re_root || !p.synced;
    if moved {
        rest(p, at_rest);
    }
    moved
}

fn designated_port(p: &mut Port) -> bool {
    let may_open =
        (p.fd_while == 0 || p.agreed || p.oper_edge) && (p.rr_while == 0 || !p.re_root) && !p.sync;
    let must_close = (p.sync && !p.synced) || (p.re_root && p.rr_while != 0) || p.disputed;
    if !p.forward && !p.agreed && !p.proposing && !p.oper_edge {
        p.proposing = true;
        p.edge_delay_while = p.edge_delay();
        p.new_info = true;
    } else if (!p.learning && !p.forwarding && !p.synced)
        || (p.agreed && !p.synced)
        || (p.oper_edge && !p.synced)
        || (p.sync && p.synced)
    {
        p.rr_while = 0;
        p.synced = true;
        p.sync = false;
    } else if p.rr_while == 0 && p.re_root {
        p.re_root = false;
    } else if must_close && !p.oper_edge && (p.learn || p.forward) {
        p.learn = false;
        p.forward = false;
        p.disputed = false;
        p.fd_while = p.forward_delay();
    } else if may_open && !p.learn {
        p.learn = true;
        p.fd_while = p.forward_delay();
    } else if may_open && !p.forward {
        p.forward = true;
        p.fd_while = 0;
        p.agreed = p.send_rstp;
    } else {
        return false;
    }
    true
}
