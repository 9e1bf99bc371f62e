//! How long a client's connection may stay as it is: with a head on its way, between two requests,
//! or with bytes that do not move.

use crate::config::snapshot::ListenerTimeouts;
use crate::core::session::wheel::Tick;
use crate::proxy::clock::ticks;

/// Why the gateway ends a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A head did not end in time.
    HeadTimedOut,
    /// No request came after the last one.
    Unused,
    /// The client does not read, or does not send the body that it began.
    ClientStalled,
    /// The backend does not read the request's body.
    BackendStalled,
    /// A response has not moved for longer than `timeouts.idle`.
    Idle,
}

impl Cut {
    /// The label in metrics and records.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::HeadTimedOut => "head_timed_out",
            Self::Unused => "client_gone",
            Self::ClientStalled => "client_stalled",
            Self::BackendStalled => "backend_stalled",
            Self::Idle => "idle_timeout",
        }
    }

    /// Whether bytes are lost with the connection, so that its end must not look like a proper one.
    pub(crate) const fn is_abrupt(self) -> bool {
        matches!(
            self,
            Self::ClientStalled | Self::BackendStalled | Self::Idle
        )
    }
}

/// The times of a listener, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    head: Tick,
    between: Tick,
}

impl Times {
    /// The times of this listener.
    pub(crate) fn of(listener: &ListenerTimeouts) -> Self {
        Self {
            head: ticks(listener.request_head),
            between: ticks(listener.between_requests),
        }
    }
}

/// What a connection does now. All times are ticks since when something is so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    /// A write to the client waits.
    pub(crate) writing: Option<Tick>,
    /// How long a stalled peer is waited for.
    pub(crate) limit: Tick,
    pub(crate) doing: Doing,
}

/// Which deadlines hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Doing {
    /// A request waits for the head of its response: its own deadlines hold.
    Waiting,
    /// A body is on its way up or down.
    Body {
        /// The client is waited for to go on with its body.
        awaited: Option<Tick>,
        /// The backend is waited for to read.
        blocked: Option<Tick>,
        /// A byte moved last, and how long that may be ago.
        idle: Option<(Tick, Tick)>,
    },
    /// A head is on its way.
    Head(Tick),
    /// The last request is over.
    Between(Tick),
}

/// Ticks until the connection has to be looked at again: no later than the earliest deadline that
/// can begin meanwhile ends.
///
/// # Errors
/// Why the connection has to be ended now.
pub(crate) fn due(times: Times, state: &State, now: Tick) -> Result<Tick, Cut> {
    let mut next = times.head.min(times.between).min(state.limit);
    let mut check = |since: Option<Tick>, limit: Tick, cut: Cut| {
        let passed = since.map_or(0, |since| now.saturating_sub(since));
        match limit.checked_sub(passed) {
            None | Some(0) => Err(cut),
            Some(left) => {
                next = next.min(left);
                Ok(())
            }
        }
    };
    check(state.writing, state.limit, Cut::ClientStalled)?;
    match state.doing {
        Doing::Waiting => {}
        Doing::Body {
            awaited,
            blocked,
            idle,
        } => {
            check(awaited, state.limit, Cut::ClientStalled)?;
            check(blocked, state.limit, Cut::BackendStalled)?;
            if let Some((moved, idle)) = idle {
                check(Some(moved), idle, Cut::Idle)?;
            }
        }
        Doing::Head(since) => check(Some(since), times.head, Cut::HeadTimedOut)?,
        Doing::Between(since) => check(Some(since), times.between, Cut::Unused)?,
    }
    Ok(next.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        head: 100,
        between: 600,
    };

    #[track_caller]
    fn check(doing: Doing, now: Tick, expected: Result<Tick, Cut>) {
        let state = State {
            writing: None,
            limit: 300,
            doing,
        };
        assert_eq!(due(TIMES, &state, now), expected);
    }

    #[test]
    fn a_head_has_its_time() {
        check(Doing::Head(1000), 1000, Ok(100));
        check(Doing::Head(1000), 1099, Ok(1));
        check(Doing::Head(1000), 1100, Err(Cut::HeadTimedOut));
    }

    #[test]
    fn an_unused_connection_is_kept_longer_but_looked_at_as_often() {
        check(Doing::Between(1000), 1050, Ok(100));
        check(Doing::Between(1000), 1599, Ok(1));
        check(Doing::Between(1000), 1600, Err(Cut::Unused));
    }

    #[test]
    fn a_request_that_waits_for_its_response_is_not_cut() {
        check(Doing::Waiting, 1_000_000, Ok(100));
    }

    #[test]
    fn a_stalled_body_is_cut_by_the_side_that_stalls() {
        let body = |awaited, blocked, idle| Doing::Body {
            awaited,
            blocked,
            idle,
        };
        check(body(Some(1000), None, None), 1299, Ok(1));
        check(body(Some(1000), None, None), 1300, Err(Cut::ClientStalled));
        check(body(None, Some(1000), None), 1300, Err(Cut::BackendStalled));
        check(body(None, None, Some((1000, 50))), 1050, Err(Cut::Idle));
        check(body(None, None, None), 1_000_000, Ok(100));
    }

    #[test]
    fn a_client_that_does_not_read_is_cut_whatever_else_goes_on() {
        let state = State {
            writing: Some(1000),
            limit: 300,
            doing: Doing::Waiting,
        };
        assert_eq!(due(TIMES, &state, 1250), Ok(50));
        assert_eq!(due(TIMES, &state, 1300), Err(Cut::ClientStalled));
    }

    #[test]
    fn only_lost_bytes_make_an_end_abrupt() {
        let abrupt = [Cut::ClientStalled, Cut::BackendStalled, Cut::Idle];
        assert!(abrupt.iter().all(|cut| cut.is_abrupt()));
        assert!(!Cut::HeadTimedOut.is_abrupt() && !Cut::Unused.is_abrupt());
    }
}
