//! The arguments of `sessile doctor`, `certs` and `explain`, and of what is generated from the
//! command line.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use crate::base::session_id::SessionId;
use crate::cli::args::target::AdminArgs;

pub(super) const DOCTOR_EXAMPLES: &str = "\
Examples:
  sessile doctor                    this gateway
  sessile doctor --fleet            all that follow the same etcd
  sessile doctor --fleet --json     for scripts

Exit codes: 0 nothing is wrong, 1 warnings, 2 something critical or no answer.";

pub(super) const EXPLAIN_EXAMPLES: &str = "\
Examples:
  sessile explain 1006                            what it means, whose fault it is, where to look
  sessile explain 429                             the same of an HTTP status
  sessile explain 1011 01JZT0V5QX3F6G8H9J0K1M2N3P   why this session ended";

/// `sessile doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Every gateway that follows the same etcd, as the gateway asks them (`admin.fleet`).
    #[arg(long)]
    pub fleet: bool,
    /// Show them again every two seconds.
    #[arg(short, long)]
    pub watch: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile certs`
#[derive(Debug, Args)]
pub struct CertsArgs {
    /// Every gateway that follows the same etcd.
    #[arg(long)]
    pub fleet: bool,
    /// Only certificates that end within so many days; of rights those that do are counted, by
    /// default within 30.
    #[arg(long, value_name = "DAYS")]
    pub within: Option<u32>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A close code (1000 to 4999) or an HTTP status (400 to 599).
    pub code: u16,
    /// A session that ended; a running gateway is asked about it.
    #[arg(value_name = "ID")]
    pub id: Option<SessionId>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For this shell.
    pub shell: Shell,
}

/// `sessile man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write a page for each command into this directory; without it the page of `sessile` is
    /// printed.
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}
