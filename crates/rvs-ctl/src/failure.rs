//! How a command ends when it does not succeed: one line that says what, why and what to do, and an exit code.

use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request makes sense and was refused.
    #[error("{0}")]
    Refused(String),
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    #[error("timed out: {0}")]
    TimedOut(String),
    /// Nothing went wrong; the exit code is the answer to the question.
    #[error("the answer is no")]
    Answer(u8),
}

impl Failure {
    /// 1 refused, 2 bad usage, 124 timed out, or the answer.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::TimedOut(_) => 124,
            Self::Answer(code) => *code,
        })
    }

    pub fn not_running(path: &Path, why: &io::Error) -> Self {
        if why.kind() == io::ErrorKind::PermissionDenied {
            return Self::Refused(format!(
                "{} is not for this user to open; run rvs-ctl as root",
                path.display()
            ));
        }
        Self::Refused(format!(
            "rvswitchd is not running (nobody answers at {}); start it, or name its run directory with --rundir",
            path.display()
        ))
    }

    /// Nobody listens on a socket that the command line named.
    pub fn no_switch(path: &Path, why: &io::Error) -> Self {
        Self::Refused(format!("cannot connect to {}: {why}", path.display()))
    }

    pub fn io(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Self::TimedOut("the daemon did not answer in time (see --timeout)".to_owned())
            }
            _ => Self::Refused(format!("talking to the daemon: {e}")),
        }
    }
}
