//! What the shell sees: the commands of `sessile`. Each prints to a writer that it is given and
//! answers with an exit code.

pub mod args;
mod ask;
pub mod backends;
pub mod check;
pub mod client;
pub mod demo;
pub mod doctor;
pub mod drain;
#[cfg(feature = "etcd")]
mod etcd;
pub mod explain;
pub mod generated;
pub mod groups;
pub mod history;
mod listed;
pub mod lost;
pub mod operate;
mod paint;
pub mod preview;
mod print;
#[cfg(feature = "etcd")]
pub mod register;
pub mod resolve;
pub mod run;
pub mod scaling;
pub mod schema;
pub mod sessions;
pub mod status;
pub mod tap;
pub mod top;
mod upstream;
mod watch;
pub mod why;

use std::io::{self, ErrorKind, Write};

use http::StatusCode;

use crate::admin;
use crate::admin::resolve::AskError;
use crate::cli::args::{Arguments, Command};
use crate::cli::ask::Unasked;
use crate::cli::client::ClientError;
use crate::cli::print::Visible;
use crate::control::load::{DEFAULT_PATH, LoadOptions};

/// Done.
const OK: u8 = 0;
/// It failed.
const FAILED: u8 = 1;
/// Configuration or arguments are refused.
const REFUSED: u8 = 2;

/// Runs the command with the output of this process; returns the exit code.
pub fn main(arguments: Arguments) -> u8 {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut out = match paint::wanted() {
        true => Visible::painted(&mut out),
        false => Visible::new(&mut out),
    };
    run_command(arguments, &mut out, &mut Visible::new(&mut err))
}

/// Runs the command; returns the exit code.
pub fn execute(arguments: Arguments, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    run_command(arguments, &mut Visible::new(out), &mut Visible::new(err))
}

fn run_command(arguments: Arguments, out: &mut Visible<'_>, err: &mut Visible<'_>) -> u8 {
    let done = match arguments.command {
        Command::Run(args) => {
            return run::run(args.config.options(), args.take_over.as_deref(), err);
        }
        Command::Demo(args) => {
            let options = LoadOptions::from_process(DEFAULT_PATH, args.sets);
            return run::demo(options, out, err);
        }
        Command::Check(args) => check_with(&args, out),
        Command::Resolve(args) => resolve::resolve(&args, out),
        Command::Preview(args) => preview::preview(&args, out),
        #[cfg(feature = "etcd")]
        Command::Etcd(args) => etcd::etcd(&args, out),
        #[cfg(feature = "etcd")]
        Command::Register(args) => register::register(&args, err),
        Command::Status(args) => status::status(&args, out),
        Command::Backends(args) => backends::backends(&args, out),
        Command::Scaling(args) => scaling::scaling(&args, out),
        Command::ScaleIn(args) => scaling::scale_in(&args, out),
        Command::Doctor(args) => doctor::doctor(&args, out),
        Command::Certs(args) => doctor::certs(&args, out),
        Command::Explain(args) => explain::explain(&args, out),
        Command::Completions(args) => generated::completions(&args, out).map_err(Into::into),
        Command::Man(args) => generated::man(&args, out),
        Command::Sessions(args) => sessions::sessions(&args, out),
        Command::Top(args) => top::top(&args, out),
        Command::Why(args) => why::why(&args, out),
        Command::Tap(args) => tap::tap(&args, out),
        Command::Send(args) => operate::send(&args, out),
        Command::Groups(args) => groups::groups(&args, out),
        Command::Move(args) => operate::move_session(&args, out),
        Command::Kick(args) => sessions::kick(&args, out),
        Command::Ended(args) => history::ended(&args, out),
        Command::Lost(args) => lost::lost(&args, out),
        Command::Refusals(args) => history::refusals(&args, out),
        Command::History(args) => history::history(&args, out),
        Command::Events(args) => history::events(&args, out),
        Command::Drain(args) => drain::drain(&args, out),
        Command::Rebalance(args) => drain::rebalance(&args, out),
        Command::Schema(args) => schema_as(&args, out),
    };
    let done = done.and_then(|code| {
        out.flush()?;
        Ok(code)
    });
    done.unwrap_or_else(|error| failed(&error, err))
}

fn check_with(args: &args::CheckArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let form = if args.json {
        check::Form::Json
    } else {
        check::Form::Text
    };
    match args.etcd() {
        #[cfg(feature = "etcd")]
        true => check::etcd::check_etcd(&args.options(), form, out),
        _ => check::check(&args.options(), form, out).map_err(Into::into),
    }
}

fn schema_as(args: &args::SchemaArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    if args.admin_api {
        writeln!(out, "{:#}", admin::openapi())?;
        return Ok(OK);
    }
    let form = if args.markdown {
        schema::Form::Markdown
    } else {
        schema::Form::Json
    };
    schema::schema(form, out).map_err(Into::into)
}

/// Reports a failure; returns the exit code.
fn failed(error: &anyhow::Error, err: &mut dyn Write) -> u8 {
    // `sessile sessions | head` is no failure.
    let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
    if io == Some(ErrorKind::BrokenPipe) {
        return OK;
    }
    // There is no other output.
    let _ = writeln!(err, "sessile: {error:#}");
    if is_asked_wrong(error) {
        REFUSED
    } else {
        FAILED
    }
}

/// Whether the arguments are at fault.
fn is_asked_wrong(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused { status, .. }) => *status == StatusCode::BAD_REQUEST,
        _ => error.is::<AskError>() || error.is::<Unasked>(),
    }
}

#[cfg(test)]
mod tests;
