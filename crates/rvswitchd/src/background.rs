//! The daemon in the background, and started again when it crashes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::args::{self, Args};
use crate::logging;

/// Printed on standard output once everything of the database is up.
pub const READY: &str = "rvswitchd: ready";
/// Tells the process in the background what it is.
const IN_BACKGROUND: &str = "--in-background";
/// A daemon that crashed sooner after its start than this is started again only after this long.
const PAUSE: Duration = Duration::from_secs(10);

/// The file of this program. An upgrade may have replaced it since the start; what runs is still there by another name.
fn program() -> PathBuf {
    match std::env::current_exe() {
        Ok(path) if path.exists() => path,
        _ => PathBuf::from("/proc/self/exe"),
    }
}

/// This program with the arguments that it was given, less some.
fn again(without: &[&str]) -> Command {
    let mut command = Command::new(program());
    // The name by which it was called says what it is to be.
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command.args(
        std::env::args_os()
            .skip(1)
            .filter(|a| !without.iter().any(|w| a == w)),
    );
    command
}

/// Starts the daemon anew in the background and waits until it is ready, or says why it is not.
pub fn detach(args: &Args) -> ExitCode {
    let mut command = again(&["--detach"]);
    if !args.no_chdir {
        command.current_dir("/");
    }
    let child = command
        .arg(IN_BACKGROUND)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(e) => {
            eprintln!("rvswitchd: can't start in the background: {e}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(line) = child.stdout.take().and_then(announcement) {
        if !args::is_stock() {
            print!("{line}");
        }
        return ExitCode::SUCCESS;
    }
    let _ = child.wait();
    ExitCode::FAILURE
}

/// Waits until the daemon that writes to `out` is ready, and returns its line. An end without that line means that it gave
/// up; it has said why on standard error.
fn announcement(out: ChildStdout) -> Option<String> {
    let mut line = String::new();
    let _ = BufReader::new(out).read_line(&mut line);
    line.starts_with(READY).then_some(line)
}

fn is_in_background() -> bool {
    std::env::args_os().any(|a| a == IN_BACKGROUND)
}

/// A daemon in the background that goes by the other one's name, and its monitor, leave the terminal alone once it is up, as
/// that one does.
pub fn let_go_of_the_terminal() {
    if !args::is_stock() || !is_in_background() {
        return;
    }
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        // The log has its file; what fails here costs nothing.
        let _ = nix::unistd::dup2_stdout(&null);
        let _ = nix::unistd::dup2_stderr(&null);
        let _ = logging::set(logging::Place::Console, None, None);
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
        let status = match again_and_wait() {
            Ok(status) => status,
            Err(e) => {
                tracing::error!("can't start the daemon: {e}");
                return ExitCode::FAILURE;
            }
        };
        let crashed = CRASHES.iter().find(|s| status.signal() == Some(**s as i32));
        let Some(signal) = crashed else {
            let code = status.code().unwrap_or(0);
            return ExitCode::from(u8::try_from(code).unwrap_or(1));
        };
        tracing::error!("the daemon crashed ({signal}) and is started again");
        if started.elapsed() < PAUSE {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Starts the daemon and waits for its end. In the background it is waited for, too, until it is ready: who started the
/// monitor is told, and its terminal let go of.
fn again_and_wait() -> std::io::Result<ExitStatus> {
    let mut command = again(&["--monitor"]);
    if is_in_background() {
        command.stdout(Stdio::piped());
    }
    let mut child: Child = command.spawn()?;
    if let Some(line) = child.stdout.take().and_then(announcement) {
        // Whoever waited may be gone.
        let mut out = std::io::stdout();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        let_go_of_the_terminal();
    }
    child.wait()
}
