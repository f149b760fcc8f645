//! The daemon in the background, and started again when it crashes.

use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::args::{self, Args};

/// Printed on standard output once everything of the database is up.
pub const READY: &str = "rvswitchd: ready";
/// Tells the process in the background what it is.
const IN_BACKGROUND: &str = "--in-background";
/// A daemon that crashed sooner after its start than this is started again only after this long.
const PAUSE: Duration = Duration::from_secs(10);

/// This program with the arguments that it was given, less some.
fn again(without: &[&str]) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    // The name by which it was called says what it is to be.
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command.args(
        std::env::args_os()
            .skip(1)
            .filter(|a| !without.iter().any(|w| a == w)),
    );
    Ok(command)
}

/// Starts the daemon anew in the background and waits until it is ready, or says why it is not.
pub fn detach(args: &Args) -> ExitCode {
    let child = again(&["--detach"]).and_then(|mut command| {
        if !args.no_chdir {
            command.current_dir("/");
        }
        command
            .arg(IN_BACKGROUND)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
    });
    let mut child = match child {
        Ok(child) => child,
        Err(e) => {
            eprintln!("rvswitchd: can't start in the background: {e}");
            return ExitCode::FAILURE;
        }
    };
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        // An end without a line means that the daemon gave up; it has said why on standard error.
        let _ = BufReader::new(out).read_line(&mut line);
    }
    if line.starts_with(READY) {
        if !args::is_stock() {
            print!("{line}");
        }
        return ExitCode::SUCCESS;
    }
    let _ = child.wait();
    ExitCode::FAILURE
}

/// A daemon in the background that goes by the other one's name leaves the terminal alone once it is up, as that one does.
pub fn let_go_of_the_terminal() {
    let mut arguments = std::env::args_os();
    if !args::is_stock() || !arguments.any(|a| a == IN_BACKGROUND) {
        return;
    }
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        // The log has its file; what fails here costs nothing.
        let _ = nix::unistd::dup2_stdout(&null);
        let _ = nix::unistd::dup2_stderr(&null);
    }
}

/// Starts the daemon, and starts it again as often as a crash ends it. Asked to end it ends, whoever asked.
pub fn monitor() -> ExitCode {
    use nix::sys::signal::Signal::{
        SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGXCPU,
    };
    const CRASHES: [nix::sys::signal::Signal; 8] = [
        SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGXCPU,
    ];
    loop {
        let started = Instant::now();
        let child = again(&["--monitor"]).and_then(|mut c| c.spawn());
        let status = match child.and_then(|mut c: Child| c.wait()) {
            Ok(status) => status,
            Err(e) => {
                eprintln!("rvswitchd: can't start the daemon: {e}");
                return ExitCode::FAILURE;
            }
        };
        let crashed = CRASHES.iter().find(|s| status.signal() == Some(**s as i32));
        let Some(signal) = crashed else {
            let code = status.code().unwrap_or(0);
            return ExitCode::from(u8::try_from(code).unwrap_or(1));
        };
        eprintln!("rvswitchd: it crashed ({signal}) and is started again");
        if started.elapsed() < PAUSE {
            std::thread::sleep(PAUSE);
        }
    }
}
