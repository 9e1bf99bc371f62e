//! The arguments of `sessile sessions` and `sessile kick`.

use clap::Args;

use crate::base::session_id::SessionId;
use crate::cli::args::target::AdminArgs;

/// `sessile sessions`
#[derive(Debug, Args)]
pub struct SessionsArgs {
    /// Only of this route.
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// Only of this upstream.
    #[arg(long, value_name = "NAME")]
    pub upstream: Option<String>,
    /// Only on this backend.
    #[arg(long, value_name = "ID")]
    pub backend: Option<String>,
    /// Only of this principal.
    #[arg(long, value_name = "SUBJECT")]
    pub principal: Option<String>,
    /// Sessions at most.
    #[arg(short, long, default_value_t = 100)]
    pub limit: usize,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile kick`
#[derive(Debug, Args)]
pub struct KickArgs {
    /// Sessions, as `sessile sessions` lists them.
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<SessionId>,
    /// Close code: 1000 to 1003, 1007 to 1013 or 3000 to 4999.
    #[arg(long)]
    pub code: Option<u16>,
    /// The reason for the client, at most 123 bytes.
    #[arg(long)]
    pub reason: Option<String>,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}
