//! `sessile preview`: what a configuration would change if it were put into force.

use std::fs;
use std::io::{self, Read as _, Write};
use std::path::Path;

use anyhow::Context as _;
use http::{Method, StatusCode};

use crate::admin::preview::Candidate;
use crate::cli::args::PreviewArgs;
use crate::cli::client::{Client, ClientError};
use crate::cli::print::{Form, columns, counted, json, visible};
use crate::control::load::{self, LoadOptions};
use crate::control::supervisor::Changes;
use crate::control::supervisor::preview::{MoveView, Preview, RemovedRouteView, ShareView};

/// Exit code of a configuration that is refused.
const REFUSED: u8 = 2;
/// Sessions of a row that are named.
const IDS_SHOWN: usize = 3;
/// Backends of an upstream that are listed.
const BACKENDS_SHOWN: usize = 20;

/// Asks a gateway, or compares with another file.
///
/// # Errors
/// When a file cannot be read, the gateway does not answer, or `out` cannot be written to.
pub fn preview(args: &PreviewArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let text = read(&args.file)?;
    let preview = match &args.against {
        Some(against) => offline(args, against, &text, out)?,
        None => by_gateway(args, text, out)?,
    };
    let Some(preview) = preview else {
        return Ok(REFUSED);
    };
    if args.json {
        json(out, &serde_json::to_value(&preview)?, Form::Pretty)?;
    } else {
        show(out, &preview)?;
    }
    Ok(0)
}

/// The text of a file, or of standard input for `-`.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        let stdin = io::stdin().read_to_string(&mut text);
        stdin.context("cannot read standard input")?;
    } else {
        text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(text)
}

