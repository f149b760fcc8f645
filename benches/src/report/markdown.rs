//! The report: a page in Markdown, with a plot for each test.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::plot;
use crate::measure::Better;
use crate::result::{short, Comparison, CurveResult, TestResult};

/// Writes `report.md` and its plots.
pub fn write(c: &Comparison, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
    let mut page = head(c);
    for t in &c.tests {
        let file = format!("{}.svg", t.figures.first().map_or("", |f| f.key.as_str()));
        let plotted = plot::bars(c, t, &dir.join(&file))?;
        page.push_str(&test(c, t));
        if plotted {
            let _ = writeln!(page, "![{}]({file})\n", t.name);
        }
    }
    for curve in &c.curves {
        page.push_str(&table_of(c, curve));
        for (i, f) in curve.figures.iter().enumerate() {
            let file = format!("{}.svg", f.key);
            if plot::lines(c, curve, i, &dir.join(&file))? {
                let _ = writeln!(page, "![{} by {}]({file})\n", f.head, curve.name);
            }
        }
    }
    let failures = c.failures();
    if !failures.is_empty() {
        page.push_str("## Failures\n\n");
        failures.iter().for_each(|f| {
            let _ = writeln!(page, "- {f}");
        });
    }
    std::fs::write(dir.join("report.md"), page)?;
    Ok(())
}

fn head(c: &Comparison) -> String {
    let mut page = format!(
        "# Comparison\n\n`{}`: {} round(s), contenders in alternation. Figures are medians with (least..most). The hosts' own \
         work is in the processor times, which are the whole machine's.\n\n",
        c.command, c.rounds
    );
    for (what, text) in &c.machine {
        let _ = writeln!(page, "- {what}: {text}");
    }
    page.push_str("\n| contender | version | settings |\n|---|---|---|\n");
    for w in &c.contenders {
        let _ = writeln!(page, "| {} | {} | {} |", w.name, w.version, w.settings);
    }
    if !c.left_out.is_empty() {
        page.push_str("\nLeft out:\n\n");
        c.left_out.iter().for_each(|l| {
            let _ = writeln!(page, "- {l}");
        });
    }
    page.push('\n');
    page
}

fn test(c: &Comparison, t: &TestResult) -> String {
    let mut out = format!("## {}\n\n| |", t.name);
    for f in &t.figures {
        let better = match f.better {
            Better::More => "more is better",
            Better::Less => "less is better",
        };
        let _ = write!(out, " {}, {} ({better}) |", f.head, f.unit);
        c.references.iter().for_each(|(_, word)| {
            let _ = write!(out, " {word} |");
        });
    }
    let columns = t.figures.len() * (1 + c.references.len());
    let _ = writeln!(out, "\n|---|{}", "---|".repeat(columns));
    for (who, (name, cells)) in c.contenders.iter().zip(&t.cells).enumerate() {
        let _ = write!(out, "| {} |", name.name);
        for (i, cell) in cells.iter().enumerate() {
            let _ = write!(out, " {} |", cell.text());
            for ratio in c.ratios(&t.cells, who, i) {
                let _ = write!(out, " {} |", ratio.map(short).unwrap_or_default());
            }
        }
        out.push('\n');
    }
    out.push('\n');
    out
}

fn table_of(c: &Comparison, curve: &CurveResult) -> String {
    let mut out = format!("## Growth: {}\n\nBy {}.\n\n| |", curve.name, curve.of);
    for n in &curve.points {
        let _ = write!(out, " {n} |");
    }
    let _ = writeln!(out, "\n|---|{}", "---|".repeat(curve.points.len()));
    for (i, f) in curve.figures.iter().enumerate() {
        for (who, points) in c.contenders.iter().zip(&curve.cells) {
            if points.iter().all(|p| p[i].text() == "-") {
                continue;
            }
            let _ = write!(out, "| {}: {}, {} |", who.name, f.head, f.unit);
            for cells in points {
                let _ = write!(out, " {} |", cells[i].text());
            }
            out.push('\n');
        }
    }
    out.push('\n');
    out
}
