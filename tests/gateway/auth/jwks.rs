//! Issuers and services that are asked over HTTPS, and keys that change, go and come back while
//! very many ask to be let in.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::certificates::Authority;
use crate::support::peers::Language;
use crate::support::service::Service;
use crate::support::tokens::{self, claims, wanted};
use crate::support::{Backend, Dial, Gateway, config, eventually};

/// Tokens of one key, and the key as its issuer publishes it.
struct Signed {
    /// Counts who came in by it.
    opened: Arc<AtomicUsize>,
    tokens: Vec<String>,
    key: Value,
}

/// Tokens for users by a library, all by one key that is called `kid`.
async fn signed(language: Language, algorithm: &str, key: &str, kid: &str) -> Signed {
    let list: Vec<_> = (0..8)
        .map(|user| {
            let mut wanted = wanted(algorithm, key, claims(&format!("user-{user}")));
            wanted["headers"] = json!({ "kid": kid });
            wanted
        })
        .collect();
    let minted = tokens::mint(language, &list).await;
    let set: Value = serde_json::from_str(&minted.jwks()).unwrap();
    let mut keys = set["keys"].as_array().unwrap().iter();
    let mut public = keys.find(|one| one["kid"] == key).unwrap().clone();
    public["kid"] = json!(kid);
    Signed {
        opened: Arc::default(),
        tokens: minted.tokens,
        key: public,
    }
}

fn jwks(of: &[&Signed]) -> String {
    let keys: Vec<_> = of.iter().map(|one| one.key.clone()).collect();
    json!({ "keys": keys }).to_string()
}

fn bearer(path: &str, token: &str) -> Dial {
    Dial::new(path).header("authorization", &format!("Bearer {token}"))
}

