//! A chat backend: what one says, everybody in the room hears, and a room is a path. A room lives
//! in one process, so start two, `cargo run --example chat -- 127.0.0.1:9101` and the same with
//! 9102, then `cargo run -- run --config examples/gateway.toml`: it keeps each room at one of them.
#![allow(clippy::print_stdout, reason = "it says where it listens")]
#![allow(clippy::result_large_err, reason = "tungstenite's callback has it")]

use std::collections::HashMap;
use std::env;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

type Rooms = Arc<Mutex<HashMap<String, Sender<Message>>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9101".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("chat on {}", listener.local_addr()?);
    let rooms = Rooms::default();
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(talk(stream, Arc::clone(&rooms)));
    }
}

async fn talk(stream: TcpStream, rooms: Rooms) -> Result<()> {
    let mut entered = None;
    // Subscribe before the 101, so that the session receives every later message.
    let take_in = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        entered = Some(enter(&rooms, request.uri().path()));
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(stream, take_in).await?;
    let (mut write, mut read) = socket.split();
    let (room, mut heard) = entered.expect("a handshake has a request");
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
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}

/// Both ends of a room, which the first one opens. Rooms that everybody left go away.
fn enter(rooms: &Rooms, path: &str) -> (Sender<Message>, Receiver<Message>) {
    let mut rooms = rooms.lock().expect("nobody panics in here");
    rooms.retain(|_, room| room.receiver_count() > 0);
    let room = rooms.entry(path.to_owned());
    let room = room.or_insert_with(|| Sender::new(64));
    (room.clone(), room.subscribe())
}
