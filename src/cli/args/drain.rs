//! The arguments of `sessile drain` and `sessile rebalance`.

use clap::Args;

use crate::cli::args::target::AdminArgs;
use crate::config::model::{Pace, Time};

pub(super) const DRAIN_EXAMPLES: &str = "\
Examples:
  sessile drain chat 10.0.0.1:9000 --pace 50/s --watch
  sessile drain chat 10.0.0.1:9000 --within 5m
  sessile drain chat 10.0.0.1:9000 --status          only shows how far it is; --watch follows
  sessile drain chat 10.0.0.1:9000 --who             only says who would move, who would be closed
  sessile drain chat 10.0.0.1:9000 --pause
  sessile drain chat 10.0.0.1:9000 --undo            takes sessions again";

pub(super) const REBALANCE_EXAMPLES: &str = "\
Examples:
  sessile rebalance chat --dry-run            who would go where
  sessile rebalance chat --pace 10/s --watch
  sessile rebalance chat --skew 0 --share-max 1   every key goes home";

/// `sessile drain`
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// The upstream.
    pub upstream: String,
    /// The backend's id, as `sessile status` and /v1/upstreams show it.
    pub backend: String,
    /// Sessions per unit of time: `50/s`, `600/m`.
    #[arg(long, value_name = "RATE", conflicts_with = "within")]
    pub pace: Option<Pace>,
    /// All of them, evenly, within this time: `5m`.
    #[arg(long, value_name = "TIME", value_parser = length)]
    pub within: Option<Time>,
    /// After this time the rest go at once.
    #[arg(long, value_name = "TIME", value_parser = length)]
    pub deadline: Option<Time>,
    /// Pause until --resume.
    #[arg(long, conflicts_with_all = ["resume", "undo", "configured"])]
    pub pause: bool,
    /// Go on after --pause.
    #[arg(long, conflicts_with_all = ["undo", "configured"])]
    pub resume: bool,
    /// Stop, and let it take sessions again.
    #[arg(long, conflicts_with_all = ["pace", "within", "deadline", "configured"])]
    pub undo: bool,
    /// Withdraw the order, so that the configuration applies again.
    #[arg(long, conflicts_with_all = ["pace", "within", "deadline"])]
    pub configured: bool,
    /// Only show the progress; change nothing.
    #[arg(long, conflicts_with_all = ["pace", "within", "deadline", "pause", "resume", "undo", "configured", "yes"])]
    pub status: bool,
    /// Only show who would leave, and where to; change nothing.
    #[arg(long, conflicts_with_all = ["pace", "within", "deadline", "pause", "resume", "undo", "configured", "yes", "status", "watch"])]
    pub who: bool,
    /// Do not ask before the last backend that takes sessions is drained.
    #[arg(short, long)]
    pub yes: bool,
    /// Show the progress until the drain is complete. Without any of the above options, nothing is
    /// changed, as with --status.
    #[arg(short, long)]
    pub watch: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

impl DrainArgs {
    /// Whether something is to change, judging by the other options.
    pub const fn orders(&self) -> bool {
        let how = self.pace.is_some() || self.within.is_some() || self.deadline.is_some();
        let what = self.pause || self.resume || self.undo || self.configured || self.yes;
        how || what
    }

    /// Whether the backend is to drain from now on.
    pub const fn begins(&self) -> bool {
        !(self.pause || self.resume || self.undo || self.configured)
    }
}

/// `sessile rebalance`
#[derive(Debug, Args)]
pub struct RebalanceArgs {
    /// The upstream.
    pub upstream: String,
    /// Only show which sessions would move where.
    #[arg(long)]
    pub dry_run: bool,
    /// Sessions per unit of time: `10/s`.
    #[arg(long, value_name = "RATE")]
    pub pace: Option<Pace>,
    /// Move sessions until each backend has at most this multiple of its fair share; 0 moves every
    /// key home.
    #[arg(long)]
    pub skew: Option<f64>,
    /// Move at most this share of the sessions, 0 to 1.
    #[arg(long, value_name = "SHARE")]
    pub share_max: Option<f64>,
    /// Younger sessions stay.
    #[arg(long, value_name = "TIME", value_parser = length)]
    pub age_min: Option<Time>,
    /// Close sessions that cannot move, with 1012.
    #[arg(long)]
    pub close: bool,
    /// Show the current rebalancing, or the last one.
    #[arg(long, conflicts_with_all = ["dry_run", "pause", "resume", "stop"])]
    pub status: bool,
    /// Pause until --resume.
    #[arg(long, conflicts_with_all = ["dry_run", "resume", "stop"])]
    pub pause: bool,
    /// Go on after --pause.
    #[arg(long, conflicts_with_all = ["dry_run", "stop"])]
    pub resume: bool,
    /// End it; sessions that have moved stay there.
    #[arg(long, conflicts_with = "dry_run")]
    pub stop: bool,
    /// Show how far it is until it is done.
    #[arg(short, long)]
    pub watch: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

pub(super) fn length(text: &str) -> Result<Time, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    Ok(Time(time))
}
