//! The twenty questions of a person on call. Each is answered by one command or one page; a test
//! is named after its question.

mod fleet;
mod past;
mod sessions;
mod tokens;

use std::net::SocketAddr;

use crate::support::shell::sessile;
use crate::support::{Gateway, config};

const RECONNECT: &str = "on_backend_loss = \"reconnect\"";

async fn gateway(backends: &[SocketAddr], route: &str) -> Gateway {
    Gateway::start(&config::echo(backends, "", route)).await
}

/// Runs a command that must succeed; returns what it printed.
#[track_caller]
fn run(gateway: &Gateway, arguments: &[&str]) -> String {
    let (code, printed, errors) = answer(gateway, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {printed}{errors}");
    printed
}

/// Runs a command that must fail with this code; returns its error.
#[track_caller]
fn fails(gateway: &Gateway, arguments: &[&str], code: i32) -> String {
    let (found, printed, errors) = answer(gateway, arguments);
    assert_eq!(found, Some(code), "{arguments:?}: {printed}{errors}");
    errors
}

/// The exit code, standard output and standard error of a command.
fn answer(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = sessile(arguments, gateway.directory());
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let (printed, errors) = (text(output.stdout), text(output.stderr));
    (output.status.code(), printed, errors)
}
