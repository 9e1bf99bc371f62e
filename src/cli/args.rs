//! The command line: verbs, flags, and the help that teaches them. What a verb does is its own
//! file's.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::base::session_id::SessionId;
use crate::control::load::LoadOptions;

mod doctor;
mod drain;
#[cfg(feature = "etcd")]
pub mod etcd;
mod events;
#[cfg(feature = "etcd")]
pub mod register;
mod scaling;
mod sessions;
mod target;

use target::key_value;

pub use doctor::{CertsArgs, CompletionsArgs, DoctorArgs, ExplainArgs, ManArgs};
pub use drain::{DrainArgs, RebalanceArgs};
#[cfg(feature = "etcd")]
pub use events::HistoryVerb;
pub use events::{AboutArgs, EndedArgs, EventsArgs, HistoryArgs, LostArgs, PastArgs, RefusalsArgs};
pub use scaling::{ScaleInArgs, ScalingArgs};
pub use sessions::{
    GroupsArgs, KickArgs, MoveArgs, SelectionArgs, SendArgs, SessionsArgs, TapArgs, TopArgs,
    WhyArgs,
};
pub use target::{AdminAddr, AdminArgs, ConfigArgs};

/// An edge gateway for WebSocket services, in front of backends that you have already.
///
/// It accepts upgrades, pins each session to a healthy backend, and can change its configuration
/// without dropping one.
#[derive(Debug, Parser)]
#[command(name = "sessile", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
First steps:
  sessile demo                 a gateway with backends of its own, to play with
  sessile check                is my gateway.toml right?
  sessile run                  the gateway

When something is wrong:
  sessile doctor --fleet       what is wrong anywhere, and what to do about it
  sessile why USER             where a user's session is and why, or how it ended
  sessile refusals             who was refused, and by which rule
  sessile explain 1006         what a close code or a status means, and where to look
  sessile history --since 1h   what changed, and who did it

Exit codes: 0 done, 1 failed, 2 configuration or arguments refused.";

