//! `bridge/dump-flows`: every rule of a bridge, hidden ones too.

use std::fmt::Write as _;

use rvs_classifier::Filter;
use rvs_openflow::text::Words;
use rvs_openflow::Version;
use rvs_packet::Now;
use rvs_pipeline::Bridge;
use serde_json::json;

use super::Answer;
use crate::clock;
use crate::commands::Daemon;

/// A priority that is not written out.
const USUAL_PRIORITY: u16 = 0x8000;

pub(super) fn show(daemon: &mut Daemon, params: &[String]) -> Answer {
    let names: Vec<&String> = params.iter().filter(|p| !p.starts_with('-')).collect();
    let [name] = names[..] else {
        return Err("the name of one bridge is expected".to_owned());
    };
    daemon.switch.credit();
    let slow = daemon.switch.slow();
    let world = slow.world();
    let bridge = world
        .bridge_by_name(name)
        .ok_or_else(|| "Unknown bridge".to_owned())?;
    Ok(json!(rules(bridge, clock::now())))
}

/// Every rule of the bridge, hidden ones too, by table and priority.
fn rules(bridge: &Bridge, now: Now) -> String {
    let words = Words::new(Version::Of13);
    let mut text = String::new();
    for table in bridge.tables.iter() {
        let rules = table.read();
        let mut lines: Vec<(u16, String)> = Vec::new();
        for found in rules.select(bridge.version, Filter::All) {
            let rule = found.payload();
            let matching = rvs_flow::Match::new(&found.value(), *found.mask());
            let mut line = String::new();
            if table.id.0 != 0 {
                let _ = write!(line, "table_id={}, ", table.id.0);
            }
            let _ = write!(
                line,
                "duration={}s, n_packets={}, n_bytes={}, ",
                now.since(rule.created).as_secs(),
                rule.counters.packets(),
                rule.counters.bytes()
            );
            let said = matching.display(words.ports).to_string();
            let priority =
                (rule.priority != USUAL_PRIORITY).then(|| format!("priority={}", rule.priority));
            let parts: Vec<String> = priority
                .into_iter()
                .chain(Some(said).filter(|s| !s.is_empty()))
                .collect();
            let _ = writeln!(
                line,
                "{},actions={}",
                parts.join(","),
                words.instructions(&rule.instructions)
            );
            lines.push((rule.priority, line));
        }
        lines.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        lines.iter().for_each(|(_, line)| text.push_str(line));
    }
    text
}
