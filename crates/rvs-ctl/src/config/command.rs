//! Each configuration command: from its words to what it does to the draft and what it prints.

use serde_json::{json, Value};

use super::args::ConfigCommand as C;
use super::draft::Draft;
use super::ports::{NewPort, OldPort};
use super::records::Values;
use super::table::Table;
use super::targets::Tls;
use super::{bridges, ports, records, show, targets, tree, zones};
use crate::failure::Failure;
use crate::output::Style;

/// What a command printed.
pub enum Output {
    Text {
        text: String,
        json: Value,
    },
    /// Rows, to be laid out as was asked for.
    Table(Table),
    /// A row of this transaction, by the UUID that it has here.
    Created(rvs_ovsdb::Uuid),
}

impl Output {
    fn none() -> Self {
        Self::Text {
            text: String::new(),
            json: Value::Null,
        }
    }

    pub fn lines(lines: Vec<String>) -> Self {
        let text = lines.iter().map(|l| format!("{l}\n")).collect();
        Self::Text {
            text,
            json: json!(lines),
        }
    }
}

type Done = Result<Output, Failure>;

fn done(result: Result<(), Failure>) -> Done {
    result.map(|()| Output::none())
}

fn line(result: Result<String, Failure>) -> Done {
    result.map(|text| Output::lines(vec![text]))
}

/// Runs one command on the draft; `None` if it waits for the database to change.
pub fn run(draft: &mut Draft<'_>, command: &C, style: Style) -> Result<Option<Output>, Failure> {
    if let C::WaitUntil {
        table,
        record,
        conditions,
    } = command
    {
        let met = records::meets(draft, table, record, conditions)?;
        return Ok(met.then(Output::none));
    }
    let output = match command {
        C::Init | C::Comment { .. } | C::WaitUntil { .. } => Ok(Output::none()),
        C::Show => match style.json {
            true => show::json(draft).map(|json| Output::Text {
                text: String::new(),
                json,
            }),
            false => show::text(draft, style).map(|text| Output::Text {
                text,
                json: Value::Null,
            }),
        },
        C::EmerReset => done(targets::emergency_reset(draft)),
        C::Get { .. }
        | C::Set { .. }
        | C::Add { .. }
        | C::Remove { .. }
        | C::Clear { .. }
        | C::List { .. }
        | C::Find { .. }
        | C::Create { .. }
        | C::Destroy { .. } => on_rows(draft, command),
        C::AddPort { .. }
        | C::DelPort { .. }
        | C::AddBond { .. }
        | C::AddBondIface { .. }
        | C::DelBondIface { .. }
        | C::ListPorts { .. }
        | C::ListIfaces { .. }
        | C::PortToBr { .. }
        | C::IfaceToBr { .. } => on_ports(draft, command),
        C::AddBr { .. }
        | C::DelBr { .. }
        | C::ListBr { .. }
        | C::BrExists { .. }
        | C::BrToVlan { .. }
        | C::BrToParent { .. }
        | C::BrSetExternalId { .. }
        | C::BrGetExternalId { .. } => on_bridges(draft, command),
        _ => on_targets(draft, command),
    };
    output.map(Some)
}

fn on_bridges(draft: &mut Draft<'_>, command: &C) -> Done {
    match command {
        C::AddBr {
            bridge,
            parent,
            vlan,
            may_exist,
        } => {
            let within = parent.as_deref().zip(vlan.as_deref());
            done(bridges::add(draft, bridge, within, *may_exist))
        }
        C::DelBr { bridge, if_exists } => done(bridges::delete(draft, bridge, *if_exists)),
        C::ListBr { kinds } => Ok(Output::lines(bridges::list(draft, kinds))),
        C::BrExists { bridge } => match tree::try_bridge(draft, bridge) {
            Some(_) => Ok(Output::none()),
            None => Err(Failure::Answer(2)),
        },
        C::BrToVlan { bridge } => {
            line(tree::bridge(draft, bridge).map(|b| b.fake.map_or(0, |f| f.vlan).to_string()))
        }
        C::BrToParent { bridge } => {
            line(tree::bridge(draft, bridge).map(|b| b.fake.map_or(b.name, |f| f.parent)))
        }
        C::BrSetExternalId { bridge, key, value } => done(bridges::set_external_id(
            draft,
            bridge,
            key,
            value.as_deref(),
        )),
        C::BrGetExternalId { bridge, key } => {
            bridges::external_id(draft, bridge, key.as_deref()).map(Output::lines)
        }
        other => Err(misplaced(other)),
    }
}

