//! `Cache-Control` (RFC 9111, section 5.2; RFC 5861). What can be read in two ways is read in the
//! way that keeps less.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

/// Seconds that stand for any larger number (RFC 9111, section 1.2.2).
const SECONDS_MAX: u64 = 1 << 31;

/// The directives of a request or a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// Not to be stored.
    pub no_store: bool,
    /// Not to be used without asking the backend.
    pub no_cache: bool,
    /// For one user; also if only some fields are.
    pub private: bool,
    /// For everyone, even if it was asked for with a credential.
    pub public: bool,
    /// Not to be used once it is stale (`must-revalidate` or `proxy-revalidate`).
    pub must_revalidate: bool,
    /// Of these, `must-revalidate`, which also permits to keep answers to authorised requests.
    pub must_revalidate_everywhere: bool,
    /// Of a request: the backend is not to be asked.
    pub only_if_cached: bool,
    /// Seconds of freshness, or the age that a request accepts.
    pub max_age: Option<u64>,
    /// The same for shared caches.
    pub s_maxage: Option<u64>,
    /// Of a request: how long it must still be fresh.
    pub min_fresh: Option<u64>,
    /// Of a request: how stale it may be.
    pub max_stale: Option<u64>,
    /// How stale it may be if the backend fails.
    pub stale_if_error: Option<u64>,
}

impl Directives {
    /// The directives of a response.
    pub fn of_response(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for line in headers.get_all(CACHE_CONTROL) {
            // A line that is no text may say anything.
            match line.to_str() {
                Ok(line) => found.read(line),
                Err(_) => found.no_store = true,
            }
        }
        found
    }

    /// The directives of a request. `Pragma` counts where there is nothing else (section 5.4).
    pub fn of_request(headers: &HeaderMap) -> Self {
        let mut found = Self::of_response(headers);
        if !headers.contains_key(CACHE_CONTROL) {
            let mut lines = headers.get_all(PRAGMA).iter();
            found.no_cache = lines.any(|line| {
                let line = line.as_bytes().to_ascii_lowercase();
                line.windows(8).any(|part| part == b"no-cache")
            });
        }
        found
    }

    fn read(&mut self, line: &str) {
        for item in Items(line) {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (item, None),
            };
            self.add(&name.to_ascii_lowercase(), value);
        }
    }

    fn add(&mut self, name: &str, value: Option<&str>) {
        match name {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" => {
                self.must_revalidate = true;
                self.must_revalidate_everywhere = true;
            }
            "proxy-revalidate" => self.must_revalidate = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => least(&mut self.max_age, value),
            "s-maxage" => least(&mut self.s_maxage, value),
            "stale-if-error" => least(&mut self.stale_if_error, value),
            // Of requests. The strictest are the longest and, of `max-stale`, the shortest.
            "min-fresh" => {
                let seconds = value.and_then(seconds).unwrap_or(SECONDS_MAX);
                self.min_fresh = Some(self.min_fresh.unwrap_or(0).max(seconds));
            }
            "max-stale" if value.is_none() => {
                self.max_stale = Some(self.max_stale.unwrap_or(SECONDS_MAX));
            }
            "max-stale" => least(&mut self.max_stale, value),
            _ => {}
        }
    }
}

/// Of two values the smaller counts; what is no number is 0.
fn least(known: &mut Option<u64>, value: Option<&str>) {
    let new = value.and_then(seconds).unwrap_or(0);
    *known = Some(known.map_or(new, |old| old.min(new)));
}

fn seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX).min(SECONDS_MAX))
}

/// The items of a list, whose commas may stand in quotes.
struct Items<'a>(&'a str);

impl<'a> Iterator for Items<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            if self.0.is_empty() {
                return None;
            }
            let (mut quoted, mut escaped) = (false, false);
            let end = self.0.bytes().position(|byte| {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if quoted => escaped = true,
                    b'"' => quoted = !quoted,
                    b',' => return !quoted,
                    _ => {}
                }
                false
            });
            let (item, rest) = match end {
                Some(end) => (&self.0[..end], &self.0[end + 1..]),
                None => (self.0, ""),
            };
            self.0 = rest;
            let item = item.trim();
            if !item.is_empty() {
                return Some(item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Directives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, line.parse().expect("a value"));
        }
        Directives::of_response(&headers)
    }

    #[test]
    fn directives_are_read_from_all_lines() {
        let found = of(&["Public , MAX-AGE=60", "s-maxage=\"10\",, must-revalidate"]);
        assert!(found.public && found.must_revalidate && found.must_revalidate_everywhere);
        assert_eq!((found.max_age, found.s_maxage), (Some(60), Some(10)));
        assert!(of(&["x=\"a, no-store\", private=\"set-cookie, x\""]).private);
        assert!(!of(&["x=\"a, no-store\""]).no_store);
        assert!(!of(&["x=\"\\\", no-store\""]).no_store);
        assert!(of(&["proxy-revalidate"]).must_revalidate);
        assert!(!of(&["proxy-revalidate"]).must_revalidate_everywhere);
        assert_eq!(of(&["", "unknown, other=1"]), Directives::default());
    }

    #[test]
    fn what_is_unclear_keeps_less() {
        assert_eq!(of(&["max-age=60, max-age=10"]).max_age, Some(10));
        assert_eq!(of(&["max-age=x"]).max_age, Some(0));
        assert_eq!(of(&["max-age"]).max_age, Some(0));
        assert_eq!(of(&["max-age=-1"]).max_age, Some(0));
        assert_eq!(of(&["max-age=1.5"]).max_age, Some(0));
        assert_eq!(
            of(&["max-age=99999999999999999999"]).max_age,
            Some(SECONDS_MAX)
        );
        assert_eq!(of(&["min-fresh=1, min-fresh=5"]).min_fresh, Some(5));
        assert_eq!(of(&["max-stale"]).max_stale, Some(SECONDS_MAX));
        assert_eq!(of(&["max-stale, max-stale=5"]).max_stale, Some(5));
        let mut headers = HeaderMap::new();
        let line = http::HeaderValue::from_bytes(b"max-age=5, \xff").expect("a value");
        headers.insert(CACHE_CONTROL, line);
        assert!(Directives::of_response(&headers).no_store);
    }

    #[test]
    fn pragma_counts_where_a_request_has_nothing_else() {
        let mut headers = HeaderMap::new();
        headers.insert(PRAGMA, "No-Cache".parse().expect("a value"));
        assert!(Directives::of_request(&headers).no_cache);
        headers.insert(CACHE_CONTROL, "max-age=5".parse().expect("a value"));
        assert!(!Directives::of_request(&headers).no_cache);
    }
}
