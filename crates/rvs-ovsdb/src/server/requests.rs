//! The methods other than `transact`.

use std::result::Result as StdResult;
use std::sync::Arc;

use serde_json::{json, Value};

use super::monitor::{Form, Monitor, Spec};
use super::session::Answer;
use super::{Server, SessionId};
use crate::database::Delta;
use crate::error::{kind, OvsdbError, Result};
use crate::parser::id;
use crate::uuid::Uuid;

impl Server {
    /// Answers a request with a result or a JSON-RPC error.
    pub(super) fn request(
        &mut self,
        session: SessionId,
        method: &str,
        params: Vec<Value>,
    ) -> StdResult<Answer, Value> {
        let form = match method {
            "monitor" => Some(Form::Update),
            "monitor_cond" => Some(Form::Update2),
            "monitor_cond_since" => Some(Form::Update3),
            _ => None,
        };
        if let Some(form) = form {
            let answer = self.monitor(session, form, method, params);
            return answer.map(Answer::Text).map_err(|error| error.to_json());
        }
        let answer = match method {
            "echo" => Ok(Value::Array(params)),
            "list_dbs" => {
                let mut names: Vec<&str> =
                    self.databases.iter().map(|served| &*served.name).collect();
                names.sort_unstable();
                Ok(json!(names))
            }
            "get_schema" => {
                let database = self.database_of(method, &params);
                database.map(|index| self.databases[index].db.schema().to_json())
            }
            "get_server_id" => Ok(json!(self.id.to_string())),
            "set_db_change_aware" => match params.as_slice() {
                // Databases neither come nor go while the server runs, so there is nothing to remember.
                [Value::Bool(_)] => Ok(json!({})),
                _ => {
                    let details = "set_db_change_aware: true or false parameter expected";
                    Err(OvsdbError::syntax(&Value::Array(params), details))
                }
            },
            "monitor_cond_change" => self.monitor_cond_change(session, params),
            "monitor_cancel" => {
                return self.monitor_cancel(session, &params).map(Answer::Json);
            }
            "lock" | "steal" | "unlock" => self.lock(session, method, params),
            _ => return Err(json!("unknown method")),
        };
        answer.map(Answer::Json).map_err(|error| error.to_json())
    }

    /// The database that the first parameter names.
    pub(super) fn database_of(&self, method: &str, params: &[Value]) -> Result<usize> {
        let at = || Value::Array(params.iter().take(3).cloned().collect());
        let Some(name) = params.first().and_then(Value::as_str) else {
            let details = format!("{method} request params must begin with <db-name>");
            return Err(OvsdbError::syntax(&at(), details));
        };
        self.databases
            .iter()
            .position(|served| *served.name == *name)
            .ok_or_else(|| {
                let details = format!("{method} request specifies unknown database {name}");
                OvsdbError::new(kind::UNKNOWN_DATABASE, details).at(&at())
            })
    }

