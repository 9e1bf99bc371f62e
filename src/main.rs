//! The `sessile` binary: arguments, the command, the exit code.

use std::process::ExitCode;

use clap::Parser as _;
use sessile::cli;
use sessile::cli::args::Arguments;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ExitCode::from(cli::main(arguments))
}
