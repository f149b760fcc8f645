//! What is told about the channels: rows of table Controller, and whether a bridge is left to itself.
//!
//! `fail_mode` standalone: when a bridge has primary controllers and none has been connected for three times its longest
//! probe interval, the bridge forwards by itself (*fail-open*) until one is connected again.

use std::collections::BTreeMap;
use std::time::Duration;

use rvs_packet::Now;
use rvs_pipeline::BridgeId;
use rvs_switch::config::FailMode;
use rvs_switch::controllers::{ControllerConfig, ControllerStatus, OpenflowConfig};

use super::host::Host;
use super::link::Link;
use super::means::Means;
use super::post::{Post, PostKey, Slot, Summary};

/// Changes are told this often at most.
const SOON: Duration = Duration::from_secs(1);
/// Seconds that passed are told this often.
const REGULAR: Duration = Duration::from_secs(5);
/// Probe intervals without a controller until the bridge forwards by itself.
const PATIENCE: u32 = 3;

/// Remembers what was told.
#[derive(Default)]
pub struct Desk {
    bridges: BTreeMap<BridgeId, Freedom>,
    last: Option<Now>,
    due: Option<Now>,
}

/// Whether a bridge may, and does, forward by itself.
struct Freedom {
    name: String,
    allowed: bool,
    open: bool,
}

impl Desk {
    pub fn configure(&mut self, configs: &[OpenflowConfig]) {
        let mut old = std::mem::take(&mut self.bridges);
        for c in configs {
            let open = old.remove(&c.bridge).is_some_and(|f| f.open);
            let freedom = Freedom {
                name: c.name.clone(),
                allowed: c.fail_mode == FailMode::Standalone,
                open,
            };
            self.bridges.insert(c.bridge, freedom);
        }
    }

    /// When [`Self::run`] has something to say.
    pub fn due(&self) -> Option<Now> {
        self.due
    }

    pub fn run(
        &mut self,
        now: Now,
        posts: &mut BTreeMap<PostKey, Post>,
        links: &BTreeMap<u64, Link>,
        host: &mut impl Host,
    ) {
        let fail_open = self.fail_open(now, posts, host);
        let report = self.report(now, posts, links, host);
        self.due = [fail_open, report].into_iter().flatten().min();
    }

    /// Tells the switch about bridges that lost or found their controllers. Returns when the next one may be lost.
    fn fail_open(
        &mut self,
        now: Now,
        posts: &BTreeMap<PostKey, Post>,
        host: &mut impl Host,
    ) -> Option<Now> {
        let mut next: Option<Now> = None;
        for (bridge, freedom) in &mut self.bridges {
            let primaries = || {
                let of_bridge = posts
                    .iter()
                    .filter(|(k, p)| k.0 == *bridge && p.is_primary());
                of_bridge.map(|(_, p)| p)
            };
            let probe = |p: &Post| {
                p.spec
                    .manner
                    .probe
                    .unwrap_or(ControllerConfig::DEFAULT_PROBE)
            };
            let patience = primaries().map(probe).max().map(|p| p * PATIENCE);
            let alone = primaries().map(|p| p.alone_for(now)).min();
            let open = match (alone, patience) {
                (Some(alone), Some(patience)) if freedom.allowed => {
                    if alone < patience && !primaries().any(Post::is_connected) {
                        let at = now + (patience - alone);
                        next = Some(next.map_or(at, |n| n.min(at)));
                    }
                    alone >= patience
                }
                _ => false,
            };
            if open != freedom.open {
                freedom.open = open;
                let name = &freedom.name;
                if open {
                    tracing::warn!(
                        "{name}: no controller can be reached: it forwards by itself (fail_mode standalone)"
                    );
                } else {
                    tracing::info!("{name}: it does not forward by itself any more");
                }
                host.set_fail_open(*bridge, open);
            }
        }
        next
    }

    /// Tells the database, if something changed or it is time. Returns when it will be.
    fn report(
        &mut self,
        now: Now,
        posts: &mut BTreeMap<PostKey, Post>,
        links: &BTreeMap<u64, Link>,
        host: &mut impl Host,
    ) -> Option<Now> {
        let mut news = false;
        let mut found = Vec::new();
        for (key, post) in &*posts {
            if let Slot::Row(uuid) = key.1 {
                let summary = summary(key, post, links, host);
                news |= post.untold_error || post.told != Some(summary);
                found.push((*key, uuid, summary));
            }
        }
        if found.is_empty() {
            return None;
        }
        let wait = if news { SOON } else { REGULAR };
        let due = self.last.map_or(now, |t| t + wait);
        if due > now {
            return Some(due);
        }
        self.last = Some(now);
        let mut rows = Vec::new();
        for (key, uuid, summary) in found {
            if let Some(post) = posts.get_mut(&key) {
                post.told = Some(summary);
                post.untold_error = false;
                rows.push(ControllerStatus {
                    uuid,
                    connected: summary.0,
                    role: summary.1,
                    status: details(now, post, summary.2),
                });
            }
        }
        host.controller_status(rows);
        Some(now + REGULAR)
    }
}

/// Of a listener's clients, the oldest that has said HELLO stands for all.
fn summary(
    key: &PostKey,
    post: &Post,
    links: &BTreeMap<u64, Link>,
    host: &mut impl Host,
) -> Summary {
    let mut of_post = links
        .values()
        .filter(|l| l.post == *key && l.ending.is_none());
    let status = of_post.find_map(|link| {
        let status = host.status(key.0, link.conn?)?;
        status.established.then_some(status)
    });
    let word = match &post.means {
        Means::Dial { reconnect, .. } => reconnect.word(),
        _ if status.is_some() => "ACTIVE",
        _ => "VOID",
    };
    (status.is_some(), status.map(|s| s.role), word)
}

/// Keys and values of column `status`.
fn details(now: Now, post: &Post, state: &str) -> Vec<(String, String)> {
    // A listener that nobody is connected to has no state.
    let silent = state == "VOID" && matches!(post.means, Means::Listen { door: Ok(_), .. });
    let mut list = Vec::new();
    if !silent {
        list.push(("state".to_owned(), state.to_owned()));
    }
    let mut add = |key: &str, value: Option<String>| {
        list.extend(value.map(|v| (key.to_owned(), v)));
    };
    match &post.means {
        Means::Dial { reconnect, .. } => {
            let seconds = |n: Option<u64>| n.map(|n| n.to_string());
            add(
                "sec_since_connect",
                seconds(reconnect.sec_since_connect(now)),
            );
            add(
                "sec_since_disconnect",
                seconds(reconnect.sec_since_disconnect(now)),
            );
            add("last_error", reconnect.last_error().map(str::to_owned));
        }
        Means::Listen { door: Err(why), .. } | Means::Unusable(why) => {
            add("last_error", Some(why.clone()));
        }
        Means::Listen { .. } => {}
    }
    list
}