fn on_ports(draft: &mut Draft<'_>, command: &C) -> Done {
    match command {
        C::AddPort {
            bridge,
            port,
            settings,
            may_exist,
        } => done(ports::add(
            draft,
            &NewPort {
                bridge,
                name: port,
                interfaces: std::slice::from_ref(port),
                settings,
                may_exist: *may_exist,
                fake_iface: false,
            },
        )),
        C::DelPort {
            first,
            second,
            if_exists,
            with_iface,
        } => done(ports::delete(
            draft,
            &OldPort {
                bridge: second.is_some().then_some(first.as_str()),
                name: second.as_ref().unwrap_or(first),
                if_exists: *if_exists,
                with_iface: *with_iface,
            },
        )),
        C::AddBond {
            bridge,
            port,
            rest,
            may_exist,
            fake_iface,
        } => {
            let (settings, interfaces): (Vec<String>, Vec<String>) =
                rest.iter().cloned().partition(|word| word.contains('='));
            if interfaces.len() < 2 {
                return Err(Failure::Usage(
                    "a bond has at least two interfaces".to_owned(),
                ));
            }
            done(ports::add(
                draft,
                &NewPort {
                    bridge,
                    name: port,
                    interfaces: &interfaces,
                    settings: &settings,
                    may_exist: *may_exist,
                    fake_iface: *fake_iface,
                },
            ))
        }
        C::AddBondIface {
            bond,
            iface,
            may_exist,
        } => done(ports::add_bond_interface(draft, bond, iface, *may_exist)),
        C::DelBondIface {
            first,
            second,
            if_exists,
        } => done(match second {
            Some(iface) => ports::delete_bond_interface(draft, Some(first), iface, *if_exists),
            None => ports::delete_bond_interface(draft, None, first, *if_exists),
        }),
        C::ListPorts { bridge } => ports::list(draft, bridge, false).map(Output::lines),
        C::ListIfaces { bridge } => ports::list(draft, bridge, true).map(Output::lines),
        C::PortToBr { port } => line(ports::to_bridge(draft, port)),
        C::IfaceToBr { iface } => line(ports::interface_to_bridge(draft, iface)),
        other => Err(misplaced(other)),
    }
}

fn on_targets(draft: &mut Draft<'_>, command: &C) -> Done {
    match command {
        C::SetController {
            bridge,
            targets: to,
            inactivity_probe,
        } => done(targets::set_controllers(
            draft,
            bridge,
            to,
            *inactivity_probe,
        )),
        C::DelController { bridge } => done(targets::set_controllers(draft, bridge, &[], None)),
        C::GetController { bridge } => targets::controllers(draft, bridge).map(Output::lines),
        C::GetFailMode { bridge } => targets::fail_mode(draft, bridge).map(|mode| Output::Text {
            text: mode.iter().map(|m| format!("{m}\n")).collect(),
            json: json!(mode),
        }),
        C::SetFailMode { bridge, mode } => done(targets::set_fail_mode(draft, bridge, Some(mode))),
        C::DelFailMode { bridge } => done(targets::set_fail_mode(draft, bridge, None)),
        C::SetManager {
            targets: to,
            inactivity_probe,
        } => done(targets::set_managers(draft, to, *inactivity_probe)),
        C::DelManager => done(targets::set_managers(draft, &[], None)),
        C::GetManager => targets::managers(draft).map(Output::lines),
        C::SetSsl {
            private_key,
            certificate,
            ca_cert,
            bootstrap,
        } => done(targets::set_tls(
            draft,
            Some(&Tls {
                private_key,
                certificate,
                ca_cert,
                bootstrap: *bootstrap,
            }),
        )),
        C::DelSsl => done(targets::set_tls(draft, None)),
        C::GetSsl => targets::tls(draft).map(Output::lines),
        C::AddAaMapping {
            bridge,
            i_sid,
            vlan,
        } => done(zones::set_mapping(draft, bridge, (*i_sid, *vlan), true)),
        C::DelAaMapping {
            bridge,
            i_sid,
            vlan,
        } => done(zones::set_mapping(draft, bridge, (*i_sid, *vlan), false)),
        C::GetAaMapping { bridge } => zones::mappings(draft, bridge).map(Output::lines),
        C::AddZoneTp {
            datapath,
            zone,
            policies,
            may_exist,
        } => done(zones::set_timeouts(
            draft, datapath, zone, policies, *may_exist,
        )),
        C::DelZoneTp {
            datapath,
            zone,
            if_exists,
        } => done(zones::delete_timeouts(draft, datapath, zone, *if_exists)),
        C::ListZoneTp { datapath } => zones::timeouts(draft, datapath).map(Output::lines),
        C::ListDpCap { datapath } => line(zones::capabilities(draft, datapath)),
        other => Err(misplaced(other)),
    }
}

fn on_rows(draft: &mut Draft<'_>, command: &C) -> Done {
    match command {
        C::Get {
            table,
            record,
            columns,
            if_exists,
            id,
        } => {
            let values = records::get(draft, table, record, columns, *if_exists, id.as_deref())?;
            Ok(Output::Text {
                text: values.iter().map(|v| format!("{}\n", v.text)).collect(),
                json: values.into_iter().map(|v| v.json).collect(),
            })
        }
        C::Set {
            table,
            record,
            settings,
            if_exists,
        } => done(records::set(draft, table, record, settings, *if_exists)),
        C::Add {
            table,
            record,
            column,
            values,
            if_exists,
        }
        | C::Remove {
            table,
            record,
            column,
            values,
            if_exists,
        } => {
            let values = Values {
                table,
                record,
                column,
                values,
                if_exists: *if_exists,
            };
            let add = matches!(command, C::Add { .. });
            done(records::add_remove(draft, &values, add))
        }
        C::Clear {
            table,
            record,
            columns,
            if_exists,
        } => done(records::clear(draft, table, record, columns, *if_exists)),
        C::List {
            table,
            records: wanted,
            options,
            if_exists,
        } => records::list(draft, table, wanted, &options.columns, *if_exists).map(Output::Table),
        C::Find {
            table,
            conditions,
            options,
        } => records::find(draft, table, conditions, &options.columns).map(Output::Table),
        C::Create {
            table,
            settings,
            id,
        } => records::create(draft, table, settings, id.as_deref()).map(Output::Created),
        C::Destroy {
            table,
            records: wanted,
            all,
            if_exists,
        } => done(records::destroy(draft, table, wanted, *all, *if_exists)),
        other => Err(misplaced(other)),
    }
}

/// [`run`] hands every command to the function of its kind.
fn misplaced(command: &C) -> Failure {
    Failure::Usage(format!("{command:?} can't be part of a transaction"))
}
