//! The request that a session began with, as small as it can be kept: every live session holds one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The texts of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestTexts<'t> {
    /// The client's address, after PROXY header and trusted `X-Forwarded-For`.
    pub client: &'t str,
    /// The host that the client requested.
    pub host: &'t str,
    /// The request's target, with secrets cut out.
    pub target: &'t str,
    /// What backends and other records call the request, where that is not the session's id. Not
    /// empty.
    pub foreign_id: Option<&'t str>,
    /// Negotiated subprotocol. Not empty.
    pub subprotocol: Option<&'t str>,
}

/// What is known of a request. All texts share one allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// The texts in the order of `RequestTexts`. One that is absent is empty.
    texts: Box<str>,
    /// Where each of them ends, but for the last.
    ends: [u32; 4],
    /// Microseconds from the request to the 101.
    handshake: u32,
    /// Nanoseconds from 1970 to the request.
    started: u64,
}

impl RequestFacts {
    /// Of a request that came at `started`, and that got its 101 after `handshake`.
    pub fn new(texts: RequestTexts<'_>, started: SystemTime, handshake: Duration) -> Self {
        let RequestTexts {
            client,
            host,
            target,
            foreign_id,
            subprotocol,
        } = texts;
        let parts = [client, host, target, foreign_id.unwrap_or_default()];
        let mut end = 0;
        let ends = parts.map(|part| {
            end += part.len();
            u32::try_from(end).unwrap_or(u32::MAX)
        });
        let [client, host, target, foreign_id] = parts;
        let texts = [
            client,
            host,
            target,
            foreign_id,
            subprotocol.unwrap_or_default(),
        ];
        let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            texts: texts.concat().into(),
            ends,
            handshake: u32::try_from(handshake.as_micros()).unwrap_or(u32::MAX),
            started: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// The text at this place of `RequestTexts`.
    fn text(&self, place: usize) -> &str {
        let end = |place: usize| self.ends.get(place).map(|end| *end as usize);
        let begin = place.checked_sub(1).and_then(end).unwrap_or(0);
        let end = end(place).unwrap_or(self.texts.len());
        self.texts.get(begin..end).unwrap_or_default()
    }

    fn optional(&self, place: usize) -> Option<&str> {
        Some(self.text(place)).filter(|text| !text.is_empty())
    }

    /// The client's address.
    pub fn client(&self) -> &str {
        self.text(0)
    }

    /// The host that the client requested.
    pub fn host(&self) -> &str {
        self.text(1)
    }

    /// The request's target, with secrets cut out.
    pub fn target(&self) -> &str {
        self.text(2)
    }

    /// What backends and other records call the request, where that is not the session's id.
    pub fn foreign_id(&self) -> Option<&str> {
        self.optional(3)
    }

    /// Negotiated subprotocol.
    pub fn subprotocol(&self) -> Option<&str> {
        self.optional(4)
    }

    /// When the request came.
    pub fn started(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.started)
    }

    /// From the request to the 101.
    pub fn handshake(&self) -> Duration {
        Duration::from_micros(self.handshake.into())
    }

    /// When the 101 was sent.
    pub fn granted(&self) -> SystemTime {
        self.started() + self.handshake()
    }

    /// Bytes on the heap.
    pub fn heap(&self) -> usize {
        self.texts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_as_it_was() {
        let full = RequestTexts {
            client: "[2001:db8::1]:5000",
            host: "chät.example.com",
            target: "/ws?token=***",
            foreign_id: Some("req-1"),
            subprotocol: Some("graphql-transport-ws"),
        };
        let cases = [
            full,
            RequestTexts::default(),
            RequestTexts {
                foreign_id: None,
                ..full
            },
            RequestTexts {
                host: "",
                subprotocol: None,
                ..full
            },
        ];
        for texts in cases {
            let facts = RequestFacts::new(texts, UNIX_EPOCH, Duration::ZERO);
            let back = RequestTexts {
                client: facts.client(),
                host: facts.host(),
                target: facts.target(),
                foreign_id: facts.foreign_id(),
                subprotocol: facts.subprotocol(),
            };
            assert_eq!(back, texts);
        }
    }

    #[test]
    fn times_are_kept_to_the_microsecond_and_saturate() {
        let at = UNIX_EPOCH + Duration::new(1_800_000_000, 123_456_789);
        let handshake = Duration::from_nanos(3_250_999);
        let facts = RequestFacts::new(RequestTexts::default(), at, handshake);
        assert_eq!(facts.started(), at);
        assert_eq!(facts.handshake(), Duration::from_micros(3_250));
        assert_eq!(facts.granted(), at + Duration::from_micros(3_250));
        let early = UNIX_EPOCH - Duration::from_secs(1);
        let odd = RequestFacts::new(RequestTexts::default(), early, Duration::from_secs(5_000));
        assert_eq!(odd.started(), UNIX_EPOCH);
        assert_eq!(odd.handshake(), Duration::from_micros(u32::MAX.into()));
    }
}
