//! `Accept-Encoding` (RFC 9110, section 12.5.3): which compressed variants of a file a client
//! takes.

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use smallvec::SmallVec;

/// A coding that files lie compressed in, beside the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `br`
    Brotli,
    /// `zstd`
    Zstd,
    /// `gzip`
    Gzip,
}

/// The smallest results first; that decides between codings that a client likes equally.
const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

impl Coding {
    /// Its name in `Content-Encoding`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What is added to a file's name.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zst",
            Self::Gzip => "gz",
        }
    }
}

/// The codings that the client takes, best first.
pub fn accepted(headers: &HeaderMap) -> SmallVec<[Coding; 3]> {
    let mut weights = [None; ALL.len()];
    let mut others = 0;
    let lines = headers.get_all(ACCEPT_ENCODING).iter();
    let items = lines.filter_map(|line| line.to_str().ok());
    for item in items.flat_map(|line| line.split(',')) {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let name = name.trim();
        let weight = thousandths(weight);
        if name == "*" {
            others = weight;
        }
        let place = ALL.iter().position(|known| is_named(*known, name));
        if let Some(place) = place {
            weights[place] = Some(weight);
        }
    }
    let weighted = ALL.into_iter().zip(weights);
    let mut weighted: SmallVec<[_; 3]> = weighted
        .map(|(coding, weight)| (coding, weight.unwrap_or(others)))
        .filter(|(_, weight)| *weight > 0)
        .collect();
    // Stable: equals stay in the order of `ALL`.
    weighted.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    weighted.into_iter().map(|(coding, _)| coding).collect()
}

fn is_named(coding: Coding, name: &str) -> bool {
    name.eq_ignore_ascii_case(coding.as_str())
        || (coding == Coding::Gzip && name.eq_ignore_ascii_case("x-gzip"))
}

/// The weight `q=0.5` in thousandths; 1,000 if there is none. What cannot be read counts as 0: the
/// original is always right.
fn thousandths(parameters: &str) -> u16 {
    let mut parameters = parameters.split(';').map(str::trim);
    let named = |one: &str| one.starts_with("q=") || one.starts_with("Q=");
    let weight = parameters.find(|one| named(one)).map(|one| &one[2..]);
    let Some(weight) = weight else {
        return 1000;
    };
    match weight.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: &[&str]) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, line.parse().expect("a value"));
        }
        let found: Vec<_> = accepted(&headers).iter().map(|one| one.as_str()).collect();
        assert_eq!(found, expected, "{lines:?}");
    }

    #[test]
    fn the_clients_weights_decide_then_size() {
        check(&["gzip, deflate, br, zstd"], &["br", "zstd", "gzip"]);
        check(&["gzip", "BR;q=0.5"], &["gzip", "br"]);
        check(&["gzip;q=0.5, br ; q=0.501"], &["br", "gzip"]);
        check(&["x-gzip"], &["gzip"]);
    }

    #[test]
    fn what_is_not_accepted_is_not_sent() {
        check(&[], &[]);
        check(&["", "identity"], &[]);
        check(&["br;q=0, gzip;q=0.0"], &[]);
        check(&["br;q=x, gzip;q=2, zstd;q=-1"], &[]);
    }

    #[test]
    fn a_star_stands_for_codings_that_are_not_named() {
        check(&["*"], &["br", "zstd", "gzip"]);
        check(&["*;q=0.1, gzip"], &["gzip", "br", "zstd"]);
        check(&["br;q=0, *"], &["zstd", "gzip"]);
        check(&["gzip, *;q=0"], &["gzip"]);
    }
}
