use super::*;
use crate::config::snapshot::Reconnect;
use crate::proxy::backend::dial::ConnectionAddresses;
use crate::proxy::tests::backend::{ScriptedBackend, ordinary, switch};
use crate::proxy::tests::session::{self, settle};
use crate::proxy::tests::{Fixture, head, run, websocket};

/// Reconnects with these backends.
struct World {
    backends: Vec<ScriptedBackend>,
    attempts: u32,
    timeout: Duration,
    quick: u32,
    reason: ResumeReason,
    terms: Vec<HeaderValue>,
    /// The backend that the session was on.
    home: usize,
    /// More of the upstream's configuration.
    upstream: &'static str,
}

impl World {
    fn new(answers: &[String]) -> Self {
        let backends = answers
            .iter()
            .map(|answer| ScriptedBackend::answering(answer));
        Self {
            backends: backends.collect(),
            attempts: 2,
            timeout: Duration::from_secs(20),
            quick: 0,
            reason: ResumeReason::BackendLost,
            terms: Vec::new(),
            home: 0,
            upstream: "",
        }
    }

    /// The backend that took the session.
    fn resume(&self) -> Result<usize, NotResumed> {
        let list = self
            .backends
            .iter()
            .map(|one| format!("\"{}\"", one.address()));
        let list: Vec<_> = list.collect();
        let fixture = Fixture::new(&format!(
            "[upstreams.chat]\npolicy = \"round_robin\"\nattempts = 5\nbackends = [{}]\n{}\n\
             [[routes]]\nname = \"chat\"\nupstream = \"chat\"\n",
            list.join(", "),
            self.upstream
        ));
        let bounds = Reconnect {
            attempts: self.attempts,
            timeout: self.timeout,
            buffer_bytes: 64,
        };
        let addresses = ConnectionAddresses {
            client: None,
            local: None,
        };
        let offer = websocket("/").header("sec-websocket-protocol", "chat, other");
        let fields = head(offer).headers;
        let resumption = Resumption::new("/ws?a=1", &fields, addresses, &self.terms, bounds);
        run(async {
            self.backends.iter().for_each(ScriptedBackend::serve);
            let sessions = fixture.sessions();
            let (mut granted, _backend) = session::granted(&sessions, 0);
            granted.facts.backend = self.backends[self.home].address().as_str().into();
            let resume = Resume {
                facts: Arc::new(granted.facts),
                key: None,
                resumption: Rc::new(resumption),
                number: 3,
                reason: self.reason,
                quick: self.quick,
            };
            let reached = resume.run(Rc::clone(&fixture.worker)).await;
            settle().await;
            let id = reached?.lease.backend().to_string();
            let mut all = self.backends.iter();
            Ok(all
                .position(|one| one.address() == id)
                .expect("one of them"))
        })
    }

    fn asked(&self) -> usize {
        self.backends.iter().map(|one| one.heads().len()).sum()
    }
}

#[test]
fn the_handshake_is_repeated_with_its_number_and_reason() {
    let world = World::new(&[switch("")]);
    assert_eq!(world.resume(), Ok(0));
    let head = &world.backends[0].heads()[0];
    assert!(head.starts_with("GET /ws?a=1 HTTP/1.1\r\n"), "{head}");
    let lower = head.to_lowercase();
    assert!(
        lower.contains("\r\nsessile-resume: 3; reason=backend_lost\r\n"),
        "{head}"
    );
    assert!(lower.contains("\r\nsec-websocket-key: "), "{head}");
}

#[test]
fn a_backend_in_trouble_is_passed_over() {
    for status in [
        "503 Unavailable",
        "500 Error",
        "429 Too Many",
        "408 Timeout",
        "425 Early",
    ] {
        let world = World::new(&[ordinary(status, ""), ordinary(status, "")]);
        assert_eq!(world.resume(), Err(NotResumed::Exhausted), "{status}");
        assert_eq!(world.asked(), 2, "{status}: one attempt each");
    }
}

#[test]
fn a_refusal_of_the_client_is_final() {
    for status in ["401 No", "403 No", "404 None", "200 OK"] {
        let world = World::new(&[ordinary(status, ""), ordinary(status, "")]);
        let code = &status[..3];
        let why = format!("the next backend answered {code}");
        assert_eq!(world.resume(), Err(NotResumed::Unfit(why)));
        assert_eq!(world.asked(), 1, "{status}");
    }
}

#[test]
fn i9_an_invalid_101_is_no_backend() {
    let wrong = switch("").replace("s3pPLMBi", "AAAAAAAA");
    let world = World::new(&[wrong.clone(), wrong]);
    assert_eq!(world.resume(), Err(NotResumed::Exhausted));
    assert_eq!(world.asked(), 2);
}

#[test]
fn other_terms_than_the_clients_are_refused_with_1010() {
    let subprotocol = World::new(&[switch("sec-websocket-protocol: other\r\n")]);
    let why = "the next backend chose another subprotocol".to_owned();
    assert_eq!(subprotocol.resume(), Err(NotResumed::Unfit(why)));

    let mut extensions = World::new(&[switch("")]);
    extensions.terms = vec![HeaderValue::from_static("permessage-deflate")];
    let why = "the next backend chose other extensions".to_owned();
    assert_eq!(extensions.resume(), Err(NotResumed::Unfit(why)));
    let after = extensions.backends[0].after();
    assert_eq!(after.first(), Some(&0x88), "a close frame");
    let mask = &after[2..6];
    let code = [after[6] ^ mask[0], after[7] ^ mask[1]];
    assert_eq!(u16::from_be_bytes(code), 1010);
}

#[test]
fn attempts_are_bounded_and_quick_losses_count() {
    let mut world = World::new(&[ordinary("503 No", ""), ordinary("503 No", "")]);
    world.attempts = 1;
    assert_eq!(world.resume(), Err(NotResumed::Exhausted));
    assert_eq!(world.asked(), 1);

    let mut quick = World::new(&[switch("")]);
    quick.quick = 2;
    assert_eq!(quick.resume(), Err(NotResumed::Exhausted));
    assert_eq!(quick.asked(), 0);
}

#[test]
fn a_backend_that_announced_its_end_is_asked_last() {
    for home in [0, 1] {
        let mut world = World::new(&[switch(""), switch("")]);
        (world.reason, world.home) = (ResumeReason::BackendGoingAway, home);
        assert_eq!(world.resume(), Ok(1 - home));
        assert!(world.backends[home].heads().is_empty());
    }
}

#[test]
fn i7_a_backend_that_is_to_be_asked_over_tls_is_not_asked_in_plain() {
    let mut world = World::new(&[switch("")]);
    world.upstream = "tls = {}";
    world.timeout = Duration::from_millis(200);
    assert_eq!(world.resume(), Err(NotResumed::Exhausted));
    assert_eq!(world.asked(), 0);
}
