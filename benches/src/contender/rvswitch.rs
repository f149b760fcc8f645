//! rvswitch, of this build or another.

use anyhow::{Context, Result};

use super::{Contender, Running, RED};
use crate::lab::{sh, wait_until};

impl Running {
    pub(super) fn rvswitch(&mut self, contender: &Contender, kernel_cache: &str) -> Result<()> {
        let dir = self.dir().to_owned();
        let d = dir.to_str().context("the directory's path is not text")?;
        let database = format!("{d}/conf.db");
        let program = contender.daemon();
        let program = program.to_str().context("the program's path is not text")?;
        self.cleanup = "ip link del br0; true";
        let arguments = ["--bridge", "br0", "--rundir", d, "--db", &database];
        self.daemon("rvswitchd", program, &arguments)?;
        self.wait_file("db.sock")?;
        let ctl = contender.programs.join("rvs-ctl");
        let green = RED + 1;
        sh(&format!(
            "{} --rundir {d} set open . other_config:kernel-cache={kernel_cache} -- add-port br0 v-red -- set interface v-red ofport_request={RED} \
             -- add-port br0 v-green -- set interface v-green ofport_request={green}",
            ctl.display()
        ))?;
        wait_until("start of the bridge's OpenFlow service", || {
            dir.join("br0.mgmt").exists()
        })
    }
}