fn by_gateway(
    args: &PreviewArgs,
    config: String,
    out: &mut dyn Write,
) -> anyhow::Result<Option<Preview>> {
    let candidate = Candidate {
        config: Some(config),
        name: Some(args.file.display().to_string()),
        ..Candidate::default()
    };
    let client = Client::new(&args.admin)?;
    match client.ask(Method::POST, "/v1/preview", Some(&candidate)) {
        Ok(preview) => Ok(Some(preview)),
        Err(ClientError::Refused {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            rendered,
            ..
        }) => {
            refused(out, &args.file, &rendered)?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn offline(
    args: &PreviewArgs,
    against: &Path,
    text: &str,
    out: &mut dyn Write,
) -> anyhow::Result<Option<Preview>> {
    let options = |path: &Path| LoadOptions {
        path: path.to_owned(),
        ..args.admin.config.options()
    };
    let before = load::load(&options(against));
    let after = load::load_text(&options(&args.file), text);
    match (before, after) {
        (Ok(before), Ok(after)) => {
            let preview = Preview::of_files(&before, &after);
            Ok(Some(preview))
        }
        (before, after) => {
            for (path, faults) in [(against, before.err()), (args.file.as_path(), after.err())] {
                if let Some(faults) = faults {
                    let rendered = faults.diagnostics().iter().map(ToString::to_string);
                    refused(out, path, &rendered.collect::<Vec<_>>())?;
                }
            }
            Ok(None)
        }
    }
}

fn refused(out: &mut dyn Write, path: &Path, rendered: &[String]) -> io::Result<()> {
    for one in rendered {
        writeln!(out, "{one}\n")?;
    }
    let faults = counted(rendered.len() as u64, "fault");
    writeln!(out, "{} would be refused: {faults}", path.display())
}

/// On a screen or two.
pub(super) fn show(out: &mut dyn Write, preview: &Preview) -> io::Result<()> {
    writeln!(out, "{}", visible(&preview.summary))?;
    named(out, "routes", &preview.routes)?;
    removed(out, &preview.removed_routes)?;
    named(out, "upstreams", &preview.upstreams)?;
    for document in &preview.documents {
        writeln!(out, "\n{}", visible(document))?;
    }
    for change in &preview.restart_changes {
        let change = change.to_string();
        writeln!(out, "waits for a restart: {}", visible(&change))?;
    }
    for one in &preview.moves {
        moves(out, one)?;
    }
    leaving(out, preview)?;
    endings(out, preview)
}

/// The effect on the sessions of one gateway of several.
#[cfg(feature = "etcd")]
pub(super) fn show_sessions(out: &mut dyn Write, preview: &Preview) -> io::Result<()> {
    writeln!(out, "{}", visible(&preview.summary))?;
    removed(out, &preview.removed_routes)?;
    leaving(out, preview)?;
    endings(out, preview)
}

/// Backends that get no new sessions.
fn leaving(out: &mut dyn Write, preview: &Preview) -> io::Result<()> {
    if !preview.leaving.is_empty() {
        writeln!(out)?;
        let rows = preview.leaving.iter().map(|one| {
            vec![
                one.upstream.clone(),
                one.backend.clone(),
                one.why.clone(),
                one.sessions.to_string(),
            ]
        });
        columns(
            out,
            &["UPSTREAM", "NO NEW SESSIONS", "BECAUSE", "LIVE"],
            rows,
        )?;
    }
    Ok(())
}

/// Sessions that would not stay as they are, and what was not looked at.
fn endings(out: &mut dyn Write, preview: &Preview) -> io::Result<()> {
    if !preview.endings.is_empty() {
        writeln!(out)?;
        let rows = preview.endings.iter().map(|one| {
            let ids = one.ids.iter().take(IDS_SHOWN).cloned();
            let mut ids = ids.collect::<Vec<_>>().join(", ");
            if one.sessions > IDS_SHOWN {
                ids.push_str(", …");
            }
            vec![
                one.route.clone(),
                one.backend.clone(),
                one.why.clone(),
                one.sessions.to_string(),
                ids,
            ]
        });
        columns(
            out,
            &["ROUTE", "BACKEND", "BECAUSE", "SESSIONS", "IDS"],
            rows,
        )?;
    }
    for what in &preview.not_checked {
        writeln!(out, "not checked: {}", visible(what))?;
    }
    Ok(())
}

/// What becomes of the sessions of routes that go.
fn removed(out: &mut dyn Write, routes: &[RemovedRouteView]) -> io::Result<()> {
    for one in routes {
        let sessions = counted(one.sessions as u64, "live session");
        let fate = match one.end {
            true => "closed with 1012",
            false => "kept: on_removal = \"keep\"",
        };
        writeln!(out, "  {}: {sessions}, {fate}", visible(&one.route))?;
    }
    Ok(())
}

fn named(out: &mut dyn Write, what: &str, changes: &Changes) -> io::Result<()> {
    let lists = [
        ("added", &changes.added),
        ("changed", &changes.changed),
        ("removed", &changes.removed),
    ];
    for (how, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
        writeln!(out, "{what} {how}: {}", visible(&names.join(", ")))?;
    }
    Ok(())
}

fn moves(out: &mut dyn Write, one: &MoveView) -> io::Result<()> {
    let name = visible(&one.upstream);
    let Some(share) = one.share else {
        return writeln!(
            out,
            "\n{name}: keys do not decide, new sessions go by its policy"
        );
    };
    writeln!(out, "\n{name}: {} of its keys would move", percent(share))?;
    let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
    let changed = |one: &&ShareView| one.before != one.after;
    let rows: Vec<_> = one.backends.iter().filter(changed).collect();
    let shown = rows
        .iter()
        .take(BACKENDS_SHOWN)
        .map(|one| vec![one.backend.clone(), share(one.before), share(one.after)]);
    columns(out, &["BACKEND", "KEYS NOW", "KEYS THEN"], shown)?;
    if rows.len() > BACKENDS_SHOWN {
        writeln!(out, "… and {} more: --json", rows.len() - BACKENDS_SHOWN)?;
    }
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
