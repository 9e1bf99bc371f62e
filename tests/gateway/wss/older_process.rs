//! A process of the version before TLS states takes the plain sessions. Those with TLS stay, and
//! are served.

use std::fs;

use sessile::base::session_id::SessionId;
use sessile::io::handover::{FromNew, FromOld, PROTOCOL, STATE};

use super::LISTENER;
use crate::operations::handover::impostor::Impostor;
use crate::support::certificates::Authority;
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

const PLAIN: &str = "[[listeners]]\nname = \"plain\"\nlisten = [\"127.0.0.1:0\"]\n\n";

#[tokio::test]
async fn i6_an_older_process_gets_the_plain_sessions_and_those_with_tls_stay() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["localhost"]);
    let inner = authority.issue("inner", &["127.0.0.1"]);
    let (plain, secure) = (
        Backend::echo().await,
        Backend::echo_tls(authority.server(&inner)).await,
    );
    let text = format!(
        "[shutdown]\ngrace = \"10s\"\n\n{LISTENER}{PLAIN}\
         [upstreams.secure]\n{}\ntls = {{ ca = \"ca.pem\" }}\n\n\
         [[routes]]\nname = \"secure\"\npath = \"/secure\"\nupstream = \"secure\"\n\n{}",
        config::members(&[secure.address]),
        config::echo(&[plain.address], "", "")
    );
    let mut gateway = Gateway::start_with_handover_in(directory, &text).await;
    let mut going = Vec::new();
    for _ in 0..2 {
        going.push(Client::connect(gateway.listener("plain"), "/").await);
    }
    // TLS at either end, and at both.
    let mut staying = vec![Client::connect(gateway.listener("plain"), "/secure").await];
    for path in ["/", "/secure"] {
        let dial = Dial::new(path).connect_tls(gateway.listener("edge"), authority.client());
        staying.push(dial.await.unwrap());
    }
    for client in staying.iter_mut().chain(&mut going) {
        client.echo("before").await;
    }
    let (mut older, taken, done) = take_plain_sessions(&gateway).await;
    assert_eq!(taken.len(), going.len());
    // An older process does not know the reasons.
    let expected = FromOld::Done {
        staying: staying.len(),
        reasons: None,
    };
    assert_eq!(done, expected);
    older.wire.send_message(&FromNew::Finished).await.unwrap();
    eventually("it is handed over", async || {
        gateway.log().contains("\"handed over\"")
    })
    .await;
    assert!(
        gateway.log().contains("3 (3 tls_not_understood)"),
        "{}",
        gateway.log()
    );
    for client in &mut staying {
        client.echo("still here").await;
    }
    for client in staying {
        client.close().await;
    }
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    let records = fs::read_to_string(gateway.directory().join("access.log")).unwrap();
    assert_eq!(records.lines().count(), 3, "{records}");
}

/// Plays an older process up to `Done`: takes every session that it gets, which must be plain.
async fn take_plain_sessions(gateway: &Gateway) -> (Impostor, Vec<SessionId>, FromOld) {
    let mut older = Impostor::hello(gateway, PROTOCOL, (STATE, STATE)).await;
    let FromOld::Welcome {
        listeners, state, ..
    } = older.hear().await
    else {
        panic!("no welcome");
    };
    assert_eq!(state, STATE, "it understands what it gets");
    for _ in 0..listeners {
        assert!(matches!(older.hear().await, FromOld::Listener { .. }));
    }
    older.wire.send_message(&FromNew::Serving).await.unwrap();
    let (mut taken, mut batch) = (Vec::new(), Vec::new());
    let done = loop {
        match older.hear().await {
            FromOld::Session { id, tls: None } => batch.push(id),
            FromOld::Batch => {
                taken.extend(&batch);
                let message = FromNew::Taken {
                    taken: std::mem::take(&mut batch),
                    refused: Vec::new(),
                };
                older.wire.send_message(&message).await.unwrap();
            }
            done @ FromOld::Done { .. } => break done,
            other => panic!("{other:?}"),
        }
    };
    (older, taken, done)
}
