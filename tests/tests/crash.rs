//! Saved means on disk: the server is killed at random moments under load, and every edit that it had called saved
//! is there when it comes back. A server that is asked to end saves and acknowledges first.
//!
//! `SYNCLINE_CRASH_ROUNDS` sets the rounds (30), `SYNCLINE_CRASH_SEED` repeats a run.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use syncline_protocol::frame::Dialect;
use syncline_tests::{
    DEADLINE, Server, Witness, limited, run,
    witness::{DIALECTS, Ended},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use yrs::{Map, Text};

const DOCUMENTS: usize = 3;
/// Keys that a device writes in its document's map.
const KEYS: u64 = 12;
/// Edits that a device makes before it waits for their acks.
const AHEAD: u64 = 8;

/// Small bounds: documents are folded, evicted and loaded again all the time, and the journal is pruned. Commits
/// take their time, so that an ack that did not wait for one is found out.
const LIMITS: &[(&str, u64)] =
    &[("fold_updates", 40), ("evict_after_ms", 60), ("fold_bytes", 8 << 10), ("commit_pace_us", 10_000)];

/// What one edit did.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Did {
    Typed(String),
    Set(String, String),
    Removed(String),
}

/// A device with a person who goes on and on.
struct Busy {
    name: usize,
    document: String,
    device: Witness,
    rng: Rng,
    /// What each edit did; the first is number 1.
    done: Vec<Did>,
    /// Counts the edits of all devices.
    edits: watch::Sender<u64>,
}

impl Busy {
    fn new(name: usize, rng: &mut Rng, edits: watch::Sender<u64>) -> Self {
        let document = format!("crash/{}", name % DOCUMENTS);
        let dialect = DIALECTS[name / DOCUMENTS % DIALECTS.len()];
        let device = Witness::new(dialect, &document, 1_000 + name as u64);
        Self { name, document, device, rng: rng.fork(), done: Vec::new(), edits }
    }

    async fn edit(&mut self) -> Result<()> {
        let number = self.done.len() + 1;
        let key = format!("{}.{}", self.name, self.rng.u64(0..KEYS));
        let exists = self.device.entry(&key).is_some();
        let did = match self.rng.u8(0..4) {
            0 if exists => Did::Removed(key),
            0 | 1 => Did::Set(key, format!("{number}{}", "x".repeat(self.rng.usize(0..200)))),
            _ => Did::Typed(format!("{}.{number}\u{1f642}", self.name)),
        };
        self.done.push(did.clone());
        let front = self.rng.bool();
        let edited = self.device.edit(|text, map, txn| match &did {
            Did::Typed(word) if front => text.insert(txn, 0, &format!("{word};")),
            Did::Typed(word) => text.push(txn, &format!("{word};")),
            Did::Set(key, value) => {
                map.insert(txn, key.as_str(), value.as_str());
            }
            Did::Removed(key) => {
                map.remove(txn, key);
            }
        });
        edited.await?;
        self.edits.send_modify(|edits| *edits += 1);
        Ok(())
    }

    /// Edits until the connection ends.
    async fn go_on(mut self) -> (Self, Result<Ended>) {
        loop {
            let ahead = self.rng.u64(0..AHEAD);
            let worked = async {
                for _ in 0..self.rng.u8(1..6) {
                    self.edit().await?;
                }
                self.device.until("acks", |device| device.made() - device.saved() <= ahead).await
            };
            if let Err(error) = worked.await {
                let ended = match error.downcast::<Ended>() {
                    Ok(ended) => Ok(ended),
                    // A send failed: what had come before is still to be read.
                    Err(error) if error.is::<tokio_tungstenite::tungstenite::Error>() => {
                        self.device.until_ended().await
                    }
                    Err(error) => Err(error),
                };
                return (self, ended);
            }
        }
    }

