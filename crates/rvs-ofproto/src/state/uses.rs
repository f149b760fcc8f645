//! What instructions refer to.

use rvs_flow::OfPort;
use rvs_openflow::{Action, GroupId, Instructions};

/// Hands every action to `f`, those in clones included.
pub(super) fn each<'a>(actions: &'a [Action], f: &mut impl FnMut(&'a Action)) {
    for a in actions {
        f(a);
        if let Action::Clone(inner) = a {
            each(inner, f);
        }
    }
}

/// Every action of the instructions, applied and written.
pub(super) fn each_of<'a>(i: &'a Instructions, f: &mut impl FnMut(&'a Action)) {
    each(&i.apply, f);
    each(&i.write, f);
}

/// True when the instructions output to the port (`out_port` of requests).
pub(crate) fn outputs_to(i: &Instructions, port: OfPort) -> bool {
    let mut found = false;
    each_of(i, &mut |a| {
        found |= match a {
            Action::Output { port: p, .. }
            | Action::OutputTruncated { port: p, .. }
            | Action::Enqueue { port: p, .. } => *p == port,
            Action::Controller(_) => port == OfPort::CONTROLLER,
            _ => false,
        };
    });
    found
}

/// True when the instructions send to the group (`out_group` of requests).
pub(crate) fn forwards_to(i: &Instructions, group: GroupId) -> bool {
    let mut found = false;
    each_of(i, &mut |a| found |= *a == Action::Group(group));
    found
}
