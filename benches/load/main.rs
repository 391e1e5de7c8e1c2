//! The load generator: drives a server, the bare relay and peers with the same traffic, in one run, and gives ratios.
//!
//! `modes` asks the questions W1 to W9; `fleet` owns the threads, `device` a socket, `document` what its devices have
//! sent and got; `target` knows how to start what is measured and `process` reads what it costs from /proc.

mod device;
mod document;
mod fleet;
mod lab;
mod modes;
mod probe;
mod process;
mod report;
mod stats;
mod target;

use anyhow::Context;
use clap::Parser;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use target::{Kind, Target};

/// Measures a sync server beside the bare relay; everything runs on 127.0.0.1.
#[derive(Parser)]
pub(crate) struct Arguments {
    /// w1 fan-out, w2 saturation, w3 idle connections, w4 cold open, w5 rejoin, w6 kill, w7 disk, w8 long conversation,
    /// w9 open conversations, or all.
    #[arg(required = true)]
    modes: Vec<String>,
    /// The server to measure; without it only what --against names.
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// Attaches to a running server (its address, such as 127.0.0.1:8787) instead of starting one.
    #[arg(long, requires = "pid")]
    url: Option<SocketAddr>,
    /// The process of that server.
    #[arg(long)]
    pid: Option<u32>,
    /// What to compare with: relay, wal, hocuspocus, y-websocket.
    #[arg(long, alias = "peer", value_delimiter = ',', default_value = "relay")]
    against: Vec<String>,
    /// Rounds; targets take turns, so that a slow phase of the machine hits all.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Seconds of each measurement of w1, w2 and w6.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Updates a second of w1.
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
    /// Also searches the highest rate at which p99 stays within 50 ms.
    #[arg(long)]
    knee: bool,
    /// Users of three devices and one document each.
    #[arg(long, default_value_t = 200)]
    users: usize,
    /// mixed (each document has one device of each), plain, ysweet or hocuspocus.
    #[arg(long, default_value = "mixed")]
    dialects: String,
    /// Updates in flight a document in w2.
    #[arg(long, default_value_t = 8)]
    in_flight: u32,
    /// Connections of w3, conversations of w9.
    #[arg(long, value_delimiter = ',', default_value = "10000,19500")]
    connections: Vec<usize>,
    /// Documents of w3.
    #[arg(long, default_value_t = 5_000)]
    documents: usize,
    /// Seconds to settle before memory is read; then w3 also waits for eviction.
    #[arg(long, default_value_t = 20)]
    settle: u64,
    /// Updates a second of w6.
    #[arg(long, default_value_t = 1_000.0)]
    crash_rate: f64,
    /// Updates a second of w7.
    #[arg(long, default_value_t = 4_000.0)]
    disk_rate: f64,
    /// Seconds of w7.
    #[arg(long, default_value_t = 30)]
    disk_seconds: u64,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Threads of the relay.
    #[arg(long, default_value_t = 2)]
    relay_threads: usize,
    /// The relay; beside this program by default.
    #[arg(long)]
    relay_bin: Option<PathBuf>,
    /// Where the runners of the peers are.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/compare"))]
    compare_folder: PathBuf,
    /// Where temporary data folders go: name the disk that matters.
    #[arg(long)]
    data_root: Option<PathBuf>,
    /// The same seed makes the same updates.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes every figure here.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let files = syncline_benches::system::raise_file_limit();
    let targets = targets(&arguments)?;
    let lab = lab::Lab::new(arguments);
    let arguments = &lab.arguments;
    let modes: Vec<&str> = if arguments.modes.iter().any(|mode| mode == "all") {
        modes::ALL.to_vec()
    } else {
        arguments.modes.iter().map(String::as_str).collect()
    };
    let mut report = report::Report::default();
    let mut failures = 0;
    for mode in modes {
        for round in 0..arguments.repeat {
            // Every other round backwards: no target always follows the same one.
            let mut order: Vec<&Target> = targets.iter().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for target in order {
                eprintln!("{mode} {} ({} of {})", target.kind.name(), round + 1, arguments.repeat);
                match modes::run(mode, &lab, target) {
                    Ok(Some(figures)) => report.note(mode, target.kind, figures),
                    Ok(None) => {}
                    Err(error) => {
                        failures += 1;
                        eprintln!(
                            "{mode} {} failed: {error:#} (open files allowed: {files})",
                            target.kind.name()
                        );
                    }
                }
            }
        }
    }
    report.print();
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    anyhow::ensure!(failures == 0, "{failures} measurements failed");
    Ok(())
}

fn targets(arguments: &Arguments) -> anyhow::Result<Vec<Target>> {
    let own = std::env::current_exe()?;
    let relay = match &arguments.relay_bin {
        Some(path) => path.clone(),
        None => own.parent().unwrap_or(Path::new(".")).join("relay"),
    };
    let with = |kind, binary: &Path, attached| Target {
        kind,
        binary: binary.to_owned(),
        relay_threads: arguments.relay_threads,
        attached,
        compare_folder: arguments.compare_folder.clone(),
    };
    let mut targets = Vec::new();
    let attached = arguments.url.zip(arguments.pid);
    if let Some(binary) = &arguments.server_bin {
        let binary = binary.canonicalize().with_context(|| format!("no server at {}", binary.display()))?;
        targets.push(with(Kind::Syncline, &binary, attached));
    } else if attached.is_some() {
        targets.push(with(Kind::Syncline, Path::new(""), attached));
    }
    for name in arguments.against.iter().filter(|name| !name.is_empty() && *name != "none") {
        targets.push(with(Kind::parse(name)?, &relay, None));
    }
    anyhow::ensure!(!targets.is_empty(), "nothing to measure: name --server-bin or --against");
    Ok(targets)
}
