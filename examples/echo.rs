//! An echo backend on tokio-tungstenite: `cargo run --example echo -- 127.0.0.1:9101`, then
//! `cargo run -- run --config examples/gateway.toml` in front of it.
#![allow(clippy::print_stdout, reason = "it says where it listens")]

use std::env;

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9101".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("echo on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(echo(stream));
    }
}

async fn echo(stream: TcpStream) -> Result<()> {
    let (write, read) = tokio_tungstenite::accept_async(stream).await?.split();
    let data = read.try_filter(|message| {
        let data = message.is_text() || message.is_binary();
        async move { data }
    });
    Ok(data.forward(write).await?)
}
