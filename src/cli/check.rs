//! `sessile check`: validates the configuration without starting anything.

use std::io::{self, Write};

use crate::cli::print::{Form as Layout, json};
use crate::control::load::{Faults, LoadOptions, Loaded, load};

#[cfg(feature = "etcd")]
pub mod etcd;

/// Exit code of a configuration or of arguments that are refused.
const REFUSED: u8 = 2;

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people: each fault under the line that holds it, then the count.
    Text,
    /// For machines: `{"ok":…,"diagnostics":[…]}`.
    Json,
}

/// Checks what `options` name. Answers 0, or 2 where the configuration is refused.
///
/// # Errors
/// When `out` cannot be written to.
pub fn check(options: &LoadOptions, form: Form, out: &mut dyn Write) -> io::Result<u8> {
    let result = load(options);
    match form {
        Form::Text => text(options, &result, out)?,
        Form::Json => {
            let diagnostics = match &result {
                Ok(loaded) => loaded.warnings.as_slice(),
                Err(faults) => faults.diagnostics(),
            };
            let answer = serde_json::json!({ "ok": result.is_ok(), "diagnostics": diagnostics });
            json(out, &answer, Layout::Pretty)?;
        }
    }
    Ok(if result.is_ok() { 0 } else { REFUSED })
}

fn text(
    options: &LoadOptions,
    result: &Result<Loaded, Faults>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let path = options.path.display();
    match result {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                writeln!(out, "{warning}\n")?;
            }
            let snapshot = &loaded.snapshot;
            writeln!(
                out,
                "{path} is good: {}, {}, {}",
                counted(snapshot.listeners.len(), "listener"),
                counted(snapshot.upstreams.len(), "upstream"),
                counted(snapshot.routes.len(), "route"),
            )
        }
        Err(faults) => {
            let count = counted(faults.diagnostics().len(), "fault");
            writeln!(out, "{faults}\n\n{path} is refused: {count}")
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
