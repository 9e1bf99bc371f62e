//! The outside of a token (RFC 7519 in the compact form of RFC 7515): three parts, and the header
//! that describes the signature. It is untrusted input, so every part is bounded: the algorithm is
//! compared with those of the key, the key id only selects a key, and other header fields (`jwk`,
//! `jku`, `x5u`) are ignored.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::config::key_set::Algorithm;
use crate::core::auth::CredentialFault;
use crate::core::auth::json;

/// Longest id of a key.
const KID_MAX: usize = 256;

/// A token that has not been verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Token<'t> {
    /// What the signature is for: the first two parts.
    pub signed: &'t str,
    /// The signature, still encoded.
    pub signature: &'t str,
    /// The algorithm that its header names.
    pub algorithm: Algorithm,
    /// The key id that its header names.
    pub kid: Option<String>,
    payload: &'t str,
}

/// Takes a token apart.
///
/// # Errors
/// When it is longer than `bytes_max`, or none that the gateway reads.
pub fn parse(text: &str, bytes_max: usize) -> Result<Token<'_>, CredentialFault> {
    if text.len() > bytes_max {
        return Err(CredentialFault::TooLarge);
    }
    let mut parts = text.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(CredentialFault::Malformed);
    };
    let fields = decode(header)?;
    let algorithm = match fields.get("alg") {
        Some(Value::String(name)) => name.parse().map_err(|_| CredentialFault::Algorithm)?,
        _ => return Err(CredentialFault::Malformed),
    };
    if signature.is_empty() || payload.is_empty() {
        return Err(CredentialFault::Malformed);
    }
    // RFC 7515, section 4.1.11: an unknown critical extension must be refused.
    if fields.contains_key("crit") {
        return Err(CredentialFault::Critical);
    }
    let kid = match fields.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= KID_MAX => Some(kid.clone()),
        Some(_) => return Err(CredentialFault::Malformed),
    };
    Ok(Token {
        signed: &text[..header.len() + 1 + payload.len()],
        signature,
        algorithm,
        kid,
        payload,
    })
}

impl Token<'_> {
    /// The claims. Do not use them before the signature has been verified.
    ///
    /// # Errors
    /// When that is not a JSON object without duplicate keys.
    pub fn claims(&self) -> Result<Map<String, Value>, CredentialFault> {
        decode(self.payload)
    }
}

fn decode(part: &str) -> Result<Map<String, Value>, CredentialFault> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok();
    let object = bytes.and_then(|bytes| json::object(&bytes));
    object.ok_or(CredentialFault::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str, payload: &str, signature: &str) -> String {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!(
            "{}.{}.{}",
            encode(header),
            encode(payload),
            encode(signature)
        )
    }

    #[test]
    fn only_whole_signed_tokens_are_taken_apart() {
        use CredentialFault::{Critical, Malformed, TooLarge};
        let refused = Err(CredentialFault::Algorithm);
        let check = |text: &str, expected: Result<Algorithm, CredentialFault>| {
            let found = parse(text, 8192).map(|token| token.algorithm);
            assert_eq!(found, expected, "{text}");
        };
        let hs = r#"{"alg":"HS256"}"#;
        check(&token(hs, "{}", "s"), Ok(Algorithm::HS256));
        check(
            &token(
                r#"{"alg":"EdDSA","typ":"JWT","kid":"../../etc/passwd"}"#,
                "{}",
                "s",
            ),
            Ok(Algorithm::EdDSA),
        );
        for none in ["none", "None", "NONE", "nOnE", ""] {
            let header = format!("{{\"alg\":\"{none}\"}}");
            check(&token(&header, "{}", ""), refused);
            check(&token(&header, "{}", "s"), refused);
        }
        check(&token(hs, "{}", ""), Err(Malformed));
        check(&token("{}", "{}", "s"), Err(Malformed));
        check(&token(r#"{"alg":["HS256"]}"#, "{}", "s"), Err(Malformed));
        check(
            &token(r#"{"alg":"none","alg":"HS256"}"#, "{}", "s"),
            Err(Malformed),
        );
        check(
            &token(r#"{"alg":"HS256","kid":7}"#, "{}", "s"),
            Err(Malformed),
        );
        check(
            &token(r#"{"alg":"HS256","crit":["exp"]}"#, "{}", "s"),
            Err(Critical),
        );
        let long = format!("{{\"alg\":\"HS256\",\"kid\":\"{}\"}}", "k".repeat(257));
        check(&token(&long, "{}", "s"), Err(Malformed));
        check("", Err(Malformed));
        check("a.b", Err(Malformed));
        check(&(token(hs, "{}", "s") + ".x.y"), Err(Malformed));
        check(&(token(hs, "{}", "s") + "."), Err(Malformed));
        check(
            &format!("{}=.e30.cw", BASE64_URL_SAFE_NO_PAD.encode(hs)),
            Err(Malformed),
        );
        check(&"x".repeat(8193), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn nothing_that_strangers_send_makes_it_fall(text in "[ -~]{0,200}") {
            if let Ok(token) = parse(&text, 100) {
                prop_assert!(text.len() <= 100);
                let _ = token.claims();
            }
        }

        #[test]
        fn what_is_signed_and_the_signature_are_all_of_it(
            claims in prop::collection::btree_map("[a-z]{1,5}", "[ -~]{0,8}", 0..4),
            signature in "[a-z]{1,20}",
        ) {
            let payload = serde_json::to_string(&claims).expect("text serialises");
            let text = token(r#"{"alg":"HS256"}"#, &payload, &signature);
            let parsed = parse(&text, text.len()).expect("a whole token");
            prop_assert_eq!(format!("{}.{}", parsed.signed, parsed.signature), text.clone());
            let read = parsed.claims().expect("an object");
            let twin: Map<String, Value> = serde_json::from_str(&payload).expect("JSON");
            prop_assert_eq!(read, twin);
            prop_assert_eq!(parse(&text, text.len() - 1), Err(CredentialFault::TooLarge));
        }
    }
}
