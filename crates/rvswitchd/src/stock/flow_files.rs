//! `dpctl/{add,mod,del}-flows`: a file of cached flows, one a line, each as `dpctl/{add,mod,del}-flow` takes it. A line may
//! say for itself which of them it is: `add`, `modify`, `delete`.

use std::io::Read as _;

use serde_json::json;

use super::{datapath, delete_flows, flows, name_of, Answer};
use crate::commands::Daemon;

/// Octets of a file, at most.
const MOST: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Add,
    Modify,
    Delete,
}

/// What a line asks for, with the flow and its actions; `None` of an empty one.
fn parse(line: &str, usual: What) -> Option<(What, &str, &str)> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let (what, rest) = match line.split_once(char::is_whitespace) {
        Some(("add", rest)) => (What::Add, rest),
        Some(("modify", rest)) => (What::Modify, rest),
        Some(("delete", rest)) => (What::Delete, rest),
        _ => (usual, line),
    };
    let rest = rest.trim();
    let (flow, actions) = match what {
        What::Delete => (rest, ""),
        _ => rest.rsplit_once(char::is_whitespace).unwrap_or((rest, "")),
    };
    (!rest.is_empty()).then(|| (what, flow.trim(), actions))
}

/// A file that is one: nobody waits for the writer of a pipe.
fn read(name: &str) -> Result<String, String> {
    let failed = |why: &dyn std::fmt::Display| format!("ovs-vswitchd: {name}: open failed ({why})");
    let about = std::fs::metadata(name).map_err(|e| failed(&e))?;
    if !about.is_file() || about.len() > MOST {
        return Err(failed(&"not a file of flows"));
    }
    let mut text = String::new();
    let file = std::fs::File::open(name).map_err(|e| failed(&e))?;
    let got = file.take(MOST).read_to_string(&mut text);
    got.map_err(|e| failed(&e))?;
    Ok(text)
}

pub(super) fn add(daemon: &mut Daemon, params: &[String]) -> Answer {
    process(daemon, params, What::Add)
}

pub(super) fn modify(daemon: &mut Daemon, params: &[String]) -> Answer {
    process(daemon, params, What::Modify)
}

/// All flows of a datapath, or those of a file.
pub(super) fn delete(daemon: &mut Daemon, params: &[String]) -> Answer {
    match params {
        [] => delete_flows(daemon, params),
        [dp] if daemon.handmade.clear_flows(dp) => Ok(json!("")),
        [dp] if datapath(name_of(daemon), dp).is_ok() => delete_flows(daemon, params),
        _ => process(daemon, params, What::Delete),
    }
}

fn process(daemon: &mut Daemon, params: &[String], usual: What) -> Answer {
    let words = params.iter().map(String::as_str);
    let words: Vec<&str> = words.filter(|w| !w.starts_with('-')).collect();
    let (dp, file) = match words[..] {
        [file] => (None, file),
        [dp, file] => (Some(dp), file),
        _ => return Err("[DATAPATH] FILE is expected".to_owned()),
    };
    for (n, line) in (1..).zip(read(file)?.lines()) {
        if let Some((what, flow, actions)) = parse(line, usual) {
            let done = apply(daemon, dp, what, flow, actions);
            done.map_err(|why| {
                format!("{why}\n{file}:{n}: that line and those behind it are not done")
            })?;
        }
    }
    Ok(json!(""))
}

fn apply(daemon: &mut Daemon, dp: Option<&str>, what: What, flow: &str, actions: &str) -> Answer {
    if let Some(dp) = dp.filter(|dp| daemon.handmade.has(dp)) {
        flows::check(daemon, flow, actions)?;
        let all = &mut daemon.handmade;
        match what {
            What::Delete => all.delete_flow(dp, flow),
            _ => all.put_flow(dp, flow, actions, what == What::Modify),
        }?;
        return Ok(json!(""));
    }
    let mut words: Vec<String> = dp.into_iter().map(str::to_owned).collect();
    words.push(flow.to_owned());
    match what {
        What::Delete => flows::delete(daemon, &words),
        What::Add | What::Modify => {
            words.push(actions.to_owned());
            match what {
                What::Add => flows::add(daemon, &words),
                _ => flows::modify(daemon, &words),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_it_is_or_is_what_the_command_is() {
        let flow = "in_port(1),eth_type(0x1234)";
        let line = format!("  {flow} push_vlan(vid=5,pcp=0),2 # why");
        let want = (What::Modify, flow, "push_vlan(vid=5,pcp=0),2");
        assert_eq!(parse(&line, What::Modify), Some(want));
        let named = format!("add {flow} 2");
        assert_eq!(parse(&named, What::Delete), Some((What::Add, flow, "2")));
        let named = format!("delete {flow}");
        assert_eq!(parse(&named, What::Add), Some((What::Delete, flow, "")));
        assert_eq!(parse(" # nothing", What::Add), None);
    }
}
