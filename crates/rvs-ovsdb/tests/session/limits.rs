//! At each limit and one past it, and what hostile clients can do.

use super::*;

// Limits: at the limit and one past it.

#[test]
fn sessions_are_limited() {
    let mut server = server_with(Limits {
        sessions: 2,
        ..Limits::default()
    });
    let first = connect(&mut server);
    connect(&mut server);
    assert!(server.connect(Now(0), 0).is_err());
    server.disconnect(first);
    assert!(server.connect(Now(0), 0).is_ok());
}

#[test]
fn monitors_locks_and_waits_are_limited() {
    let mut server = server_with(Limits {
        monitors: 2,
        locks: 2,
        parked: 2,
        ..Limits::default()
    });
    let session = connect(&mut server);
    for n in 0..2 {
        result(
            &mut server,
            session,
            "monitor",
            json!(["Open_vSwitch", n, {}]),
        );
        result(&mut server, session, "lock", json!([format!("L{n}")]));
        let wait = json!({"id": n, "method": "transact", "params": wait_for("x", Value::Null)});
        assert!(send(&mut server, session, &wait, Now(0)).is_empty());
    }
    let exhausted = "resources exhausted";
    assert_eq!(
        error(
            &mut server,
            session,
            "monitor",
            json!(["Open_vSwitch", 3, {}])
        ),
        exhausted
    );
    assert_eq!(
        error(&mut server, session, "lock", json!(["L3"])),
        exhausted
    );
    assert_eq!(
        error(&mut server, session, "transact", wait_for("x", Value::Null)),
        exhausted
    );
}

#[test]
fn operations_are_limited() {
    let mut server = server();
    let session = connect(&mut server);
    let mut params = vec![json!("Open_vSwitch")];
    params.extend((0..10_000).map(|_| json!({"op": "comment", "comment": ""})));
    let results = result(
        &mut server,
        session,
        "transact",
        Value::from(params.clone()),
    );
    assert_eq!(results.as_array().unwrap().len(), 10_000);
    params.push(json!({"op": "comment", "comment": ""}));
    assert_eq!(
        error(&mut server, session, "transact", Value::from(params)),
        "resources exhausted"
    );
}

