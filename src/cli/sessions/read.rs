//! What `sessile sessions` asks the gateway, and how wide it may print.

use std::io::{self, IsTerminal as _};

use ratatui::crossterm::terminal::size as size_of_terminal;

use crate::admin::sessions::Session;
use crate::cli::args::SessionsArgs;
use crate::cli::client::{Client, ClientError};
use crate::cli::history::Ended;
use crate::cli::listed::{Listed, scoped};

/// Most sessions that the admin API gives at once.
const PAGE_MAX: usize = 1000;

/// The sessions that ended, as these arguments select them.
pub(super) fn ended(args: &SessionsArgs) -> Ended<'_> {
    Ended {
        id: None,
        about: &args.selection.about,
        cause: args.cause.as_deref(),
        operator: args.operator.as_deref(),
        since: args.since.as_deref(),
        lost: false,
        limit: args.limit,
        fleet: args.fleet,
    }
}

/// The width of the terminal; `None` where the output goes elsewhere and is not cut.
pub(super) fn width() -> Option<usize> {
    let terminal = io::stdout().is_terminal().then(size_of_terminal)?;
    terminal.ok().map(|(columns, _)| usize::from(columns))
}

/// Reads page by page, up to the limit or the end.
pub(super) fn fetch(client: &Client, args: &SessionsArgs) -> Result<Listed<Session>, ClientError> {
    let mut all: Option<Listed<Session>> = None;
    loop {
        let mut query = form_urlencoded::Serializer::new(String::new());
        args.selection.append(&mut query);
        let cursor = all.as_ref().and_then(|all| all.next.as_ref());
        for (name, value) in [
            ("cursor", cursor),
            ("sort", args.sort.as_ref()),
            ("interval", args.rates.as_ref()),
        ] {
            query.extend_pairs(value.map(|value| (name, value)));
        }
        let read = all.as_ref().map_or(0, |all| all.items.len());
        query.append_pair("limit", &(args.limit - read).min(PAGE_MAX).to_string());
        let target = format!("/v1/sessions?{}", query.finish());
        let page: Listed<Session> = client.get(&scoped(&target, args.fleet))?;
        let mut joined = match all.take() {
            None => page,
            Some(before) => before.and(page),
        };
        if joined.next.is_none() || joined.items.len() >= args.limit {
            joined.shorten(args.limit);
            return Ok(joined);
        }
        all = Some(joined);
    }
}
