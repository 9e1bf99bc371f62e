//! Keys of TLS sessions and of certificates show nowhere.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::{ConnectionTrafficSecrets, SupportedCipherSuite};

use super::LISTENER;
use crate::support::certificates::Authority;
use crate::support::raw::{masked, unmasked};
use crate::support::raw_tls::RawTls;
use crate::support::{Backend, Gateway, config, eventually, secrets};

const SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// A gateway whose log leaves out nothing, with TLS at both sides.
async fn talkative() -> (Gateway, Authority, Backend) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["localhost"]);
    let inner = authority.issue("inner", &["127.0.0.1"]);
    let mut server = authority.server(&inner).as_ref().clone();
    server.key_log = authority.key_log();
    let backend = Backend::echo_tls(server.into()).await;
    let routes = config::echo(&[backend.address], "tls = { ca = \"ca.pem\" }", "");
    let text = format!("# log: level = \"trace\"\n{LISTENER}{routes}");
    let gateway = Gateway::start_with_handover_in(directory, &text).await;
    (gateway, authority, backend)
}

async fn echo(raw: &mut RawTls) {
    raw.write(masked(0x81, b"hello")).await;
    let echo = unmasked(0x81, b"hello");
    assert_eq!(raw.read(echo.len()).await, echo);
}

/// Key and initialization vector, as texts could show them.
fn register(keys: &ConnectionTrafficSecrets) {
    secrets::register_bytes(key_of(keys));
}

fn key_of(keys: &ConnectionTrafficSecrets) -> &[u8] {
    match keys {
        ConnectionTrafficSecrets::Aes128Gcm { key, .. }
        | ConnectionTrafficSecrets::Aes256Gcm { key, .. }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, .. } => key.as_ref(),
        _ => panic!("a cipher that rustls does not have"),
    }
}

#[tokio::test]
async fn i11_keys_of_tls_sessions_show_nowhere() {
    let (mut old, authority, _backend) = talkative().await;
    let mut sessions = Vec::new();
    for suite in SUITES.into_iter().cycle().take(2 * SUITES.len()) {
        let config = authority.client_revealing(suite);
        let mut raw = RawTls::upgrade(old.address(), config, None).await;
        echo(&mut raw).await;
        sessions.push(raw);
    }
    // The keys go to another process.
    let gateway = old.succeed().await;
    assert_eq!(old.wait_for_exit().await.code(), Some(0), "{}", old.log());
    for raw in &mut sessions {
        echo(raw).await;
    }
    // Half of them break the protocol, which is logged; the others just go.
    for raw in &mut sessions[..SUITES.len()] {
        let mut record = raw.seal(b"damaged");
        *record.last_mut().unwrap() ^= 1;
        raw.write_sealed(&record).await;
    }
    for raw in sessions {
        raw.into_keys().iter().for_each(register);
    }
    gateway.wait_for_records(2 * SUITES.len()).await;
    secrets::assert_none_in("the log of the old process", &old.log());
    // As the other one ends, all that it ever wrote is searched.
    let config = gateway.admin("GET", "/v1/config", "").body;
    assert!(config.contains("\"level\":\"trace\""), "{config}");
}

/// Where the stacks of a process' threads are; `None` while one of them runs. What was on a stack
/// stays there until it is written over.
fn stacks(pid: u32) -> Option<Vec<u64>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let pointer = |path: PathBuf| {
        // The number of a system call, its arguments, the stack pointer, the program counter.
        let call = fs::read_to_string(path.join("syscall")).ok()?;
        let word = call.split_whitespace().rev().nth(1)?;
        Some(address(word.strip_prefix("0x")?))
    };
    threads
        .map(|thread| pointer(thread.unwrap().path()))
        .collect()
}

/// Whether a process has one of these in memory that it may write, the stacks of its threads left
/// out; `None` while one of them runs.
fn are_in_memory(pid: u32, wanted: &[&[u8]]) -> Option<bool> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let stacks = stacks(pid)?;
    Some(maps.lines().any(|line| {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        let (from, to) = range.split_once('-').unwrap();
        let (from, to) = (address(from), address(to));
        if !rights.starts_with("rw") || stacks.iter().any(|stack| (from..to).contains(stack)) {
            return false;
        }
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        memory.seek(SeekFrom::Start(from)).unwrap();
        // What has gone since the list was read is not there.
        let is_read = memory.read_exact(&mut bytes).is_ok();
        is_read && wanted.iter().any(|wanted| contains(&bytes, wanted))
    }))
}

fn address(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).unwrap()
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    // Most of it is zeros.
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == wanted[0]) {
        if rest[at..].starts_with(wanted) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[tokio::test]
async fn i11_keys_leave_the_memory_of_the_process_with_their_session() {
    let (gateway, authority, _backend) = talkative().await;
    for suite in SUITES {
        let config = authority.client_revealing(suite);
        let mut raw = RawTls::upgrade(gateway.address(), config, None).await;
        echo(&mut raw).await;
        let socket = raw.duplicate();
        let keys = raw.into_keys();
        keys.iter().for_each(register);
        let wanted: Vec<_> = keys.iter().map(key_of).collect();
        let in_memory = async |expected| {
            let what = format!("keys of {suite:?} are in memory: {expected}");
            let pid = gateway.pid();
            eventually(&what, async || {
                are_in_memory(pid, &wanted) == Some(expected)
            })
            .await;
        };
        // It needs them.
        in_memory(true).await;
        drop(socket);
        gateway.wait_until_idle().await;
        in_memory(false).await;
    }
}

/// A crash would otherwise write every key of the process to a file.
#[tokio::test]
async fn i11_the_system_writes_no_core_file_of_a_gateway() {
    // What the gateway inherits is as much as this process may have.
    let limit = getrlimit(Resource::Core);
    let allowed = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Core, allowed).unwrap();
    let (gateway, ..) = talkative().await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let soft = line.unwrap().split_whitespace().nth(4);
    assert_eq!(soft, Some("0"), "{limits}");
}
