//! The switch as the client of a database that another process serves.
//!
//! The rest of the switch sees no difference: [`Switch::database`](crate::Switch::database) is the replica, and status
//! columns go to the server instead of the journal. What the switch itself wrote comes back as a change and is told from
//! wishes by its columns.

use rvs_ovsdb::client::{Follower, FollowerEvent};
use rvs_ovsdb::database::Database;
use rvs_ovsdb::server::Server;

use crate::ports::Touched;
use crate::status::{self, RowStatus};
use crate::switch::{Rim, Switch, DATABASE};

/// The configuration: another server's, or this one's.
pub(crate) fn database<'a>(server: &'a Server, remote: Option<&'a Follower>) -> &'a Database {
    match remote {
        Some(remote) => remote.database(),
        None => server
            .database(DATABASE)
            .expect("invariant: without a remote database this one is served from the start"),
    }
}

impl<R: Rim> Switch<R> {
    /// What the server says whose client the switch is.
    pub(crate) fn heard(&mut self, event: FollowerEvent) {
        match event {
            FollowerEvent::Changed(delta) => {
                // The server has just been initialized.
                let is_new = delta.table("Open_vSwitch").any(|c| c.before().is_none());
                if is_new {
                    return self.take_anew();
                }
                let asked = delta.without(status::is_written);
                if !asked.is_empty() {
                    self.database_changed(&asked);
                }
            }
            FollowerEvent::Whole => self.take_anew(),
            FollowerEvent::Waiting => tracing::info!(
                "another daemon has the lock of the database: waiting until it is given up"
            ),
            FollowerEvent::Refused(why) => {
                tracing::warn!("the database server refused to write a row: {why}");
            }
        }
    }

    /// Rows may have come and gone unseen: everything that there is gets compared with what is wanted.
    fn take_anew(&mut self) {
        let mut touched = Touched::default();
        touched.add_all(self.topology());
        let whole = self.database().snapshot();
        self.go_to(&whole, touched);
        if let Some(root) = self.root() {
            let mut rows = vec![status::identity(
                root,
                env!("CARGO_PKG_VERSION"),
                self.rim.dummies(),
            )];
            let ifaces = self.topology().bridges().flat_map(|b| b.ifaces());
            rows.extend(ifaces.map(|(_, i)| status::interface(i)));
            rows.extend(self.topology().bridges().map(status::bridge));
            let rows: Vec<RowStatus> = rows;
            self.write_status(&rows);
        }
    }
}
