//! Commands on flows.

use rvs_flow::field::Field;
use rvs_openflow::message::{
    AggregateStats, FlowCommand, FlowFlags, FlowFormat, FlowStats, FlowStatsForm, FlowStatsRequest,
    Reply, Request,
};
use rvs_openflow::text::{parse_flow, ParseError, Words};
use rvs_openflow::Message;
use serde_json::{json, Map, Value};

use super::args::{FlowOptions, Order};
use super::input::{flow_command, Input};
use super::printer::{heading, nicira10, Printer};
use super::session::Session;
use crate::failure::Failure;
use crate::output::{print, print_json, Style};

/// `add-flow`, `mod-flows`, `del-flows`: one change from the command line.
pub fn change(
    s: &mut Session,
    flow: &str,
    command: FlowCommand,
    bundle: bool,
) -> Result<(), Failure> {
    s.change(&Input::argument(flow), bundle, |text, words| {
        parse_flow(text, command, words).map(|m| Message::FlowMod(Box::new(m)))
    })
}

/// `add-flows`: a file of changes.
pub fn change_file(s: &mut Session, file: &str, bundle: bool) -> Result<(), Failure> {
    s.change(&Input::read(file)?, bundle, |line, words| {
        let (command, flow) = flow_command(line);
        parse_flow(flow, command, words).map(|m| Message::FlowMod(Box::new(m)))
    })
}

/// The flows that a filter of `dump-flows` names, in the form that says most.
pub fn stats_request(s: &Session, filter: &str) -> Result<FlowStatsRequest, ParseError> {
    let m = parse_flow(filter, FlowCommand::Delete, &s.reading())?;
    let form = match s.connection.dialect().flow_format {
        FlowFormat::Nxm => FlowStatsForm::Nicira,
        FlowFormat::OpenFlow10 => FlowStatsForm::Standard,
    };
    Ok(FlowStatsRequest {
        form,
        table: m.table,
        out_port: m.out_port,
        out_group: m.out_group,
        cookie: m.cookie,
        matching: m.matching,
    })
}

/// Hands out the flows that the filter names, part by part, with the transaction.
pub fn each(
    s: &mut Session,
    filter: &str,
    mut part: impl FnMut(&Words<'_>, u32, Vec<FlowStats>),
) -> Result<(), Failure> {
    let question = |s: &Session| stats_request(s, filter).map(|q| Request::Flow(Box::new(q)));
    s.ask(question, |words, xid, reply| {
        if let Reply::Flow(_, flows) = reply {
            part(words, xid, flows);
        }
    })
}

/// `dump-flows`.
pub fn dump(
    s: &mut Session,
    filter: &str,
    options: &FlowOptions,
    style: Style,
) -> Result<(), Failure> {
    if let Some(order) = options.order()? {
        return dump_sorted(s, filter, &order, options, style);
    }
    let mut printer = Printer::new(style);
    let stats = !options.no_stats;
    let mut first = stats;
    each(s, filter, |words, xid, flows| {
        if std::mem::take(&mut first) {
            print(&heading(
                style,
                nicira10(words.version, "FLOW"),
                words.version,
                xid,
            ));
        }
        for f in &flows {
            entry(&mut printer, words, f, stats);
        }
    })?;
    printer.finish();
    Ok(())
}

fn entry(printer: &mut Printer, words: &Words<'_>, f: &FlowStats, stats: bool) {
    printer.entry(
        || format!(" {}\n", words.flow(f, stats)),
        || to_json(words, f),
    );
}

fn dump_sorted(
    s: &mut Session,
    filter: &str,
    order: &Order,
    options: &FlowOptions,
    style: Style,
) -> Result<(), Failure> {
    let mut all = Vec::new();
    each(s, filter, |_, _, flows| all.extend(flows))?;
    all.sort_by_key(|f| (f.table, order_key(f, order.by)));
    if order.descending {
        // Tables stay in order.
        all.sort_by(|a, b| {
            let key = |f: &FlowStats| order_key(f, order.by);
            a.table.cmp(&b.table).then_with(|| key(b).cmp(&key(a)))
        });
    }
    let mut printer = Printer::new(style);
    for f in &all {
        entry(&mut printer, &s.printing(), f, !options.no_stats);
    }
    printer.finish();
    Ok(())
}

/// Flows that do not match the field come first.
fn order_key(f: &FlowStats, by: Option<&'static Field>) -> Option<u128> {
    match by {
        None => Some(f.priority.into()),
        Some(field) => match f.matching.field(field.id) {
            (_, 0) => None,
            (value, _) => Some(value),
        },
    }
}

/// A flow as JSON: what has numbers as numbers, match and actions in the words of `add-flow`.
pub fn to_json(words: &Words<'_>, f: &FlowStats) -> Value {
    let counter = |n: u64| (n != u64::MAX).then_some(n);
    let mut o = Map::new();
    let mut put = |k: &str, v: Value| {
        if !v.is_null() {
            o.insert(k.to_owned(), v);
        }
    };
    put("table", json!(f.table.0));
    put("priority", json!(f.priority));
    put("cookie", json!(f.cookie));
    put(
        "duration",
        json!(f64::from(f.duration_sec) + f64::from(f.duration_nsec) / 1e9),
    );
    put("packets", json!(counter(f.packets)));
    put("bytes", json!(counter(f.bytes)));
    put("idle_timeout", json!(f.idle_timeout));
    put("hard_timeout", json!(f.hard_timeout));
    put("idle_age", json!(f.idle_age));
    put("hard_age", json!(f.hard_age));
    put("importance", json!(f.importance));
    put("flags", json!(flag_names(f.flags)));
    put("match", json!(f.matching.display(words.ports).to_string()));
    put(
        "actions",
        json!(words.instructions(&f.instructions).to_string()),
    );
    Value::Object(o)
}

fn flag_names(flags: FlowFlags) -> Vec<&'static str> {
    const NAMES: [(FlowFlags, &str); 5] = [
        (FlowFlags::SEND_FLOW_REM, "send_flow_rem"),
        (FlowFlags::CHECK_OVERLAP, "check_overlap"),
        (FlowFlags::RESET_COUNTS, "reset_counts"),
        (FlowFlags::NO_PKT_COUNTS, "no_packet_counts"),
        (FlowFlags::NO_BYT_COUNTS, "no_byte_counts"),
    ];
    let set = NAMES.iter().filter(|(f, _)| flags.has(*f));
    set.map(|(_, name)| *name).collect()
}

/// `dump-aggregate`.
pub fn aggregate(s: &mut Session, filter: &str, style: Style) -> Result<(), Failure> {
    let mut sum = AggregateStats::default();
    let question = |s: &Session| stats_request(s, filter).map(|q| Request::Aggregate(Box::new(q)));
    s.ask(question, |_, _, reply| {
        if let Reply::Aggregate(_, a) = reply {
            sum = a;
        }
    })?;
    if style.json {
        print_json(&json!({"packets": sum.packets, "bytes": sum.bytes, "flows": sum.flows}));
    } else {
        print(&format!(
            "packet_count={} byte_count={} flow_count={}\n",
            sum.packets, sum.bytes, sum.flows
        ));
    }
    Ok(())
}
