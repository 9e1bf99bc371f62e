//! The admin API of a gateway under test, over its unix socket. Blocking, so that it serves in
//! `drop` too; an answer takes well under a millisecond.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use serde_json::Value;

use super::{DEADLINE, Gateway, eventually};

/// What the admin API answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.head, self.body))
    }
}

/// One request on a connection of its own. HTTP/1.0, so that the body ends with the connection.
pub fn request(
    socket: &Path,
    token: Option<&str>,
    method: &str,
    target: &str,
    body: &str,
) -> io::Result<Answer> {
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    let token = token.unwrap_or_default();
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    // In one piece: a server that refuses the head may close before it has read the rest.
    let text = format!(
        "{method} {target} HTTP/1.0\r\nhost: admin\r\ncontent-type: application/json\r\n{token}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes())?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    match (status, text.split_once("\r\n\r\n")) {
        (Some(status), Some((head, body))) => Ok(Answer {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, text)),
    }
}

/// A TCP address that leads to the admin API of the gateway in this directory, for clients that
/// do not speak to unix sockets.
pub fn exposed(directory: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    expose(listener, directory.join("admin.sock"));
    address
}

/// Passes connections on to a gateway's admin socket. On threads of its own, since a test blocks
/// while it asks.
pub fn expose(listener: TcpListener, socket: PathBuf) {
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // The gateway may have ended.
            let Ok(admin) = UnixStream::connect(&socket) else {
                continue;
            };
            let (client, admin) = (Arc::new(client), Arc::new(admin));
            let (to_client, from_admin) = (Arc::clone(&client), Arc::clone(&admin));
            thread::spawn(move || {
                let _ = io::copy(&mut &*client, &mut &*admin);
                part(&client, &admin);
            });
            thread::spawn(move || {
                let _ = io::copy(&mut &*from_admin, &mut &*to_client);
                part(&to_client, &from_admin);
            });
        }
    });
}

/// Ends both connections when one has ended.
fn part(client: &TcpStream, admin: &UnixStream) {
    let _ = client.shutdown(Shutdown::Both);
    let _ = admin.shutdown(Shutdown::Both);
}

impl Gateway {
    /// Waits until this many sessions have been idle for as long as `duration`.
    pub async fn wait_until_sessions_idle(&self, sessions: usize, duration: &str) {
        let target = format!("/v1/sessions?min_idle={duration}&limit={sessions}");
        eventually("sessions are idle", async || {
            let items = &self.get(&target)["items"];
            items
                .as_array()
                .is_some_and(|items| items.len() == sessions)
        })
        .await;
    }
}
