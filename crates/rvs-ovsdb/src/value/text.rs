//! The text form of values in `ovs-vsctl`'s arguments and output: `br0`, `"a:b"`, `[1, 2]`, `{k=v, l=w}`.
//!
//! Reading accepts all that `ovs-vsctl` accepts, and more in one place: outside of maps a colon needs no
//! quotes, so `target=tcp:127.0.0.1:6653` is a value.

use std::fmt;

use super::{Atom, Datum};
use crate::error::OvsdbError;
use crate::schema::{BaseKind, BaseType, ColumnType};
use crate::uuid::Uuid;

/// Why a text is not a value of its column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The text breaks the syntax, or has the wrong type; the message says where.
    #[error("{0}")]
    Syntax(String),
    /// The text is a value that the column's constraints forbid.
    #[error("{0}")]
    Refused(OvsdbError),
}

fn syntax<T>(message: String) -> Result<T, TextError> {
    Err(TextError::Syntax(message))
}

/// Whether a string is printed without quotes.
fn is_bare(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && bytes.all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.'))
        && !matches!(text, "true" | "false")
        && text.parse::<Uuid>().is_err()
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Integer(i) => write!(f, "{i}"),
            Atom::Real(r) => f.write_str(&real_text(*r)),
            Atom::Boolean(b) => write!(f, "{b}"),
            Atom::String(s) if is_bare(s) => f.write_str(s),
            Atom::String(s) => write!(f, "{}", serde_json::Value::from(s.as_ref())),
            Atom::Uuid(u) => write!(f, "{u}"),
        }
    }
}

