//! Open vSwitch, its daemons started from nothing.

use anyhow::Result;

use super::{Kind, Running, RED};
use crate::lab::sh;

impl Running {
    pub(super) fn ovs(&mut self) -> Result<()> {
        let (kind, dir) = (self.kind, self.dir().to_owned());
        let d = dir.display();
        self.cleanup = "ip link del br0; ip link del ovs-netdev; true";
        sh(&format!(
            "ovsdb-tool create {d}/conf.db /usr/share/openvswitch/vswitch.ovsschema"
        ))?;
        let database = format!("{d}/conf.db");
        let remote = format!("--remote=punix:{d}/db.sock");
        let pidfile = format!("--pidfile={d}/ovsdb-server.pid");
        let control = format!("--unixctl={d}/ovsdb.ctl");
        self.daemon(
            "ovsdb-server",
            "ovsdb-server",
            &[&database, &remote, &pidfile, &control],
        )?;
        self.wait_file("db.sock")?;
        let vsctl = self.vsctl();
        let tso = kind == Kind::OvsTso;
        sh(&format!(
            "{vsctl} --no-wait init -- set open . other_config:userspace-tso-enable={tso}"
        ))?;
        let pidfile = format!("--pidfile={d}/ovs-vswitchd.pid");
        let control = format!("--unixctl={d}/vswitchd.ctl");
        std::env::set_var("OVS_RUNDIR", &dir);
        self.daemon(
            "ovs-vswitchd",
            "ovs-vswitchd",
            &[&format!("unix:{d}/db.sock"), &pidfile, &control],
        )?;
        let datapath = match kind {
            Kind::OvsKernel => "system",
            _ => "netdev",
        };
        let device = match kind {
            Kind::OvsAfxdp => "type=afxdp",
            _ => "type=\\\"\\\"",
        };
        sh(&format!(
            "{vsctl} add-br br0 -- set bridge br0 datapath_type={datapath}"
        ))?;
        // One by one: a port that can't be opened is named.
        for (number, port) in (RED..).zip(["v-red", "v-green"]) {
            sh(&format!(
                "{vsctl} add-port br0 {port} -- set interface {port} {device} ofport_request={number}"
            ))?;
        }
        Ok(())
    }
}
