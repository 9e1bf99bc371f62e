//! The sources of the configuration in `sessile status`: the state of each, and what it adds.

use std::io::{self, Write};

use serde_json::Value;

use crate::admin::sources::{DnsView, EtcdView, SourceView};
use crate::base::source_id::SourceId;
use crate::cli::print::{columns, counted, time, visible};

/// Documents that are listed with what is wrong.
const TROUBLED_SHOWN: usize = 10;

/// A row for each source, the weakest first. Gateways that do not report their sources have none.
pub(super) fn table(out: &mut dyn Write, sources: &[SourceView]) -> io::Result<()> {
    if sources.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let rows = sources.iter().map(|source| {
        let state = if source.current {
            "current"
        } else {
            "NOT CURRENT"
        };
        vec![
            source.source.to_string(),
            state.to_owned(),
            source.age_seconds.map_or_else(|| "-".to_owned(), time),
            adds(source),
            source.fault.clone().unwrap_or_default(),
        ]
    });
    columns(out, &["SOURCE", "STATE", "AGE", "ADDS", ""], rows)
}

/// What a source adds to the configuration.
fn adds(source: &SourceView) -> String {
    if source.source == SourceId::File {
        return "the base".to_owned();
    }
    let documents = counted(source.documents as u64, "document");
    let not_in_force = [("refused", source.refused), ("waiting", source.waiting)];
    let not_in_force = not_in_force.iter().filter(|(_, count)| *count > 0);
    let notes: Vec<_> = not_in_force
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    match notes.is_empty() {
        true => documents,
        false => format!("{documents} ({})", notes.join(", ")),
    }
}

/// Documents of etcd that are not in force, and why.
pub(super) fn not_in_force(out: &mut dyn Write, config: &Value) -> io::Result<()> {
    let documents = config["documents"].as_array().into_iter().flatten();
    let why = documents.filter_map(|document| {
        let key = visible(document["key"].as_str()?);
        let text = |value: &Value| value.as_str().map(visible);
        match document["status"].as_str()? {
            "waiting" => Some(format!("{key} waits for {}", text(&document["waits_for"])?)),
            "refused" => {
                let found = document["diagnostics"].as_array()?.iter();
                let fault = found.filter_map(|one| text(&one["message"])).next()?;
                Some(format!("{key} is refused: {fault}"))
            }
            _ => None,
        }
    });
    let mut why = why.peekable();
    for line in why.by_ref().take(TROUBLED_SHOWN) {
        writeln!(out, "          {line}")?;
    }
    if why.peek().is_some() {
        writeln!(out, "          … and more: GET /v1/config has them all")?;
    }
    Ok(())
}

/// Names in DNS that are not found, and why.
pub(super) fn dns(out: &mut dyn Write, dns: &DnsView) -> io::Result<()> {
    let names = counted(dns.count as u64, "name");
    let state = match dns.failing {
        0 => "all found".to_owned(),
        failing => format!("{failing} NOT FOUND"),
    };
    let stale = match dns.stale {
        0 => String::new(),
        stale => format!(", {} stale", counted(stale as u64, "backend")),
    };
    writeln!(out, "dns       {names}, {state}{stale}")?;
    let failing = dns.names.iter();
    let mut failing = failing.filter_map(|one| Some((&one.name, one.fault.as_ref()?)));
    for (name, fault) in failing.by_ref().take(TROUBLED_SHOWN) {
        writeln!(out, "          {}: {}", visible(name), visible(fault))?;
    }
    if failing.next().is_some() {
        writeln!(out, "          … and more: GET /v1/status has them")?;
    }
    Ok(())
}

pub(super) fn etcd(out: &mut dyn Write, etcd: &EtcdView) -> io::Result<()> {
    let state = match (&etcd.endpoint, &etcd.fault) {
        (Some(endpoint), _) => format!("followed at {}", visible(endpoint)),
        (None, Some(fault)) => format!("NOT FOLLOWED: {}", visible(fault)),
        (None, None) => "not followed yet".to_owned(),
    };
    writeln!(
        out,
        "etcd      {state}, revision {}, {} documents",
        etcd.revision, etcd.documents
    )?;
    let counts = [
        ("refused", etcd.refused),
        ("waiting", etcd.waiting),
        ("stale", etcd.stale),
        ("doubted", etcd.doubted.len()),
    ];
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let mut notes: Vec<_> = counts
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    if etcd.from_last_known_good {
        notes.push("from last known good".to_owned());
    }
    if !notes.is_empty() {
        writeln!(out, "          {}", notes.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(source: SourceId) -> SourceView {
        SourceView {
            source,
            precedence: source.precedence(),
            current: true,
            fault: None,
            revision: None,
            age_seconds: Some(60.0),
            documents: 0,
            refused: 0,
            waiting: 0,
        }
    }

    #[track_caller]
    fn check(sources: &[SourceView], expected: &str) {
        let mut out = Vec::new();
        table(&mut out, sources).expect("a vector takes all");
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn each_source_has_a_row_with_its_state_and_what_it_adds() {
        let etcd = SourceView {
            current: false,
            fault: Some("connection refused\u{1b}[2J".to_owned()),
            age_seconds: None,
            documents: 12,
            refused: 2,
            waiting: 1,
            ..source(SourceId::Etcd)
        };
        let expected = "
SOURCE  STATE        AGE  ADDS
file    current      1m   the base
etcd    NOT CURRENT  -    12 documents (2 refused, 1 waiting)  connection refused\u{fffd}[2J
";
        check(&[source(SourceId::File), etcd], expected);
        let etcd = SourceView {
            documents: 1,
            ..source(SourceId::Etcd)
        };
        let expected = "
SOURCE  STATE    AGE  ADDS
etcd    current  1m   1 document
";
        check(&[etcd], expected);
        check(&[], "");
    }
}
