//! Attacks on tokens that libraries made, each of them good but for one thing; and what claims do
//! to those who read about them.

use std::fs;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::peers::Language;
use crate::support::service::Service;
use crate::support::tokens::{self, Minted, SECRET, claims, hs256, in_seconds, token, wanted};
use crate::support::{Backend, Dial, Gateway, config, eventually};

const LANGUAGES: [Language; 2] = [Language::Python, Language::Node];

/// Only these three algorithms, although the keys could do more; and by a shared secret.
fn guarded(backend: &Backend) -> String {
    let asks = "issuer = \"https://id\"\naudience = [\"chat\", \"calls\"]\n";
    format!(
        "[authenticators.users]\ntype = \"jwt\"\njwks = \"keys.json\"\n{asks}\
         algorithms = [\"RS256\", \"ES256\", \"EdDSA\"]\n\n\
         [authenticators.shared]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n{asks}\n"
    ) + &config::echo(&[backend.address], "", "authenticate = [\"users\"]\n")
        + "\n[[routes]]\nname = \"shared\"\npath = \"/shared\"\nupstream = \"echo\"\n\
           authenticate = [\"shared\"]\n"
}

/// Claims that are good, with these changes.
fn with(changes: &Value) -> Value {
    let mut claims = claims("ann");
    let good = json!({ "iss": "https://id", "aud": "chat" });
    for more in [&good, changes] {
        let more = more.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(more);
    }
    claims
}

/// A token with this header in place of the one it was signed with.
fn headed(header: &str, token: &str) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", BASE64_URL_SAFE_NO_PAD.encode(header))
}

/// The reason in the record of this token, which is refused.
async fn refused(gateway: &Gateway, path: &str, token: &str) -> String {
    let dial = Dial::new(path).header("authorization", &format!("Bearer {token}"));
    match dial.connect(gateway.address()).await {
        Ok(_) => panic!("let in by {token}"),
        Err(refused) => {
            assert_eq!(refused.status, 401, "{}", refused.body);
            gateway.detail_of(&refused.body).await
        }
    }
}

async fn opens(gateway: &Gateway, path: &str, token: &str) {
    let dial = Dial::new(path).header("authorization", &format!("Bearer {token}"));
    let opened = dial.connect(gateway.address()).await;
    opened
        .unwrap_or_else(|refused| panic!("{refused:?}"))
        .close()
        .await;
}

async fn gateway(backend: &Backend, minted: &Minted) -> Gateway {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("keys.json"), minted.jwks()).unwrap();
    Gateway::start_in(directory, &guarded(backend)).await
}

