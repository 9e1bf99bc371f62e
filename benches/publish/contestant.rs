//! The programs that are compared: how each is started, and how messages are published at it. Their
//! configurations are the files beside this one.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::load::PAYLOAD;
use crate::process::{Process, Stop, free_address};

const PUSHPIN_STARTS: Duration = Duration::from_secs(3);

/// Another build of Sessile.
pub(crate) static BASE: OnceLock<String> = OnceLock::new();

/// A program that delivers messages to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// A relay that copies bytes: its backend sends each message to each client.
    Blind,
    Pushpin,
    Nchan,
    /// Another build of Sessile: [`BASE`].
    Base,
    Sessile,
}

/// A contestant at work. Ends with this value.
pub(crate) struct Running {
    contestant: Contestant,
    /// Its processes.
    pub(crate) process: Process,
    /// Where clients connect.
    pub(crate) clients: SocketAddr,
    publishing: SocketAddr,
    _files: TempDir,
}

impl Contestant {
    /// In the order of the tables.
    pub(crate) const ALL: [Self; 5] = [
        Self::Blind,
        Self::Pushpin,
        Self::Nchan,
        Self::Base,
        Self::Sessile,
    ];

    /// As on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Pushpin => "pushpin",
            Self::Nchan => "nchan",
            Self::Base => "base",
            Self::Sessile => "sessile",
        }
    }

    /// Starts it on the first CPU and waits until it accepts.
    pub(crate) fn start(self, backend: SocketAddr) -> Result<Running> {
        let files = tempfile::tempdir()?;
        let [clients, publishing, admin] = [free_address()?, free_address()?, free_address()?];
        let fill = |template: &str| {
            template
                .replace("@DIR@", &files.path().display().to_string())
                .replace("@CLIENTS_PORT@", &clients.port().to_string())
                .replace("@CLIENTS@", &clients.to_string())
                .replace("@PUBLISH_PORT@", &publishing.port().to_string())
                .replace("@PUBLISH@", &publishing.to_string())
                .replace("@ADMIN@", &admin.to_string())
                .replace("@BACKEND@", &backend.to_string())
        };
        let config = files.path().join("config");
        let write = |template| fs::write(&config, fill(template));
        let gateway = |program: &str| {
            let mut command = Command::new(program);
            command.args(["run", "--config"]).arg(&config);
            command
        };
        let command = match self {
            Self::Blind => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["--blind", &clients.to_string(), &backend.to_string()]);
                command
            }
            Self::Pushpin => {
                let routes = format!("* {backend},over_http\n");
                fs::write(files.path().join("routes"), routes)?;
                write(include_str!("pushpin.conf"))?;
                let mut command = Command::new("pushpin");
                command.arg(format!("--config={}", config.display()));
                command
            }
            Self::Nchan => {
                write(include_str!("nginx.conf"))?;
                let mut command = Command::new("nginx");
                command.args(["-p", "/usr/share/nginx/", "-c"]).arg(&config);
                command
            }
            Self::Base => {
                write(include_str!("gateway.toml"))?;
                gateway(BASE.get().context("`base` needs --base, another build")?)
            }
            Self::Sessile => {
                write(include_str!("gateway.toml"))?;
                gateway(env!("CARGO_BIN_EXE_sessile"))
            }
        };
        let (stop, accepts): (_, &[SocketAddr]) = match self {
            Self::Blind => (Stop::Kill, &[clients]),
            Self::Base | Self::Sessile => (Stop::Kill, &[clients, publishing]),
            Self::Pushpin | Self::Nchan => (Stop::Ask, &[clients, publishing]),
        };
        let process = Process::start(self.name(), command, stop, accepts)?;
        if self == Self::Pushpin {
            // Its processes listen before they have found one another, and nothing shows when.
            sleep(PUSHPIN_STARTS);
        }
        Ok(Running {
            contestant: self,
            process,
            clients,
            publishing,
            _files: files,
        })
    }
}

impl Running {
    /// A connection that publishes; `None` where the backend sends the messages itself.
    pub(crate) fn publisher(&self) -> Result<Option<Publisher>> {
        if self.contestant == Contestant::Blind {
            return Ok(None);
        }
        Ok(Some(Publisher {
            contestant: self.contestant,
            to: self.publishing,
            stream: connect(self.publishing)?,
        }))
    }
}

fn connect(to: SocketAddr) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// A connection that publishes.
pub(crate) struct Publisher {
    contestant: Contestant,
    to: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Publisher {
    /// Publishes a message to each of these rooms in order, as cheaply as the contestant allows: in
    /// one request, or in requests that do not wait for one another's answers.
    pub(crate) fn publish(&mut self, rooms: &[String]) -> Result<()> {
        let list = |item: &dyn Fn(&String) -> String| {
            let items: Vec<_> = rooms.iter().map(item).collect();
            items.join(",")
        };
        let requests = match self.contestant {
            Contestant::Pushpin => {
                let formats = format!(r#"{{"ws-message":{{"content":"{PAYLOAD}"}}}}"#);
                let item = |room: &String| format!(r#"{{"channel":"{room}","formats":{formats}}}"#);
                vec![request(
                    "/publish/",
                    &format!(r#"{{"items":[{}]}}"#, list(&item)),
                )]
            }
            Contestant::Nchan => {
                let one = |room: &String| request(&format!("/publish/{room}"), PAYLOAD);
                rooms.iter().map(one).collect()
            }
            _ => {
                let item =
                    |room: &String| format!(r#"{{"to":["group:{room}"],"text":"{PAYLOAD}"}}"#);
                vec![request("/v1/messages", &format!("[{}]", list(&item)))]
            }
        };
        self.stream
            .get_mut()
            .write_all(requests.concat().as_bytes())?;
        requests.iter().try_for_each(|_| self.answer())?;
        if self.contestant == Contestant::Pushpin {
            // It closes the connection behind each answer.
            self.stream = connect(self.to)?;
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<()> {
        let (mut line, mut length) = (String::new(), 0);
        self.stream.read_line(&mut line)?;
        ensure!(line.starts_with("HTTP/1.1 20"), "not published: {line}");
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut answer = vec![0; length];
        Ok(self.stream.read_exact(&mut answer)?)
    }
}

fn request(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n\
         Authorization: Bearer token-of-the-benchmark\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
