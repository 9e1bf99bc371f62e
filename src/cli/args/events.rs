//! The arguments of `sessile history`, `events`, `ended`, `lost` and `refusals`.

use clap::Args;
#[cfg(feature = "etcd")]
use clap::Subcommand;

use crate::base::session_id::SessionId;
#[cfg(feature = "etcd")]
use crate::cli::args::etcd::UndoArgs;
use crate::cli::args::target::AdminArgs;

/// What an event or a session is about; every list of them takes these filters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct AboutArgs {
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
    /// Only of this client, by address; of live sessions also by network.
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<String>,
}

impl AboutArgs {
    /// The parameters of a query.
    pub fn pairs(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("principal", self.principal.as_deref()),
            ("route", self.route.as_deref()),
            ("upstream", self.upstream.as_deref()),
            ("backend", self.backend.as_deref()),
            ("client", self.client.as_deref()),
        ]
    }
}

/// Time range, number of entries and output format.
#[derive(Debug, Args)]
pub struct PastArgs {
    /// Not before this: a time, or how long ago, such as `1h`.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Lines at most.
    #[arg(short, long, default_value_t = 100)]
    pub limit: usize,
    /// Of every gateway that follows the same etcd, as this one asks them (`admin.fleet`).
    #[arg(long)]
    pub fleet: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile history`
#[derive(Debug, Args)]
#[cfg_attr(feature = "etcd", command(args_conflicts_with_subcommands = true))]
pub struct HistoryArgs {
    /// Something else than to show it.
    #[cfg(feature = "etcd")]
    #[command(subcommand)]
    pub verb: Option<HistoryVerb>,
    /// What it is about.
    #[command(flatten)]
    pub about: AboutArgs,
    /// Only by this operator.
    #[arg(long, value_name = "NAME")]
    pub operator: Option<String>,
    /// Show what differs in each document.
    #[arg(long)]
    pub diff: bool,
    /// Go on with what changes from now on, on this gateway.
    #[arg(long, conflicts_with = "fleet")]
    pub follow: bool,
    /// How far back.
    #[command(flatten)]
    pub past: PastArgs,
}

/// A verb of `sessile history`.
#[cfg(feature = "etcd")]
#[derive(Debug, Subcommand)]
pub enum HistoryVerb {
    /// Take back what a revision of etcd changed.
    ///
    /// Shows what it would write, and what that would move, and asks. It is refused if etcd has
    /// compacted the revision, or if somebody has changed one of its documents since.
    Undo(UndoArgs),
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
    /// What it is about.
    #[command(flatten)]
    pub about: AboutArgs,
    /// Go on behind the event with this id; `0` begins with the oldest in memory.
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    /// Print JSON, an event a line, instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile ended`
#[derive(Debug, Args)]
pub struct EndedArgs {
    /// Only this session.
    #[arg(value_name = "ID")]
    pub id: Option<SessionId>,
    /// What it is about.
    #[command(flatten)]
    pub about: AboutArgs,
    /// Only those that ended for this cause, such as `kicked`.
    #[arg(long)]
    pub cause: Option<String>,
    /// Only those that this operator ended.
    #[arg(long, value_name = "NAME")]
    pub operator: Option<String>,
    /// How far back.
    #[command(flatten)]
    pub past: PastArgs,
}

/// `sessile lost`
#[derive(Debug, Args)]
pub struct LostArgs {
    /// What it is about.
    #[command(flatten)]
    pub about: AboutArgs,
    /// How far back.
    #[command(flatten)]
    pub past: PastArgs,
}

/// `sessile refusals`
#[derive(Debug, Args)]
pub struct RefusalsArgs {
    /// What it is about.
    #[command(flatten)]
    pub about: AboutArgs,
    /// Only of the request with this id, which the client has as `X-Request-Id`.
    #[arg(long, value_name = "ID")]
    pub request: Option<String>,
    /// Only with this reason, such as `credential_expired`.
    #[arg(long)]
    pub reason: Option<String>,
    /// How far back.
    #[command(flatten)]
    pub past: PastArgs,
}
