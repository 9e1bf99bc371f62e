//! What goes wrong on the way leaves the old process serving, with every session.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use sessile::io::handover::{FromNew, FromOld, PROTOCOL, STATE, STATE_OLDEST, Wire};
use tokio::net::UnixStream;

use super::echo;
use crate::support::gateway::command;
use crate::support::{Backend, Client, Gateway, eventually, soon};

/// A new process that the test plays.
struct Impostor {
    wire: Wire,
}

impl Impostor {
    async fn connect(gateway: &Gateway) -> Self {
        let stream = UnixStream::connect(gateway.door()).await.unwrap();
        Self {
            wire: Wire::new(stream).unwrap(),
        }
    }

    async fn hello(gateway: &Gateway, protocol: u32, states: (u32, u32)) -> Self {
        let mut impostor = Self::connect(gateway).await;
        let hello = FromNew::Hello {
            protocol,
            states,
            version: "9.9.9".to_owned(),
        };
        impostor.wire.say(&hello).await.unwrap();
        impostor
    }

    async fn welcome(gateway: &Gateway) -> Self {
        let mut impostor = Self::hello(gateway, PROTOCOL, (STATE_OLDEST, STATE)).await;
        let FromOld::Welcome { listeners, .. } = impostor.hear().await else {
            panic!("no welcome");
        };
        for _ in 0..listeners {
            assert!(matches!(impostor.hear().await, FromOld::Listener { .. }));
        }
        impostor
    }

    async fn serving(gateway: &Gateway) -> Self {
        let mut impostor = Self::welcome(gateway).await;
        impostor.wire.say(&FromNew::Serving).await.unwrap();
        impostor
    }

    async fn hear(&mut self) -> FromOld {
        let heard = soon("a word of the old process", self.wire.receive());
        heard.await.unwrap().expect("it goes on").said
    }