/// A verb.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    ///
    /// SIGHUP reloads the configuration. SIGTERM or Ctrl-C stops accepting clients and closes
    /// sessions over `shutdown.grace`; a second one ends at once.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Run a gateway with three chat backends inside, and a page to try it in the browser.
    Demo(DemoArgs),
    /// Report every fault of a configuration, without starting.
    Check(CheckArgs),
    /// Explain where a request would go.
    ///
    /// By a configuration file, in which every backend counts as healthy; or with --admin by a
    /// running gateway, as things are there at this moment. Exits with 1 if the request would go
    /// nowhere.
    #[command(after_help = RESOLVE_EXAMPLES)]
    Resolve(ResolveArgs),
    /// Show what a configuration would change, before it is put into force.
    ///
    /// Asks a running gateway which keys would move, how many of them have live sessions, which
    /// sessions would end, which backends would get no new ones. Changes nothing. Exits with 2 if
    /// the configuration would be refused.
    #[command(after_help = PREVIEW_EXAMPLES)]
    Preview(PreviewArgs),
    /// Show how a running gateway is.
    Status(StatusArgs),
    /// List the backends of a running gateway: how well each is, and what it has.
    Backends(BackendsArgs),
    /// Show the load of upstreams, and how many backends each should have.
    Scaling(ScalingArgs),
    /// Take backends out: those with the fewest sessions drain.
    ///
    /// The sessions of all gateways that follow the same etcd are counted; the order goes to one
    /// gateway, as that of `sessile drain`.
    #[command(name = "scale-in", after_help = scaling::SCALE_IN_EXAMPLES)]
    ScaleIn(ScaleInArgs),
    /// Report what is wrong with a running gateway or its whole fleet, and what to do about it.
    #[command(after_help = doctor::DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Show the certificates, rights and keys of a running gateway that end, the first to end
    /// first.
    ///
    /// For each authenticator also how many live sessions end with their token within --within
    /// days, and how old the keys of its issuer are.
    Certs(CertsArgs),
    /// Explain what a close code or an HTTP status means, whose fault it is and where to look.
    #[command(after_help = doctor::EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// List live sessions of a running gateway, the oldest first or sorted.
    #[command(after_help = sessions::SESSIONS_EXAMPLES)]
    Sessions(SessionsArgs),
    /// Show who sends most right now, the hottest keys, and upstreams whose load is skewed.
    ///
    /// Live in a terminal: q quits, b and m sort, / filters.
    Top(TopArgs),
    /// Explain why a session is on its backend, how it ended, or why a request was refused.
    Why(WhyArgs),
    /// Show the frames of a session as they pass.
    Tap(TapArgs),
    /// Send a message in one session, or in all that match.
    ///
    /// It goes out at the next message boundary. Exits with 1 if no session took it.
    #[command(after_help = sessions::SEND_EXAMPLES)]
    Send(SendArgs),
    /// List the sessions of a group on all gateways, or follow who joins and leaves.
    Groups(GroupsArgs),
    /// Move a session to another backend, while its client stays connected.
    ///
    /// Its route must have `on_backend_loss = "reconnect"`.
    Move(MoveArgs),
    /// Close sessions of a running gateway.
    ///
    /// The client gets a close frame, 1008 unless --code is given, at the next frame boundary.
    Kick(KickArgs),
    /// List sessions that ended, the newest end first, with who ended them and why.
    Ended(EndedArgs),
    /// List sessions that lost messages, with how many, when and why.
    ///
    /// Live ones and those that ended: messages of clients that were lost with a backend, and
    /// published ones that did not reach their client. Exits with 1 if there are any.
    Lost(LostArgs),
    /// List requests that were refused, the newest first, with the exact cause.
    Refusals(RefusalsArgs),
    /// Show what changed, and who did it.
    ///
    /// --diff shows what differs in each file or document; --follow goes on with what changes from
    /// now on.
    History(HistoryArgs),
    /// Follow what happens: sessions, refusals, changes.
    Events(EventsArgs),
    /// Take a backend of a running gateway out, and end or move its sessions gradually.
    ///
    /// It gets no new sessions; its live sessions leave at the given pace, or that of the
    /// upstream's `drain`. They are moved to another backend if their route has `on_backend_loss =
    /// "reconnect"`, else closed with 1012.
    ///
    /// The last backend of an upstream that takes sessions is drained only after a confirmation.
    /// --status only shows a drain; so does --watch alone.
    ///
    /// The order overrides the configuration until it is taken back with --undo or --configured. It
    /// applies to this gateway only; for all gateways set `state = "draining"` in the source of the
    /// membership.
    #[command(after_help = drain::DRAIN_EXAMPLES)]
    Drain(DrainArgs),
    /// Bring sessions of a running gateway to the backends that their keys belong to now.
    ///
    /// After a change of members. Needs `rebalance = { mode = "manual" }` (or "auto") at the
    /// upstream, but for --dry-run.
    #[command(after_help = drain::REBALANCE_EXAMPLES)]
    Rebalance(RebalanceArgs),
    /// Keep a backend registered in etcd while it is healthy.
    ///
    /// Runs beside the backend, or starts it. First the backend must pass its probe; then it is
    /// registered in etcd under a lease. While the probe fails it is `disabled` there: it keeps its
    /// sessions and gets no new ones. On SIGTERM or Ctrl-C it is `draining` for the time of
    /// --drain, then it is removed; a second signal ends that wait.
    #[cfg(feature = "etcd")]
    #[command(after_help = register::EXAMPLES)]
    Register(Box<register::RegisterArgs>),
    /// Look at what gateways follow in etcd, and change it: checked and previewed first.
    ///
    /// A file that is put or compared holds `[[routes]]`, `[upstreams.…]`, `[authenticators.…]` and
    /// `[revocations.…]` as gateway.toml does; each becomes a document of its own, and so does each
    /// backend.
    #[cfg(feature = "etcd")]
    #[command(after_help = etcd::EXAMPLES)]
    Etcd(etcd::EtcdCommandArgs),
    /// Print the JSON Schema of the configuration, or the OpenAPI document of the admin API.
    Schema(SchemaArgs),
    /// Print what makes a shell complete these commands.
    Completions(CompletionsArgs),
    /// Print or write man pages.
    Man(ManArgs),
}

const RUN_EXAMPLES: &str = "\
An upgrade that drops no session:
  sessile run --take-over /run/sessile/handover.sock     the gateway, from its first start on
  (replace the binary)
  sessile run --take-over /run/sessile/handover.sock     the new one has everything, the old one ends";

