//! A new process that a test plays, message by message.

use sessile::base::session_id::SessionId;
use sessile::io::handover::{FromNew, FromOld, PROTOCOL, STATE, STATE_OLDEST, Wire};
use tokio::net::UnixStream;

use crate::support::{Gateway, soon};

/// A new process that the test plays.
pub struct Impostor {
    pub wire: Wire,
}

impl Impostor {
    pub async fn connect(gateway: &Gateway) -> Self {
        let stream = UnixStream::connect(gateway.door()).await.unwrap();
        Self {
            wire: Wire::new(stream).unwrap(),
        }
    }

    pub async fn hello(gateway: &Gateway, protocol: u32, states: (u32, u32)) -> Self {
        let mut impostor = Self::connect(gateway).await;
        let hello = FromNew::Hello {
            protocol,
            states,
            version: "9.9.9".to_owned(),
        };
        impostor.wire.send_message(&hello).await.unwrap();
        impostor
    }

    pub async fn welcome(gateway: &Gateway) -> Self {
        let mut impostor = Self::hello(gateway, PROTOCOL, (STATE_OLDEST, STATE)).await;
        let FromOld::Welcome { listeners, .. } = impostor.hear().await else {
            panic!("no welcome");
        };
        for _ in 0..listeners {
            assert!(matches!(impostor.hear().await, FromOld::Listener { .. }));
        }
        impostor
    }

    pub async fn serving(gateway: &Gateway) -> Self {
        let mut impostor = Self::welcome(gateway).await;
        impostor.wire.send_message(&FromNew::Serving).await.unwrap();
        impostor
    }

    /// The next message that is not an order which operators gave the old process.
    pub async fn hear(&mut self) -> FromOld {
        loop {
            let heard = soon("a word of the old process", self.wire.receive());
            match heard.await.unwrap().expect("it goes on").content {
                FromOld::Revocations { .. } | FromOld::Orders { .. } => {}
                content => return content,
            }
        }
    }

    /// Reads to the end of a batch; the ids of its sessions.
    pub async fn batch(&mut self) -> Vec<SessionId> {
        let mut ids = Vec::new();
        loop {
            match self.hear().await {
                FromOld::Session { id, .. } => ids.push(id),
                FromOld::Batch => return ids,
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn stopped(&mut self) -> String {
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
