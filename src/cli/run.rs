//! `sessile run` and `sessile demo`: from a configuration to a gateway and its exit code.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use tokio::runtime::{Builder, Runtime};

use crate::app::{Bound, End};
use crate::base::addr::ListenAddr;
use crate::cli::demo;
use crate::control::handover::HandoverRequest;
use crate::control::load::{LoadOptions, Loaded};
use crate::control::supervisor::Configuration;
use crate::io::core_dumps;
use crate::io::net::descriptors;
use crate::telemetry::log;

/// Every session had its close frame.
const OK: u8 = 0;
/// It could not start, or sessions were cut.
const FAILED: u8 = 1;
/// The configuration is refused.
const REFUSED: u8 = 2;

/// Runs the gateway until a signal ends it, or another process takes over from it at the unix
/// socket `take_over`; answers the exit code.
pub fn run(options: LoadOptions, take_over: Option<&Path>, err: &mut dyn Write) -> u8 {
    let configuration = Configuration::File(options);
    control_runtime(err, |runtime, err| {
        let Some(loaded) = load(&configuration, err) else {
            return REFUSED;
        };
        let start = Start {
            configuration,
            loaded,
            take_over,
            if_taken: "another program listens there; `listen` in the configuration, or --set, \
                       names another address",
        };
        serve(runtime, start, err, |_, _| {})
    })
}

/// Runs the shipped configuration with backends of its own; answers the exit code.
pub fn demo(mut options: LoadOptions, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    control_runtime(err, |runtime, err| {
        match runtime.block_on(demo::start_backends()) {
            Ok(sets) => options.sets.splice(0..0, sets),
            Err(error) => return fail(err, &error.into()),
        };
        let configuration = Configuration::BuiltIn(options, demo::GATEWAY_TOML);
        let Some(loaded) = load(&configuration, err) else {
            return REFUSED;
        };
        let start = Start {
            configuration,
            loaded,
            take_over: None,
            if_taken: demo::TAKEN,
        };
        // The gateway runs even if its output cannot be written.
        let mut say = |text: &str| {
            let _ = out.write_all(text.as_bytes());
            let _ = out.flush();
        };
        let code = serve(runtime, start, err, |addresses, admin| {
            say(&demo::greeting(addresses, admin, &demo::program()));
        });
        if code == OK {
            say(demo::STOPPED);
        }
        code
    })
}

/// The control plane's runtime: this thread, and what blocks beside it.
fn control_runtime(err: &mut dyn Write, work: impl FnOnce(&Runtime, &mut dyn Write) -> u8) -> u8 {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let code = work(&runtime, err);
            // What still blocks (a name's lookup) must not hold the exit up.
            runtime.shutdown_background();
            code
        }
        Err(error) => fail(err, &error.into()),
    }
}

fn load(configuration: &Configuration, err: &mut dyn Write) -> Option<Loaded> {
    match configuration.load() {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                let _ = writeln!(err, "{warning}\n");
            }
            Some(loaded)
        }
        Err(faults) => {
            let _ = writeln!(err, "{faults}");
            None
        }
    }
}

/// Before further threads start, so that none has to wait for it.
fn extend_descriptors() {
    match descriptors::extend_table() {
        Ok(descriptors) => tracing::info!(descriptors, "descriptor table extended"),
        Err(error) => tracing::warn!(%error, "the descriptor table grows while sessions run"),
    }
}

/// What a gateway starts with.
struct Start<'s> {
    configuration: Configuration,
    loaded: Loaded,
    take_over: Option<&'s Path>,
    /// What to do where an address is in use.
    if_taken: &'static str,
}

fn serve(
    runtime: &Runtime,
    start: Start<'_>,
    err: &mut dyn Write,
    ready: impl FnOnce(&[SocketAddr], &str),
) -> u8 {
    let Start {
        configuration,
        loaded,
        take_over,
        if_taken,
    } = start;
    let (level, _log) = match log::init(&loaded.snapshot.log) {
        Ok(log) => log,
        Err(error) => return fail(err, &error.into()),
    };
    extend_descriptors();
    if let Err(error) = core_dumps::forbid() {
        tracing::warn!(%error, "a core dump of this process would hold the keys of its connections");
    }
    // Sockets are watched by the runtime that is entered when they are opened.
    let ended = runtime.block_on(async {
        let mut request = match take_over {
            Some(path) => Some(HandoverRequest::make(path).await?),
            None => None,
        };
        let opened = Bound::open(configuration, loaded, level, request.as_mut());
        if let (Err(error), Some(request)) = (&opened, &mut request) {
            request.give_up(format!("{error:#}")).await;
        }
        let gateway = opened?;
        let addresses: Vec<_> = gateway.addresses().iter().filter_map(tcp).collect();
        ready(&addresses, &gateway.admin_address().to_string());
        Box::pin(gateway.run()).await
    });
    match ended {
        Ok(End::Orderly) => OK,
        Ok(End::Cut(_)) => FAILED,
        Err(error) if is_taken(&error) => fail(err, &anyhow::anyhow!("{error:#}; {if_taken}")),
        Err(error) => fail(err, &error),
    }
}

/// Whether an address is in use already.
fn is_taken(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::AddrInUse)
}

fn tcp(address: &ListenAddr) -> Option<SocketAddr> {
    match address {
        ListenAddr::Tcp(address) => Some(*address),
        ListenAddr::Unix(_) => None,
    }
}

fn fail(err: &mut dyn Write, error: &anyhow::Error) -> u8 {
    // There is no other output.
    let _ = writeln!(err, "sessile: {error:#}");
    FAILED
}
