//! Who publishes: a token, or a JSON Web Token (RFC 7519) that is signed with it.

use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use crate::admin::problem::Problem;
use crate::config::snapshot::PublishToken;
use crate::publish::guard::{self, Caller};

#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

/// Who a request is from. Libraries of GRIP with an issuer (`control_iss`) and a key sign a token
/// for each request, which names the publisher; those with a key alone present it.
///
/// # Errors
/// The answer, if it is nobody, or its token has expired.
pub(super) fn caller(tokens: &Arc<[PublishToken]>, headers: &HeaderMap) -> Result<Caller, Problem> {
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|given| given.to_str().ok());
    let given = given.and_then(|given| given.split_once(' '));
    let bearer = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let signed = bearer.and_then(|(_, token)| signed_by(tokens, token.trim()));
    match signed {
        Some(Ok(place)) => Caller::new(tokens, place),
        Some(Err(why)) => Err(Problem::new(StatusCode::UNAUTHORIZED, why)),
        None => guard::caller(tokens, headers),
    }
}

/// The place of the token that a JSON Web Token is signed with; `None` if the text is none.
fn signed_by(tokens: &[PublishToken], text: &str) -> Option<Result<usize, String>> {
    let claims = text
        .split('.')
        .nth(1)
        .filter(|_| text.split('.').count() == 3)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let Issuer { iss } = serde_json::from_slice(&claims).ok()?;
    // One answer for all: it lists no names of publishers.
    let unknown = || Err("no publisher has signed this token, or it has expired".to_owned());
    let Some(place) = tokens.iter().position(|token| *token.name == *iss) else {
        return Some(unknown());
    };
    let key = DecodingKey::from_secret(tokens[place].token.reveal().as_bytes());
    let mut rules = Validation::new(Algorithm::HS256);
    rules.validate_aud = false;
    match jsonwebtoken::decode::<Issuer>(text, &key, &rules) {
        Ok(_) => Some(Ok(place)),
        Err(error) => {
            tracing::debug!(publisher = iss, %error, "a token of a publisher is not accepted");
            Some(unknown())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::HeaderValue;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    use super::*;
    use crate::base::clock;
    use crate::base::secret::Secret;

    fn tokens() -> Arc<[PublishToken]> {
        let token = |name: &str, text: &str, expires| PublishToken {
            name: name.into(),
            token: Secret::new(text),
            expires,
            targets: vec!["*".parse().expect("a scope")],
        };
        let over = clock::wall() - Duration::from_secs(1);
        [
            token("app", "key-of-app", None),
            token("old", "key-of-old", Some(over)),
        ]
        .into()
    }

    fn jwt(algorithm: Algorithm, claims: &Value, key: &str) -> String {
        let key = EncodingKey::from_secret(key.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("a token")
    }

    fn name(token: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a value");
        headers.insert(AUTHORIZATION, value);
        let caller = caller(&tokens(), &headers).ok()?;
        Some(caller.name().to_owned())
    }

    #[test]
    fn a_publisher_presents_its_token_or_signs_with_it() {
        let later = jsonwebtoken::get_current_timestamp() + 60;
        let claims = json!({ "iss": "app", "exp": later });
        let app = Some("app".to_owned());
        assert_eq!(name("key-of-app"), app);
        assert_eq!(name(&jwt(Algorithm::HS256, &claims, "key-of-app")), app);
    }

    #[test]
    fn i13_other_tokens_open_nothing() {
        let now = jsonwebtoken::get_current_timestamp();
        let app = |exp: u64| json!({ "iss": "app", "exp": exp });
        let good = jwt(Algorithm::HS256, &app(now + 60), "key-of-app");
        let unsigned = good.rsplit_once('.').expect("three parts").0;
        for bad in [
            jwt(Algorithm::HS256, &app(now + 60), "key-of-old"),
            jwt(Algorithm::HS256, &app(now - 3600), "key-of-app"),
            jwt(Algorithm::HS256, &json!({ "iss": "app" }), "key-of-app"),
            jwt(Algorithm::HS384, &app(now + 60), "key-of-app"),
            jwt(
                Algorithm::HS256,
                &json!({ "iss": "x", "exp": now + 60 }),
                "key-of-app",
            ),
            jwt(
                Algorithm::HS256,
                &json!({ "iss": "old", "exp": now + 60 }),
                "key-of-old",
            ),
            format!("{unsigned}."),
            "key-of-old".to_owned(),
            String::new(),
        ] {
            assert_eq!(name(&bad), None, "{bad}");
        }
    }
}
