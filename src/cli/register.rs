//! `sessile register`: from arguments to a backend registered in etcd.

use std::io::Write;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;
use tokio::process::Command;

use crate::base::addr::BackendAddr;
use crate::cli::args::register::{ProbeKind, RegisterArgs};
use crate::cli::etcd::access::Access;
use crate::config::model::Backend;
use crate::config::snapshot::{self, Log, LogFormat};
use crate::control::etcd::register::{End, Registration, address_towards, register as keep};
use crate::control::load::{LoadOptions, load_text};
use crate::control::probes::Target;
use crate::telemetry::log;

/// Registered, and taken out again.
const OK: u8 = 0;
/// The entry could not be taken out.
const FAILED: u8 = 1;
/// Arguments are refused.
const REFUSED: u8 = 2;

/// Keeps the backend registered until a signal or its end; returns the exit code.
///
/// # Errors
/// When the command cannot be started, or a file that the arguments name cannot be read.
pub fn register(args: &RegisterArgs, err: &mut dyn Write) -> anyhow::Result<u8> {
    let access = Access::new(&args.etcd)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let address = runtime.block_on(address(&args.address, &access))?;
    let (backend, checked) = match check(args, &address) {
        Ok(checked) => checked,
        Err(faults) => {
            for fault in faults {
                writeln!(err, "sessile: {fault}")?;
            }
            return Ok(REFUSED);
        }
    };
    let (_, _log) = log::init(&Log {
        level: "info".to_owned(),
        format: LogFormat::Text,
        access: snapshot::Access::default(),
    })?;
    let id = args.id.as_ref().unwrap_or(&address);
    let registration = Registration {
        key: format!("{}/backends/{}/{id}", access.prefix, args.upstream),
        backend,
        target: Target {
            backend: checked.backends[0].address.clone(),
            tls: None,
            proxy_protocol: None,
        },
        probe: checked.probe.clone(),
        ttl: args.ttl,
        drain: args.drain,
    };
    let end = runtime.block_on(async {
        let child = start(&args.command)?;
        keep(registration, access.connect(), child)
            .await
            .context("signals")
    });
    runtime.shutdown_background();
    Ok(match end? {
        End::Left => OK,
        End::LeftBehind => FAILED,
        End::Backend(status) => code(status),
    })
}

/// The address for gateways.
async fn address(written: &str, access: &Access) -> anyhow::Result<String> {
    let Some(port) = written.strip_prefix(':') else {
        return Ok(written.to_owned());
    };
    let endpoint = &access.endpoints[0];
    let host = address_towards(endpoint).await;
    let host = host.with_context(|| {
        format!("which address of this machine leads to {endpoint} is not clear; write it out")
    })?;
    Ok(match host {
        std::net::IpAddr::V4(host) => format!("{host}:{port}"),
        std::net::IpAddr::V6(host) => format!("[{host}]:{port}"),
    })
}

/// Checks everything as if it stood in a gateway.toml.
fn check(
    args: &RegisterArgs,
    address: &str,
) -> Result<(Backend, Arc<snapshot::Upstream>), Vec<String>> {
    let backend = Backend {
        address: Some(address.to_owned()),
        weight: args.weight,
        zone: args.zone.clone(),
        priority: args.priority,
        labels: args.labels.iter().cloned().collect(),
        ..Backend::default()
    };
    let mut member =
        json!({ "address": address, "weight": args.weight, "priority": args.priority });
    if let Some(zone) = &args.zone {
        member["zone"] = json!(zone);
    }
    if let Some(id) = &args.id {
        member["id"] = json!(id);
    }
    let mut upstream = json!({ "backends": [member] });
    if let Some(probe) = probe(args) {
        upstream["probe"] = probe;
    }
    let whole = json!({
        "listeners": [{ "name": "edge", "listen": ["127.0.0.1:1"] }],
        "upstreams": { args.upstream.as_str(): upstream },
    });
    let options = LoadOptions {
        path: Path::new("/arguments").to_owned(),
        sets: Vec::new(),
        environment: Vec::new(),
    };
    let text = toml::to_string(&whole).expect("JSON without null is TOML");
    let loaded = load_text(&options, &text).map_err(|faults| {
        let said = faults.diagnostics().iter().map(|fault| {
            let help = fault.help.as_deref().map(|help| format!("; {help}"));
            let key = fault.key.0.last().map_or("register", String::as_str);
            let flag = if key == "type" { "probe" } else { key };
            format!("--{flag}: {}{}", fault.message, help.unwrap_or_default())
        });
        said.collect::<Vec<_>>()
    })?;
    let checked = loaded.snapshot.upstreams.into_values().next();
    let checked = checked.expect("it was written");
    let id = &checked.backends[0].id;
    let unix = matches!(checked.backends[0].address, BackendAddr::Unix(_));
    if id.contains('/') {
        let why = if unix && args.id.is_none() {
            "a unix socket needs an --id, since a path cannot be one".to_owned()
        } else {
            format!("`{id}` has a slash; in etcd an id has none")
        };
        return Err(vec![why]);
    }
    Ok((backend, checked))
}

fn probe(args: &RegisterArgs) -> Option<serde_json::Value> {
    let kind = match args.probe {
        ProbeKind::Tcp => "tcp",
        ProbeKind::Http => "http",
        ProbeKind::Websocket => "websocket",
        ProbeKind::None => return None,
    };
    let time = |time| humantime::format_duration(time).to_string();
    let mut probe = json!({
        "type": kind,
        "interval": time(args.interval),
        "timeout": time(args.timeout),
        "rise": args.rise,
        "fall": args.fall,
    });
    for (key, value) in [("path", &args.path), ("host", &args.host)] {
        if let Some(value) = value {
            probe[key] = json!(value);
        }
    }
    Some(probe)
}

fn start(command: &[String]) -> anyhow::Result<Option<tokio::process::Child>> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(None);
    };
    let child = Command::new(program)
        .args(arguments)
        .kill_on_drop(true)
        .spawn();
    let child = child.with_context(|| format!("cannot start {program}"))?;
    Ok(Some(child))
}

/// As in shells: 128 plus the signal's number if a signal ended it.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(FAILED)
}
