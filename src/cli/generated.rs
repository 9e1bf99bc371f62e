//! What is generated from the command line itself: completions for shells, and man pages.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use crate::cli::args::{Arguments, CompletionsArgs, ManArgs};

/// Prints the completions for a shell.
///
/// # Errors
/// When `out` cannot be written to.
pub fn completions(args: &CompletionsArgs, out: &mut dyn Write) -> io::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut Arguments::command(),
        "sessile",
        &mut script,
    );
    out.write_all(&script)?;
    Ok(0)
}

/// Prints the man page of `sessile`, or writes one for each command.
///
/// # Errors
/// When a page cannot be written.
pub fn man(args: &ManArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut command = Arguments::command();
    command.build();
    match &args.directory {
        None => out.write_all(&page(command)?)?,
        Some(directory) => {
            let written = pages(command, directory)?;
            writeln!(out, "{written} pages in {}", directory.display())?;
        }
    }
    Ok(0)
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

/// Writes a page for a command and for each of its subcommands; returns how many.
fn pages(root: Command, directory: &Path) -> anyhow::Result<usize> {
    fs::create_dir_all(directory).with_context(|| format!("`{}`", directory.display()))?;
    let (mut waiting, mut written) = (vec![root], 0);
    while let Some(command) = waiting.pop() {
        let subcommands = command.get_subcommands();
        waiting.extend(subcommands.filter(|one| one.get_name() != "help").cloned());
        let name = command.get_display_name();
        let name = name.unwrap_or_else(|| command.get_name());
        let path = directory.join(format!("{name}.1"));
        let page = page(command)?;
        fs::write(&path, page).with_context(|| format!("`{}`", path.display()))?;
        written += 1;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
            let mut out = Vec::new();
            completions(&CompletionsArgs { shell }, &mut out).expect("a vector takes everything");
            let script = String::from_utf8(out).expect("UTF-8");
            for command in Arguments::command().get_subcommands() {
                let name = command.get_name();
                assert!(script.contains(name), "{shell} does not complete {name}");
            }
        }
    }

    #[test]
    fn every_command_has_a_man_page() {
        let directory = tempfile::tempdir().expect("a directory");
        let args = ManArgs {
            directory: Some(directory.path().join("man1")),
        };
        let mut out = Vec::new();
        man(&args, &mut out).expect("pages");
        let page = |name: &str| {
            let path = directory.path().join("man1").join(name);
            fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        assert!(page("sessile.1").contains("doctor"));
        assert!(page("sessile-drain.1").contains("backend"));
        let commands = Arguments::command();
        for command in commands.get_subcommands() {
            page(&format!("sessile-{}.1", command.get_name()));
        }
    }
}
