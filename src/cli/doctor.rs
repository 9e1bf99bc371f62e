//! `sessile doctor` says what is wrong, where, and what to do about it; `sessile certs` what ends
//! when.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::admin::certificates::CertificateView;
use crate::admin::credentials::CredentialView;
use crate::admin::findings::{Finding, Severity};
use crate::admin::tokens::TokenView;
use crate::cli::args::{CertsArgs, DoctorArgs};
use crate::cli::client::Client;
use crate::cli::listed::{Listed, Located, scoped};
use crate::cli::print::{self, Form, columns, counted, visible};
use crate::cli::watch::watch;

/// Exit codes of `doctor`, as monitoring plugins have them.
const WELL: u8 = 0;
const WARNINGS: u8 = 1;
const CRITICAL: u8 = 2;

/// Shows the findings; answers 0 if nothing is wrong, 1 for warnings, 2 for something critical or
/// a gateway that does not answer.
///
/// # Errors
/// When `out` cannot be written to.
pub fn doctor(args: &DoctorArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    match args.watch {
        true => watch(out, |out| report(args, out)),
        false => report(args, out),
    }
}

fn report(args: &DoctorArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let target = scoped("/v1/findings", args.fleet);
    let found = Client::new(&args.admin).and_then(|client| client.get::<Value>(&target));
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            writeln!(out, "CRIT  no answer: {:#}", anyhow::Error::from(error))?;
            return Ok(CRITICAL);
        }
    };
    let list: Listed<Finding> = serde_json::from_value(found.clone())?;
    match args.json {
        true => print::json(out, &found, Form::Pretty)?,
        false => show(&list, out)?,
    }
    Ok(code(&list))
}

fn code(list: &Listed<Finding>) -> u8 {
    let worst = list.items.iter().map(|one| one.item.severity).min();
    match worst {
        Some(Severity::Critical) => CRITICAL,
        Some(Severity::Warning) => WARNINGS,
        _ if list.is_partial() => WARNINGS,
        _ => WELL,
    }
}

fn show(list: &Listed<Finding>, out: &mut dyn Write) -> io::Result<()> {
    let mut items: Vec<_> = list.items.iter().collect();
    items.sort_by_key(|one| one.item.severity);
    for Located { node, item } in &items {
        finding(node.as_deref(), item, out)?;
    }
    list.missing("WARN  ", out)?;
    if code(list) == WELL {
        let gateways = match list.nodes.len() {
            0 => "nothing is wrong".to_owned(),
            some => format!("nothing is wrong on {}", counted(some as u64, "gateway")),
        };
        writeln!(out, "{gateways}")?;
    }
    Ok(())
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "CRIT",
        Severity::Warning => "WARN",
        Severity::Notice => "note",
    }
}

/// Prints a finding: the line that says what is wrong, and the one that says what to do.
pub(super) fn finding(
    node: Option<&str>,
    finding: &Finding,
    out: &mut dyn Write,
) -> io::Result<()> {
    let level = level(finding.severity);
    let node = node.map(|node| format!("{} ", visible(node)));
    let (subject, detail) = (visible(&finding.subject), visible(&finding.detail));
    let sessions = finding.sessions.filter(|count| *count > 0);
    let sessions = sessions.map(|count| format!(" ({})", counted(count, "live session")));
    writeln!(
        out,
        "{level}  {}{subject}: {detail}{}",
        node.unwrap_or_default(),
        sessions.unwrap_or_default()
    )?;
    match &finding.remedy {
        Some(remedy) => writeln!(out, "      -> {}", visible(remedy)),
        None => Ok(()),
    }
}

/// How far `sessile certs` looks ahead at rights.
const WITHIN_DAYS: u32 = 30;

/// Shows the certificates, the first to end first, then the credentials of clients.
///
/// # Errors
/// When the gateway does not answer, or `out` cannot be written to.
pub fn certs(args: &CertsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let target = scoped("/v1/certificates", args.fleet);
    let client = Client::new(&args.admin)?;
    let found: Value = client.get(&target)?;
    let ahead = args.within.unwrap_or(WITHIN_DAYS);
    let target = format!("/v1/credentials?within={ahead}d");
    let rights: Value = client.get(&scoped(&target, args.fleet))?;
    let tokens: Value = client.get(&scoped("/v1/credentials/tokens", args.fleet))?;
    if args.json {
        let all = json!({ "certificates": found, "credentials": rights, "tokens": tokens });
        print::json(out, &all, Form::Pretty)?;
        return Ok(WELL);
    }
    let list: Listed<CertificateView> = serde_json::from_value(found)?;
    let rights: Listed<CredentialView> = serde_json::from_value(rights)?;
    let days = |one: &CertificateView| one.days_left.unwrap_or_default();
    let soon = |one: &&Located<CertificateView>| {
        let within = args.within.map(f64::from);
        within.is_none_or(|within| days(&one.item) <= within)
    };
    let mut items: Vec<_> = list.items.iter().filter(soon).collect();
    items.sort_by(|one, other| days(&one.item).total_cmp(&days(&other.item)));
    if items.is_empty() {
        let within = args.within.map(|days| format!(" within {days} days"));
        writeln!(out, "no certificate ends{}", within.unwrap_or_default())?;
    } else {
        let rows = items.iter().map(|one| row(one));
        let head = [
            "GATEWAY",
            "LISTENER",
            "NAMES",
            "ENDS",
            "LEFT",
            "CONNECTIONS",
            "STATE",
            "RENEWAL",
        ];
        columns(out, &head, rows)?;
    }
    credentials(&rights, ahead, out)?;
    self::tokens(&serde_json::from_value(tokens)?, args.within, out)?;
    list.missing("", out)?;
    Ok(WELL)
}

