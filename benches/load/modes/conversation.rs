//! W8: opening a long conversation cold, by socket and by API. W9: what conversations cost that are open.

use crate::lab::{Lab, median};
use crate::probe::{Probe, Synced, runtime};
use crate::process::Server;
use crate::report::Figures;
use crate::target::{Address, Kind, Target};
use anyhow::{Context, ensure};
use std::time::{Duration, Instant};
use syncline_benches::chat;
use syncline_benches::wire::{self, Dialect, Heard};

const MADE_MS: u64 = 1_750_000_000_000;
const TURNS: u64 = 2_000;
const TURN_BYTES: usize = 200;
/// Turns of each of many open conversations.
const SHORT: u64 = 20;
const ROUNDS: usize = 5;
/// The most turns of a page of the API.
const PAGE: usize = 200;
const PEERS_STORE_WITHIN: Duration = Duration::from_secs(12);
const LATE: Duration = Duration::from_secs(10);
/// The dialect that both speak.
const DIALECT: Dialect = Dialect::Hocuspocus;

fn id(number: u64) -> String {
    chat::uuid7(MADE_MS + number, number)
}

/// W8.
pub(crate) fn cold(lab: &Lab, target: &Target) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    let folder = lab.folder()?;
    let mut server = target.start(folder.path())?;
    let name = format!("u1/c/{}", id(1));
    let whole = chat::conversation(0x9234_5678, "u1", &id(1), MADE_MS, TURNS, TURN_BYTES);
    runtime()?.block_on(write(&target.address(&server), &name, &whole))?;
    if target.kind != Kind::Syncline {
        // Peers store some seconds after they ack.
        std::thread::sleep(PEERS_STORE_WITHIN);
    }
    let mut opened = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..ROUNDS {
        server.stop()?;
        server = target.start(folder.path())?;
        let (rss, _) = server.memory_kib();
        let (probe, synced) = runtime()?.block_on(open(&target.address(&server), &name))?;
        chat::check(&synced.update, TURNS as usize)?;
        memory.push(server.memory_kib().0 - rss);
        opened.push(synced);
        drop(probe);
    }
    figures.add("document KB", opened[0].received_bytes as f64 / 1e3);
    figures.add("socket: SyncStep2 ms", median(opened.iter().map(|run| millis(run.step2_in)).collect()));
    figures.add("socket: synced ms", median(opened.iter().map(|run| millis(run.synced_in)).collect()));
    figures.add("memory of the first open, KiB", median(memory));
    if target.kind == Kind::Syncline {
        let (mut first, mut all) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            server.stop()?;
            server = target.start(folder.path())?;
            let (one, whole) = by_api(&target.address(&server))?;
            first.push(millis(one));
            all.push(millis(whole));
        }
        figures.add("API: first page ms", median(first));
        figures.add("API: all turns ms", median(all));
    }
    Ok(figures)
}

/// Writes a document as one offline edit, and waits until it was taken in.
async fn write(address: &Address, name: &str, whole: &[u8]) -> anyhow::Result<()> {
    let mut probe = Probe::open(address, name, DIALECT, 1).await?;
    probe.sync(wire::EMPTY_STATE_VECTOR, whole).await?;
    // It comes back to whoever asks from the start only once it was taken in.
    let mut reader = Probe::open(address, name, DIALECT, 2).await?;
    let got = reader.sync(wire::EMPTY_STATE_VECTOR, wire::EMPTY_UPDATE).await?;
    if got.update.len() < whole.len() / 2 {
        let is_whole = |heard: &Heard<'_>| matches!(heard, Heard::Update(update) | Heard::SyncStep2(update) if update.len() > whole.len() / 2);
        reader.await_message(is_whole).await?;
    }
    Ok(())
}

async fn open(address: &Address, name: &str) -> anyhow::Result<(Probe, Synced)> {
    let mut probe = Probe::open(address, name, DIALECT, 1).await?;
    let started = Instant::now();
    let mut synced = probe.sync(wire::EMPTY_STATE_VECTOR, wire::EMPTY_UPDATE).await?;
    if synced.update == wire::EMPTY_UPDATE
        && let Some(update) = probe.late_update(LATE).await?
    {
        (synced.received_bytes, synced.update) = (update.len(), update);
        (synced.step2_in, synced.synced_in) = (started.elapsed(), started.elapsed());
    }
    Ok((probe, synced))
}

/// Reads all turns, a page at a time; returns when the first page was there, and the last one.
fn by_api(address: &Address) -> anyhow::Result<(Duration, Duration)> {
    let path = format!("/v1/users/u1/conversations/{}/messages?branch=all&limit={PAGE}", id(1));
    let started = Instant::now();
    let (mut first, mut turns, mut after) = (None, 0, String::new());
    loop {
        let page: serde_json::Value = serde_json::from_str(&address.get(&format!("{path}{after}"))?)?;
        first.get_or_insert_with(|| started.elapsed());
        turns += page["items"].as_array().context("no items")?.len();
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    ensure!(turns == TURNS as usize, "the API has {turns} turns, not {TURNS}");
    Ok((first.unwrap_or_default(), started.elapsed()))
}

/// W9.
pub(crate) fn many(lab: &Lab, target: &Target) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    for &count in &lab.arguments.connections {
        many_of(lab, target, count, &mut figures)?;
    }
    Ok(figures)
}

fn many_of(lab: &Lab, target: &Target, count: usize, figures: &mut Figures) -> anyhow::Result<()> {
    let folder = lab.folder()?;
    let server: Server = target.start(folder.path())?;
    let address = target.address(&server);
    std::thread::sleep(Duration::from_millis(500));
    let (before, _) = server.memory_kib();
    let started = Instant::now();
    let runtime = runtime()?;
    let probes = runtime.block_on(async {
        let mut probes = Vec::with_capacity(count);
        for number in 0..count as u64 {
            let id = id(number);
            let whole = chat::conversation(0x8000_0000 + number, "u1", &id, MADE_MS, SHORT, TURN_BYTES);
            let mut probe = Probe::open(&address, &format!("u1/c/{id}"), DIALECT, number as usize).await?;
            probe.sync(wire::EMPTY_STATE_VECTOR, &whole).await?;
            probes.push(probe);
        }
        anyhow::Ok(probes)
    })?;
    let opened_in = started.elapsed();
    let open = address.metric("syncline_documents_open");
    let (after, _) = server.memory_kib();
    let mut add = |name: &str, value: f64| figures.add(format!("{count}: {name}"), value);
    add("RSS KiB an open conversation", (after - before) / count as f64);
    add("RSS MB of all", (after - before) / 1e3);
    add("opened/s", count as f64 / opened_in.as_secs_f64());
    if let Some(open) = open {
        add("documents open", open);
    }
    drop(probes);
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