    /// Reads to the end of a batch; the ids of its sessions.
    async fn batch(&mut self) -> Vec<sessile::base::session_id::SessionId> {
        let mut ids = Vec::new();
        loop {
            match self.hear().await {
                FromOld::Session { id } => ids.push(id),
                FromOld::Batch => return ids,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn stopped(&mut self) -> String {
        loop {
            match self.hear().await {
                FromOld::Stopped { reason, serving } => {
                    assert!(serving);
                    return reason;
                }
                FromOld::Session { .. } | FromOld::Batch | FromOld::Done { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Everybody is served by this process, those who were and those who come.
async fn all_is_well(gateway: &Gateway, clients: &mut [Client], failures: f64) {
    eventually("the failure is counted", async || {
        gateway.metric("sessile_handover_failures_total", &[]) >= failures
    })
    .await;
    for client in &mut *clients {
        client.echo("still here").await;
    }
    let mut new = Client::connect(gateway.address(), "/").await;
    new.echo("hello").await;
    new.close().await;
    eventually("as many sessions as before", async || {
        gateway.sessions_live() == clients.len() as u64
    })
    .await;
    let vitals = gateway.get("/v1/upstreams/echo");
    assert_eq!(vitals["backends"][0]["sessions"], clients.len());
    assert_eq!(
        gateway.metric("sessile_sessions", &[]),
        clients.len() as f64
    );
}

#[tokio::test]
async fn i6_a_new_process_that_dies_at_any_step_costs_no_session() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(gateway.address(), "/").await;
        client.echo("before").await;
        clients.push(client);
    }
    drop(Impostor::connect(&gateway).await);
    all_is_well(&gateway, &mut clients, 1.0).await;
    drop(Impostor::hello(&gateway, PROTOCOL, (STATE, STATE)).await);
    all_is_well(&gateway, &mut clients, 2.0).await;
    drop(Impostor::welcome(&gateway).await);
    all_is_well(&gateway, &mut clients, 3.0).await;
    drop(Impostor::serving(&gateway).await);
    all_is_well(&gateway, &mut clients, 4.0).await;
    // It holds sessions, and the word that they are its own never comes.
    let mut holding = Impostor::serving(&gateway).await;
    assert!(!holding.batch().await.is_empty());
    drop(holding);
    all_is_well(&gateway, &mut clients, 5.0).await;
    // It says something else instead.
    let mut confused = Impostor::serving(&gateway).await;
    confused.batch().await;
    confused.wire.say(&FromNew::Serving).await.unwrap();
    assert!(confused.stopped().await.contains("something else"));
    all_is_well(&gateway, &mut clients, 6.0).await;
    // It can take none of them, and dies with the last word unsaid.
    let mut picky = Impostor::serving(&gateway).await;
    let mut refused = 0;
    while refused < clients.len() {
        let ids = picky.batch().await;
        refused += ids.len();
        let taken = FromNew::Taken {
            taken: Vec::new(),
            refused: ids.into_iter().map(|id| (id, "no".to_owned())).collect(),
        };
        picky.wire.say(&taken).await.unwrap();
    }
    assert_eq!(picky.hear().await, FromOld::Done { staying: 50 });
    drop(picky);
    all_is_well(&gateway, &mut clients, 7.0).await;

    let next = gateway.succeed().await;
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    assert_eq!(next.get("/v1/status")["taken_over"]["sessions"], 50);
    for mut client in clients {
        client.echo("after all").await;
        client.close().await;
    }
    // The seven that came in between have theirs too.
    next.wait_for_records(57).await;
}

#[tokio::test]
async fn a_process_of_another_version_gets_nothing() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut clients = vec![Client::connect(gateway.address(), "/").await];
    let versions = [
        (PROTOCOL + 1, (STATE_OLDEST, STATE)),
        (PROTOCOL, (STATE + 1, STATE + 2)),
    ];
    for ((protocol, states), failures) in versions.into_iter().zip([1.0, 2.0]) {
        let mut other = Impostor::hello(&gateway, protocol, states).await;
        let FromOld::Refused { reason } = other.hear().await else {
            panic!("it was let in");
        };
        assert!(reason.contains("version"), "{reason}");
        all_is_well(&gateway, &mut clients, failures).await;
    }
    for client in clients {
        client.close().await;
    }
}

/// Runs `sessile run --take-over` with this configuration until it ends.
async fn attempt(gateway: &Gateway, config: &Path) -> (Option<i32>, String) {
    let mut command = command(config);
    command.arg("--take-over").arg(gateway.door());
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = soon("its end", output).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[tokio::test]
async fn a_new_process_with_a_bad_configuration_leaves_the_old_one_serving() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut clients = vec![Client::connect(gateway.address(), "/").await];
    let good = fs::read_to_string(gateway.config_path()).unwrap();
    let path = gateway.directory().join("bad.toml");

    fs::write(
        &path,
        good.replace("upstream = \"echo\"", "upstream = \"ecco\""),
    )
    .unwrap();
    let (code, said) = attempt(&gateway, &path).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("ecco"), "{said}");
    all_is_well(&gateway, &mut clients, 0.0).await;

    // It is valid, and cannot be had: the address is the backend's.
    let taken = format!("[\"127.0.0.1:0\", \"{}\"]", backend.address);
    fs::write(&path, good.replace("[\"127.0.0.1:0\"]", &taken)).unwrap();
    let (code, said) = attempt(&gateway, &path).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot listen on"), "{said}");
    all_is_well(&gateway, &mut clients, 1.0).await;
    assert!(gateway.log().contains("it gave up"), "{}", gateway.log());
    for client in clients {
        client.close().await;
    }
}

#[tokio::test]
async fn a_signal_in_the_middle_of_a_handover_stops_the_process_that_it_was_for() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&echo(&backend)).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("before").await;
    let mut other = Impostor::serving(&gateway).await;
    other.batch().await;
    gateway.signal(Signal::TERM);
    let FromOld::Stopped { serving: false, .. } = other.hear().await else {
        panic!("it does not say that it stops");
    };
    let end = client.end().await;
    assert_eq!(end.map(|(code, _)| code), Some(1001));
    drop(client);
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    let records = gateway.wait_for_records(1).await;
    assert_eq!(records[0].cause, "shutdown");
}
