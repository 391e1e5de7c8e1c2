//! The bare relay: what a sync server would cost if it did nothing but pass updates on.
//!
//! It speaks just enough of each dialect to be driven by the same load: it answers SyncStep1 with an empty SyncStep2 and
//! a SyncStep1, takes every token, re-frames between dialects, and keeps nothing. With `--wal FILE` it also appends each
//! update to a log, syncs in groups, and acks in the sender's dialect after: the floor of a durable ack.
//! It is the floor that the server is compared with, so it must stay as lean as can be.

mod hub;
mod log;
mod socket;

use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Relays updates between the devices of a document and keeps nothing.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Appends each update to this file and acks once it is synced.
    #[arg(long)]
    wal: Option<PathBuf>,
    /// Worker threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    syncline_benches::system::raise_file_limit();
    let mut builder = match arguments.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    let log = arguments.wal.as_deref().map(log::Log::open).transpose()?;
    builder.enable_all().build()?.block_on(serve(arguments.listen, log))
}

async fn serve(listen: SocketAddr, log: Option<log::Log>) -> anyhow::Result<()> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    let listener = socket.listen(4096)?;
    println!("relay ready on http://{}", listener.local_addr()?);
    let hub = Arc::new(hub::Hub::new(log));
    loop {
        let (stream, _) = listener.accept().await?;
        let hub = Arc::clone(&hub);
        // A relay has no shutdown: its sockets end with the process.
        tokio::spawn(async move {
            if let Err(error) = socket::run(stream, &hub).await {
                eprintln!("socket closed: {error}");
            }
        });
    }
}
