//! The `syncline` binary: the command line, and nothing else.

use std::process::ExitCode;

use clap::Parser;
use syncline_server::cli::Cli;

/// Gives memory back: the many short-lived buffers of HTTP and handshakes leave no holes between those of idle
/// connections.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("syncline: {failure}");
            failure.exit_code()
        }
    }
}
