//! Measures the commit thread on a real disk: `cargo run -p syncline-store --example commits [FOLDER]`.
//!
//! Prints acked entries a second, commits a second, how long acks took, and the bytes that reached the disk for
//! each update: pages made dirty as the kernel counts them (`/proc/self/io`), what W7 of the goals is about.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use syncline_document::record::{Entry, EntryKind, Origin};
use syncline_protocol::names::DocumentName;
use syncline_store::{
    CommitReport, Store, Writer, WriterOptions,
    sled_store::{Expect, SledOptions, SledStore},
};

/// Bytes of an update: W1's average.
const UPDATE_BYTES: usize = 26;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    println!(
        "{:<26} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "", "acked/s", "commits/s", "ack p50", "ack p99", "B/upd", "CPU us"
    );
    for (what, documents, rate) in [
        ("1 document, flat out", 1, None),
        ("200 documents, flat out", 200, None),
        ("200 documents, 1,000/s", 200, Some(1_000)),
        ("200 documents, 2,000/s", 200, Some(2_000)),
        ("200 documents, 4,000/s", 200, Some(4_000)),
        ("200 documents, 16,000/s", 200, Some(16_000)),
    ] {
        run(&folder.join(format!("commits-{}", std::process::id())), what, documents, rate)?;
    }
    Ok(())
}

fn run(
    folder: &Path,
    what: &str,
    documents: u64,
    rate: Option<u64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let store = Arc::new(SledStore::open_folder(folder, &SledOptions::default(), Expect::Nothing)?);
    let acked = Arc::new(AtomicU64::new(0));
    let waits = Arc::new(Mutex::new(Vec::new()));
    let (count, seen) = (acked.clone(), waits.clone());
    let writer =
        Writer::start(store.clone(), WriterOptions::default(), move |report: CommitReport<Instant>| {
            report.result.as_ref().expect("the disk is fine");
            count.fetch_add(report.tags.len() as u64, Relaxed);
            seen.lock().extend(report.tags.iter().map(|(queued, _)| queued.elapsed()));
        })?;
    let names: Vec<_> =
        (0..documents).map(|n| DocumentName::parse(&format!("user{n}/c/0190{n:04}"))).collect();
    let names = names.into_iter().collect::<Result<Vec<_>, _>>()?;
    let users: Vec<Arc<str>> = (0..documents).map(|n| format!("user{n}").into()).collect();
    let devices: Vec<Arc<str>> = (0..3).map(|n| format!("device-{n}").into()).collect();
    let (written, cpu, began) = (written_bytes()?, cpu_time()?, Instant::now());
    let time = Duration::from_secs(5);
    let mut appended = 0_u64;
    while began.elapsed() < time {
        let allowed = match rate {
            Some(rate) => (began.elapsed().as_secs_f64() * rate as f64) as u64,
            None if writer.has_room() => appended + 64,
            None => appended,
        };
        while appended < allowed {
            let document = (appended % documents) as usize;
            let entry = Entry {
                document: names[document].clone(),
                sequence: appended / documents + 1,
                kind: EntryKind::Update,
                origin: Origin {
                    user: Some(users[document].clone()),
                    device: Some(devices[(appended / documents % 3) as usize].clone()),
                    at_ms: 1_700_000_000_000 + began.elapsed().as_millis() as u64,
                },
                bytes: appended.to_le_bytes().repeat(4)[..UPDATE_BYTES].to_vec().into(),
            };
            writer.append(entry, Instant::now());
            appended += 1;
        }
        if rate.is_some() || !writer.has_room() {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    writer.shutdown()?;
    let took = began.elapsed().as_secs_f64();
    let mut waits = std::mem::take(&mut *waits.lock());
    waits.sort_unstable();
    let acked = acked.load(Relaxed);
    println!(
        "{what:<26} {:>9.0} {:>9.0} {:>9.1?} {:>9.1?} {:>8.0} {:>8.1}",
        acked as f64 / took,
        store.last_commit() as f64 / took,
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100],
        (written_bytes()? - written) as f64 / acked as f64,
        (cpu_time()? - cpu) * 1e6 / acked as f64,
    );
    drop(writer);
    drop(store);
    Ok(std::fs::remove_dir_all(folder)?)
}

fn written_bytes() -> Result<u64, Box<dyn std::error::Error>> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.ok_or("no write_bytes")?.parse()?)
}

/// Seconds of CPU, this program's own appending included.
fn cpu_time() -> Result<f64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // utime and stime, in hundredths.
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}
