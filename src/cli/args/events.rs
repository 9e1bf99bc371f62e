//! The arguments of `sessile history`, `events`, `ended` and `refusals`.

use clap::Args;

use crate::base::session_id::SessionId;
use crate::cli::args::target::AdminArgs;

/// `sessile history`
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Not before this: a time, or how long ago, such as `1h`.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only by this operator.
    #[arg(long, value_name = "NAME")]
    pub operator: Option<String>,
    /// Show what differs in each document.
    #[arg(long)]
    pub diff: bool,
    /// Go on with what changes from now on.
    #[arg(long)]
    pub follow: bool,
    /// Changes at most.
    #[arg(short, long, default_value_t = 100)]
    pub limit: usize,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile events`
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only of these classes: `sessions`, `refusals`, `changes`.
    #[arg(long, value_name = "LIST")]
    pub class: Option<String>,
    /// Only of these kinds, such as `session_ended`.
    #[arg(long, value_name = "LIST")]
    pub kind: Option<String>,
    /// Only of this principal.
    #[arg(long, value_name = "SUBJECT")]
    pub principal: Option<String>,
    /// Only of this route.
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// Only of this upstream.
    #[arg(long, value_name = "NAME")]
    pub upstream: Option<String>,
    /// Only of this backend.
    #[arg(long, value_name = "ID")]
    pub backend: Option<String>,
    /// Go on behind the event with this id; `0` begins with the oldest in memory.
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    /// Print JSON, an event a line.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile ended`
#[derive(Debug, Args)]
pub struct EndedArgs {
    /// Only these sessions.
    #[arg(value_name = "ID")]
    pub id: Option<SessionId>,
    /// Only of this principal.
    #[arg(long, value_name = "SUBJECT")]
    pub principal: Option<String>,
    /// Only of this route.
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// Only of this upstream.
    #[arg(long, value_name = "NAME")]
    pub upstream: Option<String>,
    /// Only on this backend.
    #[arg(long, value_name = "ID")]
    pub backend: Option<String>,
    /// Only of this client, by address.
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<String>,
    /// Only those that ended for this cause, such as `kicked`.
    #[arg(long)]
    pub cause: Option<String>,
    /// Not before this: a time, or how long ago, such as `1d`.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
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

/// `sessile refusals`
#[derive(Debug, Args)]
pub struct RefusalsArgs {
    /// Only of this client, by address.
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<String>,
    /// Only of the request with this id, which the client has as `X-Request-Id`.
    #[arg(long, value_name = "ID")]
    pub request: Option<String>,
    /// Only with this reason, such as `credential_expired`.
    #[arg(long)]
    pub reason: Option<String>,
    /// Only of this route.
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// Not before this: a time, or how long ago, such as `10m`.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Refusals at most.
    #[arg(short, long, default_value_t = 100)]
    pub limit: usize,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}
