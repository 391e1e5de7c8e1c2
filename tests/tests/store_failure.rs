//! A disk that is full: what cannot be written is never called saved, the server says so, reads go on, and what
//! was called saved is there once there is room again.
//!
//! The disk is a small tmpfs, which only root may mount: otherwise the tests say that they did not run.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use syncline_protocol::frame::Dialect;
use syncline_tests::{
    Server, Witness, limited, run,
    witness::{DIALECTS, Ended},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A disk of its own size, gone when dropped.
struct Disk(TempDir);

impl Disk {
    /// `None` where this user may not mount.
    fn new(mib: u32) -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "syncline-test"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Some(Self(folder))),
            refused => {
                eprintln!("NOT RUN: a tmpfs cannot be mounted here (this needs root): {refused:?}");
                Ok(None)
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn resize(&self, mib: u32) -> Result<()> {
        let options = format!("remount,size={mib}m");
        let status = Command::new("mount").args(["-o", &options]).arg(self.path()).status()?;
        ensure!(status.success(), "the disk cannot be resized");
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the server may still be on its way out.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

async fn get(server: &Server, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(server.address()).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.get(9..12).context("no status")?.parse()?;
    Ok((status, answer))
}

/// A word that nothing compresses.
fn word(rng: &mut fastrand::Rng, characters: usize) -> String {
    std::iter::repeat_with(|| rng.alphanumeric()).take(characters).collect()
}

/// Fills the disk with edits until one is not taken. Returns what was called saved.
async fn fill(server: &mut Server, device: &mut Witness, rng: &mut fastrand::Rng) -> Result<Vec<String>> {
    device.sync(server.address()).await?;
    let mut words = Vec::new();
    loop {
        ensure!(words.len() < 1_000, "the disk is never full");
        let word = word(rng, 100_000);
        let sent = device.write(&word).await;
        let made = device.made();
        let answered = match sent {
            Ok(_) => device.until("an answer", |device| device.saved() == made || refused(device)).await,
            Err(error) => Err(error),
        };
        if device.saved() == made {
            words.push(word);
        }
        if let Err(error) = answered {
            let Ended(code, reason) = error.downcast::<Ended>()?;
            let told = code == 1013 && reason.contains("cannot save");
            ensure!(told, "closed with {code} {reason:?}; the server's log:\n{}", server.log());
            return Ok(words);
        }
        if refused(device) {
            return Ok(words);
        }
    }
}

fn refused(device: &Witness) -> bool {
    device.not_saved() > 0 || !device.reasons().is_empty()
}

async fn survives_a_full_disk(mib: u32, limits: &[(&str, u64)]) -> Result<()> {
    let Some(disk) = Disk::new(mib)? else { return Ok(()) };
    let home = tempfile::tempdir()?;
    let data = disk.path().join("data");
    let mut rng = fastrand::Rng::with_seed(7);
    let mut server = limited::start_on(home.path(), &data, &["--open"], limits)?;
    let mut before = Witness::fresh(server.address(), Dialect::Plain, "small", 1).await?;
    before.write("before").await?;
    before.until_saved().await?;
    ensure!(get(&server, "/readyz").await?.0 == 200, "not ready at first");

    let mut filler = Witness::new(Dialect::Hocuspocus, "large", 2);
    let words = fill(&mut server, &mut filler, &mut rng).await?;
    ensure!(words.len() > 5, "only {} edits were saved", words.len());
    eprintln!("{} edits of 100 kB fit on {mib} MiB", words.len());

    let (status, said) = get(&server, "/readyz").await?;
    ensure!(status == 503, "/readyz says {status}");
    ensure!(said.lines().last().is_some_and(|reason| reason.len() > 10), "/readyz gives no reason: {said}");
    ensure!(get(&server, "/healthz").await?.0 == 200, "it is alive all the same");
    for dialect in DIALECTS {
        for (document, content) in [("small", "before".to_owned()), ("large", words.concat())] {
            let mut reader = match Witness::fresh(server.address(), dialect, document, 3).await {
                Ok(reader) => reader,
                // What the storage engine has not kept in memory it may not be able to read any more, once a write has
                // failed: then the document is refused, with the reason in the log, and never shown otherwise.
                Err(_) if document == "large" && server.log().contains("document cannot be loaded") => {
                    continue;
                }
                Err(error) => anyhow::bail!("{dialect:?} {document}: {error:#}; log:\n{}", server.log()),
            };
            ensure!(reader.text() == content, "{dialect:?}: {document} is read as something else");
            reader.write("after").await?;
            reader.until_refused().await?;
            ensure!(reader.saved() == 0, "{dialect:?}: called saved on a full disk");
            ensure!(
                dialect == Dialect::Hocuspocus || reader.reasons()[0].contains("cannot save"),
                "{:?}",
                reader.reasons()
            );
        }
    }
    ensure!(!server.log().is_empty(), "nothing is logged");
    // Whether anything is unsaved at the end depends on where the disk ended.
    let status = server.terminate()?;
    ensure!(matches!(status.code(), Some(0 | 1)), "ended with {status}");

    disk.resize(mib * 4)?;
    let server = limited::start_on(home.path(), &data, &["--open"], limits)?;
    ensure!(get(&server, "/readyz").await?.0 == 200, "not ready with room again");
    let fresh = Witness::fresh(server.address(), Dialect::Ysweet, "large", 4).await?;
    let all = words.iter().all(|word| fresh.text().contains(word));
    ensure!(all, "something that was called saved is not there");
    filler.sync(server.address()).await?;
    filler.until_saved().await?;
    before.sync(server.address()).await?;
    before.write(" and after").await?;
    before.until_saved().await?;
    drop(server);
    let verified = run(["verify".as_ref(), "--data".as_ref(), data.as_os_str()]);
    ensure!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_acknowledges_nothing_and_the_server_says_so() -> Result<()> {
    survives_a_full_disk(36, &[("min_free_bytes", 1), ("reserve_bytes", 1)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_are_refused_before_the_disk_is_quite_full() -> Result<()> {
    survives_a_full_disk(64, &[("min_free_bytes", 24 << 20), ("reserve_bytes", 1)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_save_its_last_edits_ends_with_1() -> Result<()> {
    let Some(disk) = Disk::new(64)? else { return Ok(()) };
    let home = tempfile::tempdir()?;
    let data = disk.path().join("data");
    // One commit, then none for a while: what comes in between is saved when the server goes down, or not at all.
    let limits = [("min_free_bytes", 1), ("reserve_bytes", 1), ("commit_pace_us", 10_000_000)];
    let mut server = limited::start_on(home.path(), &data, &["--open"], &limits)?;
    let mut device = Witness::fresh(server.address(), Dialect::Hocuspocus, "doc", 1).await?;
    device.write("saved").await?;
    device.until_saved().await?;
    device.write(&word(&mut fastrand::Rng::with_seed(7), 100_000)).await?;
    let reader = Witness::fresh(server.address(), Dialect::Hocuspocus, "doc", 2).await?;
    ensure!(reader.text() == device.text(), "the edit has not arrived");
    let full = std::fs::write(disk.path().join("filler"), vec![1; 64 << 20]);
    ensure!(full.is_err(), "the disk is not full");
    let status = server.terminate()?;
    ensure!(status.code() == Some(1), "ended with {status}:\n{}", server.log());
    ensure!(server.log().contains("unsaved"), "nothing says so:\n{}", server.log());
    ensure!(device.saved() == 1, "called saved");

    std::fs::remove_file(disk.path().join("filler"))?;
    let server = limited::start_on(home.path(), &data, &["--open"], &[])?;
    let fresh = Witness::fresh(server.address(), Dialect::Hocuspocus, "doc", 3).await?;
    ensure!(fresh.text() == "saved", "what was saved is not there");
    device.sync(server.address()).await?;
    device.until_saved().await?;
    Ok(())
}
