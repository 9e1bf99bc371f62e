//! Names and passwords whose hashes other programs made; what wrong ones cost, and whom.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::support::{Backend, Client, Dial, Gateway, config};

/// Of the password `correct horse` unless noted otherwise, by Python's `bcrypt` 5.0.0 (`2b`,
/// `2a` of `pässwörd`, `long` of 72 times `a`), `htpasswd -nbB` of Apache 2.4.71 (`2y`) and
/// `argon2-cffi` 25.1.0.
const USERS: &str = "\
2b:$2b$06$aRFyENO9BOGJipIILLweYOSUCmQna5mCaSYHk944f9qKtqeae1y1K
2a:$2a$06$bAKMebMWy0mQFGjl4498A.pwmXK5WbXI49eOGC5XgrSSNcoIQTWH2
2y:$2y$06$vNTddA/pq.NIk2lPr.S7/uEtb2UhE8rVuSksbDNBaMzilQnORhJ9u
long:$2b$06$AfuZJPC8ZlUV8XPDAtHM1ubdAQFyn5xQ/6W4Ano9ahrrkiPjmo9Ia
# A comment, as other readers of such files allow.
id:$argon2id$v=19$m=1024,t=2,p=2$WL+1s6rcvCYVQGOIEeKStw$CKfSpm46Tv0IMO+cR3haxyvlLzeS+6E8GvQtBD/OETc
i:$argon2i$v=19$m=1024,t=2,p=2$27KZJLQ/P5XsHjjpu2d/3A$DHzkAm2SGTj4uls/JOw73xtKg8BLy9RMPU8vYhadIZw
d:$argon2d$v=19$m=1024,t=2,p=2$12Es4Kc4rYIhvWr1Fz+bYg$+sfImnIiMa34u7f6HMLeTtFwJni7GdIY2f0UYGiBU24
";

/// `correct horse` by `argon2-cffi` with 19 MiB and two passes: slow where nothing is optimised.
const SLOW: &str = "$argon2id$v=19$m=19456,t=2,p=1$Wfnp5gBPF6Qcvk4Nz7imRw\
                    $jSGzv6NBojPKLF3FNvFxbJ/SyJ8I6va0DTP3wD7cFK8";

/// `correct horse` by `bcrypt` with a cost of 9.
const NINE: &str = "$2b$09$KFPtRNdE9nYKO39Jkg4MPea07YRiT3VinfEaVlI9rVmfjcvms.dMm";

async fn gateway(backend: &Backend, users: &str) -> Gateway {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("users"), users).unwrap();
    let text = "[authenticators.users]\ntype = \"basic\"\nhtpasswd = \"users\"\n\n".to_owned()
        + &config::echo(&[backend.address], "", "authenticate = [\"users\"]\n")
        + "\n[[routes]]\nname = \"open\"\nupstream = \"echo\"\npath = \"/open\"\n";
    Gateway::start_in(directory, &text).await
}

fn basic(user: &str, password: &str) -> Dial {
    let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
    Dial::new("/").header("authorization", &format!("Basic {pair}"))
}

#[tokio::test]
async fn hashes_of_other_makers_are_understood() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, USERS).await;
    for (user, password) in [
        ("2b", "correct horse"),
        ("2a", "pässwörd"),
        ("2y", "correct horse"),
        ("id", "correct horse"),
        ("i", "correct horse"),
        ("d", "correct horse"),
    ] {
        let before = backend.accepted();
        let cut = &password[..password.len() - 1];
        let longer = format!("{password} ");
        for wrong in [cut, &longer, "", "Correct horse"] {
            let refused = basic(user, wrong).connect(gateway.address()).await;
            assert_eq!(refused.err().unwrap().status, 401, "{user}: {wrong:?}");
        }
        assert_eq!(backend.accepted(), before, "a backend was connected to");
        // The second is remembered, and is no other one's.
        for _ in 0..2 {
            let client = basic(user, password).connect(gateway.address()).await;
            let client = client.unwrap_or_else(|refused| panic!("{user}: {refused:?}"));
            assert_eq!(backend.last_seen().header("sessile-subject"), Some(user));
            client.close().await;
        }
        let other = basic("nobody", password).connect(gateway.address()).await;
        assert_eq!(other.err().unwrap().status, 401);
    }
    // bcrypt looks at 72 bytes and no further: one that is longer is not taken for its beginning.
    let long = basic("2b", &"x".repeat(73))
        .connect(gateway.address())
        .await;
    assert_eq!(long.err().unwrap().status, 401);
}

#[tokio::test]
async fn unknown_names_take_as_long_as_known_ones() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, &format!("ann:{NINE}\n")).await;
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..8 {
        for (user, fastest) in ["ann", "bob"].iter().zip(&mut fastest) {
            let start = Instant::now();
            let refused = basic(user, "wrong").connect(gateway.address()).await;
            assert_eq!(refused.err().unwrap().status, 401);
            *fastest = start.elapsed().min(*fastest);
        }
    }
    let [known, unknown] = fastest;
    let factor = unknown.as_secs_f64() / known.as_secs_f64();
    assert!((0.5..2.0).contains(&factor), "{known:?}, {unknown:?}");
}

#[tokio::test]
async fn sessions_go_on_while_passwords_are_verified() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, &format!("ann:{SLOW}\n")).await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(Client::connect(gateway.address(), "/open").await);
    }
    let workers: std::collections::HashSet<_> = gateway
        .sessions()
        .iter()
        .map(|one| one["worker"].to_string())
        .collect();
    assert_eq!(workers.len(), 2, "the sessions are on one worker");
    let address = gateway.address();
    let verified = tokio::spawn(async move {
        let mut fastest = Duration::MAX;
        // On one worker and the other.
        for password in ["wrong", "wronger", "wrongest", "correct horse"] {
            let start = Instant::now();
            let opened = basic("ann", password).connect(address).await;
            fastest = start.elapsed().min(fastest);
            match opened {
                Ok(client) => client.close().await,
                Err(refused) => {
                    assert_eq!(refused.status, 401);
                    assert_ne!(password, "correct horse");
                }
            }
        }
        fastest
    });
    let (mut rounds, mut slowest) = (0, Duration::ZERO);
    while !verified.is_finished() {
        let start = Instant::now();
        for session in &mut sessions {
            session.echo("still here").await;
        }
        slowest = start.elapsed().max(slowest);
        rounds += 1;
    }
    let fastest = verified.await.unwrap();
    assert!(
        rounds > 10 && slowest < fastest,
        "{rounds} rounds, one of {slowest:?}; a password took {fastest:?}"
    );
    for session in sessions {
        session.close().await;
    }
}