    /// Checks what a fresh device sees against what this one was promised. Returns how many of its edits are there.
    fn check(&self, fresh: &Witness, words: &HashSet<&str>) -> Result<()> {
        let saved = usize::try_from(self.device.saved())?;
        for (index, did) in self.done.iter().enumerate().take(saved) {
            if let Did::Typed(word) = did {
                ensure!(words.contains(word.as_str()), "edit {} was saved and is lost: {word}", index + 1);
            }
        }
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (index, did) in self.done.iter().enumerate().take(saved) {
            if let Did::Set(key, _) | Did::Removed(key) = did {
                last.insert(key, index);
            }
        }
        for (key, at) in last {
            let shown = fresh.entry(key);
            let explained = self.done[at..].iter().any(|did| match did {
                Did::Set(other, value) => other == key && shown.as_deref() == Some(value),
                Did::Removed(other) => other == key && shown.is_none(),
                Did::Typed(_) => false,
            });
            ensure!(explained, "edit {} was saved and is lost: {:?}, shown {shown:?}", at + 1, self.done[at]);
        }
        Ok(())
    }

    /// Says whether an edit's effect is there, where that can be told.
    fn shows(&self, number: u64, words: &HashSet<&str>) -> Option<bool> {
        match self.done.get(usize::try_from(number).ok()?.checked_sub(1)?)? {
            Did::Typed(word) => Some(words.contains(word.as_str())),
            Did::Set(..) | Did::Removed(_) => None,
        }
    }
}

fn devices(rng: &mut Rng, edits: &watch::Sender<u64>) -> Vec<Busy> {
    (0..DOCUMENTS * DIALECTS.len()).map(|name| Busy::new(name, rng, edits.clone())).collect()
}

/// Waits until the devices together have made so many edits more. Where that leaves the server with them, with frames on
/// their way and commits under way, is different each time.
async fn until_made(edits: &watch::Sender<u64>, more: u64) -> Result<()> {
    let mut made = edits.subscribe();
    let wanted = *made.borrow_and_update() + more;
    timeout(DEADLINE, made.wait_for(|made| *made >= wanted)).await.context("the devices do not go on")??;
    Ok(())
}

/// Syncs every device and lets them all edit, until their connections end.
async fn unleash(server: &Server, devices: Vec<Busy>) -> Result<JoinSet<(Busy, Result<Ended>)>> {
    let mut syncing = JoinSet::new();
    let address = server.address();
    for mut busy in devices {
        syncing.spawn(async move {
            let synced = busy.device.sync(address).await;
            synced.with_context(|| format!("device {} cannot open its document", busy.name)).map(|()| busy)
        });
    }
    let mut editing = JoinSet::new();
    while let Some(synced) = syncing.join_next().await {
        editing.spawn(synced??.go_on());
    }
    Ok(editing)
}

async fn gather(mut editing: JoinSet<(Busy, Result<Ended>)>) -> Result<Vec<(Busy, Ended)>> {
    let mut devices = Vec::new();
    while let Some(joined) = editing.join_next().await {
        let (busy, ended) = joined?;
        let ended = ended.with_context(|| format!("device {} on {}", busy.name, busy.document))?;
        devices.push((busy, ended));
    }
    devices.sort_by_key(|(busy, _)| busy.name);
    Ok(devices)
}

/// Opens every document on a device that has nothing.
async fn fresh(server: &Server, round: usize) -> Result<Vec<Witness>> {
    let mut all = Vec::new();
    for document in 0..DOCUMENTS {
        let dialect = DIALECTS[(round + document) % DIALECTS.len()];
        let client_id = (1 << 30) + (round * DOCUMENTS + document) as u64;
        let name = format!("crash/{document}");
        let opened = Witness::fresh(server.address(), dialect, &name, client_id).await;
        all.push(opened.with_context(|| format!("{name} does not open"))?);
    }
    Ok(all)
}

fn words(text: &str) -> HashSet<&str> {
    text.split(';').collect()
}

fn verify(server: &Server) -> Result<()> {
    let output = run(["verify".as_ref(), "--data".as_ref(), server.data().as_os_str()]);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "verify: {said}");
    Ok(())
}

