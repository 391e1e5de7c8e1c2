//! The binary under test: `serve` in a process of its own, and every other command.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, mpsc},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::DEADLINE;

/// Finds the binary: `SYNCLINE_BIN`, or `syncline` two folders above the test that asks.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SYNCLINE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("this test has a path");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let path = profile.join("syncline");
    assert!(path.exists(), "{} is not there: run `cargo build -p syncline-server` first", path.display());
    path
}

/// Returns a command of the binary, without what the caller's environment would configure.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SYNCLINE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    command().args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
}

/// Mints a token with `syncline token`.
pub fn token(data: &Path, user: &str, more: &[&str]) -> String {
    let data = data.to_str().expect("UTF-8");
    let output = run(["token", "--data", data, "--user", user].iter().chain(more));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

/// Returns an HTTP client.
pub fn http() -> reqwest::Client {
    // The first caller's counts; all of them install the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::new()
}

/// A server in a process of its own. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    scheme: String,
    data: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: File,
    /// Removed with the last server on it.
    folder: Option<Arc<TempDir>>,
}

impl Server {
    /// Starts a server without auth on a data folder of its own.
    ///
    /// # Errors
    /// It did not become ready; its log is in the text.
    pub fn open() -> anyhow::Result<Self> {
        Self::fresh(&["--open"])
    }

    /// Starts a server with these arguments on a data folder of its own.
    ///
    /// # Errors
    /// As [`Server::open`].
    pub fn fresh(arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = Arc::new(tempfile::tempdir()?);
        let mut server = Self::start(&folder.path().join("data"), arguments, &[])?;
        server.folder = Some(folder);
        Ok(server)
    }

    /// Starts a server on a data folder, with arguments and environment.
    ///
    /// # Errors
    /// As [`Server::open`].
    pub fn start(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        let owned = |text: &&str| (*text).to_owned();
        let arguments: Vec<String> = arguments.iter().map(owned).collect();
        let environment = environment.iter().map(|(name, value)| (owned(name), owned(value))).collect();
        Self::launch(data, arguments, environment, "127.0.0.1:0")
    }

    fn launch(
        data: &Path,
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
        listen: &str,
    ) -> anyhow::Result<Self> {
        let mut log = tempfile::tempfile()?;
        let mut command = command();
        command.args(["serve", "--listen", listen, "--data"]).arg(data).args(&arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?);
        let mut child = command.spawn().context("the binary does not start")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Reads on after the ready line: a full pipe would stop the server.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _nobody_listens = send.send(line);
            }
        });
        let ready = lines.recv_timeout(DEADLINE).ok();
        let url = ready.as_deref().and_then(|line| line.strip_prefix("syncline ready on "));
        let Some((scheme, address)) = url.and_then(|url| url.split_once("://")) else {
            let _gone = child.kill();
            let status = child.wait()?;
            bail!("not ready ({status}, said {ready:?}):\n{}", read(&mut log));
        };
        let address = address.trim().parse().with_context(|| format!("the ready line says {address:?}"))?;
        let (scheme, data) = (scheme.to_owned(), data.to_owned());
        Ok(Self { child, address, scheme, data, arguments, environment, log, folder: None })
    }

    /// Returns the address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Returns a URL of it, for HTTP.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it logged so far.
    pub fn log(&mut self) -> String {
        read(&mut self.log)
    }

    /// Returns its resident memory in bytes.
    ///
    /// # Errors
    /// It is gone, or this is not Linux.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? << 10)
    }

    /// Kills it where it is (SIGKILL).
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits until it did.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        let pid = libc::pid_t::try_from(self.pid())?;
        // SAFETY: a signal to a child that was not waited for, so its id is still its own.
        #[allow(unsafe_code, reason = "the standard library sends no SIGTERM")]
        let sent = unsafe { libc::kill(pid, libc::SIGTERM) };
        anyhow::ensure!(sent == 0, "cannot signal {pid}");
        self.wait()
    }

    /// Waits until it ended.
    ///
    /// # Errors
    /// It did not end in time; it is killed then.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let (told, tell) = mpsc::channel::<()>();
        let pid = libc::pid_t::try_from(self.pid())?;
        let guard = std::thread::spawn(move || {
            let late = tell.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout);
            if late {
                // SAFETY: the child is waited for only after this thread was told or ended.
                #[allow(unsafe_code, reason = "the child is borrowed by the waiting thread")]
                unsafe {
                    libc::kill(pid, libc::SIGKILL);
                }
            }
            late
        });
        let status = self.child.wait()?;
        drop(told);
        let late = guard.join().unwrap_or(true);
        anyhow::ensure!(!late, "the server did not end within {DEADLINE:?}:\n{}", self.log());
        Ok(status)
    }

    /// Starts it again, on the same address and data, after it was killed or ended.
    ///
    /// # Errors
    /// As [`Server::open`].
    pub fn restart(mut self) -> anyhow::Result<Self> {
        if self.child.try_wait()?.is_none() {
            self.kill()?;
        }
        let (arguments, environment) = (self.arguments.clone(), self.environment.clone());
        let mut next = Self::launch(&self.data, arguments, environment, &self.address.to_string())?;
        next.folder = self.folder.take();
        Ok(next)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(log: &mut File) -> String {
    let mut text = String::new();
    let read = log.rewind().and_then(|()| log.read_to_string(&mut text));
    read.map_or_else(|error| error.to_string(), |_| text)
}
