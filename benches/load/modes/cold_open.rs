//! W4: writing one long document, and opening it after a restart: alone, a hundred devices at once, and after a kill.

use crate::fleet::{Cast, Ending, Fleet, Plan, document_name};
use crate::lab::{Lab, median};
use crate::probe::{Probe, Synced, runtime};
use crate::process::Server;
use crate::report::Figures;
use crate::target::{Kind, Target};
use anyhow::ensure;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use syncline_benches::traffic::{self, LONG_MESSAGE_BYTES, Stream};
use syncline_benches::wire::{self, Heard};

const UPDATES: usize = 50_500;
const PATIENCE: Duration = Duration::from_secs(120);
const AT_ONCE: usize = 100;
const PEERS_STORE_WITHIN: Duration = Duration::from_secs(12);
const LATE: Duration = Duration::from_secs(10);

pub(crate) fn run(lab: &Lab, target: &Target) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    let folder = lab.folder()?;
    let stream = Arc::new(Stream::make(0x9234_5678, UPDATES, lab.arguments.seed, LONG_MESSAGE_BYTES));
    let variants = Arc::new(vec![vec![Arc::clone(&stream)]]);
    let mut server = target.start(folder.path())?;
    let address = target.address(&server);
    let cast = Cast {
        address,
        documents: 1,
        devices: 2,
        dialects: lab.dialects(target)?,
        variants,
        read_buffer: 64 * 1024,
        concurrency: 1,
        acks: target.kind.acks(),
    };
    let fleet = Fleet::connect(&cast, 1)?;
    let cpu = server.cpu_seconds();
    let started = Instant::now();
    fleet.start(Plan::Closed { window: 512, limit: UPDATES as u32 })?;
    let written = fleet.stop(&Ending::AtLimit, PATIENCE)?;
    figures.add("write upd/s", written.stats.sent as f64 / written.stats.elapsed().as_secs_f64());
    figures.add("write and ack upd/s", written.stats.sent as f64 / started.elapsed().as_secs_f64());
    figures.add("write CPU us/upd", (server.cpu_seconds() - cpu) * 1e6 / UPDATES as f64);
    figures.add("written %", written.stats.deliveries as f64 * 100.0 / UPDATES as f64);
    drop(fleet);
    if !target.kind.stores() {
        return Ok(figures);
    }

    if target.kind == Kind::Syncline {
        server.kill()?;
        server = target.start(folder.path())?;
        let (synced, _) = open(target, &server, &stream, 1, false)?;
        figures.add("after a kill: synced ms", millis(synced[0].synced_in));
    } else {
        // Peers store some seconds after they ack.
        std::thread::sleep(PEERS_STORE_WITHIN);
    }
    let runs = (0..5)
        .map(|_| {
            restart(target, &mut server, folder.path())?;
            let (mut synced, _) = open(target, &server, &stream, 1, false)?;
            Ok((synced.remove(0), millis(server.ready_in)))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    figures.add("document KB", runs[0].0.received_bytes as f64 / 1e3);
    figures.add("ready ms", median(runs.iter().map(|(_, ready)| *ready).collect()));
    figures.add("SyncStep2 ms", median(runs.iter().map(|(run, _)| millis(run.step2_in)).collect()));
    figures.add("synced ms", median(runs.iter().map(|(run, _)| millis(run.synced_in)).collect()));

    restart(target, &mut server, folder.path())?;
    at_once(target, &server, &stream, false, &mut figures)?;
    seed(target, &server, &stream)?;
    if target.kind != Kind::Syncline {
        std::thread::sleep(PEERS_STORE_WITHIN);
    }
    restart(target, &mut server, folder.path())?;
    at_once(target, &server, &stream, true, &mut figures)?;
    Ok(figures)
}

fn restart(target: &Target, server: &mut Server, folder: &Path) -> anyhow::Result<()> {
    server.stop()?;
    *server = target.start(folder)?;
    Ok(())
}

fn at_once(
    target: &Target,
    server: &Server,
    stream: &Stream,
    apart: bool,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let name = if apart { "100 documents at once" } else { "100 devices at once" };
    let cpu = server.cpu_seconds();
    let (_, took) = open(target, server, stream, AT_ONCE, apart)?;
    figures.add(format!("{name}: s"), took.as_secs_f64());
    figures.add(format!("{name}: CPU ms each"), (server.cpu_seconds() - cpu) * 1e3 / AT_ONCE as f64);
    Ok(())
}

/// Opens with `count` devices at once, each its own document where `apart`, and checks that each gets everything.
fn open(
    target: &Target,
    server: &Server,
    stream: &Stream,
    count: usize,
    apart: bool,
) -> anyhow::Result<(Vec<Synced>, Duration)> {
    let address = target.address(server);
    let dialects = target.kind.dialects();
    let (synced, took) = runtime()?.block_on(async {
        let started = Instant::now();
        let mut opening = tokio::task::JoinSet::new();
        for number in 0..count {
            let address = address.clone();
            let name = document_name(if apart { number + 1 } else { 0 });
            let dialect = dialects[number % dialects.len()];
            opening.spawn(async move {
                let mut probe = Probe::open(&address, &name, dialect, number).await?;
                let started = Instant::now();
                let mut synced = probe.sync(wire::EMPTY_STATE_VECTOR, wire::EMPTY_UPDATE).await?;
                if synced.update == wire::EMPTY_UPDATE
                    && let Some(update) = probe.late_update(LATE).await?
                {
                    (synced.received_bytes, synced.update) = (update.len(), update);
                    (synced.step2_in, synced.synced_in) = (started.elapsed(), started.elapsed());
                }
                anyhow::Ok((synced, probe))
            });
        }
        // Sockets stay open until all are through.
        let opened = opening.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let took = started.elapsed();
        anyhow::Ok((opened.into_iter().map(|(synced, _)| synced).collect::<Vec<_>>(), took))
    })?;
    for synced in &synced {
        let reached = traffic::reached(&synced.update, &[stream.client])?;
        let whole = stream.clock_after(stream.len());
        ensure!(
            reached == [(stream.client, whole)],
            "a document came back as {reached:?}, not up to {whole}"
        );
    }
    Ok((synced, took))
}

/// Writes the long document as one offline edit into a hundred documents.
fn seed(target: &Target, server: &Server, stream: &Stream) -> anyhow::Result<()> {
    let address = target.address(server);
    let dialect = target.kind.dialects()[0];
    let whole = Bytes::from(stream.folded(0, stream.len())?);
    runtime()?.block_on(async {
        for number in 1..=AT_ONCE {
            let mut probe = Probe::open(&address, &document_name(number), dialect, number).await?;
            probe.sync(wire::EMPTY_STATE_VECTOR, &whole).await?;
            // It comes back to whoever asks from the start only once it was taken in.
            let mut reader = Probe::open(&address, &document_name(number), dialect, number).await?;
            let got = reader.sync(wire::EMPTY_STATE_VECTOR, wire::EMPTY_UPDATE).await?;
            if got.update.len() < whole.len() / 2 {
                reader
                    .await_message(|heard| {
                        matches!(heard, Heard::Update(update) | Heard::SyncStep2(update) if update.len() > whole.len() / 2)
                    })
                    .await?;
            }
        }
        Ok(())
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
