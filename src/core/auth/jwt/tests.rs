use jsonwebtoken::{EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::{Value, json};

use super::*;
use crate::config::expression::ClaimPath;
use crate::config::key_set::Algorithm;
use crate::config::snapshot::JwtKeys;

const SECRET: &[u8] = b"a secret of thirty-two bytes or more";
/// When the tests take place.
const NOW: u64 = 1_700_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn jwt(algorithms: Vec<Algorithm>) -> Jwt {
    Jwt {
        keys: JwtKeys::Fixed(Arc::default()),
        algorithms,
        issuer: Some("https://id.example".to_owned()),
        audience: vec!["chat".to_owned(), "other".to_owned()],
        leeway: Duration::from_secs(5),
        subject: ClaimPath("sub".to_owned()),
        require: vec!["claim:email_verified".parse().expect("a condition")],
        scopes: vec!["chat".to_owned()],
        expiry_required: true,
        bytes_max: 8192,
    }
}

fn good() -> Value {
    json!({
        "sub": "ann", "iss": "https://id.example", "aud": "chat", "exp": NOW + 60,
        "iat": NOW, "jti": "t1", "scope": "chat read", "email_verified": true,
    })
}

/// `good` with these claims in place of its own; null takes one out.
fn claims(changes: Value) -> Value {
    let mut claims = good();
    let table = claims.as_object_mut().expect("a table");
    for (name, value) in changes.as_object().expect("a table") {
        match value {
            Value::Null => table.remove(name),
            value => table.insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).expect("a token")
}

fn hs256(claims: &Value) -> String {
    sign(Algorithm::HS256, &EncodingKey::from_secret(SECRET), claims)
}

fn verified(jwt: &Jwt, keys: &KeySet, token: &str) -> Result<Principal, Denial> {
    verify(&"users".into(), jwt, keys, token, now())
}

#[test]
fn a_good_token_names_the_principal() {
    let keys = KeySet::secret(SECRET);
    let principal = verified(&jwt(vec![Algorithm::HS256]), &keys, &hs256(&good())).expect("good");
    assert_eq!(&*principal.subject, "ann");
    assert_eq!(principal.token_id.as_deref(), Some("t1"));
    assert_eq!(principal.expires, Some(now() + Duration::from_secs(60)));
    assert_eq!(principal.issued, Some(now()));
}

#[test]
fn claims_decide() {
    use CredentialFault::*;
    let (jwt, keys) = (jwt(Vec::new()), KeySet::secret(SECRET));
    let check = |changes: Value, expected: Result<(), CredentialFault>| {
        let found = verified(&jwt, &keys, &hs256(&claims(changes.clone()))).map(|_| ());
        assert_eq!(found, expected.map_err(Denial::Credential), "{changes}");
    };
    check(json!({}), Ok(()));
    check(json!({ "exp": NOW - 4 }), Ok(()));
    check(
        json!({ "exp": NOW - 5 }),
        Err(Expired {
            ago: Duration::from_secs(5),
        }),
    );
    check(json!({ "exp": NOW as f64 + 0.5 }), Ok(()));
    check(json!({ "exp": 1e300 }), Ok(()));
    check(json!({ "exp": -1 }), Err(Malformed));
    check(json!({ "exp": "never" }), Err(Malformed));
    check(json!({ "exp": null }), Err(NoExpiry));
    check(json!({ "nbf": NOW + 5 }), Ok(()));
    check(json!({ "nbf": NOW + 6 }), Err(NotYetValid));
    check(json!({ "nbf": [] }), Err(Malformed));
    check(json!({ "iss": "https://id.example/" }), Err(Issuer));
    check(json!({ "iss": null }), Err(Issuer));
    check(json!({ "iss": ["https://id.example"] }), Err(Issuer));
    check(json!({ "aud": ["x", "other"] }), Ok(()));
    check(json!({ "aud": ["x"] }), Err(Audience));
    check(json!({ "aud": "chatter" }), Err(Audience));
    check(json!({ "aud": null }), Err(Audience));
    check(json!({ "sub": null }), Err(NoSubject));
    check(json!({ "sub": "" }), Err(NoSubject));
    check(json!({ "sub": 7 }), Err(NoSubject));
    check(
        json!({ "sub": "x".repeat(SUBJECT_MAX + 1) }),
        Err(NoSubject),
    );
    check(json!({ "scope": ["chat"] }), Ok(()));
    check(json!({ "scope": null, "scp": "a chat" }), Ok(()));
    let lacks = |changes: Value, what: &str| {
        let found = verified(&jwt, &keys, &hs256(&claims(changes))).map(|_| ());
        let (subject, lacks) = ("ann".into(), what.to_owned());
        assert_eq!(found, Err(Denial::Insufficient { subject, lacks }));
    };
    lacks(json!({ "scope": "chatter" }), "scope chat");
    lacks(json!({ "email_verified": false }), "claim:email_verified");
}

#[test]
fn a_public_key_is_never_a_secret() {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let private = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a key");
    let keys = KeySet::pem(&pair.public_key_pem()).expect("a key");
    let jwt = jwt(Vec::new());
    verified(&jwt, &keys, &sign(Algorithm::ES256, &private, &good())).expect("good");
    // The classic: the public key, which everybody has, as the secret of an HS algorithm.
    for secret in [
        pair.public_key_pem().into_bytes(),
        pair.public_key_raw().to_vec(),
    ] {
        let forged = EncodingKey::from_secret(&secret);
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let token = sign(algorithm, &forged, &good());
            let denial = verified(&jwt, &keys, &token)
                .map(|_| ())
                .expect_err("forged");
            assert_eq!(denial, CredentialFault::Algorithm.into());
        }
    }
    let other = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let other = EncodingKey::from_ed_pem(other.serialize_pem().as_bytes()).expect("a key");
    let token = sign(Algorithm::EdDSA, &other, &good());
    let denial = verified(&jwt, &keys, &token)
        .map(|_| ())
        .expect_err("another's");
    assert_eq!(denial, CredentialFault::Algorithm.into());
}

#[test]
fn only_listed_algorithms_and_whole_signatures_count() {
    let (jwt, keys) = (jwt(vec![Algorithm::HS256]), KeySet::secret(SECRET));
    let fault = |token: &str| verified(&jwt, &keys, token).map(|_| ()).expect_err(token);
    let secret = EncodingKey::from_secret(SECRET);
    let hs512 = sign(Algorithm::HS512, &secret, &good());
    assert_eq!(fault(&hs512), CredentialFault::Algorithm.into());
    let token = hs256(&good());
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    assert_eq!(
        fault(&format!("{signed}.")),
        CredentialFault::Malformed.into()
    );
    for end in 1..signature.len() {
        let cut = format!("{signed}.{}", &signature[..end]);
        assert_eq!(fault(&cut), CredentialFault::Signature.into());
    }
    let stranger = sign(
        Algorithm::HS256,
        &EncodingKey::from_secret(b"other"),
        &good(),
    );
    assert_eq!(fault(&stranger), CredentialFault::Signature.into());
    // Signed, but a duplicate key makes it ambiguous.
    let header = signed.split('.').next().expect("a header");
    let twice = r#"{"sub":"ann","sub":"root"}"#;
    let payload = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, twice);
    let signed = format!("{header}.{payload}");
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &secret, Algorithm::HS256);
    let token = format!("{signed}.{}", signature.expect("a signature"));
    assert_eq!(fault(&token), CredentialFault::Malformed.into());
}