#[tokio::test]
async fn issuers_and_services_prove_their_names_before_they_are_asked() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (ours, others) = (
        Authority::new(directory.path()),
        Authority::new(elsewhere.path()),
    );
    let good = ours.server(&ours.issue("good", &["127.0.0.1", "localhost"]));
    let named = ours.server(&ours.issue("named", &["id.example.com"]));
    let strange = others.server(&others.issue("strange", &["127.0.0.1"]));

    let keys = signed(Language::Python, "ES256", "p256", "one").await;
    let backend = Backend::echo().await;
    let mut services = Vec::new();
    let mut text = config::echo(&[backend.address], "", "path = \"/unused\"");
    for (name, tls, ca, host) in [
        ("good", &good, "ca = \"ca.pem\"", "127.0.0.1"),
        ("by-name", &good, "ca = \"ca.pem\"", "localhost"),
        ("other-name", &named, "ca = \"ca.pem\"", "127.0.0.1"),
        ("other-authority", &strange, "ca = \"ca.pem\"", "127.0.0.1"),
        // The system does not trust a test's authority.
        ("system", &good, "", "127.0.0.1"),
    ] {
        let issuer = Service::issuer(Some(Arc::clone(tls)), jwks(&[&keys])).await;
        let decider = Service::start(Some(Arc::clone(tls)), |_| {
            let head = "200 OK\r\nx-auth-subject: ann";
            (head.to_owned(), String::new())
        });
        let decider = decider.await;
        let port = |service: &Service| service.address.port();
        text += &format!(
            "\n[authenticators.jwt-{name}]\ntype = \"jwt\"\n{ca}\n\
             jwks = \"https://{host}:{}/keys.json\"\n\n\
             [authenticators.forward-{name}]\ntype = \"forward\"\n{ca}\n\
             url = \"https://{host}:{}/decide\"\n",
            port(&issuer),
            port(&decider)
        );
        for kind in ["jwt", "forward"] {
            text += &format!(
                "\n[[routes]]\nname = \"{kind}-{name}\"\npath = \"/{kind}/{name}\"\n\
                 upstream = \"echo\"\nauthenticate = [\"{kind}-{name}\"]\n"
            );
        }
        services.push((name, issuer, decider));
    }
    let gateway = Gateway::start_in(directory, &text).await;
    for (name, issuer, decider) in &services {
        let proved = ["good", "by-name"].contains(name);
        for kind in ["jwt", "forward"] {
            let path = format!("/{kind}/{name}");
            let opened = bearer(&path, &keys.tokens[0]).connect(gateway.address());
            match opened.await {
                Ok(client) => {
                    assert!(proved, "{path} believes whoever answers");
                    let subject = if kind == "jwt" { "user-0" } else { "ann" };
                    let seen = backend.last_seen();
                    assert_eq!(seen.header("sessile-subject"), Some(subject));
                    client.close().await;
                }
                Err(refused) => {
                    assert!(!proved, "{path}: {refused:?}");
                    assert_eq!(refused.status, 503, "{path}");
                }
            }
        }
        let asked = (issuer.asked().len(), decider.asked().len());
        assert_eq!(asked, if proved { (1, 1) } else { (0, 0) }, "{name}");
    }
    let head = &services[0].1.asked()[0];
    assert!(head.starts_with("GET /keys.json HTTP/1.1\r\n"), "{head}");
    let head = &services[0].2.asked()[0];
    assert!(head.starts_with("GET /decide HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn no_good_token_is_refused_while_keys_rotate_and_the_issuer_goes() {
    // Read again soon, or only when a token names a key that is not known.
    for refresh in ["300ms", "1h"] {
        rotation_and_outage(refresh).await;
    }
}

/// What the clients share.
struct Crowd {
    /// What the issuer's users have at this time.
    tokens: Mutex<Vec<(String, Arc<AtomicUsize>)>>,
    refused: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Crowd {
    fn bring(&self, of: &[&Signed]) {
        let tokens = of.iter().flat_map(|one| {
            let tokens = one.tokens.iter();
            tokens.map(|token| (token.clone(), Arc::clone(&one.opened)))
        });
        *self.tokens.lock().unwrap() = tokens.collect();
    }

    /// Goes on until so many more have come in by this key.
    async fn opens(&self, by: &Signed, more: usize, what: &str) {
        let enough = by.opened.load(Ordering::Relaxed) + more;
        eventually(what, async || {
            let refused = self.refused.lock().unwrap();
            assert!(refused.is_empty(), "{what}: {refused:?}");
            by.opened.load(Ordering::Relaxed) >= enough
        })
        .await;
    }

    /// One client after the other, as fast as they come in.
    async fn client(self: Arc<Self>, address: std::net::SocketAddr, number: usize) {
        let mut turn = number;
        while !self.over.load(Ordering::Relaxed) {
            turn += 1;
            let (token, opened) = {
                let tokens = self.tokens.lock().unwrap();
                tokens[turn % tokens.len()].clone()
            };
            match bearer("/", &token).connect(address).await {
                Ok(client) => {
                    client.close().await;
                    opened.fetch_add(1, Ordering::Relaxed);
                }
                Err(refused) => self.refused.lock().unwrap().push(refused.body),
            }
        }
    }

    /// An attacker with a key of its own, under another key id each time.
    async fn stranger(self: Arc<Self>, address: std::net::SocketAddr) -> usize {
        let mut refused = 0;
        while !self.over.load(Ordering::Relaxed) {
            let header = json!({ "alg": "ES256", "kid": format!("guess-{refused}") });
            let token = tokens::hs256(b"mine", &header.to_string(), &claims("root").to_string());
            let answer = bearer("/", &token).connect(address).await;
            assert_eq!(answer.err().map(|refused| refused.status), Some(401));
            refused += 1;
        }
        refused
    }
}

async fn rotation_and_outage(refresh: &str) {
    let one = signed(Language::Python, "RS256", "rsa", "one").await;
    let two = signed(Language::Node, "EdDSA", "ed", "two").await;
    let three = signed(Language::Python, "ES256", "p256", "three").await;
    let mut issuer = Service::issuer(None, jwks(&[&one])).await;
    let backend = Backend::echo().await;
    let text = format!(
        "[authenticators.users]\ntype = \"jwt\"\njwks = \"http://{}/keys\"\n\
         refresh = \"{refresh}\"\n\n",
        issuer.address
    ) + &config::echo(&[backend.address], "", "authenticate = [\"users\"]\n");
    let gateway = Gateway::start(&text).await;
    let began = Instant::now();
    let crowd = Arc::new(Crowd {
        tokens: Mutex::default(),
        refused: Mutex::default(),
        over: AtomicBool::new(false),
    });
    crowd.bring(&[&one]);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..20 {
        let client = Arc::clone(&crowd).client(gateway.address(), number);
        clients.spawn(client);
    }
    let strangers = [(); 2].map(|()| {
        let stranger = Arc::clone(&crowd).stranger(gateway.address());
        tokio::spawn(stranger)
    });
    crowd.opens(&one, 60, "keys as they were").await;
    // Tokens of the new key are there the moment it is.
    issuer.publish(jwks(&[&one, &two]));
    crowd.bring(&[&one, &two]);
    crowd.opens(&two, 60, "a new key").await;
    issuer.answer_with(|_| (String::from("500 Down"), String::new()));
    crowd.opens(&two, 60, "an issuer that fails").await;
    issuer.answer_with(|_| (String::from("200 OK"), String::from("{\"keys\":")));
    crowd.opens(&two, 60, "an issuer that talks nonsense").await;
    // The old key goes once nothing that it signed is under way any more.
    crowd.bring(&[&two]);
    crowd.opens(&two, 60, "the old key unused").await;
    issuer.publish(jwks(&[&two, &three]));
    crowd.bring(&[&two, &three]);
    crowd.opens(&three, 60, "the next key").await;
    let (before, beginning) = (issuer.asked().len(), began.elapsed());
    issuer.stop().await;
    crowd.opens(&two, 60, "an issuer that is gone").await;
    crowd.opens(&three, 60, "an issuer that stays away").await;
    crowd.over.store(true, Ordering::Relaxed);
    clients.join_all().await;
    let mut guesses = 0;
    for stranger in strangers {
        guesses += stranger.await.unwrap();
    }
    assert!(guesses > 0, "no stranger was refused");

    // A key that its issuer took back is good no more, whatever has happened to the issuer since.
    let refused = bearer("/", &one.tokens[0]).connect(gateway.address()).await;
    assert_eq!(refused.err().unwrap().status, 401);
    // One reading at the start, one at the end of each pause; one of a rotation's two at most came
    // to nothing and was tried again at once.
    let pause = if refresh == "1h" { 5.0 } else { 0.27 };
    let most = beginning.as_secs_f64() / pause + 6.0;
    assert!(
        (before as f64) <= most,
        "asked {before} times in {beginning:?}, with {guesses} guesses"
    );
}
