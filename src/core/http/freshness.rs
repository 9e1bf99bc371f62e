//! What a shared cache may store, how long that is fresh, and when it may be used (RFC 9111,
//! sections 3 and 4). Only what a backend declares counts: there are no heuristics.

use std::time::{Duration, SystemTime};

use http::header::{
    AGE, CONTENT_RANGE, DATE, ETAG, EXPIRES, HeaderName, LAST_MODIFIED, SET_COOKIE, VARY,
};
use http::{HeaderMap, StatusCode};

use crate::core::http::cache_control::Directives;

/// Statuses whose meaning is the same for everyone who asks.
const STORED: [u16; 10] = [200, 203, 204, 300, 301, 302, 307, 308, 404, 410];

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// The request or the response forbids it.
    NoStore,
    /// It is for one user.
    Private,
    /// It was asked for with a credential, and the response does not say that it is for all.
    Authorized,
    /// A status that is not stored, or a part.
    Status,
    /// It sets a cookie.
    SetsCookie,
    /// It depends on more than the request's fields.
    VariesByAll,
    /// It is never fresh, and has nothing to ask again with.
    NeverUsable,
}

/// How long a stored response may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When it arrived.
    pub arrived: SystemTime,
    /// How old it was then.
    pub age: Duration,
    /// At which age it is stale.
    pub lifetime: Duration,
    /// The response's directives.
    pub directives: Directives,
}

/// Whether a stored response may be used for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// As it is.
    Fresh,
    /// Although it is stale: the request accepts that.
    Stale,
    /// The backend must be asked, since the response is stale.
    AskStale,
    /// The backend must be asked, since the request wants that.
    AskRequested,
}

/// Whether a response to a GET may be stored. `authorized`: the request had a credential, wherever.
///
/// # Errors
/// Why not.
pub fn storable(
    request: &Directives,
    authorized: bool,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<(), NotStored> {
    let directives = Directives::of_response(headers);
    if request.no_store || directives.no_store {
        return Err(NotStored::NoStore);
    }
    if directives.private {
        return Err(NotStored::Private);
    }
    let for_all =
        directives.public || directives.s_maxage.is_some() || directives.must_revalidate_everywhere;
    if authorized && !for_all {
        return Err(NotStored::Authorized);
    }
    if !STORED.contains(&status.as_u16()) || headers.contains_key(CONTENT_RANGE) {
        return Err(NotStored::Status);
    }
    if headers.contains_key(SET_COOKIE) {
        return Err(NotStored::SetsCookie);
    }
    let varies = headers.get_all(VARY).iter();
    if varies
        .into_iter()
        .any(|line| line.as_bytes().contains(&b'*'))
    {
        return Err(NotStored::VariesByAll);
    }
    let validated = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
    let fresh = !directives.no_cache && !lifetime(&directives, headers, None).is_zero();
    match fresh || validated {
        true => Ok(()),
        false => Err(NotStored::NeverUsable),
    }
}

impl Freshness {
    /// Of a response that was asked for and arrived at these times.
    pub fn of(headers: &HeaderMap, asked: SystemTime, arrived: SystemTime) -> Self {
        let directives = Directives::of_response(headers);
        let date = date(headers, &DATE);
        let since = |start: SystemTime| arrived.duration_since(start).unwrap_or_default();
        let apparent = date.map(since).unwrap_or_default();
        let declared = headers.get(AGE).and_then(|age| age.to_str().ok());
        let declared = declared
            .and_then(|age| age.trim().parse().ok())
            .unwrap_or(0);
        let corrected = Duration::from_secs(declared).saturating_add(since(asked));
        Self {
            arrived,
            age: apparent.max(corrected),
            lifetime: lifetime(&directives, headers, date.or(Some(arrived))),
            directives,
        }
    }

    /// The age at this time (section 4.2.3).
    pub fn age(&self, now: SystemTime) -> Duration {
        let resident = now.duration_since(self.arrived).unwrap_or_default();
        self.age.saturating_add(resident)
    }

    /// Seconds that it is fresh still; negative once it is stale.
    pub fn ttl(&self, now: SystemTime) -> i64 {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        seconds(self.lifetime).saturating_sub(seconds(self.age(now)))
    }

    /// Whether it may be used for a request with these directives.
    pub fn reuse(&self, request: &Directives, now: SystemTime) -> Reuse {
        let age = self.age(now);
        let seconds = Duration::from_secs;
        if request.no_cache || request.max_age.is_some_and(|most| age > seconds(most)) {
            return Reuse::AskRequested;
        }
        if self.directives.no_cache {
            return Reuse::AskStale;
        }
        let left = self
            .lifetime
            .checked_sub(age)
            .filter(|left| !left.is_zero());
        if let Some(left) = left {
            let short = request.min_fresh.is_some_and(|least| left < seconds(least));
            return if short {
                Reuse::AskRequested
            } else {
                Reuse::Fresh
            };
        }
        let accepted = request.min_fresh.is_none() && self.stale_within(request.max_stale, now);
        if accepted {
            Reuse::Stale
        } else {
            Reuse::AskStale
        }
    }

    /// Whether it may be used although it is stale, since the backend fails (RFC 5861, section 4).
    pub fn helps_out(&self, now: SystemTime) -> bool {
        self.stale_within(self.directives.stale_if_error, now)
    }

    fn stale_within(&self, most: Option<u64>, now: SystemTime) -> bool {
        let directives = &self.directives;
        let strict =
            directives.must_revalidate || directives.no_cache || directives.s_maxage.is_some();
        let stale = self.age(now).saturating_sub(self.lifetime);
        !strict && most.is_some_and(|most| stale <= Duration::from_secs(most))
    }
}

/// The freshness lifetime (section 4.2.1).
fn lifetime(directives: &Directives, headers: &HeaderMap, date: Option<SystemTime>) -> Duration {
    if let Some(seconds) = directives.s_maxage.or(directives.max_age) {
        return Duration::from_secs(seconds);
    }
    let Some(expires) = self::date(headers, &EXPIRES) else {
        // Also if it is no date, as `0` is none: stale.
        return Duration::ZERO;
    };
    // Without a date any time in the future will do: whether there is one is asked then.
    let from = date.unwrap_or(SystemTime::UNIX_EPOCH);
    expires.duration_since(from).unwrap_or_default()
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut fields = headers.get_all(name).iter();
    let only = fields.next().filter(|_| fields.next().is_none())?;
    httpdate::parse_http_date(only.to_str().ok()?.trim()).ok()
}

#[cfg(test)]
mod tests;
