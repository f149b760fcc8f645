//! What a comparison found, apart from how it is shown.

use crate::measure::Figure;

/// How failures of a contender that does not start begin.
pub const NO_START: &str = "does not start";

/// What one contender gave for one figure over all rounds.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// One for each round that gave a figure.
    pub values: Vec<f64>,
    /// Why the others did not.
    pub failures: Vec<String>,
    /// The contender can't take the test, or nobody measured it.
    pub left_out: Option<&'static str>,
}

/// Median, least and most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Cell {
    pub fn spread(&self) -> Option<Spread> {
        let mut v = self.values.clone();
        v.sort_by(f64::total_cmp);
        Some(Spread {
            median: *v.get(v.len() / 2)?,
            least: *v.first()?,
            most: *v.last()?,
        })
    }

    pub fn median(&self) -> Option<f64> {
        self.spread().map(|s| s.median)
    }

    /// Median (least..most), failures named as such.
    pub fn text(&self) -> String {
        let figures = self.spread().map(|s| {
            format!(
                "{} ({}..{})",
                short(s.median),
                short(s.least),
                short(s.most)
            )
        });
        let rounds = self.values.len() + self.failures.len();
        let failed = match self.failures.len() {
            0 => None,
            n if n == rounds => Some("FAILED".to_owned()),
            n => Some(format!("FAILED {n} of {rounds}")),
        };
        let left_out = self.left_out.filter(|_| rounds == 0).map(str::to_owned);
        let parts: Vec<String> = [figures, failed, left_out].into_iter().flatten().collect();
        parts.join(" ")
    }
}

/// Three digits that matter.
pub fn short(v: f64) -> String {
    let digits = match v.abs() {
        a if a == 0.0 || a >= 100.0 => 0,
        a if a >= 10.0 => 1,
        a if a >= 1.0 => 2,
        a if a >= 0.1 => 3,
        _ => 4,
    };
    format!("{v:.digits$}")
}

/// One test's figures.
#[derive(Clone, Debug)]
pub struct TestResult {
    pub name: String,
    pub figures: Vec<Figure>,
    /// By contender, then by figure.
    pub cells: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug)]
pub struct CurveResult {
    pub name: &'static str,
    pub of: &'static str,
    pub figures: Vec<Figure>,
    pub points: Vec<u64>,
    /// By contender, then by point, then by figure.
    pub cells: Vec<Vec<Vec<Cell>>>,
}

#[derive(Clone, Debug)]
pub struct Who {
    pub name: String,
    pub version: String,
    pub settings: &'static str,
}

/// A whole comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub command: String,
    pub machine: Vec<(&'static str, String)>,
    pub rounds: usize,
    pub seconds: u64,
    pub contenders: Vec<Who>,
    /// Who could not take part, and why.
    pub left_out: Vec<String>,
    /// Against whom ratios are formed: index and word.
    pub references: Vec<(usize, &'static str)>,
    pub tests: Vec<TestResult>,
    pub curves: Vec<CurveResult>,
}

impl Comparison {
    /// A contender's median as a multiple of each reference's, in their order.
    pub fn ratios(&self, cells: &[Vec<Cell>], contender: usize, figure: usize) -> Vec<Option<f64>> {
        let median = |c: usize| cells.get(c)?.get(figure)?.median();
        let ratio = |(reference, _): &(usize, _)| {
            let base = median(*reference).filter(|b| *b > 0.0)?;
            Some(median(contender)? / base)
        };
        self.references.iter().map(ratio).collect()
    }

    /// Every failure, once: who, at what, why.
    pub fn failures(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut note = |who: usize, what: &str, cell: Option<&Cell>| {
            for why in cell.iter().flat_map(|c| &c.failures) {
                let name = &self.contenders[who].name;
                let line = match why.starts_with(NO_START) {
                    true => format!("{name}: {why}"),
                    false => format!("{name}: {what}: {why}"),
                };
                if !all.contains(&line) {
                    all.push(line);
                }
            }
        };
        for t in &self.tests {
            for (who, cells) in t.cells.iter().enumerate() {
                note(who, &t.name, cells.first());
            }
        }
        for c in &self.curves {
            for (who, points) in c.cells.iter().enumerate() {
                for (cells, n) in points.iter().zip(&c.points) {
                    note(who, &format!("{n} {}", c.name), cells.first());
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_shown_as_failures() {
        let mut c = Cell {
            values: vec![3.0, 1.0, 2.0],
            ..Cell::default()
        };
        assert_eq!(c.text(), "2.00 (1.00..3.00)");
        c.failures.push("no TCP gets through".to_owned());
        assert_eq!(c.text(), "2.00 (1.00..3.00) FAILED 1 of 4");
        c.values.clear();
        assert_eq!(c.text(), "FAILED");
        assert_eq!(c.median(), None);
        let none = Cell {
            left_out: Some("-"),
            ..Cell::default()
        };
        assert_eq!(none.text(), "-");
    }
}
