//! Output for people and for programs: aligned tables on a terminal, the same without colour in a pipe, JSON on request.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    pub json: bool,
    pub colour: bool,
    /// A person reads it.
    pub terminal: bool,
}

impl Style {
    /// Colour only on a terminal, never with `NO_COLOR`.
    pub fn detect(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = !json && terminal && std::env::var_os("NO_COLOR").is_none();
        Self {
            json,
            colour,
            terminal,
        }
    }

    pub fn bold(self, text: &str) -> String {
        if self.colour {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Writes to stdout; a reader that went away is not an error.
pub fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

pub fn print_json(value: &Value) {
    print(&format!("{value:#}\n"));
}

/// A table with a header line; numbers to the right.
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[&'static str]) -> Self {
        Self {
            header: header.to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub fn render(&self, style: Style) -> String {
        let columns = self.header.len();
        let width = |c: usize| {
            let cells = self
                .rows
                .iter()
                .filter_map(|r| r.get(c))
                .map(|s| s.chars().count());
            cells.chain([self.header[c].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let numeric: Vec<bool> = (0..columns)
            .map(|c| {
                self.rows
                    .iter()
                    .filter_map(|r| r.get(c))
                    .all(|s| s.parse::<f64>().is_ok() || s == "-")
            })
            .collect();
        let line = |cells: &[String]| {
            let padded: Vec<String> = cells
                .iter()
                .enumerate()
                .map(|(c, s)| {
                    let fill = " ".repeat(widths[c].saturating_sub(s.chars().count()));
                    if numeric[c] {
                        format!("{fill}{s}")
                    } else {
                        format!("{s}{fill}")
                    }
                })
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        let header: Vec<String> = self.header.iter().map(|h| (*h).to_owned()).collect();
        let mut out = style.bold(&line(&header));
        out.push('\n');
        for row in &self.rows {
            out.push_str(&line(row));
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let mut t = Table::new(&["PORT", "PACKETS"]);
        t.row(["veth-r".to_owned(), "7".to_owned()]);
        t.row(["a".to_owned(), "12345".to_owned()]);
        let plain = Style {
            json: false,
            colour: false,
            terminal: false,
        };
        assert_eq!(
            t.render(plain),
            "PORT    PACKETS\nveth-r        7\na         12345\n"
        );
    }
}
