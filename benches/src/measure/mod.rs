//! What is measured, and how. A [`Test`] runs once for each contender and round, and gives one or several figures.

mod change;
pub mod frames;
mod latency;
mod many;
pub mod openflow;
mod ports;
mod rest;
mod tcp;

use anyhow::Result;
use clap::ValueEnum;

use crate::contender::{Kind, Running};

/// What a comparison measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Set {
    /// Frames through the switch.
    Traffic,
    /// Changes: flow-mods, ports, restarts, and what traffic notices of them.
    Control,
    /// 100,000 flows loaded, read and removed by ovs-ofctl.
    Openflow,
    /// A million flows, and changes beside 100,000 cached ones: who has to wait.
    Many,
    /// Curves: flows, masks, ports, VLANs.
    Growth,
}

/// How long each test takes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub seconds: u64,
    /// Leave out what takes long.
    pub quick: bool,
}

impl Pace {
    pub fn millis(self) -> u64 {
        self.seconds * 1000
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

/// One figure: its key in JSON, its head for people, its unit.
#[derive(Clone, Debug)]
pub struct Figure {
    pub key: String,
    pub head: String,
    pub unit: &'static str,
    pub better: Better,
}

impl Figure {
    pub fn more(key: &str, head: &str, unit: &'static str) -> Self {
        Self {
            key: key.to_owned(),
            head: head.to_owned(),
            unit,
            better: Better::More,
        }
    }

    pub fn less(key: &str, head: &str, unit: &'static str) -> Self {
        Self {
            better: Better::Less,
            ..Self::more(key, head, unit)
        }
    }
}

type Run = Box<dyn Fn(&mut Running, Pace) -> Result<Vec<f64>>>;

/// A test: what it is called, its figures, who can take it, and how it goes.
pub struct Test {
    pub name: String,
    pub figures: Vec<Figure>,
    /// Why a contender can't take it, if so; `-` says that it makes no sense.
    pub lacks: fn(Kind) -> Option<&'static str>,
    /// Part of a quick run too.
    pub quick: bool,
    /// As many values as there are figures, in their order.
    pub run: Run,
}

impl Test {
    fn new(
        name: &str,
        figures: Vec<Figure>,
        run: impl Fn(&mut Running, Pace) -> Result<Vec<f64>> + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            figures,
            lacks: |_| None,
            quick: true,
            run: Box::new(run),
        }
    }

    fn unless(self, lacks: fn(Kind) -> Option<&'static str>) -> Self {
        Self { lacks, ..self }
    }

    fn thorough(self) -> Self {
        Self {
            quick: false,
            ..self
        }
    }
}

/// The tests of some sets, in the order in which a contender takes them: what disturbs it most is last.
pub fn tests(sets: &[Set]) -> Vec<Test> {
    let mut all = Vec::new();
    if sets.contains(&Set::Traffic) {
        all.push(rest::memory("rest"));
        all.extend(tcp::tests());
        all.extend(frames::tests());
        all.extend(latency::tests());
        all.push(tcp::connections());
        all.push(tcp::vxlan());
    }
    if sets.contains(&Set::Control) {
        all.extend(change::tests());
        all.extend(ports::tests());
    }
    if sets.contains(&Set::Openflow) {
        all.extend(openflow::tests());
    }
    if sets.contains(&Set::Many) {
        all.extend(many::tests());
    }
    if sets.contains(&Set::Traffic) {
        all.push(rest::memory("end"));
    }
    all
}

/// For tests that want OpenFlow.
fn no_openflow(kind: Kind) -> Option<&'static str> {
    (!kind.is_open()).then_some("-")
}

/// The value below which a share of the sorted values lies.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(rank.clamp(1, sorted.len().max(1)) - 1)
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let v: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(percentile(&v, 0.5), 500.0);
        assert_eq!(percentile(&v, 0.99), 990.0);
        assert_eq!(percentile(&v, 0.999), 999.0);
        assert_eq!(percentile(&v[..1], 0.999), 1.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn every_figure_has_its_own_key() {
        let sets = [Set::Traffic, Set::Control, Set::Openflow, Set::Many];
        let mut keys: Vec<String> = tests(&sets)
            .into_iter()
            .flat_map(|t| t.figures)
            .map(|f| f.key)
            .collect();
        let n = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), n);
    }
}
