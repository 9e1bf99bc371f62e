//! What a newcomer meets in the first hour: commands that look order nothing, errors name what is
//! wrong, and every line of the log can be read.

mod commands;
mod demo;
mod doctor;
mod drains;
mod log;
mod previews;
mod readme;

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What a command of `sessile` answered.
#[derive(Debug)]
pub struct Printed {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Printed {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// `sessile` in a directory, with nothing of it in the environment and no terminal.
pub fn sessile(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessile"));
    command.current_dir(directory).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("SESSILE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs it with these arguments, while the clients of the test go on.
pub async fn run(directory: &Path, arguments: &[&str]) -> Printed {
    let mut command = sessile(directory);
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output());
    output.await.unwrap().unwrap().into()
}
