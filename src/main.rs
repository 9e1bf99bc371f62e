//! The `sessile` binary: arguments, the command, the exit code.

use std::process::ExitCode;

use sessile::cli::{check, run};
use sessile::control::load::LoadOptions;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args
        .iter()
        .position(|a| a == "--config")
        .map_or("gateway.toml", |at| &args[at + 1]);
    let options = LoadOptions::from_process(path, vec![]);
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    ExitCode::from(match args[0].as_str() {
        "run" => run::run(options, &mut err),
        "demo" => run::demo(options, &mut out, &mut err),
        _ => check::check(&options, check::Form::Text, &mut out).unwrap_or(1),
    })
}
