//! Who is let in: tokens of other makers' libraries, the classic attacks, what backends receive,
//! and what they never see.
mod attacks;
mod browser;
mod cors;
mod forward;
mod jwks;
mod life;
mod methods;
mod mtls;
mod passwords;
mod refusals;
mod revocations;
mod tickets;

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::support::peers::Language;
use crate::support::tokens::{self, SECRET, claims, hs256, in_seconds, token, wanted};
use crate::support::{Backend, Client, Dial, Gateway, config, http};

/// An authenticator `users` with these further lines, asked by the one route.
fn guarded(backend: &Backend, authenticator: &str, route: &str) -> String {
    format!("[authenticators.users]\ntype = \"jwt\"\n{authenticator}\n\n")
        + &config::echo(
            &[backend.address],
            "",
            &format!("authenticate = [\"users\"]\n{route}"),
        )
}

fn with_secret(backend: &Backend, more: &str, route: &str) -> String {
    guarded(backend, &format!("secret = \"{SECRET}\"\n{more}"), route)
}

fn bearer(token: &str) -> Dial {
    Dial::new("/").header("authorization", &format!("Bearer {token}"))
}

async fn status(dial: Dial, gateway: &Gateway) -> u16 {
    match dial.connect(gateway.address()).await {
        Ok(client) => {
            client.close().await;
            101
        }
        Err(refused) => refused.status,
    }
}

#[tokio::test]
async fn tokens_of_every_algorithm_and_of_two_makers_open_sessions() {
    let names = [
        ("RS256", "rsa"),
        ("RS384", "rsa"),
        ("RS512", "rsa"),
        ("PS256", "rsa"),
        ("PS384", "rsa"),
        ("PS512", "rsa"),
        ("ES256", "p256"),
        ("ES384", "p384"),
        ("EdDSA", "ed"),
    ];
    let list = names.map(|(algorithm, key)| wanted(algorithm, key, claims(algorithm)));
    for language in [Language::Python, Language::Node] {
        let minted = tokens::mint(language, &list).await;
        let backend = Backend::echo().await;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("keys.json"), minted.jwks()).unwrap();
        let pems = ["rsa", "p256", "p384", "ed"].map(|name| minted.pem(name));
        std::fs::write(directory.path().join("keys.pem"), pems.concat()).unwrap();
        let text = guarded(&backend, "jwks = \"keys.json\"", "path = \"/jwks\"\n")
            + "[authenticators.pem]\ntype = \"jwt\"\npublic_key = \"keys.pem\"\n\n\
               [[routes]]\nname = \"pem\"\nupstream = \"echo\"\npath = \"/pem\"\n\
               authenticate = [\"pem\"]\n";
        let gateway = Gateway::start_in(directory, &text).await;
        for (token, (algorithm, _)) in minted.tokens.iter().zip(names) {
            for path in ["/jwks", "/pem"] {
                let dial = Dial::new(path).header("authorization", &format!("Bearer {token}"));
                let client = dial.connect(gateway.address()).await.unwrap();
                let subject = backend.last_seen();
                assert_eq!(
                    subject.header("sessile-subject"),
                    Some(algorithm),
                    "{language:?}"
                );
                client.close().await;
            }
        }
        let count = gateway.metric("sessile_authentications_total", &["outcome=\"ok\""]);
        assert_eq!(count, 18.0);
    }
}

#[tokio::test]
async fn a_shared_secret_of_two_makers_opens_sessions() {
    let backend = Backend::echo().await;
    let algorithms = "algorithms = [\"HS256\", \"HS512\"]";
    let gateway = Gateway::start(&with_secret(&backend, algorithms, "")).await;
    let secret = SECRET.repeat(2);
    let list = [
        wanted("HS256", SECRET, claims("ann")),
        wanted("HS384", &secret, claims("ann")),
    ];
    for language in [Language::Python, Language::Node] {
        let minted = tokens::mint(language, &list).await;
        assert_eq!(status(bearer(&minted.tokens[0]), &gateway).await, 101);
        assert_eq!(status(bearer(&minted.tokens[1]), &gateway).await, 401);
    }
}