#[test]
fn results_are_limited() {
    let mut server = server_with(Limits {
        results: 100_000,
        ..Limits::default()
    });
    let session = connect(&mut server);
    result(
        &mut server,
        session,
        "transact",
        set_key(&"x".repeat(40_000)),
    );
    let select = |count: usize| {
        let mut params = vec![json!("Open_vSwitch")];
        let select = json!({"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["external_ids"]});
        params.extend(vec![select; count]);
        Value::from(params)
    };
    let results = result(&mut server, session, "transact", select(2));
    assert!(results[1]["rows"].is_array());
    let results = result(&mut server, session, "transact", select(5));
    assert_eq!(results[2]["error"], "resources exhausted");
}

#[test]
fn a_monitor_that_does_not_read_is_dropped() {
    let mut server = server_with(Limits {
        backlog: 100_000,
        ..Limits::default()
    });
    let (deaf, client) = (connect(&mut server), connect(&mut server));
    let params = json!(["Open_vSwitch", "m", {"Open_vSwitch": {}}]);
    let monitor = json!({"id": 1, "method": "monitor", "params": params});
    server.input(deaf, monitor.to_string().as_bytes(), Now(0));
    let mut commits = 0;
    while server.session_count() == 2 {
        result(
            &mut server,
            client,
            "transact",
            set_key(&format!("{commits}{}", "x".repeat(1_000))),
        );
        commits += 1;
        assert!(commits < 200, "the backlog is not bounded");
    }
    assert!(commits > 30);
    let closed = |event: &Event| matches!(event, Event::Closed { session, reason: CloseReason::Backlog(_) } if *session == deaf);
    assert!(events(&mut server).iter().any(closed));
    assert!(server.output(deaf).is_empty());
    result(&mut server, client, "transact", set_key("still served"));
}

#[test]
fn requests_wait_while_replies_pile_up() {
    let mut server = server_with(Limits {
        pause: 10_000,
        ..Limits::default()
    });
    let session = connect(&mut server);
    let echo = json!({"id": 1, "method": "echo", "params": ["x".repeat(1_000)]}).to_string();
    for _ in 0..100 {
        server.input(session, echo.as_bytes(), Now(0));
    }
    assert!(!server.wants_input(session));
    assert!(server.output(session).len() < 12_000);
    let mut replies = 0;
    while !server.output(session).is_empty() {
        replies += take(&mut server, session, Now(0)).len();
    }
    assert_eq!(replies, 100);
    assert!(server.wants_input(session));
}

#[test]
fn silent_clients_are_probed_then_dropped() {
    let mut server = server();
    let session = server.connect(Now(0), 5 * SECOND).unwrap();
    assert_eq!(server.next_deadline(), Some(Now(5 * SECOND)));
    server.tick(Now(5 * SECOND));
    let probe = take(&mut server, session, Now(5 * SECOND)).remove(0);
    assert_eq!(
        (&probe["method"], &probe["id"]),
        (&json!("echo"), &json!("echo"))
    );
    // An answer, and silence again.
    let answer = json!({"id": "echo", "result": [], "error": null});
    assert!(send(&mut server, session, &answer, Now(6 * SECOND)).is_empty());
    assert_eq!(server.next_deadline(), Some(Now(11 * SECOND)));
    server.tick(Now(11 * SECOND));
    server.tick(Now(16 * SECOND));
    let silent = |event: &Event| {
        matches!(
            event,
            Event::Closed {
                reason: CloseReason::Silent,
                ..
            }
        )
    };
    assert!(events(&mut server).iter().any(silent));
    assert_eq!(server.session_count(), 0);
}

#[test]
fn malformed_streams_end_the_session_and_nothing_else() {
    for bytes in [
        "garbage".to_owned(),
        "[]".to_owned(),
        "{\"result\":1}".to_owned(),
        "{\"id\":1,\"method\":\"echo\",\"params\":{}}".to_owned(),
        format!("{{\"a\":{}", "[".repeat(100)),
        format!("{{\"a\":{}", "{\"b\":".repeat(100)),
        "{\"\u{0}\":1}".to_owned(),
        "{]".to_owned(),
    ] {
        let mut server = server();
        let (good, bad) = (connect(&mut server), connect(&mut server));
        server.input(bad, bytes.as_bytes(), Now(0));
        let protocol = |event: &Event| matches!(event, Event::Closed { session, reason: CloseReason::Protocol(_) } if *session == bad);
        assert!(events(&mut server).iter().any(protocol), "{bytes}");
        // What still arrives for it is ignored.
        server.input(bad, b"{\"id\":1,\"method\":\"echo\",\"params\":[]}", Now(0));
        assert!(server.output(bad).is_empty());
        assert_eq!(result(&mut server, good, "echo", json!([])), json!([]));
    }
}

#[test]
fn a_string_with_nul_is_refused() {
    let mut server = server();
    let session = connect(&mut server);
    let results = result(&mut server, session, "transact", set_key("a\0b"));
    assert_eq!(results[0]["error"], "syntax error");
    let comment = json!(["Open_vSwitch", {"op": "comment", "comment": "a\0b"}]);
    assert_eq!(
        result(&mut server, session, "transact", comment)[0]["error"],
        "syntax error"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// F9: bytes of any kind, and legal conversations with some bytes changed: no panic, no hang, and
    /// other clients are served.
    #[test]
    fn hostile_bytes_hurt_only_their_session(
        seed in any::<u64>(),
        noise in prop::collection::vec(any::<u8>(), 0..40),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        chunk in 1..200_usize,
    ) {
        let mut random = script::Random(seed);
        let mut conversation = Vec::new();
        for n in 0..6 {
            let (method, params) = match random.below(5) {
                0 => ("monitor", json!(["Open_vSwitch", n, {"Bridge": {}, "Port": [{"columns": ["name"]}]}])),
                1 => ("monitor_cond", json!(["Open_vSwitch", n, {"QoS": [{"where": [["type", "==", "a"]]}]}])),
                2 => ("lock", json!(["L"])),
                _ => ("transact", Value::from(script::transaction(&mut random))),
            };
            let request = json!({"id": n, "method": method, "params": params});
            conversation.extend(request.to_string().into_bytes());
        }
        conversation.extend(noise);
        for (at, byte) in edits {
            let at = at.index(conversation.len());
            conversation[at] = byte;
        }
        let mut server = server();
        let (hostile, good) = (connect(&mut server), connect(&mut server));
        for bytes in conversation.chunks(chunk) {
            server.input(hostile, bytes, Now(0));
        }
        server.tick(Now(SECOND));
        prop_assert_eq!(result(&mut server, good, "echo", json!([1])), json!([1]));
        let params = set_key("good");
        prop_assert_eq!(&result(&mut server, good, "transact", params)[0]["count"].is_u64(), &true);
    }
}
