//! The `syncline` binary: the command line, and nothing else.

use std::process::ExitCode;

use clap::Parser;
use syncline_server::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("syncline: {failure}");
            failure.exit_code()
        }
    }
}
