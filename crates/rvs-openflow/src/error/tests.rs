use super::*;

#[test]
fn numbers_of_well_known_errors() {
    let numbers = |e: ErrorCode, v| {
        let m = ErrorMessage::new(e, v, &[]);
        (m.vendor, m.kind, m.code)
    };
    use ErrorCode as E;
    assert_eq!(numbers(E::BrcBadLen, Version::Of10), (0, 1, 6));
    assert_eq!(numbers(E::FmfcTableFull, Version::Of10), (0, 3, 0));
    assert_eq!(numbers(E::FmfcTableFull, Version::Of13), (0, 5, 1));
    assert_eq!(numbers(E::BmcBadPrereq, Version::Of10), (NICIRA, 1, 260));
    assert_eq!(numbers(E::BmcBadPrereq, Version::Of13), (0, 4, 9));
    assert_eq!(numbers(E::BfcBadId, Version::Of13), (ONF, 2302, 0));
    assert_eq!(numbers(E::BfcBadId, Version::Of14), (0, 17, 2));
    assert_eq!(numbers(E::NxrStale, Version::Of15), (NICIRA, 35, 0));
}

#[test]
fn what_is_sent_is_read_as_the_same_or_its_namesake() {
    for version in Version::ALL {
        for &e in ErrorCode::ALL.iter().filter(|e| e.exists_in(version)) {
            let sent = ErrorMessage::new(e, version, b"data");
            let mut w = Writer::default();
            sent.encode(&mut w, version);
            let bytes = w.finish_body();
            let mut r = Reader::new(&bytes, ErrorCode::BrcBadLen);
            let got = ErrorMessage::decode(&mut r, version.wire()).unwrap();
            assert_eq!(got, sent);
            let read = got.known(version).unwrap();
            let alias = ErrorMessage::new(read, version, b"data");
            assert_eq!(alias, sent, "{e} read as {read} in {version}");
        }
    }
}

#[test]
fn an_error_that_a_version_lacks_becomes_the_nearest() {
    let sent = |e, v| ErrorMessage::new(e, v, &[]).known(v);
    use ErrorCode as E;
    assert_eq!(
        sent(E::FmfcBadTimeout, Version::Of10),
        Some(E::FmfcUnsupported)
    );
    assert_eq!(
        sent(E::MmfcUnknownMeter, Version::Of10),
        Some(E::NxbrcUnencodableError)
    );
    assert_eq!(sent(E::BacBadMeter, Version::Of13), Some(E::BacBadArgument));
}

#[test]
fn a_reply_carries_xid_and_what_was_refused() {
    let mut request = vec![4, 14, 0, 100, 0, 0, 0, 77];
    request.resize(100, 0xee);
    let reply = ErrorCode::BrcBadLen
        .because("")
        .reply(Version::Of13, &request);
    assert_eq!(reply[12..], request);
    request.resize(1100, 0xee);
    let reply = ErrorCode::BrcBadLen
        .because("too short")
        .reply(Version::Of13, &request);
    assert_eq!(reply[..12], [4, 1, 4, 12, 0, 0, 0, 77, 0, 1, 0, 6]);
    assert_eq!(reply[12..], request[..1024]);
}

#[test]
fn a_wrong_version_is_refused_in_that_version() {
    let request = [2, 5, 0, 8, 0, 0, 0, 9];
    let error = ErrorCode::BrcBadVersion.because("1.0 was agreed");
    assert_eq!(error.reply(Version::Of10, &request)[0], 2);
    let unknown = [99, 5, 0, 8, 0, 0, 0, 9];
    assert_eq!(error.reply(Version::Of10, &unknown)[0], 1);
}

/// `ovs-ofctl print-error` says for a name what each version calls it.
#[test]
fn numbers_agree_with_ovs_ofctl() {
    for e in ErrorCode::ALL {
        let Ok(out) = std::process::Command::new("ovs-ofctl")
            .args(["print-error", e.name()])
            .output()
        else {
            eprintln!("SKIPPED: ovs-ofctl is not installed");
            return;
        };
        let text = String::from_utf8(out.stdout).unwrap();
        for (i, version) in Version::ALL.into_iter().enumerate() {
            let line = text
                .lines()
                .find_map(|l| l.strip_prefix(&format!("OpenFlow 1.{i}: ")));
            let want = e.code(version).map(|c| {
                let vendor = match c.vendor {
                    0 => "0".to_owned(),
                    v => format!("{v:#x}"),
                };
                // From 1.2 on, what Nicira and ONF add has a type alone.
                let code = if c.vendor != 0 && version >= Version::Of12 {
                    0
                } else {
                    c.code
                };
                format!("vendor {vendor}, type {}, code {code}", c.kind)
            });
            assert_eq!(line, want.as_deref(), "{e} in {version}");
        }
    }
}
