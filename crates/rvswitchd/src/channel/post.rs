//! What is wanted of the channels: for each bridge its two service sockets and its rows of table Controller.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rvs_ofproto::agent::{ConnKind, ConnOptions};
use rvs_ovsdb::Uuid;
use rvs_packet::Now;
use rvs_pipeline::BridgeId;
use rvs_switch::controllers::{ControllerConfig, OpenflowConfig};

use super::host::Manner;
use super::means::Means;
use super::target::Target;

/// Which of a bridge's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// `<bridge>.mgmt`
    Mgmt,
    /// `<bridge>.snoop`
    Snoop,
    /// A row of table Controller.
    Row(Uuid),
}

pub type PostKey = (BridgeId, Slot);

/// A channel as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// For logs: bridge and target.
    pub name: String,
    /// Or why there can't be one.
    pub target: Result<Target, String>,
    pub manner: Manner,
    /// What is dialled, as it was written.
    pub dialled: Option<String>,
    /// By what name controllers hear of this one.
    pub uri: Option<String>,
    pub max_backoff: Duration,
}

impl Spec {
    /// Whether connections made for the one serve for the other, with other settings at most.
    pub fn is_same_channel(&self, other: &Self) -> bool {
        self.target == other.target
            && self.manner.kind == other.manner.kind
            && self.manner.versions == other.manner.versions
    }
}

/// A channel as it is.
pub struct Post {
    pub spec: Spec,
    pub means: Means,
    pub created: Now,
    /// What the last status said that is worth another before its time.
    pub told: Option<Summary>,
    /// There is an error that no status has said yet.
    pub untold_error: bool,
}

/// The part of a status that people and programs wait for.
pub type Summary = (bool, Option<rvs_openflow::message::Role>, &'static str);

/// Everything that `configs` want, in the run directory `rundir`.
pub fn wanted(configs: &[OpenflowConfig], rundir: &Path) -> BTreeMap<PostKey, Spec> {
    let mut specs = BTreeMap::new();
    for config in configs {
        let services = [
            (Slot::Mgmt, ConnKind::Service, "mgmt"),
            (Slot::Snoop, ConnKind::Snoop, "snoop"),
        ];
        for (slot, kind, suffix) in services {
            specs.insert((config.bridge, slot), service(config, kind, suffix, rundir));
        }
        for row in &config.controllers {
            specs.insert(
                (config.bridge, Slot::Row(row.uuid)),
                controller(config, row, rundir),
            );
        }
    }
    specs
}

fn service(config: &OpenflowConfig, kind: ConnKind, suffix: &str, rundir: &Path) -> Spec {
    let file = format!("{}.{suffix}", config.name);
    // A bridge's name comes from the database, and must not lead out of the directory.
    let target = if config.name.contains(['/', '\0']) {
        Err("no socket is made for a bridge with a slash in its name".to_owned())
    } else {
        Ok(Target::ListenUnix(rundir.join(&file)))
    };
    Spec {
        name: file,
        target,
        manner: Manner {
            kind,
            versions: config.versions,
            // Whoever may open the file is trusted to close it.
            probe: None,
            options: ConnOptions::default(),
        },
        dialled: None,
        uri: None,
        max_backoff: ControllerConfig::DEFAULT_MAX_BACKOFF,
    }
}

fn controller(config: &OpenflowConfig, row: &ControllerConfig, rundir: &Path) -> Spec {
    let target = Target::parse(&row.target, rundir).map_err(|e| e.to_string());
    let passive = target.as_ref().is_ok_and(Target::is_passive);
    let kind = match row.service || passive {
        true => ConnKind::Service,
        false => ConnKind::Primary,
    };
    Spec {
        name: format!("{}: {}", config.name, row.target),
        target,
        manner: Manner {
            kind,
            versions: config.versions,
            probe: row.inactivity_probe,
            options: ConnOptions {
                rate_limit: row.rate_limit.map(|r| r.0),
                burst_limit: row.rate_limit.map(|r| r.1),
            },
        },
        dialled: (!passive).then(|| row.target.clone()),
        uri: (kind == ConnKind::Primary).then(|| uri(&row.target)),
        max_backoff: row.max_backoff,
    }
}

/// A target as OpenFlow writes it, which has a word of its own for TLS.
fn uri(target: &str) -> String {
    match target.strip_prefix("ssl:") {
        Some(rest) => format!("tls:{rest}"),
        None => target.to_owned(),
    }
}

impl Post {
    pub fn new(now: Now, spec: Spec, seed: u64) -> Self {
        let means = Means::new(now, &spec.name, &spec.target, spec.max_backoff, seed);
        Self {
            spec,
            means,
            created: now,
            told: None,
            untold_error: false,
        }
    }

    pub fn is_primary(&self) -> bool {
        self.spec.manner.kind == ConnKind::Primary
    }

    pub fn is_connected(&self) -> bool {
        matches!(&self.means, Means::Dial { reconnect, .. } if reconnect.is_connected())
    }

    /// Whether it waits for a handshake that it began.
    pub fn is_dialling(&self) -> bool {
        matches!(&self.means, Means::Dial { reconnect, .. } if !reconnect.is_connected())
    }

    /// An attempt failed, or a connection ended.
    pub fn failed(&mut self, now: Now, why: &str) {
        let name = &self.spec.name;
        match &mut self.means {
            Means::Dial { reconnect, .. } => {
                if reconnect.is_connected() || reconnect.last_error() != Some(why) {
                    tracing::info!("{name}: {why}");
                    self.untold_error = true;
                }
                reconnect.failed(now, why);
            }
            Means::Listen { .. } | Means::Unusable(_) => tracing::debug!("{name}: {why}"),
        }
    }

    /// The handshake of a connection is done.
    pub fn connected(&mut self, now: Now) {
        if let Means::Dial { reconnect, .. } = &mut self.means {
            tracing::info!("{}: connected", self.spec.name);
            reconnect.connected(now);
        }
    }

    /// How long it has been without a connection, if it is one that dials.
    pub fn alone_for(&self, now: Now) -> Duration {
        match &self.means {
            Means::Dial { reconnect, .. } => reconnect.alone_for(now),
            Means::Listen { .. } | Means::Unusable(_) => now.since(self.created),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_told_of_by_uri_and_others_are_not() {
        let uri_of = |target: &str, service: bool| {
            let row = ControllerConfig {
                uuid: Uuid::ZERO,
                target: target.to_owned(),
                service,
                max_backoff: ControllerConfig::DEFAULT_MAX_BACKOFF,
                inactivity_probe: None,
                rate_limit: None,
            };
            let config = OpenflowConfig {
                bridge: BridgeId(1),
                uuid: Uuid::ZERO,
                name: "br1".to_owned(),
                versions: rvs_openflow::VersionSet::ALL,
                fail_mode: rvs_switch::config::FailMode::Secure,
                controllers: vec![row],
            };
            let mut wanted = wanted(&[config], Path::new("/run"));
            let specs = wanted.values_mut().filter_map(|s| s.uri.take());
            specs.collect::<Vec<_>>()
        };
        assert_eq!(uri_of("tcp:192.0.2.1:6653", false), ["tcp:192.0.2.1:6653"]);
        assert_eq!(uri_of("ssl:192.0.2.1:6653", false), ["tls:192.0.2.1:6653"]);
        assert!(uri_of("tcp:192.0.2.1:6653", true).is_empty());
        assert!(uri_of("ptcp:6653", true).is_empty());
    }
}
