//! What is measured: our server, the relays, or a peer; how each is started and where its documents live.

use crate::process::Server;
use anyhow::{Context, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use syncline_benches::wire::Dialect;

/// The three dialects in the order in which a document's devices speak them.
pub(crate) const MIXED: [Dialect; 3] = [Dialect::Plain, Dialect::Ysweet, Dialect::Hocuspocus];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Syncline,
    Relay,
    Wal,
    Hocuspocus,
    Ywebsocket,
}

#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) binary: PathBuf,
    pub(crate) relay_threads: usize,
    /// A server that somebody else runs.
    pub(crate) attached: Option<(SocketAddr, u32)>,
    pub(crate) compare_folder: PathBuf,
}

#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) kind: Kind,
    pub(crate) socket: SocketAddr,
}

impl Kind {
    pub(crate) fn parse(name: &str) -> anyhow::Result<Self> {
        Ok(match name {
            "syncline" => Self::Syncline,
            "relay" => Self::Relay,
            "wal" => Self::Wal,
            "hocuspocus" => Self::Hocuspocus,
            "y-websocket" => Self::Ywebsocket,
            _ => bail!("{name} is none of syncline, relay, wal, hocuspocus, y-websocket"),
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Syncline => "syncline",
            Self::Relay => "relay",
            Self::Wal => "wal",
            Self::Hocuspocus => "hocuspocus",
            Self::Ywebsocket => "y-websocket",
        }
    }

    /// Whether documents outlive their connections.
    pub(crate) fn stores(self) -> bool {
        !matches!(self, Self::Relay | Self::Wal)
    }

    /// Whether every dialect gets an ack for every update.
    pub(crate) fn acks(self) -> bool {
        !matches!(self, Self::Relay)
    }

    /// The dialects that it speaks.
    pub(crate) fn dialects(self) -> &'static [Dialect] {
        match self {
            Self::Syncline | Self::Relay | Self::Wal => &MIXED,
            Self::Hocuspocus => &[Dialect::Hocuspocus],
            Self::Ywebsocket => &[Dialect::Plain],
        }
    }
}

impl Target {
    pub(crate) fn start(&self, folder: &Path) -> anyhow::Result<Server> {
        if let Some((socket, pid)) = self.attached {
            return Ok(Server::attach(socket, pid));
        }
        let data = folder.join("data");
        std::fs::create_dir_all(&data)?;
        Server::start(self.command(&data), &folder.join("server.log"))
    }

    fn command(&self, data: &Path) -> Command {
        let peer = |script: &str| {
            let mut command = Command::new("node");
            command.arg(self.compare_folder.join(script)).arg(data);
            command
        };
        match self.kind {
            Kind::Syncline => {
                let mut command = Command::new(&self.binary);
                command.args(["serve", "--open", "--listen", "127.0.0.1:0", "--data"]).arg(data);
                command
            }
            Kind::Relay | Kind::Wal => {
                let mut command = Command::new(&self.binary);
                command.args(["--threads", &self.relay_threads.to_string()]);
                if self.kind == Kind::Wal {
                    command.arg("--wal").arg(data.join("log"));
                }
                command
            }
            Kind::Hocuspocus => peer("hocuspocus.mjs"),
            Kind::Ywebsocket => peer("y-websocket.mjs"),
        }
    }

    pub(crate) fn address(&self, server: &Server) -> Address {
        Address { kind: self.kind, socket: server.socket }
    }
}

impl Address {
    pub(crate) fn url(&self, document: &str, dialect: Dialect) -> String {
        let socket = self.socket;
        match (self.kind, dialect) {
            (Kind::Hocuspocus, _) => format!("ws://{socket}/"),
            (Kind::Ywebsocket, _) => format!("ws://{socket}/{document}"),
            (_, Dialect::Ysweet) => format!("ws://{socket}/d/{document}/ws/{document}"),
            (_, Dialect::Plain) => format!("ws://{socket}/sync/{document}"),
            (_, Dialect::Hocuspocus) => format!("ws://{socket}/sync"),
        }
    }

    /// Asks over HTTP, without a token.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<String> {
        http_get(self.socket, path)
    }

    /// The value of an unlabelled metric, where the server has it.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let text = http_get(self.socket, "/metrics").ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }
}

fn http_get(socket: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {socket}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    anyhow::ensure!(head.split_whitespace().nth(1) == Some("200"), "GET {path}: {head}");
    Ok(body.to_owned())
}
