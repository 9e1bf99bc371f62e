//! A chat backend: what one says, everybody at this process hears. Start two, and
//! `examples/gateway.toml` keeps each room together at one of them:
//! `cargo run --example chat -- 127.0.0.1:9101` and the same with 9102.

use std::env;

use anyhow::Result;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9101".to_owned());
    let listener = TcpListener::bind(&address).await?;
    let room = broadcast::Sender::new(64);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(talk(stream, room.clone()));
    }
}

async fn talk(stream: TcpStream, room: broadcast::Sender<Message>) -> Result<()> {
    let mut heard = room.subscribe();
    let (mut write, mut read) = tokio_tungstenite::accept_async(stream).await?.split();
    loop {
        tokio::select! {
            said = read.next() => match said {
                // A send fails only without listeners, and this session is one.
                Some(Ok(message)) if message.is_text() => drop(room.send(message)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(()),
            },
            message = heard.recv() => match message {
                Ok(message) => write.send(message).await?,
                // Too slow to keep up: what was missed is lost.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
        }
    }
}
