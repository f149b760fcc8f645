//! Figures for Prometheus, scraped as it does.

use std::io::{Read, Write};
use std::net::TcpStream;

use rvs_tests::{eventually, Daemon, Lab};

/// One request to the address as it is; the whole answer.
fn ask(request: &str) -> String {
    let mut stream = TcpStream::connect("127.0.0.1:9475").unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// The value of a sample.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|l| l.strip_prefix(sample));
    let value = line.unwrap_or_else(|| panic!("no {sample} in\n{text}"));
    value.trim().parse().unwrap()
}

pub fn figures_for_prometheus(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1 --metrics 127.0.0.1:9475");
    lab.namespaces(&["red", "green"]);
    lab.host("red", "veth-r", "eth0-r", "10.0.0.1/24");
    lab.host("green", "veth-g", "eth0-g", "10.0.0.2/24");
    switch.ctl("add-port br1 veth-r -- add-port br1 veth-g");
    lab.ping("red", "10.0.0.2");
    let scrape = || ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = scrape();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    let port = "{bridge=\"br1\",port=\"veth-r\",interface=\"veth-r\"}";
    assert!(value(body, &format!("rvswitch_port_rx_packets_total{port}")) > 0.0);
    assert_eq!(value(body, &format!("rvswitch_port_up{port}")), 1.0);
    assert!(value(body, "rvswitch_flows ") > 0.0);
    assert!(value(body, "rvswitch_resident_bytes ") > 1e6);
    assert!(value(body, "rvswitch_cache_hits_total{tier=\"translate\"}") > 0.0);
    assert!(value(body, "rvswitch_upcall_latency_seconds_count") > 0.0);
    assert_eq!(
        value(body, "rvswitch_upcall_latency_seconds_count"),
        value(body, "rvswitch_upcall_latency_seconds_bucket{le=\"+Inf\"}"),
    );
    assert!(body.contains("rvswitch_drops_total{reason=\""), "{body}");
    // Every line is a comment or a sample, and every sample's family has a type.
    for line in body.lines().filter(|l| !l.starts_with('#')) {
        let (sample, number) = line.rsplit_once(' ').unwrap();
        assert!(number.parse::<f64>().is_ok(), "{line}");
        let name = sample.split('{').next().unwrap();
        let family = name.trim_end_matches("_bucket").trim_end_matches("_count");
        assert!(
            body.contains(&format!("# TYPE {family} ")),
            "no type of {name}"
        );
    }
    // What is no scrape gets an answer and costs nothing.
    assert!(ask("GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(ask("POST /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 405"));
    assert!(ask(&format!("GET /{}", "x".repeat(8192 - 5))).starts_with("HTTP/1.1 431"));
    assert!(ask("\u{1}\u{2}\r\n\r\n").starts_with("HTTP/1.1 405"));
    // Who says nothing is waited for two seconds; the next one is answered then.
    let idle = TcpStream::connect("127.0.0.1:9475").unwrap();
    eventually("the next scrape is answered", || {
        scrape().starts_with("HTTP/1.1 200")
    });
    drop(idle);
    lab.ping("red", "10.0.0.2");
    // An address that is taken is a bad start.
    let mut second = Daemon::launch(lab, "second", "--metrics 127.0.0.1:9475");
    assert_eq!(second.wait(), 1);
    assert!(
        second.err().contains("--metrics 127.0.0.1:9475"),
        "{}",
        second.err()
    );
}
