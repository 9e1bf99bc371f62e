//! Dashboards and alerts of `deploy/`: they name only what the gateway exports, promtool accepts
//! them, and each alert is tried where it fires and where it does not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sessile::telemetry::metrics::table::{self, Kind, Metric};

use crate::root;

/// Labels that Prometheus adds, or that its functions need.
const COMMON: [&str; 3] = ["instance", "job", "le"];

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every expression of alerts and dashboards, with where it stands.
fn expressions() -> Vec<(String, String)> {
    let alerts = read("deploy/alerts.yml");
    let mut name = "";
    let mut found = Vec::new();
    for line in alerts.lines().map(str::trim) {
        if let Some(alert) = line.strip_prefix("- alert: ") {
            name = alert;
        } else if let Some(expression) = line.strip_prefix("expr: ") {
            found.push((name.to_owned(), expression.to_owned()));
        }
    }
    let folder = root().join("deploy/grafana");
    for file in fs::read_dir(folder).expect("dashboards") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a dashboard");
        let dashboard: Value = serde_json::from_str(&text).expect("JSON");
        collect(&dashboard, &file_name(&path), &mut found);
    }
    found
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().expect("a name");
    name.to_string_lossy().into_owned()
}

/// The values of `expr` and `query` anywhere in a dashboard.
fn collect(value: &Value, place: &str, found: &mut Vec<(String, String)>) {
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match (key.as_str(), value) {
                        ("expr" | "query", Value::String(text)) if text != "prometheus" => {
                            found.push((place.to_owned(), text.clone()));
                        }
                        _ => left.push(value),
                    }
                }
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
}

/// The words of an expression that are not numbers.
fn words(expression: &str) -> impl Iterator<Item = &str> {
    let ends = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
    expression.split(ends).filter(|word| !word.is_empty())
}

/// The metric of a series, whose name may have the suffix of a histogram.
fn metric(series: &str) -> Option<&'static Metric> {
    let by_name = |name: &str| table::ALL.iter().find(|metric| metric.name == name);
    let part = ["_bucket", "_sum", "_count"];
    let histogram = part
        .iter()
        .find_map(|part| by_name(series.strip_suffix(part)?));
    match by_name(series) {
        Some(found) => Some(found).filter(|one| !matches!(one.kind, Kind::Histogram(_))),
        None => histogram.filter(|one| matches!(one.kind, Kind::Histogram(_))),
    }
}

/// Labels that an expression matches, groups by or shows.
fn labels(expression: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let inside = |text: &str, close| text.find(close).unwrap_or(text.len());
    for group in ["by (", "on (", "group_left (", "without ("] {
        for (place, _) in expression.match_indices(group) {
            let rest = &expression[place + group.len()..];
            found.extend(words(&rest[..inside(rest, ')')]));
        }
    }
    for (place, _) in expression.match_indices('{') {
        let rest = &expression[place + 1..];
        let matchers = rest[..inside(rest, '}')].split(", ");
        let names = matchers.filter_map(|one| words(one).next());
        found.extend(names.filter(|name| *name != "__name__"));
    }
    found
}

/// What an expression names that the gateway does not export.
fn unknown(expression: &str) -> Vec<String> {
    let mut known: BTreeSet<&str> = COMMON.into();
    let mut unknown = Vec::new();
    for series in words(expression).filter(|word| word.starts_with("sessile_")) {
        match metric(series) {
            Some(metric) => known.extend(metric.labels),
            None => unknown.push(series.to_owned()),
        }
    }
    let labels = labels(expression).into_iter();
    unknown.extend(
        labels
            .filter(|label| !known.contains(label))
            .map(str::to_owned),
    );
    unknown
}

#[test]
fn dashboards_and_alerts_name_only_what_is_exported() {
    let expressions = expressions();
    assert!(expressions.len() > 120, "only {}", expressions.len());
    for (place, expression) in &expressions {
        assert_eq!(unknown(expression), [""; 0], "{place}: {expression}");
    }
    let all: BTreeSet<_> = expressions
        .iter()
        .flat_map(|(_, text)| words(text))
        .collect();
    let shown = |metric: &&Metric| {
        let parts = ["", "_bucket", "_count"].map(|part| format!("{}{part}", metric.name));
        parts.iter().any(|series| all.contains(series.as_str()))
    };
    let hidden: Vec<_> = table::ALL
        .iter()
        .filter(|one| !shown(one))
        .map(|one| one.name)
        .collect();
    // They matter where they are looked for, not at a glance.
    let expected = [
        "sessile_proxy_header_failures_total",
        "sessile_accepted_connections_total",
        "sessile_quota_holders",
        "sessile_quotas_forgotten_total",
    ];
    let surprising = hidden.iter().filter(|name| !expected.contains(name));
    assert_eq!(surprising.collect::<Vec<_>>(), [&""; 0], "on no dashboard");
}

#[test]
fn what_is_not_exported_is_found() {
    let check = |expression: &str, expected: &[&str]| {
        assert_eq!(unknown(expression), expected, "{expression}");
    };
    check("sum by (route) (sessile_sessions) > 3", &[]);
    check("sessile_session", &["sessile_session"]);
    check(
        "rate(sessile_handshake_seconds[1m])",
        &["sessile_handshake_seconds"],
    );
    check(
        "sessile_handshake_seconds_bucket{le=\"1.0\", route=~\"a\"}",
        &[],
    );
    check("sessile_ready_bucket", &["sessile_ready_bucket"]);
    check("sum by (backend) (sessile_sessions)", &["backend"]);
    check("sessile_sessions{user=\"ann\"}", &["user"]);
}

#[track_caller]
fn promtool(arguments: &[&str]) -> String {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(root().join("deploy"));
    let output = command
        .output()
        .expect("promtool (package prometheus) is installed");
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {printed}");
    printed.into_owned()
}

#[test]
fn promtool_accepts_alerts_and_configuration_and_each_alert_fires() {
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["test", "rules", "alerts.test.yml"]);
}

#[test]
fn each_alert_is_tried_where_it_fires_and_where_all_is_well() {
    let alerts = read("deploy/alerts.yml");
    let names: Vec<_> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    let tests = read("deploy/alerts.test.yml");
    let (firing, quiet) = tests
        .split_once("- name: all is well")
        .expect("a quiet gateway");
    for name in names {
        let trial = format!("alertname: {name}\n        exp_alerts:\n          - exp_labels");
        assert!(firing.contains(&trial), "{name} never fires");
        let trial = format!("alertname: {name}\n        exp_alerts: []");
        assert!(
            quiet.contains(&trial),
            "{name} is not tried where all is well"
        );
    }
    // A summary names what to open next, and a severity how soon.
    let count = |text: &str| alerts.matches(text).count();
    let severities = count("severity: page\n") + count("severity: ticket\n");
    let [rules, summaries] = ["- alert: ", "summary: \""].map(count);
    assert_eq!([severities, summaries], [rules; 2]);
}