    /// The answer as text.
    fn monitor(
        &mut self,
        session: SessionId,
        form: Form,
        method: &str,
        params: Vec<Value>,
    ) -> Result<String> {
        let database = self.database_of(method, &params)?;
        let (id, requests, last) = match (form, params.as_slice()) {
            (Form::Update3, [_, id, requests, last]) => (id, requests, Some(last)),
            (Form::Update | Form::Update2, [_, id, requests]) => (id, requests, None),
            _ => {
                return Err(OvsdbError::syntax(
                    &Value::Array(params),
                    "invalid parameters",
                ))
            }
        };
        let last = match last {
            None => None,
            Some(json) => {
                let uuid = json.as_str().and_then(|text| text.parse::<Uuid>().ok());
                let wrong = || OvsdbError::syntax(json, "last-txn-id must be UUID format.");
                Some(uuid.ok_or_else(wrong)?)
            }
        };
        self.check_new_monitor(session, id)?;
        let served = &self.databases[database];
        let spec = Spec::from_json(database, form, served.db.schema(), requests)?;
        let answer = match last {
            None => spec.initial(&served.db),
            Some(last) => {
                let (found, update) = match self.changes_since(database, last) {
                    Some(delta) => {
                        let update = spec.update(&delta);
                        (
                            true,
                            update.map_or_else(|| "{}".to_owned(), |u| u.to_string()),
                        )
                    }
                    None => (false, spec.initial(&served.db)),
                };
                format!(r#"[{found},"{}",{update}]"#, served.last_txn)
            }
        };
        let monitor = Monitor {
            id: id.clone(),
            spec: self.shared(spec),
        };
        if let Some(session) = self.sessions.get_mut(&session) {
            session.monitors.push(monitor);
        }
        Ok(answer)
    }

    /// The same specification as another monitor already has, if there is one.
    fn shared(&self, spec: Spec) -> Arc<Spec> {
        let mut specs = self
            .sessions
            .values()
            .flat_map(|session| &session.monitors)
            .map(|m| &m.spec);
        specs
            .find(|have| ***have == spec)
            .cloned()
            .unwrap_or_else(|| Arc::new(spec))
    }

    fn check_new_monitor(&self, session: SessionId, id: &Value) -> Result<()> {
        let monitors = self
            .sessions
            .get(&session)
            .map_or(&[][..], |state| &state.monitors);
        if monitors.iter().any(|monitor| monitor.id == *id) {
            return Err(OvsdbError::syntax(id, "duplicate monitor ID"));
        }
        if monitors.len() >= self.limits.monitors {
            let details = format!("a session may have {} monitors", self.limits.monitors);
            return Err(OvsdbError::new(kind::EXHAUSTED, details));
        }
        Ok(())
    }

    /// The net change after the transaction `last`, if it is still remembered.
    fn changes_since(&self, database: usize, last: Uuid) -> Option<Delta> {
        let served = &self.databases[database];
        let after = if last == served.last_txn {
            served.history.len()
        } else {
            served.history.iter().position(|(id, _)| *id == last)? + 1
        };
        let deltas = served.history.iter().skip(after).map(|(_, delta)| &**delta);
        Some(Delta::merged(served.db.schema(), deltas))
    }

    fn monitor_cond_change(&mut self, session: SessionId, params: Vec<Value>) -> Result<Value> {
        let [old_id, new_id, requests] = params.as_slice() else {
            return Err(OvsdbError::syntax(
                &Value::Array(params),
                "invalid parameters",
            ));
        };
        let Some(state) = self.sessions.get_mut(&session) else {
            return Ok(json!({}));
        };
        let position = state
            .monitors
            .iter()
            .position(|monitor| monitor.id == *old_id);
        let unknown = || OvsdbError::syntax(old_id, "unknown monitor session");
        let position = position.ok_or_else(unknown)?;
        if old_id != new_id && state.monitors.iter().any(|monitor| monitor.id == *new_id) {
            return Err(OvsdbError::syntax(new_id, "duplicate monitor ID"));
        }
        let monitor = &mut state.monitors[position];
        let served = &self.databases[monitor.spec.database];
        let update = Arc::make_mut(&mut monitor.spec).change_conditions(&served.db, requests)?;
        monitor.id = new_id.clone();
        if let Some(update) = update {
            let text = monitor.notification(&update.to_string(), served.last_txn);
            state.out.push_text(&text);
        }
        Ok(json!({}))
    }

    fn monitor_cancel(&mut self, session: SessionId, params: &[Value]) -> StdResult<Value, Value> {
        let monitors = self
            .sessions
            .get_mut(&session)
            .map(|state| &mut state.monitors);
        let unknown = || json!("unknown monitor");
        let (Some(monitors), [id]) = (monitors, params) else {
            return Err(unknown());
        };
        let position = monitors
            .iter()
            .position(|monitor| monitor.id == *id)
            .ok_or_else(unknown)?;
        monitors.remove(position);
        Ok(json!({}))
    }

    fn lock(&mut self, session: SessionId, method: &str, params: Vec<Value>) -> Result<Value> {
        let name = match params.as_slice() {
            [json] => id(json).map(str::to_owned),
            _ => None,
        };
        let params = Value::Array(params);
        let Some(name) = name else {
            return Err(OvsdbError::syntax(
                &params,
                format!("{method} request params must be <id>"),
            ));
        };
        let has = self.locks.has(session, &name);
        if method == "unlock" {
            if !has {
                let details = "unlock: \"unlock\" without \"lock\" or \"steal\"";
                return Err(OvsdbError::syntax(&params, details));
            }
            if let Some(owner) = self.locks.unlock(session, &name) {
                self.notify(owner, "locked", vec![Value::from(name)]);
            }
            return Ok(json!({}));
        }
        if has {
            let details = format!("must issue \"unlock\" before new \"{method}\"");
            return Err(OvsdbError::syntax(&params, details));
        }
        if self.locks.count(session) >= self.limits.locks {
            let details = format!("a session may have {} locks", self.limits.locks);
            return Err(OvsdbError::new(kind::EXHAUSTED, details));
        }
        let locked = if method == "steal" {
            if let Some(robbed) = self.locks.steal(session, &name) {
                self.notify(robbed, "stolen", vec![Value::from(name)]);
            }
            true
        } else {
            self.locks.lock(session, &name)
        };
        Ok(json!({ "locked": locked }))
    }
}
