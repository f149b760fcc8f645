//! `dpif/show-dp-features` and `dpif/set-dp-features`: what the datapath can do, in the words of Open vSwitch's.
//!
//! There a feature can be switched off by hand, to see how translations do without. Translations here do not depend on them:
//! what is set is kept and shown, and changes nothing else.

use std::fmt::Write as _;

use serde_json::json;

use super::Answer;
use crate::commands::Daemon;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Flag(bool),
    Count(u64),
}

impl Value {
    /// As it is set.
    fn plain(self) -> String {
        match self {
            Self::Flag(on) => on.to_string(),
            Self::Count(n) => n.to_string(),
        }
    }

    /// As it is listed.
    fn listed(self) -> String {
        match self {
            Self::Flag(true) => "Yes".to_owned(),
            Self::Flag(false) => "No".to_owned(),
            Self::Count(n) => n.to_string(),
        }
    }
}

struct Feature {
    name: &'static str,
    title: &'static str,
    value: Value,
}

const fn flag(name: &'static str, title: &'static str, on: bool) -> Feature {
    let value = Value::Flag(on);
    Feature { name, title, value }
}

const fn count(name: &'static str, title: &'static str, n: u64) -> Feature {
    let value = Value::Count(n);
    Feature { name, title, value }
}

const FEATURES: [Feature; 26] = [
    flag("masked_set_action", "Masked set action", true),
    flag("tnl_push_pop", "Tunnel push pop", false),
    flag("ufid", "Ufid", true),
    flag("trunc", "Truncate action", true),
    flag("clone", "Clone action", true),
    count("sample_nesting", "Sample nesting", 0),
    flag("ct_eventmask", "Conntrack eventmask", false),
    flag("ct_clear", "Conntrack clear", false),
    count("max_hash_alg", "Max dp_hash algorithm", 0),
    flag("check_pkt_len", "Check pkt length action", true),
    flag("ct_timeout", "Conntrack timeout policy", false),
    flag("explicit_drop_action", "Explicit Drop action", false),
    flag("lb_output_action", "Optimized Balance TCP mode", false),
    flag("ct_zero_snat", "Conntrack all-zero IP SNAT", false),
    flag("add_mpls", "MPLS Label add", false),
    count("max_vlan_headers", "Max VLAN headers", 2),
    count("max_mpls_depth", "Max MPLS depth", 3),
    flag("recirc", "Recirc", true),
    flag("ct_state", "CT state", false),
    flag("ct_zone", "CT zone", false),
    flag("ct_mark", "CT mark", false),
    flag("ct_label", "CT label", false),
    flag("ct_state_nat", "CT state NAT", false),
    flag("ct_orig_tuple", "CT orig tuple", false),
    flag("ct_orig_tuple6", "CT orig tuple for IPv6", false),
    flag("nd_ext", "IPv6 ND Extension", true),
];

const UNKNOWN: &str = "Unexpected support field";

/// What features were set to.
#[derive(Debug)]
pub struct Features([Value; FEATURES.len()]);

impl Default for Features {
    fn default() -> Self {
        Self(FEATURES.map(|f| f.value))
    }
}

impl Features {
    /// The texts are what scripts look for, letter by letter.
    fn set(&mut self, at: usize, text: &str) -> Result<(), &'static str> {
        let (Some(feature), Some(now)) = (FEATURES.get(at), self.0.get_mut(at)) else {
            return Err(UNKNOWN);
        };
        *now = match (feature.value, text) {
            (Value::Flag(false), "true") => {
                return Err("Can not enable features not supported by the datapth")
            }
            (Value::Flag(true), "true") => Value::Flag(true),
            (Value::Flag(_), "false") => Value::Flag(false),
            (Value::Flag(_), _) => return Err("Boolean value expected"),
            (Value::Count(most), n) => match n.parse() {
                Ok(n) if n <= most => Value::Count(n),
                Ok(_) => return Err("Can not set value beyond the datapath capability"),
                Err(_) => return Err("Integer number expected"),
            },
        };
        Ok(())
    }

    fn line(&self, at: usize) -> String {
        let (Some(f), Some(now)) = (FEATURES.get(at), self.0.get(at)) else {
            return String::new();
        };
        format!(
            "{} ({}) : [run time]:{}, [boot time]:{}\n",
            f.name,
            f.title,
            now.plain(),
            f.value.plain()
        )
    }
}

fn known(daemon: &Daemon, bridge: &str) -> Result<(), String> {
    let found = daemon.switch.topology().bridge_by_name(bridge);
    found.map(|_| ()).ok_or_else(|| "no such bridge".to_owned())
}

pub(super) fn show(daemon: &mut Daemon, params: &[String]) -> Answer {
    known(daemon, &params[0])?;
    let mut text = String::new();
    for (f, now) in FEATURES.iter().zip(daemon.features.0) {
        let _ = writeln!(text, "{}: {}", f.title, now.listed());
    }
    Ok(json!(text))
}

pub(super) fn set(daemon: &mut Daemon, params: &[String]) -> Answer {
    known(daemon, &params[0])?;
    let Some(name) = params.get(1) else {
        let all = (0..FEATURES.len()).map(|at| daemon.features.line(at));
        return Ok(json!(all.collect::<String>()));
    };
    let at = FEATURES.iter().position(|f| f.name == name);
    // What is wrong with a value is the answer, and no error.
    let answer = match (at, params.get(2)) {
        (None, _) => UNKNOWN.to_owned(),
        (Some(at), None) => daemon.features.line(at),
        (Some(at), Some(value)) => match daemon.features.set(at, value) {
            Ok(()) => String::new(),
            Err(wrong) => wrong.to_owned(),
        },
    };
    Ok(json!(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_goes_off_and_on_and_never_beyond_what_is_there() {
        let mut features = Features::default();
        let at = |name| FEATURES.iter().position(|f| f.name == name);
        let recirc = at("recirc").unwrap_or(usize::MAX);
        assert_eq!(features.set(recirc, "false"), Ok(()));
        assert_eq!(
            features.line(recirc),
            "recirc (Recirc) : [run time]:false, [boot time]:true\n"
        );
        assert_eq!(features.set(recirc, "true"), Ok(()));
        assert_eq!(features.set(recirc, "1"), Err("Boolean value expected"));
        let tunnels = at("tnl_push_pop").unwrap_or(usize::MAX);
        let refused = Err("Can not enable features not supported by the datapth");
        assert_eq!(features.set(tunnels, "true"), refused);
        let tags = at("max_vlan_headers").unwrap_or(usize::MAX);
        assert_eq!(features.set(tags, "1"), Ok(()));
        let refused = Err("Can not set value beyond the datapath capability");
        assert_eq!(features.set(tags, "3"), refused);
        assert_eq!(features.set(tags, "x"), Err("Integer number expected"));
        assert_eq!(features.set(usize::MAX, "true"), Err(UNKNOWN));
    }
}