#[tokio::test]
async fn a_token_with_one_thing_wrong_is_refused_for_that() {
    for language in LANGUAGES {
        let rs = |changes: Value| wanted("RS256", "rsa", with(&changes));
        let named = |kid: &str| {
            let mut wanted = rs(json!({}));
            wanted["headers"] = json!({ "kid": kid });
            wanted
        };
        let mut critical = rs(json!({}));
        critical["headers"] = json!({ "kid": "rsa", "crit": ["x"], "x": 1 });
        let mut list = vec![
            (rs(json!({ "exp": in_seconds(-60) })), "expired"),
            (rs(json!({ "exp": 1 })), "expired"),
            (rs(json!({ "nbf": in_seconds(60) })), "not valid yet"),
            (rs(json!({ "aud": "other" })), "another audience"),
            (rs(json!({ "aud": ["other", "chats"] })), "another audience"),
            (rs(json!({ "aud": "" })), "another audience"),
            (rs(json!({ "iss": "https://id/" })), "another issuer"),
            (rs(json!({ "sub": "" })), "names no subject"),
            (rs(json!({ "sub": "a".repeat(513) })), "names no subject"),
            (rs(json!({ "x": "x".repeat(8 << 10) })), "too large"),
            (named("../../../../dev/null"), "key is not known"),
            (named("rsa\0"), "key is not known"),
            (named("' OR 1=1 --"), "key is not known"),
            (named(&"k".repeat(257)), "malformed"),
            // The key could, the operator does not want it.
            (wanted("PS256", "rsa", with(&json!({}))), "algorithm"),
            (wanted("RS512", "rsa", with(&json!({}))), "algorithm"),
            (wanted("ES384", "p384", with(&json!({}))), "algorithm"),
            (wanted("HS256", SECRET, with(&json!({}))), "algorithm"),
            (wanted("none", "", with(&json!({}))), "algorithm"),
        ];
        if matches!(language, Language::Node) {
            let mut confused = wanted("HS256", "", with(&json!({})));
            confused["key"] = json!({ "pem": "rsa" });
            confused["headers"] = json!({ "kid": "rsa" });
            list.push((confused, "algorithm"));
        } else {
            list.push((critical, "critical extension"));
        }
        let good = [
            rs(json!({})),
            rs(json!({ "aud": ["other", "calls"], "nbf": in_seconds(-1) })),
            rs(json!({ "x": "x".repeat(5 << 10) })),
            wanted("ES256", "p256", with(&json!({}))),
            wanted("EdDSA", "ed", with(&json!({}))),
        ];
        let bad = list.iter().map(|(wanted, _)| wanted.clone());
        let all: Vec<_> = good.iter().cloned().chain(bad).collect();
        let minted = tokens::mint(language, &all).await;
        let backend = Backend::echo().await;
        let gateway = gateway(&backend, &minted).await;
        let (open, closed) = minted.tokens.split_at(good.len());
        for (token, (wanted, why)) in closed.iter().zip(&list) {
            let reason = refused(&gateway, "/", token).await;
            assert!(reason.contains(why), "{language:?} {wanted}: {reason}");
        }
        assert_eq!(backend.accepted(), 0, "a backend was connected to");
        for token in open {
            opens(&gateway, "/", token).await;
        }
    }
}

/// Tokens made of good ones by who has no key, and why they are refused.
fn retold(tokens: &[String]) -> Vec<(&'static str, String, &'static str)> {
    let [rs, es, _, other] = tokens else {
        panic!("four tokens")
    };
    let (head, signature) = rs.rsplit_once('.').unwrap();
    let (other_head, other_signature) = other.rsplit_once('.').unwrap();
    let (es_head, es_signature) = es.rsplit_once('.').unwrap();
    let zeros = |bytes: usize| BASE64_URL_SAFE_NO_PAD.encode(vec![0; bytes]);
    let der = [&[0x30, 6, 2, 1, 1, 2, 1, 1][..]].concat();
    let (signed, malformed) = ("signature is not valid", "malformed");
    vec![
        (
            "another's signature",
            format!("{head}.{other_signature}"),
            signed,
        ),
        (
            "another's claims",
            format!("{other_head}.{signature}"),
            signed,
        ),
        ("no signature", format!("{head}."), malformed),
        ("no third part", head.to_owned(), malformed),
        ("a fourth part", format!("{rs}.e30"), malformed),
        (
            "half a signature",
            format!("{head}.{}", &signature[..100]),
            signed,
        ),
        ("padding", format!("{rs}=="), signed),
        ("a space", format!("{head}. {signature}"), signed),
        (
            "a signature of zeros",
            format!("{es_head}.{}", zeros(64)),
            signed,
        ),
        (
            "of more of them",
            format!("{es_head}.{}", zeros(96)),
            signed,
        ),
        (
            "in DER",
            format!("{es_head}.{}", BASE64_URL_SAFE_NO_PAD.encode(der)),
            signed,
        ),
        (
            "both",
            format!("{es_head}.{es_signature}{es_signature}"),
            signed,
        ),
    ]
}

