//! The arguments of `sessile scaling` and `sessile scale-in`.

use clap::Args;

use crate::cli::args::drain::length;
use crate::cli::args::target::AdminArgs;
use crate::config::model::{Pace, Time};

pub(super) const SCALE_IN_EXAMPLES: &str = "\
Examples:
  sessile scale-in chat 2 --dry-run            which two would go
  sessile scale-in chat 2 --within 10m
  sessile drain chat 10.0.0.1:9000 --undo      takes one of them back";

/// `sessile scaling`
#[derive(Debug, Args)]
pub struct ScalingArgs {
    /// Only this upstream.
    #[arg(value_name = "UPSTREAM")]
    pub upstream: Option<String>,
    /// Count the sessions of all gateways that follow the same etcd.
    #[arg(long)]
    pub fleet: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile scale-in`
#[derive(Debug, Args)]
pub struct ScaleInArgs {
    /// The upstream.
    #[arg(value_name = "UPSTREAM")]
    pub upstream: String,
    /// How many backends are to go.
    #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub backends: u32,
    /// Only show which ones would go.
    #[arg(long)]
    pub dry_run: bool,
    /// Sessions per unit of time, of each: `50/s`.
    #[arg(long, value_name = "RATE", conflicts_with = "within")]
    pub pace: Option<Pace>,
    /// All sessions of each, evenly, within this time: `5m`.
    #[arg(long, value_name = "TIME", value_parser = length)]
    pub within: Option<Time>,
    /// After this time the rest go at once.
    #[arg(long, value_name = "TIME", value_parser = length)]
    pub deadline: Option<Time>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}
