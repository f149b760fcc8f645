//! Groups, printed and read.

use std::fmt;

use rvs_flow::field::{Field, FieldId};
use rvs_flow::OfPort;

use super::flow::split_actions;
use super::parse::{any_number, number};
use super::{ParseError, Words};
use crate::message::{GroupCommand, GroupMod, BUCKET_ALL, BUCKET_FIRST, BUCKET_LAST, BUCKET_MAX};
use crate::model::{Bucket, Group, GroupId, GroupKind, Selection};
use crate::version::Version;

const KINDS: [(&str, GroupKind); 4] = [
    ("all", GroupKind::All),
    ("select", GroupKind::Select),
    ("indirect", GroupKind::Indirect),
    ("ff", GroupKind::FastFailover),
];

/// A group as a line of `ovs-ofctl dump-groups`, without the leading space.
pub struct GroupDisplay<'t> {
    group: &'t Group,
    words: Words<'t>,
}

impl<'t> Words<'t> {
    pub fn group(self, group: &'t Group) -> GroupDisplay<'t> {
        GroupDisplay { group, words: self }
    }
}

impl fmt::Display for GroupDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let g = self.group;
        let kind = KINDS.iter().find(|(_, k)| *k == g.kind);
        write!(
            f,
            "group_id={},type={}",
            g.id.0,
            kind.map_or("", |(n, _)| n)
        )?;
        fmt_selection(f, &g.selection)?;
        for b in &g.buckets {
            f.write_str(",bucket=")?;
            self.bucket(f, b)?;
        }
        Ok(())
    }
}

impl GroupDisplay<'_> {
    fn bucket(&self, f: &mut fmt::Formatter<'_>, b: &Bucket) -> fmt::Result {
        if matches!(self.words.version, Version::Of10 | Version::Of15) {
            write!(f, "bucket_id:{},", b.id)?;
        }
        if b.weight != u16::from(self.group.kind == GroupKind::Select) {
            write!(f, "weight:{},", b.weight)?;
        }
        if let Some(p) = b.watch_port {
            write!(f, "watch_port:{},", self.words.port(p))?;
        }
        if let Some(g) = b.watch_group {
            write!(f, "watch_group:{},", g.0)?;
        }
        write!(f, "actions={}", self.words.actions(&b.actions))
    }
}

fn fmt_selection(f: &mut fmt::Formatter<'_>, s: &Selection) -> fmt::Result {
    let (method, param, fields) = match s {
        Selection::Default => return Ok(()),
        Selection::DpHash { param } => ("dp_hash", *param, &[][..]),
        Selection::Hash { param, fields } => ("hash", *param, &fields[..]),
    };
    write!(f, ",selection_method={method}")?;
    if param != 0 {
        write!(f, ",selection_method_param={param}")?;
    }
    // Fields are printed in the order of the registry, whatever the message's.
    let mut sorted: Vec<_> = fields.to_vec();
    sorted.sort_unstable_by_key(|(id, _)| *id);
    let terms: Vec<String> = sorted.iter().map(|(id, mask)| hashed(*id, *mask)).collect();
    match &terms[..] {
        [] => Ok(()),
        [one] => write!(f, ",fields={one}"),
        many => write!(f, ",fields({})", many.join(",")),
    }
}

/// A field, and its mask if it takes a part.
fn hashed(id: FieldId, mask: u128) -> String {
    let field = Field::of(id);
    if mask == field.match_mask() {
        return field.name.to_owned();
    }
    let mask = field.display(mask, field.match_mask(), &rvs_flow::field::NoPortNames);
    format!("{field}={mask}")
}

/// Reads a group as `add-group`, `mod-group`, `insert-buckets`, `remove-buckets` and `del-groups` take it.
///
/// # Errors
/// Names the term that is wrong.
pub fn parse_group(
    text: &str,
    command: GroupCommand,
    words: &Words<'_>,
) -> Result<GroupMod, ParseError> {
    let mut m = GroupMod {
        command,
        command_bucket: match command {
            GroupCommand::InsertBucket => BUCKET_LAST,
            _ => BUCKET_ALL,
        },
        group: Group {
            id: GroupId::ALL,
            kind: GroupKind::All,
            selection: Selection::Default,
            buckets: Box::new([]),
        },
    };
    let mut texts = bucket_texts(text);
    let head = texts.remove(0);
    let mut reader = Reader::default();
    for term in rvs_flow::matching::terms(head) {
        let (key, value) = term?;
        reader.setting(&mut m, key, value)?;
    }
    let named = m.group.id != GroupId::ALL;
    if !named && command != GroupCommand::Delete {
        return Err(ParseError::new("a group needs a number: group_id=N"));
    }
    let whole = matches!(
        command,
        GroupCommand::Add | GroupCommand::Modify | GroupCommand::AddOrMod
    );
    if whole && !reader.typed {
        return Err(ParseError::new(
            "a group needs a type: type=all, select, indirect or ff",
        ));
    }
    if !texts.is_empty() && matches!(command, GroupCommand::Delete | GroupCommand::RemoveBucket) {
        return Err(ParseError::new("buckets cannot stand in a deletion"));
    }
    m.group.selection = reader.selection(m.group.kind)?;
    let mut buckets = Vec::new();
    for (i, t) in texts.iter().enumerate() {
        buckets.push(parse_bucket(t, i as u32, m.group.kind, words)?);
    }
    m.group.buckets = buckets.into();
    Ok(m)
}

