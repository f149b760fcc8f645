//! Rows as `list` and `find` print them: five layouts, three ways to write a value, and the same bytes as `ovs-vsctl`.

use clap::ValueEnum;
use rvs_ovsdb::schema::ColumnType;
use rvs_ovsdb::value::{Atom, Datum};
use serde_json::{json, Value};

use super::args::TableOptions;
use super::json::plain;

/// Layout of rows.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A line for each column, an empty line between rows.
    #[default]
    List,
    /// Aligned columns.
    Table,
    /// HTML.
    Html,
    /// RFC 4180.
    Csv,
    /// An object with "headings" and "data".
    Json,
}

/// How values are written.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cells {
    /// As `set` takes them.
    #[default]
    String,
    /// Without quotes, brackets and braces.
    Bare,
    /// As on the wire (RFC 7047).
    Json,
}

/// Rows of some columns of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub columns: Vec<(String, ColumnType)>,
    pub rows: Vec<Vec<Datum>>,
}

impl Table {
    /// Rows as objects with plain values.
    pub fn to_json(&self) -> Value {
        let row = |row: &Vec<Datum>| -> Value {
            let cells = self.columns.iter().zip(row);
            cells
                .map(|((name, ty), datum)| (name.clone(), plain(datum, ty)))
                .collect()
        };
        self.rows.iter().map(row).collect()
    }
}

/// Prints tables one after the other.
pub struct Printer {
    format: Format,
    cells: Cells,
    headings: bool,
    widest: usize,
    pretty: bool,
    printed: usize,
}

impl Printer {
    pub fn new(options: &TableOptions) -> Self {
        let bare = options.bare;
        Self {
            format: options.format.filter(|_| !bare).unwrap_or_default(),
            cells: match bare {
                true => Cells::Bare,
                false => options.data.unwrap_or_default(),
            },
            headings: !(bare || options.no_headings),
            widest: options
                .max_column_width
                .filter(|n| *n > 0)
                .unwrap_or(usize::MAX),
            pretty: options.pretty,
            printed: 0,
        }
    }

    /// The text of one more table.
    pub fn render(&mut self, table: &Table) -> String {
        self.printed += 1;
        let apart = match self.format {
            Format::List | Format::Table | Format::Csv if self.printed > 1 => "\n",
            _ => "",
        };
        let body = match self.format {
            Format::List => self.list(table),
            Format::Table => self.aligned(table),
            Format::Html => self.html(table),
            Format::Csv => self.csv(table),
            Format::Json => self.json(table),
        };
        format!("{apart}{body}")
    }

    fn cell(&self, datum: &Datum, ty: &ColumnType) -> String {
        match self.cells {
            Cells::String => datum.to_text(ty),
            Cells::Bare => bare(datum),
            Cells::Json => datum.to_json().to_string(),
        }
    }

    fn text(&self, table: &Table) -> Vec<Vec<String>> {
        let row = |row: &Vec<Datum>| {
            let cells = row.iter().zip(&table.columns);
            cells.map(|(d, (_, ty))| self.cell(d, ty)).collect()
        };
        table.rows.iter().map(row).collect()
    }

    fn list(&self, table: &Table) -> String {
        let row = |row: Vec<String>| -> String {
            let lines =
                row.iter()
                    .zip(&table.columns)
                    .map(|(text, (name, _))| match self.headings {
                        true => format!("{name:<20}: {text}\n"),
                        false => format!("{text}\n"),
                    });
            lines.collect()
        };
        let rows: Vec<String> = self.text(table).into_iter().map(row).collect();
        rows.join("\n")
    }

    fn aligned(&self, table: &Table) -> String {
        let cut = |text: &String| text.chars().take(self.widest).collect::<String>();
        let rows: Vec<Vec<String>> = self
            .text(table)
            .iter()
            .map(|r| r.iter().map(cut).collect())
            .collect();
        let heading = |(name, _): &(String, _)| match self.headings {
            true => name.clone(),
            false => String::new(),
        };
        let headings: Vec<String> = table.columns.iter().map(heading).collect();
        let mut widths: Vec<usize> = headings.iter().map(String::len).collect();
        for row in &rows {
            for (width, text) in widths.iter_mut().zip(row) {
                *width = (*width).max(text.chars().count());
            }
        }
        let line = |cells: &[String]| {
            let padded = cells
                .iter()
                .zip(&widths)
                .map(|(text, width)| format!("{text:<width$}"));
            let line = padded.collect::<Vec<_>>().join(" ");
            format!("{}\n", line.trim_end_matches(' '))
        };
        let mut out = String::new();
        if self.headings {
            out += &line(&headings);
            let rule: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
            out += &line(&rule);
        }
        rows.iter().for_each(|row| out += &line(row));
        out
    }

    fn html(&self, table: &Table) -> String {
        let row = |element: &str, cells: Vec<String>| {
            let cells = cells
                .iter()
                .map(|c| format!("    <{element}>{}</{element}>\n", escaped(c)));
            format!("  <tr>\n{}  </tr>\n", cells.collect::<String>())
        };
        let mut out = "<table border=1>\n".to_owned();
        if self.headings {
            out += &row("th", table.columns.iter().map(|c| c.0.clone()).collect());
        }
        for cells in self.text(table) {
            out += &row("td", cells);
        }
        out + "</table>\n"
    }

    fn csv(&self, table: &Table) -> String {
        let field = |text: String| match text.contains(['"', ',', '\r', '\n']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text,
        };
        let line = |cells: Vec<String>| {
            let fields: Vec<String> = cells.into_iter().map(field).collect();
            format!("{}\n", fields.join(","))
        };
        let mut out = String::new();
        if self.headings {
            out += &line(table.columns.iter().map(|c| c.0.clone()).collect());
        }
        for cells in self.text(table) {
            out += &line(cells);
        }
        out
    }

    fn json(&self, table: &Table) -> String {
        let names: Vec<&str> = table.columns.iter().map(|c| c.0.as_str()).collect();
        let row = |row: &Vec<Datum>| row.iter().map(Datum::to_json).collect::<Value>();
        let data: Value = table.rows.iter().map(row).collect();
        let mut out = match self.pretty {
            true => format!("{:#}", json!({"data": data, "headings": names})),
            false => json!({"data": data, "headings": names}).to_string(),
        };
        out.push('\n');
        out
    }
}

/// A value without punctuation.
fn bare(datum: &Datum) -> String {
    let atom = |a: &Atom| match a {
        Atom::String(s) => s.to_string(),
        other => other.to_string(),
    };
    let items: Vec<String> = match datum {
        Datum::Set(atoms) => atoms.iter().map(atom).collect(),
        Datum::Map(pairs) => pairs
            .iter()
            .map(|(k, v)| format!("{}={}", atom(k), atom(v)))
            .collect(),
    };
    items.join(" ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