/// The same under another header.
fn headed_anew(tokens: &[String]) -> Vec<(&'static str, String, &'static str)> {
    let [rs, _, ed, _] = tokens else {
        panic!("four tokens")
    };
    let (signed, known, malformed) = ("signature is not valid", "key is not known", "malformed");
    vec![
        ("none", headed(r#"{"alg":"none"}"#, rs), "algorithm"),
        (
            "NoNe",
            headed(r#"{"alg":"NoNe","kid":"rsa"}"#, rs),
            "algorithm",
        ),
        (
            "another algorithm",
            headed(r#"{"alg":"ES256","kid":"p256"}"#, rs),
            signed,
        ),
        (
            "of another key",
            headed(r#"{"alg":"RS256","kid":"p256"}"#, rs),
            "algorithm",
        ),
        ("no key named", headed(r#"{"alg":"RS256"}"#, rs), signed),
        (
            "a key that is not there",
            headed(r#"{"alg":"EdDSA","kid":"x"}"#, ed),
            known,
        ),
        (
            "two algorithms",
            headed(r#"{"alg":"none","alg":"RS256","kid":"rsa"}"#, rs),
            malformed,
        ),
        (
            "an algorithm that is a list",
            headed(r#"{"alg":["RS256"]}"#, rs),
            malformed,
        ),
    ]
}

#[tokio::test]
async fn a_token_that_was_taken_apart_and_put_together_again_is_refused() {
    let ann = with(&json!({}));
    let root = with(&json!({ "sub": "root" }));
    let list = [
        wanted("RS256", "rsa", ann.clone()),
        wanted("ES256", "p256", ann.clone()),
        wanted("EdDSA", "ed", ann),
        wanted("RS256", "rsa", root),
    ];
    for language in LANGUAGES {
        let minted = tokens::mint(language, &list).await;
        let backend = Backend::echo().await;
        let gateway = gateway(&backend, &minted).await;
        let more = headed_anew(&minted.tokens);
        for (what, token, why) in retold(&minted.tokens).into_iter().chain(more) {
            let reason = refused(&gateway, "/", &token).await;
            assert!(reason.contains(why), "{language:?}, {what}: {reason}");
        }
        assert_eq!(backend.accepted(), 0, "a backend was connected to");
        for token in &minted.tokens {
            opens(&gateway, "/", token).await;
        }
    }
}

#[tokio::test]
async fn a_key_inside_a_token_is_ignored() {
    let list = [wanted("RS256", "rsa", with(&json!({})))];
    let ours = tokens::mint(Language::Python, &list).await;
    let tempting = Service::issuer(None, ours.jwks()).await;
    let url = format!("http://{}/keys.json", tempting.address);
    // Any public key will do: the library knows its own only after it has made it.
    let jwk: Value = serde_json::from_str(&ours.jwks()).unwrap();
    let jwk = &jwk["keys"][0];
    let headers = [
        json!({ "kid": "rsa", "jwk": jwk }),
        json!({ "jwk": jwk }),
        json!({ "kid": "rsa", "jku": url }),
        json!({ "kid": url, "jku": url }),
        json!({ "kid": "rsa", "x5u": url }),
        json!({ "kid": "rsa", "x5c": ["MIIB"] }),
    ];
    let list: Vec<_> = headers
        .iter()
        .map(|headers| {
            let mut wanted = wanted("RS256", "rsa", with(&json!({})));
            wanted["headers"] = headers.clone();
            wanted
        })
        .collect();
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, &ours).await;
    for language in LANGUAGES {
        let theirs = tokens::mint(language, &list).await;
        for (token, headers) in theirs.tokens.iter().zip(&headers) {
            let reason = refused(&gateway, "/", token).await;
            let why = ["signature is not valid", "key is not known"];
            assert!(
                why.iter().any(|why| reason.contains(why)),
                "{headers}: {reason}"
            );
        }
    }
    assert!(
        tempting.asked().is_empty(),
        "the gateway asked who a token said"
    );
    assert_eq!(backend.accepted(), 0, "a backend was connected to");
}

#[tokio::test]
async fn a_token_with_a_duplicate_claim_is_refused() {
    let backend = Backend::echo().await;
    let list = [wanted("RS256", "rsa", with(&json!({})))];
    let minted = tokens::mint(Language::Python, &list).await;
    let gateway = gateway(&backend, &minted).await;
    // No library makes these: they are signed with the right secret by hand.
    let sign = |payload: &str| hs256(SECRET.as_bytes(), r#"{"alg":"HS256"}"#, payload);
    let whole = format!(
        "\"iss\":\"https://id\",\"aud\":\"chat\",\"exp\":{}",
        in_seconds(60)
    );
    opens(
        &gateway,
        "/shared",
        &sign(&format!("{{\"sub\":\"ann\",{whole}}}")),
    )
    .await;
    let before = backend.accepted();
    let malformed = [
        format!("{{\"sub\":\"ann\",\"sub\":\"root\",{whole}}}"),
        format!("{{\"sub\":\"root\",{whole},\"sub\":\"ann\"}}"),
        format!("{{\"sub\":\"ann\",\"\\u0073ub\":\"root\",{whole}}}"),
        format!("{{\"sub\":\"ann\",\"exp\":1,{whole}}}"),
        format!("{{\"sub\":\"ann\",{whole},\"realm\":{{\"role\":\"a\",\"role\":\"b\"}}}}"),
        format!("{{\"sub\":\"ann\",{whole}}}{{}}"),
        format!("[{{\"sub\":\"ann\",{whole}}}]"),
        format!(
            "{{\"sub\":\"ann\",{}}}",
            whole.replace("\"exp\":", "\"exp\":\"9\",\"n\":")
        ),
        format!(
            "{{\"sub\":\"ann\",{}}}",
            whole.replace("\"exp\":", "\"exp\":-1,\"n\":")
        ),
        format!("{{\"sub\":\"ann\",{},\"nbf\":\"0\"}}", whole),
        "null".to_owned(),
        "\u{feff}{}".to_owned(),
    ];
    for payload in malformed {
        let reason = refused(&gateway, "/shared", &sign(&payload)).await;
        assert!(reason.contains("malformed"), "{payload}: {reason}");
    }
    let without = format!(
        "{{\"sub\":\"ann\",{}}}",
        whole.replace("\"exp\"", "\"Exp\"")
    );
    let reason = refused(&gateway, "/shared", &sign(&without)).await;
    assert!(reason.contains("no expiry"), "{reason}");
    assert_eq!(backend.accepted(), before, "a backend was connected to");
}

#[tokio::test]
async fn a_credential_that_is_there_twice_is_none() {
    let backend = Backend::echo().await;
    let text = format!(
        "[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\
         from = [\"header:authorization\", \"query:at\"]\n\n\
         [authenticators.guests]\ntype = \"anonymous\"\n\n"
    ) + &config::echo(
        &[backend.address],
        "",
        "authenticate = [\"users\", \"guests\"]\n",
    );
    let gateway = Gateway::start(&text).await;
    let (ann, root) = (token(&claims("ann")), token(&claims("root")));
    let header = |token: &str| format!("Bearer {token}");
    let dials = [
        Dial::new("/")
            .header("authorization", &header(&ann))
            .header("authorization", &header(&root)),
        Dial::new("/")
            .header("authorization", &header(&ann))
            .header("authorization", &header(&ann)),
        Dial::new(&format!("/?at={ann}&at={root}")),
        Dial::new(&format!("/?at={ann}&k=1&%61t={root}")),
    ];
    for dial in dials {
        let refused = dial.connect(gateway.address()).await.err().unwrap();
        assert_eq!(refused.status, 401);
        assert!(refused.body.contains("presented twice"), "{}", refused.body);
    }
    assert_eq!(backend.accepted(), 0, "a backend was connected to");
}

/// Everything that ends a line, moves a cursor or turns the direction of writing, and what closes a
/// text in the formats that are written.
const EVIL: &str = "ann\r\nFORGED\u{1b}[31mFORGED\u{9b}2J\u{85}FORGED\u{2028}FORGED\u{202e}\0\
                    \u{7f}\"},{\"kind\":\"session\"}\\\"\u{feff}%0aFORGED";

#[tokio::test]
async fn nothing_that_a_claim_says_begins_a_line_or_is_obeyed() {
    let backend = Backend::echo().await;
    for format in ["text", "json"] {
        let text = format!(
            "# log: level = \"debug\"\n# log: format = \"{format}\"\n\
             [authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\nissuer = \"https://id\"\n\n"
        ) + &config::echo(
            &[backend.address],
            "",
            "authenticate = [\"users\"]\naffinity = [\"claim:sub\"]\n\
             claim_headers = { x-name = \"claim:name\", x-table = \"claim:table\" }\n",
        )
        .replace("affinity = [\"query:k\"]\n", "")
            + "\n[[routes]]\nname = \"admins\"\npath = \"/admins\"\nupstream = \"echo\"\n\
               authenticate = [\"users\"]\nauthorize = [\"claim:name == admin\"]\n";
        let gateway = Gateway::start(&text).await;
        let reason = |more: Value| {
            let mut claims = json!({
                "sub": EVIL, "iss": "https://id", "jti": EVIL, "name": EVIL,
                "table": { EVIL: [EVIL] }, "exp": in_seconds(60),
            });
            let more = more.as_object().unwrap().clone();
            claims.as_object_mut().unwrap().extend(more);
            token(&claims)
        };
        let dial = |path: &str, token: &str| {
            let dial = Dial::new(path).header("authorization", &format!("Bearer {token}"));
            dial.connect(gateway.address())
        };
        let client = dial("/", &reason(json!({}))).await.unwrap();
        let seen = backend.last_seen();
        for name in ["sessile-subject", "x-name", "x-table"] {
            let value = seen.header(name).unwrap();
            let plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            assert!(plain, "{name}: {value:?}");
            assert!(
                value.contains("%0D%0AFORGED") || name == "x-table",
                "{value}"
            );
        }
        assert_eq!(gateway.sessions()[0]["principal"], EVIL);
        let revoked = json!({ "subject": EVIL, "reason": EVIL }).to_string();
        let refused = dial("/admins", &reason(json!({}))).await.err().unwrap();
        assert_eq!(refused.status, 403);
        assert!(!refused.body.contains("FORGED"), "{}", refused.body);
        let refused = dial("/", &reason(json!({ "iss": EVIL })))
            .await
            .err()
            .unwrap();
        assert_eq!(refused.status, 401);
        assert!(!refused.body.contains("FORGED"), "{}", refused.body);
        client.close().await;
        let made = gateway.admin("POST", "/v1/revocations", &revoked);
        assert_eq!(made.status, 201, "{}", made.body);
        let refused = dial("/", &reason(json!({}))).await.err().unwrap();
        assert_eq!(refused.status, 401);
        let path = gateway.directory().join("access.log");
        let written = || fs::read_to_string(&path).unwrap_or_default();
        eventually("four records", async || written().lines().count() >= 4).await;
        assert_eq!(written().lines().count(), 4);
        if format == "json" {
            // It is passed on as it was.
            assert_eq!(gateway.records()[0].principal.as_deref(), Some(EVIL));
        }
        for line in written().lines().chain(gateway.log().lines()) {
            assert!(!line.trim_start().starts_with("FORGED"), "{line}");
            let obeyed = |letter: char| {
                letter.is_control() && letter != '\t' || ('\u{2028}'..='\u{202e}').contains(&letter)
            };
            assert!(!line.contains(obeyed), "a terminal would obey: {line:?}");
        }
    }
}
