//! `sessile check --etcd`: what a gateway with this file would find in etcd at this moment.

use std::io::Write;

use anyhow::{Context as _, anyhow, bail};
use serde_json::json;

use crate::cli::check::{Form, REFUSED, check, counted};
use crate::cli::print;
use crate::config::overlay::DocumentStatus;
use crate::control::etcd::snapshot::{EtcdSnapshot, read_snapshot};
use crate::control::load::{LoadOptions, load};

/// Checks the file, then every document of the etcd that it names. Answers 0, or 2 where the file
/// or a document is refused.
///
/// # Errors
/// When etcd does not answer, or `out` cannot be written to.
pub fn check_etcd(options: &LoadOptions, form: Form, out: &mut dyn Write) -> anyhow::Result<u8> {
    let Ok(loaded) = load(options) else {
        return Ok(check(options, form, out)?);
    };
    let path = options.path.display();
    let Some(settings) = &loaded.snapshot.sources.etcd else {
        bail!("{path} has no [sources.etcd], so there is nothing to look at");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime")?;
    let found = runtime.block_on(read_snapshot(settings, options, &loaded));
    let found = found.map_err(|(endpoint, error)| anyhow!("{endpoint}: {error}"))?;
    let refused = found.documents.iter();
    let refused = refused
        .filter(|one| one.status == DocumentStatus::Refused)
        .count();
    match form {
        Form::Json => {
            let answer = json!({
                "ok": refused == 0, "diagnostics": loaded.warnings,
                "etcd": { "endpoint": found.endpoint, "revision": found.revision,
                          "documents": found.documents, "ignored": found.ignored },
            });
            print::json(out, &answer, print::Form::Pretty)?;
        }
        Form::Text => {
            check(options, form, out)?;
            text(&found, refused, out)?;
        }
    }
    Ok(if refused == 0 { 0 } else { REFUSED })
}

fn text(found: &EtcdSnapshot, refused: usize, out: &mut dyn Write) -> std::io::Result<()> {
    for document in &found.documents {
        for one in &document.diagnostics {
            writeln!(out, "\n{one}")?;
        }
        if let Some(what) = &document.waits_for {
            writeln!(out, "\n{} waits for {what}", document.key)?;
        }
    }
    for key in &found.ignored {
        writeln!(out, "\n{key} is ignored: no document can stand there")?;
    }
    let documents = counted(found.documents.len(), "document");
    writeln!(
        out,
        "\n{} at revision {}: {documents}, {refused} refused",
        found.endpoint, found.revision
    )
}
