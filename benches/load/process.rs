//! A server under test: started, measured through /proc, stopped or killed.

use anyhow::{Context, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use syncline_benches::system;

const READY_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    /// None where the generator was attached to a server that somebody else runs.
    child: Option<Child>,
    pub(crate) pid: u32,
    pub(crate) socket: SocketAddr,
    pub(crate) ready_in: Duration,
}

impl Server {
    /// Starts a command and waits for `... ready on http://ADDR` on its stdout.
    pub(crate) fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let stderr = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Reads on after the ready line: a full pipe would stop the server.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("ready on http://") {
                    let _late = sender.send(address.trim().to_owned());
                }
            }
        });
        let Ok(address) = lines.recv_timeout(READY_TIMEOUT) else {
            let _gone = child.kill();
            let _status = child.wait();
            let said = fs::read_to_string(log).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(5).collect();
            bail!(
                "{command:?} did not get ready within {READY_TIMEOUT:?}; its last words, backwards: {last:?}"
            );
        };
        let pid = child.id();
        let socket = address.parse().with_context(|| format!("cannot read the address {address:?}"))?;
        Ok(Self { child: Some(child), pid, socket, ready_in: started.elapsed() })
    }

    pub(crate) fn attach(socket: SocketAddr, pid: u32) -> Self {
        Self { child: None, pid, socket, ready_in: Duration::ZERO }
    }

    /// CPU seconds so far, with those of child processes.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.family().iter().map(|&pid| cpu_ticks(pid)).sum::<f64>() / system::ticks_per_second()
    }

    /// Resident and proportional memory in KiB.
    pub(crate) fn memory_kib(&self) -> (f64, f64) {
        self.family().iter().fold((0.0, 0.0), |(rss, pss), &pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            (rss + field(&text, "Rss:"), pss + field(&text, "Pss:"))
        })
    }

    /// Bytes this process has had written to storage.
    pub(crate) fn written_bytes(&self) -> f64 {
        let of = |&pid: &u32| {
            field(&fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default(), "\nwrite_bytes:")
        };
        self.family().iter().map(of).sum()
    }

    fn family(&self) -> Vec<u32> {
        let mut family = vec![self.pid];
        let mut next = 0;
        while let Some(&pid) = family.get(next) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            next += 1;
        }
        family
    }

    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        system::signal(self.pid, libc::SIGKILL)?;
        self.wait(Duration::from_secs(10)).map(drop)
    }

    /// Asks the server to end and waits for it.
    pub(crate) fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        system::signal(self.pid, libc::SIGTERM)?;
        self.wait(Duration::from_secs(30))
    }

    fn wait(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("only a server that was started here can be restarted")?;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill()?;
        child.wait()?;
        bail!("the server did not end within {patience:?}, so it was killed")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already; either way nothing is left running.
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

/// CPU seconds of the generator itself.
pub(crate) fn own_cpu_seconds() -> f64 {
    cpu_ticks(std::process::id()) / system::ticks_per_second()
}

fn cpu_ticks(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = stat.rsplit_once(')') else { return 0.0 };
    fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum()
}

fn field(text: &str, name: &str) -> f64 {
    text.split_once(name)
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// Bytes that a folder takes on disk.
pub(crate) fn disk_bytes(folder: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return 0.0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
            Ok(meta) => meta.blocks() as f64 * 512.0,
            Err(_) => 0.0,
        })
        .fold(0.0, |sum, bytes| sum + bytes)
}