#[tokio::test]
async fn classic_attacks_are_refused() {
    let list = [wanted("RS256", "rsa", claims("ann"))];
    let minted = tokens::mint(Language::Python, &list).await;
    let backend = Backend::echo().await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("keys.json"), minted.jwks()).unwrap();
    let more = "jwks = \"keys.json\"\nissuer = \"https://id\"\naudience = [\"chat\"]";
    let gateway = Gateway::start_in(directory, &guarded(&backend, more, "")).await;
    let good = |more: Value| {
        let mut claims = claims("ann");
        let table = claims.as_object_mut().unwrap();
        table.extend(
            json!({ "iss": "https://id", "aud": "chat" })
                .as_object()
                .unwrap()
                .clone(),
        );
        table.extend(more.as_object().unwrap().clone());
        claims.to_string()
    };
    let pem = minted.pem("rsa");
    let hs = r#"{"alg":"HS256","kid":"rsa"}"#;
    let unsigned = |header: &str| {
        let token = hs256(b"", header, &good(json!({})));
        token.rsplit_once('.').unwrap().0.to_owned() + "."
    };
    let huge = hs256(b"", hs, &good(json!({ "x": "x".repeat(8 << 10) })));
    let attacks = [
        ("alg none", unsigned(r#"{"alg":"none"}"#), "algorithm"),
        ("alg None", unsigned(r#"{"alg":"None"}"#), "algorithm"),
        (
            "no signature",
            unsigned(r#"{"alg":"RS256","kid":"rsa"}"#),
            "malformed",
        ),
        (
            "the public key as a secret",
            hs256(pem.as_bytes(), hs, &good(json!({}))),
            "algorithm",
        ),
        (
            "and trimmed",
            hs256(pem.trim().as_bytes(), hs, &good(json!({}))),
            "algorithm",
        ),
        (
            "a key's id that is a path",
            hs256(
                b"",
                r#"{"alg":"HS256","kid":"../../../../dev/null"}"#,
                &good(json!({})),
            ),
            "unknown key",
        ),
        (
            "a key of its own",
            hs256(
                b"k",
                r#"{"alg":"HS256","jwk":{"kty":"oct","k":"aw"}}"#,
                &good(json!({})),
            ),
            "algorithm",
        ),
        ("huge", huge, "too large"),
        ("nothing", "a.b.c".to_owned(), "malformed"),
    ];
    for (what, token, _) in attacks {
        assert_eq!(status(bearer(&token), &gateway).await, 401, "{what}");
    }
    assert_eq!(backend.accepted(), 0, "a backend was connected to");
}

#[tokio::test]
async fn claims_that_do_not_match_are_refused_and_the_record_has_the_reason() {
    let backend = Backend::echo().await;
    let more = "issuer = \"https://id\"\naudience = [\"chat\"]\nrequire = [\"claim:role == user\"]";
    let gateway = Gateway::start(&with_secret(&backend, more, "")).await;
    let with = |more: Value| {
        let mut claims = json!({ "sub": "ann", "iss": "https://id", "aud": "chat", "role": "user", "exp": in_seconds(60) });
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        token(&claims)
    };
    assert_eq!(status(bearer(&with(json!({}))), &gateway).await, 101);
    let accepted = backend.accepted();
    let cases = [
        (json!({ "exp": in_seconds(-60) }), 401, "expired"),
        (json!({ "nbf": in_seconds(60) }), 401, "not valid yet"),
        (json!({ "aud": "other" }), 401, "audience"),
        (json!({ "iss": "https://evil" }), 401, "issuer"),
        (json!({ "sub": 7 }), 401, "subject"),
        (json!({ "role": "guest" }), 403, "`claim:role == user`"),
    ];
    let mut answers = std::collections::BTreeSet::new();
    for (changes, status, says) in cases {
        let refused = bearer(&with(changes.clone()))
            .connect(gateway.address())
            .await
            .err()
            .unwrap();
        assert_eq!(refused.status, status, "{changes}");
        let record = gateway.record_of(&refused.body).await;
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{changes}: {detail}");
        assert!(detail.contains("`users`"), "{changes}: {detail}");
        if status == 403 {
            assert_eq!(record["principal"], "ann", "{changes}");
        } else {
            let answer: Value = serde_json::from_str(&refused.body).unwrap();
            answers.insert(answer["detail"].as_str().unwrap().to_owned());
        }
        let challenge = refused
            .headers
            .get("www-authenticate")
            .map(|value| value.to_str().unwrap());
        if status == 401 {
            let challenge = challenge.unwrap();
            assert_eq!(challenge, "Bearer error=\"invalid_token\"");
        }
    }
    // How it was judged stays with the operator.
    assert_eq!(
        answers.into_iter().collect::<Vec<_>>(),
        ["the credential is not accepted"]
    );
    let twice = r#"{"sub":"ann","sub":"root","iss":"https://id","aud":"chat","role":"user","exp":99999999999}"#;
    let twice = hs256(SECRET.as_bytes(), r#"{"alg":"HS256"}"#, twice);
    assert_eq!(status(bearer(&twice), &gateway).await, 401);
    let refused = Dial::new("/")
        .connect(gateway.address())
        .await
        .err()
        .unwrap();
    assert_eq!(refused.status, 401);
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
    let detail = gateway.detail_of(&refused.body).await;
    assert_eq!(detail, "no credential was presented");
    assert_eq!(backend.accepted(), accepted, "a backend was connected to");
}

#[tokio::test]
async fn a_credential_is_found_in_each_of_its_places_and_a_bad_one_is_never_skipped() {
    let backend = Backend::echo().await;
    let from = "from = [\"header:authorization\", \"cookie:session\", \"query:at\", \
                \"subprotocol:bearer\"]";
    let text = "[authenticators.guests]\ntype = \"anonymous\"\n\n".to_owned()
        + &with_secret(&backend, from, "path = \"/users\"\n")
        + "\n[[routes]]\nname = \"open\"\nupstream = \"echo\"\nauthenticate = [\"users\", \"guests\"]\n";
    let gateway = Gateway::start(&text).await;
    let good = token(&claims("ann"));
    let k8s = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, &good);
    let dials = |path: &str, token: &str, k8s: &str| {
        [
            Dial::new(path).header("authorization", &format!("Bearer {token}")),
            Dial::new(path).header("cookie", &format!("a=b; session={token}")),
            Dial::new(&format!("{path}?at={token}&k=1")),
            Dial::new(path).header("sec-websocket-protocol", &format!("bearer, {token}")),
            Dial::new(path).header(
                "sec-websocket-protocol",
                &format!("base64url.bearer.authorization.k8s.io.{k8s}"),
            ),
        ]
    };
    for dial in dials("/users", &good, &k8s) {
        assert_eq!(status(dial, &gateway).await, 101);
        assert_eq!(backend.last_seen().header("sessile-subject"), Some("ann"));
        let protocols = backend
            .last_seen()
            .header("sec-websocket-protocol")
            .map(str::to_owned);
        assert_eq!(protocols, None, "a backend saw a token");
    }
    let bad = token(&json!({ "sub": "ann", "exp": in_seconds(-60) }));
    let k8s = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, &bad);
    for dial in dials("/open", &bad, &k8s) {
        assert_eq!(status(dial, &gateway).await, 401);
    }
    assert_eq!(status(Dial::new("/open"), &gateway).await, 101);
    assert_eq!(backend.last_seen().header("sessile-subject"), None);
    assert_eq!(status(Dial::new("/users"), &gateway).await, 401);
}

#[tokio::test]
async fn what_the_client_offered_is_answered_so_that_browsers_take_it() {
    let backend = Backend::echo().await;
    let from = "from = [\"subprotocol:bearer\"]";
    let gateway = Gateway::start(&with_secret(&backend, from, "")).await;
    let good = token(&claims("ann"));
    let k8s = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, &good);
    let k8s = format!("base64url.bearer.authorization.k8s.io.{k8s}");
    let cases = [
        (format!("bearer, {good}"), "bearer", None),
        (
            format!("chat.v2, bearer, {good}"),
            "chat.v2",
            Some("chat.v2"),
        ),
        (k8s.clone(), k8s.as_str(), None),
        (format!("{k8s}, chat.v2"), "chat.v2", Some("chat.v2")),
    ];
    for (offer, answered, seen) in cases {
        let dial = Dial::new("/").header("sec-websocket-protocol", &offer);
        let client: Client = dial.connect(gateway.address()).await.unwrap();
        assert_eq!(client.header("sec-websocket-protocol"), Some(answered));
        assert_eq!(backend.last_seen().header("sec-websocket-protocol"), seen);
        client.close().await;
    }
}

#[tokio::test]
async fn i7_nothing_reaches_a_backend_before_authentication() {
    let (heard, mut hears) = tokio::sync::mpsc::channel(16);
    let backend = Backend::scripted(move |mut stream| {
        let heard = heard.clone();
        async move {
            let mut bytes = [0; 1024];
            let count = stream.read(&mut bytes).await.unwrap_or(0);
            heard.send(bytes[..count].to_vec()).await.ok();
        }
    })
    .await;
    let rule = "authorize = [\"path:room in claim:rooms\"]\npath = \"/rooms/{room}\"\n";
    let gateway = Gateway::start(&with_secret(&backend, "", rule)).await;
    let ann = json!({ "sub": "ann", "rooms": ["7"], "exp": in_seconds(60) });
    let token = token(&ann);
    let authorization = format!("Bearer {token}");
    for (path, headers, expected) in [
        ("/rooms/7", vec![], 401),
        ("/rooms/7", vec![("authorization", "Bearer x.y.z")], 401),
        (
            "/rooms/8",
            vec![("authorization", authorization.as_str())],
            403,
        ),
    ] {
        let answer = http::get(gateway.address(), path, &headers).await;
        assert_eq!(answer.status, expected, "{path}");
        if expected == 403 {
            let record = gateway.record_of(answer.text()).await;
            let rule = "the route asks for `path:room in claim:rooms`, which does not hold";
            assert_eq!(record["detail"], rule);
            assert_eq!(record["principal"], "ann");
        }
        let mut dial = Dial::new(path);
        for (name, value) in &headers {
            dial = dial.header(name, value);
        }
        assert_eq!(status(dial, &gateway).await, expected, "{path}");
    }
    assert_eq!(backend.accepted(), 0);
    assert!(hears.try_recv().is_err(), "a backend received something");
    let refused = gateway.metric("sessile_refusals_total", &["reason=\"forbidden\""]);
    assert_eq!(refused, 2.0);
    // And what may go on does, on the same gateway.
    http::get(
        gateway.address(),
        "/rooms/7",
        &[("authorization", &authorization)],
    )
    .await;
    assert!(hears.recv().await.unwrap().starts_with(b"GET /rooms/7"));
}

#[tokio::test]
async fn backends_get_the_identity_and_clients_cannot_forge_it() {
    let backend = Backend::echo().await;
    let route = "claim_headers = { x-user-name = \"claim:name\", x-roles = \"claim:realm.roles\" }";
    let gateway = Gateway::start(&with_secret(&backend, "strip = true", route)).await;
    let ann = token(&json!({
        "sub": "ann\r\nx-admin: 1", "exp": in_seconds(60),
        "name": "Ann\r\nx-admin: 1", "realm": { "roles": ["a", "b"] },
    }));
    let forged = [
        ("sessile-subject", "root"),
        ("sessile_subject", "root"),
        ("x-user-name", "root"),
        ("x_user_name", "root"),
    ];
    let mut dial = bearer(&ann);
    for (name, value) in forged {
        dial = dial.header(name, value);
    }
    let client = dial.connect(gateway.address()).await.unwrap();
    let seen = backend.last_seen();
    assert_eq!(seen.header("sessile-subject"), Some("ann%0D%0Ax-admin: 1"));
    assert_eq!(seen.header("x-user-name"), Some("Ann%0D%0Ax-admin: 1"));
    assert_eq!(seen.header("x-roles"), Some("[\"a\",\"b\"]"));
    for gone in ["x-admin", "sessile_subject", "x_user_name", "authorization"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    let session = &gateway.sessions()[0];
    assert_eq!(session["principal"], "ann\r\nx-admin: 1");
    let page = gateway.get("/v1/sessions?principal=bob");
    assert_eq!(page["items"], json!([]));
    client.close().await;
    let records = gateway.wait_for_records(1).await;
    assert_eq!(records[0].principal.as_deref(), Some("ann\r\nx-admin: 1"));
}

#[tokio::test]
async fn a_claim_decides_the_backend() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let text = format!("[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\n")
        + &config::echo(
            &[one.address, two.address],
            "",
            "authenticate = [\"users\"]",
        )
        .replace("\"query:k\"", "\"claim:sub\"");
    let gateway = Gateway::start(&text).await;
    for user in 0..8 {
        let dial = || bearer(&token(&claims(&format!("user-{user}"))));
        for _ in 0..3 {
            let client = dial().connect(gateway.address()).await.unwrap();
            client.close().await;
        }
        let asked = json!({ "path": "/", "claims": { "sub": format!("user-{user}") } });
        let answer = gateway
            .admin("POST", "/v1/resolve", &asked.to_string())
            .json();
        assert_eq!(answer["affinity"]["source"], "claim:sub");
    }
    let records = gateway.wait_for_records(24).await;
    // Records of two workers come in any order.
    let mut places = HashMap::<_, HashSet<_>>::new();
    for one in &records {
        places
            .entry(&one.principal)
            .or_default()
            .insert(&one.backend);
    }
    assert_eq!(places.len(), 8);
    assert!(
        places.values().all(|backends| backends.len() == 1),
        "{places:?}"
    );
    let used: HashSet<_> = records.iter().map(|one| &one.backend).collect();
    assert_eq!(used.len(), 2);
}

#[tokio::test]
async fn i11_no_token_and_no_secret_is_written_anywhere() {
    let backend = Backend::echo().await;
    let from =
        "from = [\"header:authorization\", \"query:odd\", \"subprotocol:bearer\"]\nstrip = true";
    let gateway = Gateway::start(&with_secret(&backend, from, "")).await;
    let good = token(&claims("ann"));
    let client = Dial::new(&format!("/?a=1&odd={good}"))
        .connect(gateway.address())
        .await
        .unwrap();
    assert_eq!(backend.last_seen().target, "/?a=1");
    assert_eq!(gateway.sessions()[0]["target"], "/?a=1&odd=***");
    client.close().await;
    assert_eq!(
        status(Dial::new("/?odd=opaque-thing-0815"), &gateway).await,
        401
    );
    let offer = format!("bearer, {good}");
    assert_eq!(
        status(
            Dial::new("/").header("sec-websocket-protocol", &offer),
            &gateway
        )
        .await,
        101
    );
    gateway.wait_for_records(2).await;
    let config = gateway.get("/v1/config").to_string();
    let metrics = gateway.admin("GET", "/metrics", "").body;
    let records = std::fs::read_to_string(gateway.directory().join("access.log")).unwrap();
    let signature = good.rsplit_once('.').unwrap().1;
    for written in [config, metrics, records, gateway.log()] {
        for secret in [SECRET, signature, "opaque-thing-0815"] {
            assert!(!written.contains(secret), "{written}");
        }
    }
}

#[tokio::test]
async fn a_new_secret_counts_from_the_next_handshake_on() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&with_secret(&backend, "", "")).await;
    let client = bearer(&token(&claims("ann")))
        .connect(gateway.address())
        .await
        .unwrap();
    let other = "another-secret-that-is-long-enough-0123";
    gateway.write_config(&guarded(&backend, &format!("secret = \"{other}\""), ""));
    let report = gateway.reload();
    assert_eq!(report.json()["swapped"], true, "{}", report.body);
    assert_eq!(status(bearer(&token(&claims("ann"))), &gateway).await, 401);
    let new = hs256(
        other.as_bytes(),
        r#"{"alg":"HS256"}"#,
        &claims("ann").to_string(),
    );
    assert_eq!(status(bearer(&new), &gateway).await, 101);
    client.close().await;
}
