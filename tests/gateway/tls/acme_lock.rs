//! Gateways of one etcd that want the same certificate: the lock under which one of them orders.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::acme::{NAME, listeners, serves, trusting};
use crate::support::etcd::Etcd;
use crate::support::etcd_world::following;
use crate::support::pebble::Pebble;
use crate::support::{Backend, Gateway, config, eventually, soon};

/// A way to a port that holds what a client sends, from the first bytes on in which `text` stands,
/// until it is let go.
struct HoldingWay {
    port: u16,
    reached: Arc<Notify>,
    go: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Drop for HoldingWay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl HoldingWay {
    async fn to(port: u16, text: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (reached, go) = (Arc::<Notify>::default(), watch::Sender::new(false));
        let own = listener.local_addr().unwrap().port();
        let (reaches, goes) = (Arc::clone(&reached), go.clone());
        let serving = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let hold = (text, Arc::clone(&reaches), goes.subscribe());
                tokio::spawn(carry(from_client, to_server, hold.clone()));
                tokio::spawn(carry(from_server, to_client, hold));
            }
        });
        Self {
            port: own,
            reached,
            go,
            serving,
        }
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (text, reached, mut go): (&str, Arc<Notify>, watch::Receiver<bool>),
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..length];
        let mut windows = bytes.windows(text.len());
        if !*go.borrow() && windows.any(|window| window == text.as_bytes()) {
            reached.notify_one();
            go.wait_for(|go| *go).await.unwrap();
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_gateway_that_gets_the_lock_looks_again_before_it_orders() {
    let (pebble, backend, etcd) = (
        Pebble::start().await,
        Backend::echo().await,
        Etcd::start().await,
    );
    let text = |url: String, ports| {
        following(&[url], "")
            + &listeners(&pebble, ports, "")
            + &config::echo(&[backend.address], "", "")
    };
    let first = Gateway::start_named("one", &text(etcd.url(), (pebble.tls_port, 0))).await;
    let client = trusting(&pebble, &first).await;
    eventually("the certificate is served", async || {
        serves(&first, &client, NAME).await
    })
    .await;
    drop(first);
    let folder = "/sessile/secrets/acme/certificates/";
    let key = etcd.ctl(&["get", "--prefix", "--keys-only", folder]);
    let key = key.trim();
    let kept = etcd.get(key).await.expect("the certificate");

    // The second gateway finds none, and asks for the lock. Meanwhile there is one.
    etcd.ctl(&["del", key]);
    let way = HoldingWay::to(etcd.port(), "/secrets/acme/locks/").await;
    let url = format!("http://127.0.0.1:{}", way.port);
    let second = Gateway::start_named("two", &text(url, (0, 0))).await;
    soon("it asks for the lock", way.reached.notified()).await;
    let put = etcd.client().await.put(key, kept, None).await;
    put.unwrap();
    way.go.send_replace(true);
    eventually("the second one serves it", async || {
        serves(&second, &client, NAME).await
    })
    .await;
    let orders = second.metric("sessile_certificate_orders_total", &[]);
    assert!(orders < 0.5, "{orders}");
    let issued = pebble.printed();
    assert_eq!(
        issued.matches("Issued certificate serial").count(),
        1,
        "{issued}"
    );
}
