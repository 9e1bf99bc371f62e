use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use serde_json::json;

use super::*;

fn pem(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
    KeyPair::generate_for(algorithm)
        .expect("a key")
        .public_key_pem()
}

#[test]
fn a_key_is_for_the_algorithms_of_its_kind_alone() {
    let check = |keys: &KeySet, serves: &[&str]| {
        let served = NAMES
            .iter()
            .filter(|name| keys.serves(name.parse().expect("a known name")));
        assert!(served.eq(serves.iter()), "{keys:?}");
    };
    check(&KeySet::secret(b"s"), &["HS256", "HS384", "HS512"]);
    let p256 = pem(&PKCS_ECDSA_P256_SHA256);
    check(&KeySet::pem(&p256).expect("a key"), &["ES256"]);
    let p384 = pem(&PKCS_ECDSA_P384_SHA384);
    check(&KeySet::pem(&p384).expect("a key"), &["ES384"]);
    let ed = pem(&PKCS_ED25519);
    check(&KeySet::pem(&ed).expect("a key"), &["EdDSA"]);
    let both = KeySet::pem(&format!("# two\n{p256}\n{ed}")).expect("two keys");
    assert_eq!(both.len(), 2);
    check(&both, &["ES256", "EdDSA"]);
}

#[test]
fn malformed_public_keys_are_reported() {
    let pair = KeyPair::generate().expect("a key");
    let private = KeySet::pem(&pair.serialize_pem());
    assert_eq!(private, Err(KeyFault::NotPublic("a private key")));
    assert_eq!(KeySet::pem("hello"), Err(KeyFault::NotPem));
    assert_eq!(
        KeySet::pem("-----BEGIN PUBLIC KEY-----\nxx"),
        Err(KeyFault::NotPem)
    );
    let broken = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    assert_eq!(KeySet::pem(broken), Err(KeyFault::Unsupported));
}

#[test]
fn a_jwks_gives_its_signature_keys_and_nothing_else() {
    let n = BASE64_URL_SAFE_NO_PAD.encode([0xc5; 256]);
    let coordinate = BASE64_URL_SAFE_NO_PAD.encode([7; 32]);
    let rsa = |more: Value| {
        let mut key = json!({ "kty": "RSA", "n": n, "e": "AQAB" });
        let fields = more.as_object().expect("a table").clone();
        key.as_object_mut().expect("a table").extend(fields);
        key
    };
    let read = |keys: Value| KeySet::jwks(json!({ "keys": keys }).to_string().as_bytes());
    let set = read(json!([
        rsa(json!({ "kid": "any" })),
        rsa(json!({ "kid": "one", "alg": "RS256", "use": "sig" })),
        rsa(json!({ "kid": "enc", "use": "enc" })),
        rsa(json!({ "kid": "verifies", "key_ops": ["sign", "verify"] })),
        rsa(json!({ "kid": "signs", "key_ops": ["sign"] })),
        rsa(json!({ "kid": "wraps", "use": "sig", "key_ops": ["wrapKey"] })),
        rsa(json!({ "kid": "nothing", "key_ops": [] })),
        rsa(json!({ "kid": "oaep", "alg": "RSA-OAEP" })),
        rsa(json!({ "kid": "confused", "alg": "HS256" })),
        { "kty": "oct", "k": "c2VjcmV0", "kid": "shared" },
        { "kty": "EC", "crv": "P-256", "x": coordinate, "y": coordinate, "kid": "ec" },
        { "kty": "EC", "crv": "P-521", "x": coordinate, "y": coordinate },
        { "kty": "EC", "crv": "secp256k1", "x": coordinate, "y": coordinate },
        { "kty": "OKP", "crv": "Ed25519", "x": coordinate, "kid": "ed" },
        { "kty": "OKP", "crv": "X25519", "x": coordinate },
        { "kty": "new", "z": 1 }, 7, null,
    ]));
    let set = set.expect("keys");
    let count = |kid, algorithm: &str| {
        let algorithm = algorithm.parse().expect("a known name");
        set.candidates(kid, algorithm).count()
    };
    assert_eq!(set.len(), 5, "{set:?}");
    assert_eq!(count(Some("verifies"), "RS256"), 1);
    for other in ["signs", "wraps", "nothing", "enc", "oaep"] {
        assert_eq!(count(Some(other), "RS256"), 0, "{other}");
    }
    assert_eq!(count(Some("any"), "RS256") + count(Some("any"), "PS512"), 2);
    assert_eq!(count(Some("one"), "RS256") + count(Some("one"), "PS256"), 1);
    assert_eq!(count(Some("ec"), "ES256") + count(Some("ed"), "EdDSA"), 2);
    assert_eq!(count(None, "RS256"), 3);
    assert_eq!(count(Some("confused"), "HS256") + count(None, "HS256"), 0);
    assert_eq!(count(Some("../one"), "RS256"), 0);
    assert!(set.knows(Some("ec")) && !set.knows(Some("enc")) && set.knows(None));
    assert_eq!(read(json!([])), Err(KeyFault::Empty));
    assert_eq!(
        read(json!([{ "kty": "oct", "k": "c2VjcmV0" }])),
        Err(KeyFault::Empty)
    );
    let many: Vec<_> = (0..257).map(|_| rsa(json!({}))).collect();
    assert_eq!(read(many.into()), Err(KeyFault::TooMany));
    assert!(matches!(KeySet::jwks(b"{}"), Err(KeyFault::NotJwks(_))));
}

#[test]
fn i11_no_key_shows() {
    let shown = format!("{:?}", KeySet::secret(b"hunter2"));
    assert!(
        !shown.contains("hunter2") && !shown.contains("104"),
        "{shown}"
    );
}
