//! SVG plots.

use std::path::Path;

use anyhow::{anyhow, Result};
use plotters::coord::ranged1d::SegmentedCoord;
use plotters::prelude::*;

use crate::result::{short, Comparison, CurveResult, TestResult};

const WIDTH: u32 = 760;
const COLOURS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(44, 160, 44),
    RGBColor(255, 127, 14),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(127, 127, 127),
    RGBColor(214, 39, 40),
];

fn colour(i: usize) -> RGBColor {
    COLOURS[i % COLOURS.len()]
}

fn failed(e: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("plot: {e}")
}

/// A bar for each contender's median of the test's first figure, with a line from least to most. False: nothing to plot.
pub fn bars(c: &Comparison, t: &TestResult, file: &Path) -> Result<bool> {
    let Some(figure) = t.figures.first() else {
        return Ok(false);
    };
    let bars: Vec<_> = c
        .contenders
        .iter()
        .zip(&t.cells)
        .enumerate()
        .filter_map(|(i, (w, cells))| Some((w.name.clone(), cells.first()?, colour(i))))
        .filter(|(_, cell, _)| cell.left_out.is_none())
        // Rows count from below.
        .rev()
        .collect();
    let most = bars
        .iter()
        .filter_map(|(_, cell, _)| Some(cell.spread()?.most))
        .fold(0.0, f64::max);
    if most <= 0.0 {
        return Ok(false);
    }
    let height = 90 + 34 * bars.len() as u32;
    let root = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let rows: SegmentedCoord<_> = (0..bars.len()).into_segmented();
    let mut chart = ChartBuilder::on(&root)
        .caption(
            format!("{}, {}", figure.head, figure.unit),
            ("sans-serif", 17),
        )
        .margin(10)
        .x_label_area_size(28)
        .y_label_area_size(190)
        .build_cartesian_2d(0.0..most * 1.15, rows)
        .map_err(failed)?;
    let name = |row: &SegmentValue<usize>| match row {
        SegmentValue::CenterOf(i) => bars.get(*i).map(|(n, ..)| n.clone()).unwrap_or_default(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .max_light_lines(1)
        .y_labels(bars.len())
        .y_label_formatter(&name)
        .label_style(("sans-serif", 13))
        .draw()
        .map_err(failed)?;
    for (i, (_, cell, colour)) in bars.iter().enumerate() {
        let (low, centre, high) = (
            SegmentValue::Exact(i),
            SegmentValue::CenterOf(i),
            SegmentValue::Exact(i + 1),
        );
        let Some(s) = cell.spread() else {
            let text = Text::new(
                "failed",
                (most * 0.01, centre),
                ("sans-serif", 13).into_font().color(&RED),
            );
            chart.draw_series([text]).map_err(failed)?;
            continue;
        };
        let mut bar = Rectangle::new([(0.0, low), (s.median, high)], colour.mix(0.7).filled());
        bar.set_margin(4, 4, 0, 0);
        chart.draw_series([bar]).map_err(failed)?;
        let line = PathElement::new(
            vec![(s.least, centre.clone()), (s.most, centre.clone())],
            BLACK.stroke_width(2),
        );
        chart.draw_series([line]).map_err(failed)?;
        let label = Text::new(
            short(s.median),
            (s.most.max(s.median) + most * 0.01, centre),
            ("sans-serif", 13),
        );
        chart.draw_series([label]).map_err(failed)?;
    }
    root.present().map_err(failed)?;
    Ok(true)
}

/// A line for each contender through its medians. False: nothing to plot.
pub fn lines(c: &Comparison, curve: &CurveResult, figure: usize, file: &Path) -> Result<bool> {
    let mut lines = Vec::new();
    for (who, points) in curve.cells.iter().enumerate() {
        let line: Vec<(f64, f64)> = curve
            .points
            .iter()
            .zip(points)
            .filter_map(|(n, cells)| Some((*n as f64, cells.get(figure)?.median()?)))
            .collect();
        if !line.is_empty() {
            lines.push((who, line));
        }
    }
    let most = lines
        .iter()
        .flat_map(|(_, l)| l)
        .map(|(_, y)| *y)
        .fold(0.0, f64::max);
    let (Some(first), Some(last)) = (curve.points.first(), curve.points.last()) else {
        return Ok(false);
    };
    if most <= 0.0 {
        return Ok(false);
    }
    let f = &curve.figures[figure];
    let root = SVGBackend::new(file, (WIDTH, 400)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let across = (*first as f64..*last as f64 * 1.1).log_scale();
    let mut chart = ChartBuilder::on(&root)
        .caption(
            format!("{}, {}, by {}", f.head, f.unit, curve.name),
            ("sans-serif", 17),
        )
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(across, 0.0..most * 1.1)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc(curve.of)
        .max_light_lines(1)
        .x_label_formatter(&|x| short(*x))
        .label_style(("sans-serif", 13))
        .draw()
        .map_err(failed)?;
    for (who, line) in lines {
        let colour = colour(who);
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)).point_size(3))
            .map_err(failed)?
            .label(c.contenders[who].name.clone())
            .legend(move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2))
            });
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()
        .map_err(failed)?;
    root.present().map_err(failed)?;
    Ok(true)
}
