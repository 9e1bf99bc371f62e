//! `Cache-Status` (RFC 9211): what the cache did with a request, for people who debug it.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

static CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What the cache did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// It answered from memory.
    Hit {
        /// Seconds that the response is fresh still.
        ttl: i64,
        /// It answers with a stale response, since the backend fails.
        failing: bool,
        /// It waited for the response to another request.
        collapsed: bool,
    },
    /// It asked the backend.
    Forwarded {
        /// Why.
        why: Forward,
        /// The backend's status, where it is not that of the response.
        status: Option<u16>,
        /// The response goes into memory.
        stored: bool,
    },
}

/// Why a backend is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The request is of a kind that the cache leaves alone.
    Bypass,
    /// Its method is.
    Method,
    /// Nothing of this URI is stored.
    UriMiss,
    /// What is stored answers other requests.
    VaryMiss,
    /// What is stored is stale.
    Stale,
    /// The request asks for that.
    Request,
}

impl Forward {
    /// Its word in the field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
        }
    }
}

impl CacheStatus {
    /// The label in metrics.
    pub const fn result(self) -> &'static str {
        match self {
            Self::Hit { failing: true, .. } => "stale",
            Self::Hit { .. } => "hit",
            Self::Forwarded {
                status: Some(304), ..
            } => "revalidated",
            Self::Forwarded {
                why: Forward::Bypass | Forward::Method,
                ..
            } => "bypass",
            Self::Forwarded { .. } => "miss",
        }
    }

    /// Adds the field; what caches behind this one wrote stays in front.
    pub fn add_to(self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.to_string()) {
            headers.append(&CACHE_STATUS, value);
        }
    }
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sessile")?;
        match self {
            Self::Hit {
                ttl,
                failing,
                collapsed,
            } => {
                write!(f, "; hit; ttl={ttl}")?;
                if *collapsed {
                    f.write_str("; collapsed")?;
                }
                if *failing {
                    f.write_str("; detail=stale-if-error")?;
                }
            }
            Self::Forwarded {
                why,
                status,
                stored,
            } => {
                write!(f, "; fwd={}", why.as_str())?;
                if let Some(status) = status {
                    write!(f, "; fwd-status={status}")?;
                }
                if *stored {
                    f.write_str("; stored")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: CacheStatus, text: &str, result: &str) {
        assert_eq!(status.to_string(), format!("sessile; {text}"));
        assert_eq!(status.result(), result);
    }

    #[test]
    fn the_field_says_what_was_done() {
        let hit = |ttl, failing, collapsed| CacheStatus::Hit {
            ttl,
            failing,
            collapsed,
        };
        check(hit(30, false, false), "hit; ttl=30", "hit");
        check(hit(30, false, true), "hit; ttl=30; collapsed", "hit");
        check(
            hit(-5, true, false),
            "hit; ttl=-5; detail=stale-if-error",
            "stale",
        );
        let asked = |why, status, stored| CacheStatus::Forwarded {
            why,
            status,
            stored,
        };
        check(
            asked(Forward::UriMiss, None, true),
            "fwd=uri-miss; stored",
            "miss",
        );
        check(
            asked(Forward::VaryMiss, None, false),
            "fwd=vary-miss",
            "miss",
        );
        let revalidated = asked(Forward::Stale, Some(304), true);
        check(
            revalidated,
            "fwd=stale; fwd-status=304; stored",
            "revalidated",
        );
        check(asked(Forward::Bypass, None, false), "fwd=bypass", "bypass");
    }

    #[test]
    fn what_caches_behind_wrote_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(&CACHE_STATUS, HeaderValue::from_static("origin; hit"));
        check(
            CacheStatus::Hit {
                ttl: 1,
                failing: false,
                collapsed: false,
            },
            "hit; ttl=1",
            "hit",
        );
        CacheStatus::Hit {
            ttl: 1,
            failing: false,
            collapsed: false,
        }
        .add_to(&mut headers);
        let lines: Vec<_> = headers.get_all(&CACHE_STATUS).iter().collect();
        assert_eq!(lines, ["origin; hit", "sessile; hit; ttl=1"]);
    }
}