fn seed() -> u64 {
    let seed = std::env::var("SYNCLINE_CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SYNCLINE_CRASH_SEED={seed}");
    seed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_edit_that_was_called_saved_is_lost_in_a_crash() -> Result<()> {
    let rounds =
        std::env::var("SYNCLINE_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(30);
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir()?;
    let mut server = limited::start(&folder, &["--open"], LIMITS)?;
    let edits = watch::Sender::new(0);
    let mut busy = devices(&mut rng, &edits);
    for round in 0..rounds {
        let editing = unleash(&server, busy).await?;
        // The moment is random on purpose.
        until_made(&edits, rng.u64(1..400)).await?;
        server.kill()?;
        let gathered = gather(editing).await.with_context(|| format!("round {round}"))?;
        server = server.restart().with_context(|| format!("round {round}"))?;
        let fresh = fresh(&server, round).await.with_context(|| format!("round {round}"))?;
        let texts: Vec<String> = fresh.iter().map(Witness::text).collect();
        for (busy, _) in &gathered {
            let at = busy.name % DOCUMENTS;
            let checked = busy.check(&fresh[at], &words(&texts[at]));
            checked
                .with_context(|| format!("round {round}, {:?} device {}", busy.device.dialect, busy.name))?;
        }
        busy = gathered.into_iter().map(|(busy, _)| busy).collect();
    }
    let saved: u64 = busy.iter().map(|busy| busy.device.saved()).sum();
    let made: u64 = busy.iter().map(|busy| busy.device.made()).sum();
    eprintln!("{rounds} rounds, {made} edits, {saved} of them called saved");
    ensure!(
        busy.iter().all(|busy| busy.device.saved() > 0),
        "a device was never told that anything is saved"
    );
    // What was not called saved is still on its device, and comes with the next sync.
    for busy in &mut busy {
        busy.device.sync(server.address()).await?;
        busy.device.until_saved().await?;
    }
    for (document, fresh) in fresh(&server, rounds).await?.iter().enumerate() {
        for busy in busy.iter_mut().filter(|busy| busy.name % DOCUMENTS == document) {
            busy.device.until_same(fresh).await?;
        }
    }
    let status = server.terminate()?;
    ensure!(status.success(), "{status}");
    verify(&server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_asked_to_end_acknowledges_first_and_closes_with_1012() -> Result<()> {
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir()?;
    let mut server = limited::start(&folder, &["--open"], LIMITS)?;
    let edits = watch::Sender::new(0);
    let mut busy = devices(&mut rng, &edits);
    for round in 0..4 {
        let editing = unleash(&server, busy).await?;
        until_made(&edits, rng.u64(30..300)).await?;
        let asked = Instant::now();
        let ending = tokio::task::spawn_blocking(move || server.terminate().map(|status| (server, status)));
        let gathered = gather(editing).await.with_context(|| format!("round {round}"))?;
        let (ended, status) = ending.await??;
        ensure!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
        ensure!(status.code() == Some(0), "ended with {status}");
        for (busy, Ended(code, reason)) in &gathered {
            ensure!(*code == 1012, "{:?} was closed with {code} {reason:?}", busy.device.dialect);
        }
        server = ended.restart()?;
        let fresh = fresh(&server, round).await?;
        let texts: Vec<String> = fresh.iter().map(Witness::text).collect();
        for (busy, _) in &gathered {
            let at = busy.name % DOCUMENTS;
            let words = words(&texts[at]);
            busy.check(&fresh[at], &words)?;
            // y-sweet says in a frame of its own which edit it wants to be told about: that one may be unread.
            let owed = busy.device.saved() + if busy.device.dialect == Dialect::Ysweet { 2 } else { 1 };
            for number in owed..=busy.device.made() {
                ensure!(
                    busy.shows(number, &words) != Some(true),
                    "{:?} device {}: edit {number} is stored, but only {} were called saved",
                    busy.device.dialect,
                    busy.name,
                    busy.device.saved()
                );
            }
        }
        busy = gathered.into_iter().map(|(busy, _)| busy).collect();
    }
    ensure!(server.terminate()?.success(), "the last end");
    verify(&server)
}