/// A real in at most 15 significant digits, as C's `%.15g` prints it.
fn real_text(value: f64) -> String {
    const DIGITS: i32 = 15;
    let scientific = format!("{value:.*e}", DIGITS as usize - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..DIGITS).contains(&exponent) {
        let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
        return trim(&format!("{value:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

impl fmt::Display for Datum {
    /// Brackets or braces around everything but a set of one; a column that may hold several values
    /// keeps its brackets then, too: see [`Datum::to_text`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_text(f, true)
    }
}

impl Datum {
    /// The text of a value of a column of type `ty`.
    pub fn to_text(&self, ty: &ColumnType) -> String {
        let mut text = String::new();
        self.write_text(&mut text, ty.max > 1)
            .expect("invariant: writing to a String cannot fail");
        text
    }

    fn write_text(&self, f: &mut impl fmt::Write, bracket_one: bool) -> fmt::Result {
        let brackets = bracket_one || self.len() != 1;
        let (open, close) = match self {
            Datum::Set(_) => ('[', ']'),
            Datum::Map(_) => ('{', '}'),
        };
        if brackets {
            f.write_char(open)?;
        }
        match self {
            Datum::Set(atoms) => {
                for (i, atom) in atoms.iter().enumerate() {
                    write!(f, "{}{atom}", if i > 0 { ", " } else { "" })?;
                }
            }
            Datum::Map(pairs) => {
                for (i, (k, v)) in pairs.iter().enumerate() {
                    write!(f, "{}{k}={v}", if i > 0 { ", " } else { "" })?;
                }
            }
        }
        if brackets {
            f.write_char(close)?;
        }
        Ok(())
    }

    /// Reads the text of a value of a column of type `ty` and checks the type's constraints.
    ///
    /// `symbols` gives the UUID for `@name`; pass `|_| None` where such names have no meaning.
    pub fn from_text(
        text: &str,
        ty: &ColumnType,
        mut symbols: impl FnMut(&str) -> Option<Uuid>,
    ) -> Result<Datum, TextError> {
        let datum = Parser {
            whole: text,
            rest: text.trim_start(),
            is_map: ty.value.is_some(),
        }
        .datum(ty, &mut symbols)?;
        if datum.len() > ty.max as usize {
            let (found, max) = (datum.len(), ty.max);
            return syntax(format!(
                "{text}: {found} value(s) specified but the maximum number is {max}"
            ));
        }
        if datum.len() < ty.min as usize {
            let (found, min) = (datum.len(), ty.min);
            return syntax(format!(
                "{text}: {found} value(s) specified but the minimum number is {min}"
            ));
        }
        Ok(datum)
    }
}

impl Atom {
    /// Reads one atom: the whole of `text`, so that a string needs no quotes.
    ///
    /// `symbols` is as in [`Datum::from_text`].
    pub fn from_text(
        text: &str,
        base: &BaseType,
        mut symbols: impl FnMut(&str) -> Option<Uuid>,
    ) -> Result<Atom, TextError> {
        let atom = parse_atom(text, base, &mut symbols)?;
        base.check(&atom).map_err(TextError::Refused)?;
        Ok(atom)
    }
}

fn parse_atom(
    text: &str,
    base: &BaseType,
    symbols: &mut impl FnMut(&str) -> Option<Uuid>,
) -> Result<Atom, TextError> {
    match &base.kind {
        BaseKind::Integer { .. } => match text.parse() {
            Ok(integer) => Ok(Atom::Integer(integer)),
            Err(_) => syntax(format!("\"{text}\" is not a valid integer")),
        },
        BaseKind::Real { .. } => match text.parse().ok().and_then(Atom::real) {
            Some(real) => Ok(real),
            None => syntax(format!("\"{text}\" is not a valid real number")),
        },
        BaseKind::Boolean => match text {
            "true" | "yes" | "on" | "1" => Ok(Atom::Boolean(true)),
            "false" | "no" | "off" | "0" => Ok(Atom::Boolean(false)),
            _ => syntax(format!(
                "\"{text}\" is not a valid boolean (use \"true\" or \"false\")"
            )),
        },
        BaseKind::String { .. } => {
            if !text.starts_with('"') {
                return match text {
                    "" => syntax("an empty string is not valid as input; use \"\" for it".into()),
                    text => Ok(Atom::from(text)),
                };
            }
            match serde_json::from_str::<String>(text) {
                Ok(unquoted) if !unquoted.contains('\0') => Ok(Atom::from(unquoted)),
                _ => syntax(format!("{text} is not a valid quoted string")),
            }
        }
        BaseKind::Uuid { .. } => {
            let symbol = text.strip_prefix('@').and_then(symbols);
            match symbol.or_else(|| text.parse().ok()) {
                Some(uuid) => Ok(Atom::Uuid(uuid)),
                None => syntax(format!("\"{text}\" is not a valid UUID")),
            }
        }
    }
}

/// Reads a datum from left to right.
struct Parser<'a> {
    whole: &'a str,
    rest: &'a str,
    is_map: bool,
}

impl<'a> Parser<'a> {
    fn datum(
        mut self,
        ty: &ColumnType,
        symbols: &mut impl FnMut(&str) -> Option<Uuid>,
    ) -> Result<Datum, TextError> {
        let (open, close) = if self.is_map { ('{', '}') } else { ('[', ']') };
        let bracketed = self.eat(open);
        let (mut atoms, mut pairs) = (Vec::new(), Vec::new());
        loop {
            self.rest = self.rest.trim_start_matches([' ', ',']);
            if self.rest.is_empty() {
                if bracketed {
                    return syntax(format!(
                        "{}: missing \"{close}\" at end of data",
                        self.whole
                    ));
                }
                break;
            }
            if bracketed && self.eat(close) {
                if !self.rest.trim_start().is_empty() {
                    return syntax(format!(
                        "{}: trailing garbage after \"{close}\"",
                        self.whole
                    ));
                }
                break;
            }
            match &ty.value {
                None => self.element(ty, &mut atoms, symbols)?,
                Some(value) => {
                    let key = Atom::from_text(self.token(ty)?, &ty.key, &mut *symbols)?;
                    self.rest = self.rest.trim_start();
                    if !self.eat('=') {
                        let at = self
                            .rest
                            .chars()
                            .next()
                            .map(String::from)
                            .unwrap_or_default();
                        return syntax(format!(
                            "{}: syntax error at \"{at}\" expecting \"=\"",
                            self.whole
                        ));
                    }
                    self.rest = self.rest.trim_start();
                    let value = Atom::from_text(self.token(ty)?, value, &mut *symbols)?;
                    pairs.push((key, value));
                }
            }
        }
        let made = if self.is_map {
            Datum::strict_map(pairs)
        } else {
            Datum::strict_set(atoms)
        };
        made.map_err(|error| TextError::Syntax(format!("{}: {error}", self.whole)))
    }

    /// One element of a set; a set of integers also takes ranges, `1-3`.
    fn element(
        &mut self,
        ty: &ColumnType,
        atoms: &mut Vec<Atom>,
        symbols: &mut impl FnMut(&str) -> Option<Uuid>,
    ) -> Result<(), TextError> {
        /// A range wider than the widest column of the schemas served is a mistake.
        const WIDEST: i64 = 65_536;
        let token = self.token(ty)?;
        if let (true, BaseKind::Integer { .. }) = (ty.max > 1, &ty.key.kind) {
            let bounds = token.get(1..).and_then(|tail| tail.find('-')).map(|at| {
                let (low, high) = token.split_at(at + 1);
                (
                    low.parse::<i64>(),
                    high.trim_start_matches('-').parse::<i64>(),
                )
            });
            if let Some((Ok(low), Ok(high))) = bounds {
                if high < low || high.checked_sub(low).is_none_or(|width| width >= WIDEST) {
                    return syntax(format!("\"{token}\" is not a valid range"));
                }
                for integer in low..=high {
                    let atom = Atom::Integer(integer);
                    ty.key.check(&atom).map_err(TextError::Refused)?;
                    atoms.push(atom);
                }
                return Ok(());
            }
        }
        atoms.push(Atom::from_text(token, &ty.key, symbols)?);
        Ok(())
    }

    fn eat(&mut self, expected: char) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A run of characters up to the next delimiter outside of quotes; never empty.
    fn token(&mut self, ty: &ColumnType) -> Result<&'a str, TextError> {
        let mut in_quotes = false;
        let mut escaped = false;
        let mut end = self.rest.len();
        for (at, c) in self.rest.char_indices() {
            if escaped {
                escaped = false;
            } else if in_quotes && c == '\\' {
                escaped = true;
            } else if c == '"' {
                in_quotes = !in_quotes;
            } else if !in_quotes && self.is_delimiter(c) {
                end = at;
                break;
            }
        }
        if in_quotes {
            return syntax(format!(
                "{}: quoted string extends past end of argument",
                self.whole
            ));
        }
        if end == 0 {
            let at = self
                .rest
                .chars()
                .next()
                .map(String::from)
                .unwrap_or_default();
            return syntax(format!("{}: unexpected \"{at}\" parsing {ty}", self.whole));
        }
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(token)
    }

    fn is_delimiter(&self, c: char) -> bool {
        matches!(c, '=' | ',' | ' ' | '[' | ']' | '{' | '}' | '!' | '<' | '>')
            || (c == ':' && self.is_map)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::schema::Schema;

    fn read(column: &str, text: &str) -> Result<String, String> {
        let schema = Schema::open_vswitch();
        let (_, column) = schema.table("Bridge").unwrap().column(column).unwrap();
        Datum::from_text(text, &column.ty, |_| None)
            .map(|datum| datum.to_text(&column.ty))
            .map_err(|error| error.to_string())
    }

    /// The answers of `ovs-vsctl` 3.1 to the same arguments.
    #[test]
    fn reads_and_prints_as_ovs_vsctl() {
        for (column, text, printed) in [
            ("external_ids", "{a=b,c=d}", "{a=b, c=d}"),
            ("external_ids", "a=b", "{a=b}"),
            ("external_ids", "{ a = b }", "{a=b}"),
            ("external_ids", "\"a\"=\"b\"", "{a=b}"),
            ("external_ids", "a=b c=d", "{a=b, c=d}"),
            ("external_ids", "{}", "{}"),
            ("external_ids", "{a=b,}", "{a=b}"),
            ("external_ids", "a=1.5,b=\"x y\"", "{a=\"1.5\", b=\"x y\"}"),
            (
                "protocols",
                "OpenFlow10 OpenFlow13",
                "[OpenFlow10, OpenFlow13]",
            ),
            (
                "protocols",
                "[OpenFlow10,OpenFlow13]",
                "[OpenFlow10, OpenFlow13]",
            ),
            ("protocols", "[]", "[]"),
            ("flood_vlans", "1-3", "[1, 2, 3]"),
            ("flood_vlans", "010", "[10]"),
            ("flood_vlans", " 7", "[7]"),
            ("stp_enable", "yes", "true"),
            ("fail_mode", "[secure]", "secure"),
            ("fail_mode", "[]", "[]"),
            ("datapath_type", "\"a:b\"", "\"a:b\""),
            ("datapath_type", "[a]", "a"),
        ] {
            assert_eq!(
                read(column, text).as_deref(),
                Ok(printed),
                "{column}={text}"
            );
        }
    }

    #[test]
    fn a_colon_needs_no_quotes_outside_of_maps() {
        assert_eq!(
            read("datapath_type", "tcp:127.0.0.1:6653").unwrap(),
            "\"tcp:127.0.0.1:6653\""
        );
        assert!(read("external_ids", "a:b=c").is_err());
    }

    #[test]
    fn refuses_what_ovs_vsctl_refuses() {
        for (column, text) in [
            ("external_ids", "{a=b"),
            ("external_ids", "[a=b]"),
            ("external_ids", "{a=b, a=c}"),
            ("external_ids", "{a}"),
            ("external_ids", "a"),
            ("protocols", "{OpenFlow10}"),
            ("protocols", "[OpenFlow10,OpenFlow10]"),
            ("protocols", "[OpenFlow10] x"),
            ("flood_vlans", "5,6,x"),
            ("flood_vlans", "9999"),
            ("flood_vlans", "3-1"),
            ("flood_vlans", "0-99999999999"),
            ("flood_vlans", "0x10"),
            ("stp_enable", "TRUE"),
            ("stp_enable", ""),
            ("fail_mode", "foo"),
            ("fail_mode", "secure,standalone"),
            ("datapath_type", "a b"),
            ("datapath_type", "\"open"),
            ("datapath_type", "\"\\q\""),
            ("ports", "@p"),
            ("ports", "1234"),
        ] {
            assert!(read(column, text).is_err(), "{column}={text}");
        }
    }

    #[test]
    fn quotes_where_ovs_vsctl_quotes() {
        for bare in ["br0", "a.b-c", "deadbeef", "_x", "beef0000"] {
            assert_eq!(Atom::from(bare).to_string(), bare);
        }
        for quoted in [
            "", "abc def", "1abc", "true", "é", "x=y", "-x", "a,b", "a:b",
        ] {
            assert_eq!(Atom::from(quoted).to_string(), format!("\"{quoted}\""));
        }
        let uuid = "b2345678-1234-1234-1234-123456789abc";
        assert_eq!(Atom::from(uuid).to_string(), format!("\"{uuid}\""));
        assert_eq!(Atom::from("a\"b\n").to_string(), "\"a\\\"b\\n\"");
    }

    #[test]
    fn symbols_name_rows() {
        let schema = Schema::open_vswitch();
        let (_, ports) = schema.table("Bridge").unwrap().column("ports").unwrap();
        let uuid = Uuid::from_bytes([9; 16]);
        let datum =
            Datum::from_text("@p", &ports.ty, |name| (name == "p").then_some(uuid)).unwrap();
        assert_eq!(datum, Datum::scalar(uuid));
    }

    /// `printf("%.15g")` of the same numbers.
    #[test]
    fn reals_print_as_c_prints_them() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (1.5, "1.5"),
            (-0.1, "-0.1"),
            (1e15, "1e+15"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.0 / 3.0, "0.333333333333333"),
            (1e300, "1e+300"),
        ] {
            assert_eq!(real_text(value), text);
        }
    }
}
