//! The names of what is in the store.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What is kept under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyKind {
    /// Live sessions of a route, a network or a principal.
    Sessions,
    /// Handshakes of a network or a principal in the present period.
    Rate,
    /// The backend of a sticky key.
    Stick,
}

/// A name in the store. It has the same length whatever a client calls itself, and shows nothing of
/// it: the first half of a SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateKey {
    kind: KeyKind,
    digest: [u8; 16],
}

impl StateKey {
    /// The name of what these parts identify.
    pub fn new(kind: KeyKind, parts: &[&[u8]]) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for part in parts {
            // With its length, so that no two lists of parts are alike.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let digest = context.finish();
        let half = digest.as_ref().first_chunk().expect("32 bytes");
        Self {
            kind,
            digest: *half,
        }
    }

    /// The name of a sticky key of an upstream.
    pub fn of_sticky(upstream: &str, key: &[u8]) -> Self {
        Self::new(KeyKind::Stick, &[upstream.as_bytes(), key])
    }

    /// What is kept under it.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The whole name, in letters that every store takes.
    pub fn name(&self, prefix: &str) -> String {
        let kind = match self.kind {
            KeyKind::Sessions => "sessions",
            KeyKind::Rate => "rate",
            KeyKind::Stick => "stick",
        };
        let digest = URL_SAFE_NO_PAD.encode(self.digest);
        format!("{prefix}:{kind}:{digest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i12_names_are_short_plain_and_distinct_whatever_a_client_calls_itself() {
        let long = "x".repeat(100_000);
        let subjects: [&[u8]; 7] = [
            b"",
            b"ann",
            b"ann\r\nflush_all\r\n",
            b"* 7",
            "\u{202e}ann".as_bytes(),
            b"\xff\x00",
            long.as_bytes(),
        ];
        let mut names: Vec<_> = subjects
            .iter()
            .map(|subject| StateKey::new(KeyKind::Sessions, &[b"chat", subject]))
            .collect();
        names.push(StateKey::new(KeyKind::Rate, &[b"chat", b"ann"]));
        names.push(StateKey::new(KeyKind::Sessions, &[b"chatann"]));
        names.push(StateKey::new(KeyKind::Sessions, &[b"chata", b"nn"]));
        let names: Vec<_> = names.iter().map(|key| key.name("sessile")).collect();
        for (place, name) in names.iter().enumerate() {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_".contains(&byte);
            assert!(name.len() <= 48 && name.bytes().all(plain), "{name}");
            assert!(!names[..place].contains(name), "{name}");
        }
    }

    #[test]
    fn i2_a_name_is_the_same_in_every_version() {
        let key = StateKey::new(KeyKind::Stick, &[b"chat", b"ann"]);
        assert_eq!(key.name("sessile"), "sessile:stick:kw8bufiAepQy_Tkk1E5z3w");
    }
}
