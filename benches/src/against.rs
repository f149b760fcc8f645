//! Another commit of this repository, built beside the present one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

use crate::contender::{Contender, Kind};
use crate::lab::output;

/// How the other one's name ends.
pub const OTHER: &str = "(other)";

/// Builds a commit in a tree of its own, on the run's own `/run` so that nothing of it stays, and this tree too, the same way.
/// Before the run's network is cut off: cargo may have to fetch what the other commit needs.
pub fn build(revision: &str) -> Result<[Contender; 2]> {
    let top = output("git rev-parse --show-toplevel")
        .context("--against needs the repository: run it there")?;
    let top = Path::new(top.trim());
    let commit = git(
        top,
        &[
            "rev-parse",
            "--short",
            "--verify",
            &format!("{revision}^{{commit}}"),
        ],
    )
    .with_context(|| format!("no commit {revision}"))?;
    let tree = Path::new("/run/other");
    std::fs::create_dir_all(tree)?;
    git(
        top,
        &["archive", "--format=tar", "-o", "/run/other.tar", &commit],
    )?;
    output("tar -x -f /run/other.tar -C /run/other && rm /run/other.tar")?;
    eprintln!("building {commit} ...");
    cargo(tree, &tree.join("target"))?;
    let here = Contender::here(Kind::Rvswitch)?;
    let target = here
        .programs
        .parent()
        .context("this program is not in a target directory")?;
    eprintln!("building this tree ...");
    cargo(top, target)?;
    let name = |n: String| format!("rvswitch {n}");
    let other = Contender {
        name: name(format!("{commit} {OTHER}")),
        programs: tree.join("target/release"),
        ..here.clone()
    };
    let head = git(top, &["describe", "--always", "--dirty"])?;
    let this = Contender {
        name: name(head),
        programs: target.join("release"),
        ..here
    };
    Ok([this, other])
}

fn git(top: &Path, arguments: &[&str]) -> Result<String> {
    // The owner of the tree may be another than root.
    let out = Command::new("git")
        .args(["-c", "safe.directory=*", "-C"])
        .arg(top)
        .args(arguments)
        .output()
        .context("git")?;
    if !out.status.success() {
        bail!("git: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

fn cargo(tree: &Path, target: &Path) -> Result<()> {
    let target: PathBuf = target.to_owned();
    let built = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "-p",
            "rvswitchd",
            "-p",
            "rvs-ctl",
        ])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null())
        .status()
        .context("cargo")?;
    if !built.success() {
        bail!("{} can't be built", tree.display());
    }
    Ok(())
}
