//! How a comparison is shown: on the terminal, as JSON, as a page with plots.

mod markdown;
mod plot;

use std::fmt::Write as _;

use serde_json::{json, Map, Value};

use crate::measure::Better;
use crate::result::{short, Cell, Comparison};

pub use markdown::write;

/// The table on the terminal.
pub fn table(c: &Comparison) -> String {
    let mut out = String::new();
    for (what, text) in &c.machine {
        let _ = writeln!(out, "{what:<12} {text}");
    }
    for who in &c.contenders {
        let _ = writeln!(out, "{:<24} {} ({})", who.name, who.version, who.settings);
    }
    for line in &c.left_out {
        let _ = writeln!(out, "LEFT OUT     {line}");
    }
    for t in &c.tests {
        for (i, f) in t.figures.iter().enumerate() {
            let better = match f.better {
                Better::More => "more",
                Better::Less => "less",
            };
            let _ = writeln!(out, "\n{}, {} ({better} is better)", f.head, f.unit);
            for (who, cells) in c.contenders.iter().zip(&t.cells).enumerate() {
                let (name, cells) = cells;
                let ratios: Vec<String> = c
                    .ratios(&t.cells, who, i)
                    .iter()
                    .zip(&c.references)
                    .filter_map(|(r, (_, word))| Some(format!("{:>6} {word}", short((*r)?))))
                    .collect();
                let line = format!(
                    "  {:<28} {:<32} {}",
                    name.name,
                    cells[i].text(),
                    ratios.join("  ")
                );
                let _ = writeln!(out, "{}", line.trim_end());
            }
        }
    }
    for curve in &c.curves {
        for (i, f) in curve.figures.iter().enumerate() {
            let _ = writeln!(out, "\n{} by {} ({})", f.head, curve.name, f.unit);
            for (who, points) in c.contenders.iter().zip(&curve.cells) {
                for (n, cells) in curve.points.iter().zip(points) {
                    let text = cells[i].text();
                    if text != "-" {
                        let _ = writeln!(out, "  {:<28} {n:>9} {text}", who.name);
                    }
                }
            }
        }
    }
    let failures = c.failures();
    if !failures.is_empty() {
        let _ = writeln!(out, "\nFAILED");
        failures.iter().for_each(|f| {
            let _ = writeln!(out, "  {f}");
        });
    }
    out
}

/// Everything, every round's figure by itself.
pub fn json(c: &Comparison) -> Value {
    let cell = |cell: &Cell| json!({"rounds": cell.values, "median": cell.median(), "failures": cell.failures, "left_out": cell.left_out});
    let contenders: Vec<Value> = c
        .contenders
        .iter()
        .enumerate()
        .map(|(who, w)| {
            let mut figures = Map::new();
            for t in &c.tests {
                for (i, f) in t.figures.iter().enumerate() {
                    let mut v = cell(&t.cells[who][i]);
                    v["unit"] = json!(f.unit);
                    v["head"] = json!(f.head);
                    figures.insert(f.key.clone(), v);
                }
            }
            let mut curves = Map::new();
            for curve in &c.curves {
                for (i, f) in curve.figures.iter().enumerate() {
                    let points = curve.points.iter().zip(&curve.cells[who]).map(|(n, cells)| {
                        let mut v = cell(&cells[i]);
                        v["at"] = json!(n);
                        v
                    });
                    let points: Vec<Value> = points.collect();
                    let name = format!("{}: {}", curve.name, f.head);
                    curves.insert(f.key.clone(), json!({"unit": f.unit, "head": name, "points": points}));
                }
            }
            json!({"name": w.name, "version": w.version, "settings": w.settings, "figures": figures, "curves": curves})
        })
        .collect();
    let machine: Map<String, Value> = c
        .machine
        .iter()
        .map(|(k, v)| ((*k).to_owned(), json!(v)))
        .collect();
    json!({
        "command": c.command,
        "machine": machine,
        "rounds": c.rounds,
        "seconds": c.seconds,
        "left_out": c.left_out,
        "contenders": contenders,
    })
}
