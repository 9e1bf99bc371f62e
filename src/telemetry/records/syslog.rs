//! Records as messages of RFC 5424: by datagrams to a unix socket or over UDP (RFC 5426), or over
//! TCP with the length of each message before it (RFC 6587). A server that is gone or slow costs
//! records, never memory: each message has one attempt, and one more on a new connection.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::base::addr::BackendAddr;
use crate::base::clock;
use crate::config::snapshot::{self, SyslogAddress};

/// `info` (RFC 5424, section 6.2.1).
const SEVERITY: u8 = 6;
/// For a connection, and for a server to take a message.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_secs(1);

/// A syslog server, as the thread that writes to it has it.
pub(super) struct Syslog {
    address: SyslogAddress,
    /// `<PRI>1 `, before the time.
    start: String,
    /// Everything between the time and the record.
    fields: String,
    connection: Option<Connection>,
    /// The next attempt to connect is not before this.
    retry: Option<Instant>,
    message: String,
}

enum Connection {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Syslog {
    pub(super) fn new(config: &snapshot::Syslog, node: &str) -> Self {
        let priority = config.facility * 8 + SEVERITY;
        let process = std::process::id();
        Self {
            address: config.address.clone(),
            start: format!("<{priority}>1 "),
            fields: format!(" {} sessile {process} access - ", host(node)),
            connection: None,
            retry: None,
            message: String::new(),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let message = self.message.as_bytes();
        match self.connection.as_mut().expect("it was made before") {
            Connection::Unix(socket) => socket.send(message).map(drop),
            Connection::Udp(socket) => socket.send(message).map(drop),
            Connection::Tcp(stream) => {
                let framed = format!("{} {}", message.len(), self.message);
                stream.write_all(framed.as_bytes())
            }
        }
    }

    fn connect(&mut self) -> io::Result<()> {
        let now = clock::now();
        if self.retry.is_some_and(|retry| now < retry) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.retry = Some(now + RETRY);
        self.connection = Some(connect(&self.address)?);
        Ok(())
    }
}

impl Write for Syslog {
    /// Sends one line as one message.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let record = std::str::from_utf8(line).expect("records are UTF-8");
        self.message.clear();
        let (start, fields) = (&self.start, &self.fields);
        let (time, record) = (clock::rfc3339(clock::wall()), record.trim_end());
        write!(self.message, "{start}{time}{fields}{record}").expect("a string takes everything");
        if self.connection.is_some() {
            let Err(error) = self.send() else {
                return Ok(line.len());
            };
            // After a part of a message the rest of the stream would be misread.
            self.connection = None;
            // The send has already timed out; waiting again would not help.
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ) {
                return Err(error);
            }
        }
        self.connect()?;
        let sent = self.send();
        if sent.is_err() {
            self.connection = None;
        }
        sent.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn connect(address: &SyslogAddress) -> io::Result<Connection> {
    match address {
        SyslogAddress::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(Connection::Unix(socket))
        }
        SyslogAddress::Udp(address) => first(address, |address| {
            let any = if address.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            Ok(Connection::Udp(socket))
        }),
        SyslogAddress::Tcp(address) => first(address, |address| {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Connection::Tcp(stream))
        }),
    }
}

/// A connection to the first address that takes one.
fn first(
    address: &BackendAddr,
    connect: impl Fn(SocketAddr) -> io::Result<Connection>,
) -> io::Result<Connection> {
    let addresses: Vec<SocketAddr> = match address {
        BackendAddr::Ip(address) => vec![*address],
        BackendAddr::Host(name, port) => (name.as_str(), *port).to_socket_addrs()?.collect(),
        BackendAddr::Unix(_) => Vec::new(),
    };
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        match connect(address) {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A name as HOSTNAME (RFC 5424, section 6): printable ASCII without spaces, at most 255
/// characters.
fn host(node: &str) -> String {
    let shown = node.chars().filter(char::is_ascii_graphic).take(255);
    let shown: String = shown.collect();
    if shown.is_empty() {
        "-".to_owned()
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use super::*;

    fn syslog(address: SyslogAddress) -> Syslog {
        let facility = 16;
        Syslog::new(&snapshot::Syslog { address, facility }, "edge 1")
    }

    /// Checks a message but for its time.
    #[track_caller]
    fn check(message: &str, record: &str) {
        let rest = message.strip_prefix("<134>1 ").expect(message);
        let (time, rest) = rest.split_once(' ').expect(message);
        assert!(time.ends_with('Z') && time.len() == 24, "{message}");
        let process = std::process::id();
        assert_eq!(rest, format!("edge1 sessile {process} access - {record}"));
    }

    #[test]
    fn a_datagram_holds_one_record() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = server.local_addr().expect("bound");
        let mut syslog = syslog(SyslogAddress::Udp(BackendAddr::Ip(address)));
        syslog.write_all(b"{\"a\":1}\n").expect("sent");
        let mut buffer = [0; 2048];
        let length = server.recv(&mut buffer).expect("a message");
        check(&String::from_utf8_lossy(&buffer[..length]), "{\"a\":1}");
    }

    #[test]
    fn a_unix_socket_that_is_bound_anew_is_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut syslog = syslog(SyslogAddress::Unix(path.clone()));
        assert!(syslog.write_all(b"lost\n").is_err(), "nothing is bound");
        syslog.retry = None;
        for record in ["one", "two"] {
            let server = UnixDatagram::bind(&path).expect("bound");
            syslog
                .write_all(format!("{record}\n").as_bytes())
                .expect("sent");
            let mut buffer = [0; 2048];
            let length = server.recv(&mut buffer).expect("a message");
            check(&String::from_utf8_lossy(&buffer[..length]), record);
            drop(server);
            std::fs::remove_file(&path).expect("removed");
            syslog.retry = None;
        }
    }

    #[test]
    fn a_stream_has_the_length_of_each_message_before_it() {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = server.local_addr().expect("bound");
        let mut syslog = syslog(SyslogAddress::Tcp(BackendAddr::Ip(address)));
        syslog.write_all("grün\n".as_bytes()).expect("sent");
        syslog.write_all(b"two\n").expect("sent");
        let (mut stream, _) = server.accept().expect("a connection");
        drop(syslog);
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("text");
        let mut rest = text.as_str();
        for record in ["grün", "two"] {
            let (length, after) = rest.split_once(' ').expect("a length");
            let (message, after) = after.split_at(length.parse().expect("a number"));
            check(message, record);
            rest = after;
        }
        assert_eq!(rest, "");
    }

    #[test]
    fn a_server_that_is_away_is_not_called_for_each_record() {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = server.local_addr().expect("bound");
        drop(server);
        let mut syslog = syslog(SyslogAddress::Tcp(BackendAddr::Ip(address)));
        let first = syslog.write_all(b"one\n").expect_err("nothing listens");
        assert_eq!(first.kind(), io::ErrorKind::ConnectionRefused);
        let second = syslog.write_all(b"two\n").expect_err("nothing listens");
        assert_eq!(second.kind(), io::ErrorKind::NotConnected);
    }
}
