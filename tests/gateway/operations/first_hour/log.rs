//! Lines of the log, for people and for machines.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};

use crate::support::{Backend, Gateway, config, eventually};

/// An object with every key that is written, those that are written twice too.
struct Line(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Line;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Line(pairs))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Drains, reloads, a lost backend, another level, a stop; answers the log.
async fn busy_life() -> (Gateway, String) {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let probe = "probe = { type = \"tcp\", interval = \"50ms\", timeout = \"200ms\", fall = 1 }";
    let text = config::echo(&[one.address, two.address], probe, "");
    let mut gateway = Gateway::start(&text).await;
    let patch = |state: &str| {
        let target = format!("/v1/upstreams/echo/backends/{}", one.address);
        let answer = gateway.admin("PATCH", &target, &json!({ "state": state }).to_string());
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    patch("draining");
    patch("configured");
    let level = gateway.admin("PUT", "/v1/log", &json!({ "level": "debug" }).to_string());
    assert_eq!(level.status, 200, "{}", level.body);
    let route = "\n[[routes]]\nname = \"more\"\npath = \"/more\"\nupstream = \"echo\"\n";
    let more = text + route;
    gateway.write_config(&more);
    assert_eq!(gateway.reload().status, 200);
    // By the configuration this time.
    let draining = more.replace(
        &format!("\"{}\"", one.address),
        &format!("{{ address = \"{}\", state = \"draining\" }}", one.address),
    );
    gateway.write_config(&draining);
    assert_eq!(gateway.reload().status, 200);
    let gone = two.address;
    two.stop().await;
    gateway.wait_for_health("echo", gone, "unhealthy").await;
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait_for_exit().await;
    let stopped = || gateway.log().contains("\"stopped\"");
    eventually("the last line", async || stopped()).await;
    let log = gateway.log();
    (gateway, log)
}

/// The fields of a line, none of them twice, nothing in it for programmers.
fn fields(line: &str) -> Vec<(String, Value)> {
    let Line(fields) = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let mut keys: Vec<_> = fields.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    let count = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), count, "a key is written twice: {line}");
    for form in [
        "Some(",
        "None",
        "Ok(",
        "Err(",
        " { ",
        "Within(",
        "PerSecond",
        "Draining",
    ] {
        assert!(!line.contains(form), "`{form}` is for programmers: {line}");
    }
    fields
}

#[tokio::test]
async fn every_line_of_a_busy_life_can_be_read() {
    let (gateway, log) = busy_life().await;
    let mut messages = Vec::new();
    for line in log.lines() {
        let fields = fields(line);
        let value = |name: &str| fields.iter().find(|(key, _)| key == name).map(|one| &one.1);
        let message = value("message").and_then(Value::as_str).unwrap_or_default();
        if message == "ready" {
            let listeners = value("listeners").unwrap();
            assert_eq!(
                listeners,
                &json!(format!("edge {}", gateway.address())),
                "{line}"
            );
            let admin = value("admin").unwrap().as_str().unwrap();
            assert!(admin.starts_with("unix:/"), "{line}");
        }
        messages.push(message.to_owned());
    }
    for expected in [
        "ready",
        "order of an operator",
        "drain began",
        "drain stopped",
        "log level changed by an operator",
        "configuration in force",
        "health of a backend changed",
        "backend is unhealthy",
        "stopping",
        "stopped",
    ] {
        assert!(
            messages.iter().any(|one| one == expected),
            "no `{expected}` in:\n{log}"
        );
    }
}
