//! The database on disk: damaged, cut, or on a disk that is full.

use rvs_tests::{eventually, Daemon, Lab};

use crate::hosts::red_and_green;

/// The daemon does not start, says in one line which file and what to do, and leaves the file as it is.
fn refused(lab: &Lab, content: &[u8]) {
    let path = lab.path("switch.db");
    std::fs::write(&path, content).unwrap();
    let mut process = Daemon::launch(lab, "switch", "--bridge br1");
    assert_eq!(process.wait(), 1, "{}", process.err());
    let said = process.err();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains(&path.display().to_string()) && said.contains("move it away"),
        "{said}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(lab.devices(), ["lo"]);
}

pub fn garbage_database(lab: &Lab) {
    refused(lab, b"this is no database\n");
    refused(lab, &[0; 4096]);
    refused(
        lab,
        b"OVSDB JSON 2 0000000000000000000000000000000000000000\n{}\n",
    );
    refused(
        lab,
        b"OVSDB JSON 99999999999999999999 bf21a9e8fbc5a3846fb05b4fa0859e0917b2202f\n{}\n",
    );
    refused(
        lab,
        b"OVSDB CLUSTER 3 c1dfbb7f7a6b3d3e1f0c1d2e3f4a5b6c7d8e9f00\n{}\n",
    );
    // With the file out of the way it starts.
    std::fs::remove_file(lab.path("switch.db")).unwrap();
    let switch = Daemon::start(lab, "--bridge br1");
    assert_eq!(switch.ctl("list-br"), "br1\n");
}

/// A record that a crash cut in the middle is left out; everything before it is there.
pub fn torn_database(lab: &Lab) {
    let mut switch = red_and_green(lab, "br1");
    switch.expects(&["of the database are damaged"]);
    lab.ping("red", "10.0.0.2");
    switch.kill9();
    let whole = std::fs::read(switch.database()).unwrap();
    for (cut, tail) in [(0, &b"OVSDB JSON 500 0123"[..]), (0, b"\0\0\0\0"), (7, b"")] {
        let mut torn = whole[..whole.len() - cut].to_vec();
        torn.extend_from_slice(tail);
        std::fs::write(switch.database(), &torn).unwrap();
        switch.again();
        eventually("it says what it left out", || switch.log().contains("WARN"));
        if cut == 0 {
            lab.ping("red", "10.0.0.2");
        }
        assert!(switch.ctl("list-br").contains("br1"));
        switch.ctl("add-br br7");
        switch.kill9();
        switch.again();
        switch.ctl("br-exists br7");
        switch.ctl("del-br br7");
        switch.kill9();
    }
    // Stock tools read what we wrote.
    lab.sh(&format!("ovsdb-tool query {} '[\"Open_vSwitch\",{{\"op\":\"select\",\"table\":\"Bridge\",\"where\":[]}}]' >/dev/null", switch.database().display()));
}

pub fn full_disk(lab: &Lab) {
    lab.sh("mkdir small; mount -t tmpfs -o size=256k none small");
    let db = lab.path("small/conf.db");
    // Everything but the database has room.
    let mut switch = Daemon::start(lab, &format!("--bridge br1 --db {}", db.display()));
    lab.sh("dd if=/dev/zero of=small/filler bs=1k count=1000 2>/dev/null || true");
    // Longer than what is left of the file's last page.
    let long = "x".repeat(8192);
    switch.refuses(
        &format!("add-br br2 -- set bridge br2 external-ids:long={long}"),
        1,
        &["No space left on device"],
    );
    assert!(lab.link("br2").is_none());
    switch.refuses(
        &format!("set port br1 tag=5 external-ids:long={long}"),
        1,
        &["No space left on device"],
    );
    // Room again: no restart is needed, and what was refused is not half there.
    lab.sh("rm small/filler");
    switch.ctl(&format!(
        "add-br br3 -- set bridge br3 external-ids:long={long}"
    ));
    switch.kill9();
    switch.again();
    assert_eq!(switch.ctl("list-br"), "br1\nbr3\n");
    assert_eq!(switch.ctl("get port br1 tag").trim(), "[]");
    // Full from the start.
    switch.kill9();
    lab.sh(
        "dd if=/dev/zero of=small/filler bs=1k count=1000 2>/dev/null || true; rm small/conf.db",
    );
    lab.sh("dd if=/dev/zero of=small/filler2 bs=1k count=1000 2>/dev/null || true");
    let mut process = Daemon::launch(
        lab,
        "switch",
        &format!("--bridge br1 --db {}", db.display()),
    );
    assert_eq!(process.wait(), 1, "{}", process.err());
    assert!(process.err().contains("No space left"), "{}", process.err());
}
