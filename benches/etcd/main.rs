//! What following a busy etcd costs: 500 upstreams with 20 backends each, under so many changes a
//! second. Prints the share of a core that the control thread takes, the time from a write's answer
//! to its effect, and what a session notices of it. Needs `etcd` on the path.
//!
//! `cargo bench --bench etcd -- --rate 200 --seconds 20`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for people: it measures real time and fails by panic"
)]
#![allow(
    unreachable_pub,
    reason = "a program exports nothing; `pub` is what modules share"
)]

#[path = "../flood/echo.rs"]
mod echo;
#[path = "../../tests/support/ports.rs"]
mod ports;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::{Client, Txn, TxnOp};
use ports::free_port;

const UPSTREAMS: usize = 500;
const BACKENDS: usize = 20;
/// Each so many-th change is waited for.
const SAMPLE: u32 = 10;

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn argument(name: &str, default: u32) -> u32 {
    let mut arguments = std::env::args();
    arguments.find(|one| one == name);
    arguments
        .next()
        .map_or(default, |text| text.parse().unwrap())
}

fn admin(socket: &Path, target: &str) -> Option<serde_json::Value> {
    let mut stream = UnixStream::connect(socket).ok()?;
    write!(stream, "GET {target} HTTP/1.0\r\nhost: admin\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()
}

fn wait<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Processor time in ticks of a hundredth of a second, of the control thread and of the process.
fn ticks(pid: u32) -> (u64, u64) {
    let of = |path: String| {
        let stat = fs::read_to_string(path).unwrap();
        let fields: Vec<_> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    (
        of(format!("/proc/{pid}/task/{pid}/stat")),
        of(format!("/proc/{pid}/stat")),
    )
}

fn backend(number: u32) -> String {
    let weight = number % 7 + 1;
    format!(
        r#"{{"address":"127.0.0.1:{}","weight":{weight}}}"#,
        1024 + number % 60_000
    )
}

async fn seed(client: &mut Client, echo: SocketAddr) {
    let session = vec![
        TxnOp::put("/sessile/upstreams/echo", "{}", None),
        TxnOp::put(
            "/sessile/routes/echo",
            r#"{"upstream":"echo","path":"/"}"#,
            None,
        ),
        TxnOp::put(
            "/sessile/backends/echo/only",
            format!(r#"{{"address":"{echo}"}}"#),
            None,
        ),
    ];
    client.txn(Txn::new().and_then(session)).await.unwrap();
    for upstream in 0..UPSTREAMS {
        let mut puts = vec![
            TxnOp::put(format!("/sessile/upstreams/u{upstream}"), "{}", None),
            TxnOp::put(
                format!("/sessile/routes/r{upstream}"),
                format!(r#"{{"upstream":"u{upstream}","path":"/{upstream}"}}"#),
                None,
            ),
        ];
        puts.extend((0..BACKENDS).map(|one| {
            let number = u32::try_from(upstream * BACKENDS + one).unwrap();
            let key = format!("/sessile/backends/u{upstream}/b{one}");
            TxnOp::put(key, backend(number), None)
        }));
        client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
}

/// Where the gateway takes clients.
fn edge(socket: &Path) -> SocketAddr {
    let status = admin(socket, "/v1/status").unwrap();
    let address = status["listeners"][0]["addresses"][0].as_str();
    address.unwrap().parse().unwrap()
}

/// An etcd of its own.
fn start_etcd(directory: &Path, url: &str) -> Ended {
    let peer = format!("http://127.0.0.1:{}", free_port());
    let etcd = Command::new("etcd")
        .arg("--data-dir")
        .arg(directory.join("etcd"))
        .args(["--unsafe-no-fsync", "--name", "one"])
        .args(["--listen-client-urls", url, "--advertise-client-urls", url])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .args(["--initial-cluster", &format!("one={peer}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Ended(etcd.expect("apt-get install etcd-server"))
}

/// A gateway that follows it, with its admin API at this socket.
fn start_gateway(directory: &Path, url: &str, socket: &Path) -> Ended {
    let path = directory.join("gateway.toml");
    let text = format!(
        "[node]\nstate_dir = \"{0}/state\"\n[log]\nlevel = \"warn\"\naccess = \"off\"\n\
         [admin]\nlisten = \"unix:{1}\"\n\
         [[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         [sources.etcd]\nendpoints = [\"{url}\"]\n",
        directory.display(),
        socket.display()
    );
    fs::write(&path, text).unwrap();
    let gateway = Command::new(env!("CARGO_BIN_EXE_sessile"))
        .args(["run", "--config"])
        .arg(&path)
        .stderr(Stdio::null())
        .spawn();
    Ended(gateway.unwrap())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (rate, seconds) = (argument("--rate", 200), argument("--seconds", 20));
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let _etcd = start_etcd(directory.path(), &url);
    wait("etcd listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    let mut client = Client::connect([&url], None).await.unwrap();
    seed(&mut client, echo::backend()).await;

    let socket = directory.path().join("admin.sock");
    let gateway = start_gateway(directory.path(), &url, &socket);
    let pid = gateway.0.id();
    let revision = |status: &serde_json::Value| status["sources"]["etcd"]["revision"].as_i64();
    let all = UPSTREAMS * (BACKENDS + 2) + 3;
    wait("everything is in force", || {
        let status = admin(&socket, "/v1/status")?;
        (status["sources"]["etcd"]["documents"] == all).then_some(())
    });

    let edge = edge(&socket);
    let mut session = echo::session(Ipv4Addr::LOCALHOST, edge);
    let quiet = echo::echoes(&mut session, |passed| passed >= Duration::from_secs(3));
    let length = Duration::from_secs(seconds.into());
    let busy = std::thread::spawn(move || echo::echoes(&mut session, |passed| passed >= length));

    let (before, start) = (ticks(pid), Instant::now());
    let mut effects = Vec::new();
    for number in 0..rate * seconds {
        let due = start + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
        tokio::time::sleep_until(due.into()).await;
        let (upstream, one) = (number * 7 % 500, number % 20);
        let key = format!("/sessile/backends/u{upstream}/b{one}");
        let put = client
            .put(key, backend(number * 31 + 5), None)
            .await
            .unwrap();
        if number % SAMPLE == 0 {
            let (wanted, asked) = (put.header().unwrap().revision(), Instant::now());
            wait("the change has an effect", || {
                let status = admin(&socket, "/v1/status")?;
                (revision(&status)? >= wanted).then_some(())
            });
            effects.push(asked.elapsed());
        }
    }
    let (after, took) = (ticks(pid), start.elapsed().as_secs_f64());
    let busy = busy.join().unwrap();
    effects.sort();
    let at = |share: f64| effects[((effects.len() - 1) as f64 * share) as usize].as_secs_f64();
    let share = |before: u64, after: u64| (after - before) as f64 / took;
    println!(
        "{all} documents, {:.0} changes a second for {took:.1} s\n\
         control thread {:.1} % of a core, whole process {:.1} %\n\
         from a write's answer to its effect: median {:.1} ms, p99 {:.1} ms, longest {:.1} ms\n\
         a session's echo before: median {:.2} ms, p99 {:.2} ms, longest {:.1} ms\n\
         meanwhile: median {:.2} ms, p99 {:.2} ms, longest {:.1} ms",
        f64::from(rate * seconds) / took,
        share(before.0, after.0),
        share(before.1, after.1),
        at(0.5) * 1000.0,
        at(0.99) * 1000.0,
        at(1.0) * 1000.0,
        quiet.median * 1000.0,
        quiet.p99 * 1000.0,
        quiet.longest * 1000.0,
        busy.median * 1000.0,
        busy.p99 * 1000.0,
        busy.longest * 1000.0,
    );
}