/// Cuts the text at each `bucket=`; the first piece is what stands before them.
fn bucket_texts(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut from, mut search) = (0, 0);
    while let Some(at) = text.get(search..).and_then(|t| t.find("bucket=")) {
        let at = search + at;
        search = at + "bucket=".len();
        let before = text[..at].chars().next_back();
        if before.is_none_or(|c| matches!(c, ',' | ' ' | '\t' | '\n')) {
            pieces.push(&text[from..at]);
            from = search;
        }
    }
    pieces.push(&text[from..]);
    pieces
        .into_iter()
        .map(|p| p.trim_end_matches([',', ' ', '\t', '\n']))
        .collect()
}

/// What the terms before the buckets said of the selection.
#[derive(Default)]
struct Reader {
    typed: bool,
    method: Option<String>,
    param: u64,
    fields: Vec<(FieldId, u128)>,
}

impl Reader {
    fn setting(
        &mut self,
        m: &mut GroupMod,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), ParseError> {
        let given = || value.ok_or_else(|| ParseError(format!("{key} needs a value")));
        match key {
            "group_id" => {
                m.group.id = match given()? {
                    "all" => GroupId::ALL,
                    t => GroupId(number(t, key)?),
                };
                if m.group.id > GroupId::MAX && m.group.id != GroupId::ALL {
                    return Err(ParseError(format!(
                        "group_id: {} is too large",
                        m.group.id.0
                    )));
                }
            }
            "type" => {
                let name = given()?;
                let kind = KINDS.iter().find(|(n, _)| *n == name);
                m.group.kind = kind.map(|(_, k)| *k).ok_or_else(|| {
                    ParseError(format!("type {name} is not all, select, indirect or ff"))
                })?;
                self.typed = true;
            }
            "command_bucket_id" => m.command_bucket = command_bucket(given()?)?,
            "selection_method" => self.method = Some(given()?.to_owned()),
            "selection_method_param" => self.param = number(given()?, key)?,
            "fields" => self.fields = parse_fields(given()?)?,
            _ => return Err(ParseError(format!("{key} is not a setting of a group"))),
        }
        Ok(())
    }

    fn selection(self, kind: GroupKind) -> Result<Selection, ParseError> {
        let Some(method) = self.method else {
            return Ok(Selection::Default);
        };
        if kind != GroupKind::Select {
            return Err(ParseError::new(
                "selection_method is for groups of type=select",
            ));
        }
        match method.as_str() {
            "hash" => Ok(Selection::Hash {
                param: self.param,
                fields: self.fields.into(),
            }),
            "dp_hash" if self.fields.is_empty() => Ok(Selection::DpHash { param: self.param }),
            "dp_hash" => Err(ParseError::new(
                "dp_hash takes no fields; selection_method=hash does",
            )),
            _ => Err(ParseError(format!(
                "selection_method {method} is not hash or dp_hash"
            ))),
        }
    }
}

fn command_bucket(text: &str) -> Result<u32, ParseError> {
    Ok(match text {
        "first" => BUCKET_FIRST,
        "last" => BUCKET_LAST,
        "all" => BUCKET_ALL,
        t => bucket_id(t)?,
    })
}

fn bucket_id(text: &str) -> Result<u32, ParseError> {
    match number(text, "bucket_id")? {
        n if n <= BUCKET_MAX => Ok(n),
        n => Err(ParseError(format!(
            "bucket_id: {n} is more than {BUCKET_MAX}"
        ))),
    }
}

/// `(ip_src,tcp_dst=0xff00)`, or one of them without parentheses.
fn parse_fields(text: &str) -> Result<Vec<(FieldId, u128)>, ParseError> {
    let inner = text
        .strip_prefix('(')
        .and_then(|v| v.strip_suffix(')'))
        .unwrap_or(text);
    let mut fields = Vec::new();
    for term in rvs_flow::matching::terms(inner) {
        let (key, value) = term?;
        let field = Field::by_name(key).ok_or_else(|| ParseError(format!("{key} is no field")))?;
        let mask = match value {
            None => field.match_mask(),
            Some(v) => match any_number(v, key) {
                Ok(n) => n,
                Err(_) => field.parse_value(v, &rvs_flow::field::NoPortNames)?.0,
            },
        };
        let partial = mask != field.match_mask();
        if mask == 0 || mask & !field.match_mask() != 0 || partial && !field.maskable {
            return Err(ParseError(format!(
                "{field} cannot be hashed under mask {mask:#x}"
            )));
        }
        fields.push((field.id, mask));
    }
    Ok(fields)
}

/// `weight:N,watch_port:P,actions=...`; without `actions=` what is none of the settings is an action.
fn parse_bucket(
    text: &str,
    nth: u32,
    kind: GroupKind,
    words: &Words<'_>,
) -> Result<Bucket, ParseError> {
    let mut b = Bucket {
        id: nth,
        weight: u16::from(kind == GroupKind::Select),
        watch_port: None,
        watch_group: None,
        actions: Box::new([]),
    };
    let (head, actions) = split_actions(text);
    let mut bare = Vec::new();
    for term in rvs_flow::matching::terms(head) {
        let (key, value) = term?;
        let given = || value.ok_or_else(|| ParseError(format!("{key} needs a value")));
        match key {
            "weight" => b.weight = number(given()?, key)?,
            "watch_port" => {
                b.watch_port = Some(words.parse_port(given()?)?).filter(|p| *p != OfPort::ANY);
            }
            "watch_group" => {
                let id = GroupId(number(given()?, key)?);
                b.watch_group = Some(id).filter(|g| *g != GroupId::ANY);
            }
            "bucket_id" => b.id = bucket_id(given()?)?,
            _ => bare.push(super::parse::parse_action(key, value, words)?),
        }
    }
    if let Some(a) = actions {
        bare.extend(words.parse_actions(a)?);
    }
    b.actions = bare.into();
    Ok(b)
}
