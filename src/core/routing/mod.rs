//! Which route a request takes, and which backend: the immutable compiled table that the data plane
//! reads. It is compiled from a checked `Snapshot`, swapped in whole, and never changed.
//!
//! # The order
//!
//! The most specific of the matching routes takes the request. Their order in the file does not
//! matter. Routes are compared by these criteria, each only if the previous ones are equal:
//!
//! 1. **Host**: an exact name; then wildcards, the longest first; then routes without hosts. The
//!    name is compared without port, in any case, without a trailing dot. `*.example.com` matches
//!    any number of labels in front, but not `example.com`.
//! 2. **Path**, segment by segment from the left: an exact text, then a `{parameter}`, then a
//!    `{*rest}`. A parameter takes one segment that is not empty; a rest takes everything that is
//!    left, possibly nothing, so `/files/{*rest}` matches `/files`, `/files/` and `/files/a/b`.
//! 3. **Precedence**, the greater first; it is 0 where a route does not say.
//! 4. **Conditions**: more before fewer. Each header and each query parameter counts one; `scheme`,
//!    `methods` and `subprotocols` count one each. With equal counts, more `exact` values first,
//!    then the longer `prefix` (all of a route's together).
//! 5. **Name**, in alphabetical order. Only routes whose conditions overlap without being equal get
//!    here; equal ones are refused as a fault (`config::conflict`).
//!
//! A route matches as a whole or not at all: if no route of the most specific host matches path and
//! conditions, those of less specific hosts are tried. To prevent that for a host, give it a route
//! with path `/{*rest}`.
//!
//! # One form of every path
//!
//! Host and path are canonical (`base::host`, `base::path`) before they are compared, and the
//! backend gets the form that was compared. A path is compared by its key, in which reserved
//! characters are decoded too. What a backend could still read differently is refused where the
//! route does not pass it on (`lookalikes`).

pub mod affinity;
pub mod groups;
pub mod preview;
pub mod rewrite;
pub mod subscriptions;

mod conditions;
pub mod credential;
mod digest;
mod eligible;
mod explain;
mod failover;
mod header_names;
mod lookalikes;
mod matcher;
mod pick;
mod preference;
mod request;
mod residents;
mod route;
mod table;
mod upstream;

pub use conditions::Mismatch;
pub use digest::Digest;
pub use explain::{Considered, Verdict};
pub use failover::{LevelState, level_name};
pub use header_names::HeaderNames;
pub use pick::Walk;
pub use request::{Parameters, Request, has_one_reading};
pub use residents::{Removed, Residents};
pub use route::{Matched, Route};
pub use table::{Action, Endpoint, RoutingTable};
pub use upstream::{Member, Upstream};

#[cfg(test)]
mod tests;
