//! Tokens that libraries of other makers sign, and those that attackers write.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::peers::{Language, run_client};

/// A shared secret of the length that HS256 asks for.
pub const SECRET: &str = "not-to-be-seen-0123456789-abcdefghij";

/// What one run of `mint` made: its keys live only as long as it.
pub struct Minted {
    pub tokens: Vec<String>,
    made: Value,
}

impl Minted {
    /// The public key of this name as PEM.
    pub fn pem(&self, name: &str) -> &str {
        self.made["pem"][name].as_str().expect("a key")
    }

    /// All public keys.
    pub fn jwks(&self) -> String {
        self.made["jwks"].to_string()
    }
}

/// One token that is wanted: algorithm, key (a name, or a secret), claims.
pub fn wanted(algorithm: &str, key: &str, claims: Value) -> Value {
    let named = ["rsa", "p256", "p384", "ed"].contains(&key);
    let key = if named {
        json!(key)
    } else {
        json!({ "secret": key })
    };
    json!({ "alg": algorithm, "key": key, "claims": claims })
}

/// Mints tokens with the language's library.
pub async fn mint(language: Language, wanted: &[Value]) -> Minted {
    let list = Value::from(wanted.to_vec()).to_string();
    let made = run_client(language, "mint", vec![list]).await;
    let tokens = made["tokens"].as_array().expect("a list");
    let tokens = tokens
        .iter()
        .map(|token| token.as_str().expect("text").to_owned())
        .inspect(|token| super::secrets::register(token));
    Minted {
        tokens: tokens.collect(),
        made,
    }
}

/// Seconds since 1970, so much from now.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(now.as_secs()).expect("a small number") + seconds
}

/// Claims of somebody for the next hour.
pub fn claims(subject: &str) -> Value {
    json!({ "sub": subject, "exp": in_seconds(3600) })
}

/// HS256 by the test itself, for what needs a token quickly or no library would sign.
pub fn hs256(secret: &[u8], header: &str, payload: &str) -> String {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(payload.as_bytes())
    );
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", encode(tag.as_ref()))
}

/// A token of these claims under [`SECRET`].
pub fn token(claims: &Value) -> String {
    hs256(
        SECRET.as_bytes(),
        r#"{"alg":"HS256","typ":"JWT"}"#,
        &claims.to_string(),
    )
}