/// Shows what else admits clients: live sessions whose right ends soon, and the keys of issuers.
fn credentials(list: &Listed<CredentialView>, days: u32, out: &mut dyn Write) -> io::Result<()> {
    if list.items.is_empty() {
        return writeln!(out, "no authenticator: no session has a right that ends");
    }
    writeln!(out)?;
    let expiring = format!("END IN {days}D");
    let head = [
        "AUTHENTICATOR",
        "SESSIONS",
        &*expiring,
        "FIRST",
        "KEYS",
        "READ",
        "ROUTES",
    ];
    let rows = list.rows(|one| {
        let dash = || "-".to_owned();
        let read = match (one.keys, one.keys_age_seconds) {
            (None, _) => dash(),
            (Some(_), None) => "NEVER".to_owned(),
            (Some(_), Some(age)) if one.keys_stale => format!("{} ago, STALE", print::time(age)),
            (Some(_), Some(age)) => format!("{} ago", print::time(age)),
        };
        let keys = match (one.keys, &one.keys_end) {
            (None, _) => dash(),
            (Some(keys), None) => keys.to_string(),
            (Some(keys), Some(end)) => format!("{keys}, first ends {end}"),
        };
        vec![
            one.authenticator.clone(),
            one.sessions.to_string(),
            one.expiring.to_string(),
            one.first_expires.clone().unwrap_or_else(dash),
            keys,
            read,
            one.routes.join(", "),
        ]
    });
    columns(out, &list.head(&head), rows)
}

/// Shows the tokens of the configuration that have an end.
fn tokens(list: &Listed<TokenView>, within: Option<u32>, out: &mut dyn Write) -> io::Result<()> {
    let within = within.map(f64::from);
    let soon = |days: f64| within.is_none_or(|within| days <= within);
    let fleet = list.is_of_fleet();
    let items = list.items.iter().filter(|one| soon(one.item.days_left));
    let rows: Vec<_> = items
        .map(|Located { node, item }| {
            let node = fleet.then(|| node.clone().unwrap_or_else(|| "-".to_owned()));
            let cells = [
                item.name.clone(),
                item.expires.clone(),
                left(item.days_left),
                item.severity.map_or("ok", level).to_owned(),
            ];
            node.into_iter().chain(cells).collect::<Vec<_>>()
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    columns(out, &list.head(&["TOKEN", "ENDS", "LEFT", "STATE"]), rows)
}

/// The time until an end.
fn left(days: f64) -> String {
    match days {
        days if days < 0.0 => "ENDED".to_owned(),
        days => print::time(days * 86_400.0),
    }
}

fn row(one: &Located<CertificateView>) -> Vec<String> {
    let Located { node, item } = one;
    let left = match item.days_left {
        None => "self-signed".to_owned(),
        Some(days) => left(days),
    };
    let renewal = match &item.acme {
        None => "files".to_owned(),
        Some(acme) => match &acme.fault {
            Some(fault) => format!("FAILED: {fault}"),
            None => format!("acme, {}", acme.renews),
        },
    };
    let connections = item.connections.map(|count| count.to_string());
    vec![
        node.clone().unwrap_or_else(|| "-".to_owned()),
        item.listener.clone(),
        item.names.join(", "),
        item.not_after.clone().unwrap_or_else(|| "-".to_owned()),
        left,
        connections.unwrap_or_else(|| "-".to_owned()),
        item.severity.map_or("ok", level).to_owned(),
        renewal,
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(value: Value) -> Listed<Finding> {
        serde_json::from_value(value).expect("a list of findings")
    }

    fn found(severity: &str) -> Value {
        json!({
            "severity": severity, "kind": "upstream_down", "subject": "upstream chat",
            "detail": "0 of 1", "remedy": "look", "sessions": 2, "node": "edge-1",
        })
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let check = |value, expected| assert_eq!(code(&list(value)), expected);
        check(json!({ "items": [] }), WELL);
        check(json!({ "items": [found("notice")] }), WELL);
        check(
            json!({ "items": [found("notice"), found("warning")] }),
            WARNINGS,
        );
        check(
            json!({ "items": [found("warning"), found("critical")] }),
            CRITICAL,
        );
        let silent = json!([{ "node": "b", "items": null, "fault": "no route" }]);
        check(json!({ "items": [], "nodes": silent }), WARNINGS);
    }

    #[test]
    fn the_worst_is_first_and_says_what_to_do() {
        let mut out = Vec::new();
        let list = list(json!({
            "items": [found("notice"), found("critical")],
            "nodes": [{ "node": "b", "items": null, "fault": "no route" }],
        }));
        show(&list, &mut out).expect("a vector takes everything");
        let text = String::from_utf8(out).expect("UTF-8");
        let expected = "\
CRIT  edge-1 upstream chat: 0 of 1 (2 live sessions)
      -> look
note  edge-1 upstream chat: 0 of 1 (2 live sessions)
      -> look
WARN  b does not answer: no route
";
        assert_eq!(text, expected);
    }
}
