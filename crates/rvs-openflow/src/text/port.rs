//! Ports and their counters, as `ovs-ofctl` prints them.

use crate::message::{Port, PortConfig, PortFeatures, PortState, PortStats};
use crate::version::Version;

/// A counter, `?` where the switch keeps none.
pub fn counter(n: u64) -> String {
    match n {
        u64::MAX => "?".to_owned(),
        n => n.to_string(),
    }
}

/// Seconds: no fraction, three digits, or as many as it takes.
pub fn duration(sec: u32, nsec: u32) -> String {
    match nsec {
        0 => format!("{sec}s"),
        n if n % 1_000_000 == 0 => format!("{sec}.{:03}s", n / 1_000_000),
        n => format!("{sec}.{}s", format!("{n:09}").trim_end_matches('0')),
    }
}

/// The counters of a port, which is called `name`, as `dump-ports` prints them.
pub fn stats_text(p: &PortStats, name: &str, v: Version) -> String {
    let pad = if p.port.0 < 10 { " " } else { "" };
    let c = counter;
    let mut text = format!(
        "  port {pad}{name}: rx pkts={}, bytes={}, drop={}, errs={}, frame={}, over={}, crc={}\n           \
         tx pkts={}, bytes={}, drop={}, errs={}, coll={}\n",
        c(p.rx_packets),
        c(p.rx_bytes),
        c(p.rx_dropped),
        c(p.rx_errors),
        c(p.rx_frame_err),
        c(p.rx_over_err),
        c(p.rx_crc_err),
        c(p.tx_packets),
        c(p.tx_bytes),
        c(p.tx_dropped),
        c(p.tx_errors),
        c(p.collisions),
    );
    if v >= Version::Of13 && p.duration_sec != u32::MAX {
        let d = duration(p.duration_sec, p.duration_nsec);
        text.push_str(&format!("           duration={d}\n"));
    }
    text
}

const CONFIG: [(PortConfig, &str); 7] = [
    (PortConfig::PORT_DOWN, "PORT_DOWN"),
    (PortConfig::NO_STP, "NO_STP"),
    (PortConfig::NO_RECV, "NO_RECV"),
    (PortConfig::NO_RECV_STP, "NO_RECV_STP"),
    (PortConfig::NO_FLOOD, "NO_FLOOD"),
    (PortConfig::NO_FWD, "NO_FWD"),
    (PortConfig::NO_PACKET_IN, "NO_PACKET_IN"),
];

/// By bit.
const FEATURES: [&str; 16] = [
    "10MB-HD",
    "10MB-FD",
    "100MB-HD",
    "100MB-FD",
    "1GB-HD",
    "1GB-FD",
    "10GB-FD",
    "40GB-FD",
    "100GB-FD",
    "1TB-FD",
    "OTHER",
    "COPPER",
    "FIBER",
    "AUTO_NEG",
    "AUTO_PAUSE",
    "AUTO_PAUSE_ASYM",
];

/// Megabits a second of the rate bits.
const RATES: [u32; 10] = [
    10, 10, 100, 100, 1_000, 1_000, 10_000, 40_000, 100_000, 1_000_000,
];

/// What a port is told to do.
pub fn config_names(c: PortConfig) -> Vec<&'static str> {
    let set = CONFIG.iter().filter(|(bit, _)| c.has(*bit));
    set.map(|(_, n)| *n).collect()
}

/// What a port says of itself in this version.
pub fn state_names(s: PortState, v: Version) -> Vec<&'static str> {
    let mut names = Vec::new();
    if s.has(PortState::LINK_DOWN) {
        names.push("LINK_DOWN");
    }
    if v == Version::Of10 {
        match PortState(s.0 & PortState::STP_BLOCK.0) {
            PortState::STP_LEARN => names.push("STP_LEARN"),
            PortState::STP_FORWARD => names.push("STP_FORWARD"),
            PortState::STP_BLOCK => names.push("STP_BLOCK"),
            _ => {}
        }
        return names;
    }
    if s.has(PortState::BLOCKED) {
        names.push("BLOCKED");
    }
    if s.has(PortState::LIVE) {
        names.push("LIVE");
    }
    names
}

/// Rates and media.
pub fn feature_names(f: PortFeatures) -> Vec<&'static str> {
    let set = FEATURES
        .iter()
        .enumerate()
        .filter(|(i, _)| f.0 >> i & 1 != 0);
    set.map(|(_, n)| *n).collect()
}

/// Megabits a second; OpenFlow 1.0 says it by features alone.
pub fn speed(kbps: u32, features: PortFeatures, v: Version) -> u32 {
    if v > Version::Of10 {
        return kbps / 1000;
    }
    let set = RATES.iter().enumerate().rev();
    set.filter(|(i, _)| features.0 >> i & 1 != 0)
        .map(|(_, r)| *r)
        .next()
        .unwrap_or(0)
}

pub(super) fn or_zero(names: &[&str]) -> String {
    if names.is_empty() {
        "0".to_owned()
    } else {
        names.join(" ")
    }
}

/// A port as `dump-ports-desc` prints it.
pub fn desc_text(p: &Port, v: Version) -> String {
    let name: String = p.name.chars().filter(|c| !c.is_control()).collect();
    let mut text = format!(
        " {}({name}): addr:{}\n     config:     {}\n     state:      {}\n",
        p.number,
        p.mac,
        or_zero(&config_names(p.config)),
        or_zero(&state_names(p.state, v)),
    );
    for (label, f) in [
        ("current:   ", p.current),
        ("advertised:", p.advertised),
        ("supported: ", p.supported),
        ("peer:      ", p.peer),
    ] {
        if f.0 != 0 {
            text.push_str(&format!("     {label} {}\n", feature_names(f).join(" ")));
        }
    }
    text.push_str(&format!(
        "     speed: {} Mbps now, {} Mbps max\n",
        speed(p.current_speed, p.current, v),
        speed(p.max_speed, p.supported, v)
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_digits_they_need() {
        assert_eq!(duration(3, 0), "3s");
        assert_eq!(duration(3, 40_000_000), "3.040s");
        assert_eq!(duration(3, 40_000_100), "3.0400001s");
    }

    #[test]
    fn speeds_of_openflow10_are_its_features() {
        let gb = PortFeatures(PortFeatures::GB1_FD.0 | PortFeatures::COPPER.0);
        assert_eq!(speed(0, gb, Version::Of10), 1000);
        assert_eq!(speed(10_000_000, gb, Version::Of13), 10_000);
        assert_eq!(speed(0, PortFeatures(0), Version::Of10), 0);
        assert_eq!(feature_names(gb), ["1GB-FD", "COPPER"]);
    }
}