const RESOLVE_EXAMPLES: &str = "\
Examples:
  sessile resolve wss://chat.example.com/ws/7
  sessile resolve /ws/7 -H 'Cookie: sid=42' --client 192.0.2.7
  sessile resolve https://chat.example.com/api --admin 127.0.0.1:9900
  sessile resolve /ws/7 --as ann                    for this user, without a token
  sessile resolve --session 01M8…                   what a session would get now";

const PREVIEW_EXAMPLES: &str = "\
Examples:
  sessile preview new.toml                          by the gateway of ./gateway.toml
  sessile preview new.toml --admin 127.0.0.1:9900   by this gateway
  sessile preview new.toml --against gateway.toml   without one; every backend counts as healthy";

/// `sessile run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Take listeners and sessions over from the gateway that listens on this unix socket, if one
    /// does, and then listen there for the next one. Only processes of the same user, or root's,
    /// are let in.
    #[arg(long, value_name = "PATH")]
    pub take_over: Option<PathBuf>,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `sessile demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Set one key of the demo's configuration, such as `listeners=[{name="edge",
    /// listen=["127.0.0.1:0"]}]`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub sets: Vec<(String, String)>,
}

/// `sessile check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration file, as with --config.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// What to check.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Read etcd too, once, and check every document in it as a gateway with this file would.
    #[cfg(feature = "etcd")]
    #[arg(long)]
    pub etcd: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

impl CheckArgs {
    /// What to check.
    pub fn options(&self) -> LoadOptions {
        let path = self.file.as_ref().unwrap_or(&self.config.config);
        LoadOptions::from_process(path, self.config.sets.clone())
    }

    /// Whether to read etcd too.
    pub const fn etcd(&self) -> bool {
        #[cfg(feature = "etcd")]
        return self.etcd;
        #[cfg(not(feature = "etcd"))]
        false
    }
}

/// `sessile resolve`
#[derive(Debug, Args)]
pub struct ResolveArgs {
    /// Such as `wss://chat.example.com/ws/7`, or only `/ws/7`. It is an upgrade to WebSocket unless
    /// it begins with `http:` or `https:`.
    #[arg(required_unless_present = "session")]
    pub url: Option<String>,
    /// Instead of a URL: a session of a running gateway, live or ended. What would it get now, and
    /// what differs from then?
    #[arg(long, value_name = "ID", conflicts_with_all = ["url", "headers", "without"])]
    pub session: Option<SessionId>,
    /// A header of the request. May be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// The request's method.
    #[arg(short = 'X', long, default_value = "GET")]
    pub method: String,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub client: IpAddr,
    /// As this principal, as if its credential were valid.
    #[arg(long = "as", value_name = "SUBJECT", conflicts_with = "session")]
    pub subject: Option<String>,
    /// With this claim, as if the credential were valid; the value is JSON, and what is no JSON is
    /// text. May be repeated.
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim, conflicts_with = "session")]
    pub claims: Vec<(String, serde_json::Value)>,
    /// As if this backend were gone. May be repeated.
    #[arg(long, value_name = "BACKEND")]
    pub without: Vec<String>,
    /// Show every route that was considered, not only the first ones.
    #[arg(long)]
    pub all: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// A running gateway to ask; by default the configuration file is evaluated.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile preview`
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// A whole gateway.toml; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Ask no gateway, compare with this file.
    #[arg(long, value_name = "PATH")]
    pub against: Option<PathBuf>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show it again every two seconds.
    #[arg(short, long)]
    pub watch: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile backends`
#[derive(Debug, Args)]
pub struct BackendsArgs {
    /// Only of this upstream.
    #[arg(value_name = "UPSTREAM")]
    pub upstream: Option<String>,
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

/// `sessile schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Print the configuration's page of the manual instead.
    #[arg(long, conflicts_with = "admin_api")]
    pub markdown: bool,
    /// Print the OpenAPI document of the admin API instead.
    #[arg(long)]
    pub admin_api: bool,
}

fn claim(text: &str) -> Result<(String, serde_json::Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            Ok((name.to_owned(), value))
        }
        _ => Err("write `name=value`".to_owned()),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write `Name: value`".to_owned()),
    }
}

#[cfg(test)]
mod tests;
