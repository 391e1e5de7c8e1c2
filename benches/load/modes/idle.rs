//! W3: what a connection costs that does nothing: memory once its document is evicted, CPU to open it and to keep it.

use crate::fleet::{Cast, Ending, Fleet, Plan};
use crate::lab::Lab;
use crate::report::Figures;
use crate::target::{Kind, Target};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait for eviction where the server tells how many documents are open.
const EVICTION: Duration = Duration::from_secs(180);
const OPEN_DOCUMENTS: &str = "syncline_documents_open";

pub(crate) fn run(lab: &Lab, target: &Target) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    for &connections in &lab.arguments.connections {
        run_with(lab, target, connections, &mut figures)?;
    }
    Ok(figures)
}

fn run_with(lab: &Lab, target: &Target, connections: usize, figures: &mut Figures) -> anyhow::Result<()> {
    let arguments = &lab.arguments;
    let folder = lab.folder()?;
    let server = target.start(folder.path())?;
    let address = target.address(&server);
    let documents = arguments.documents.min(connections);
    let cast = Cast {
        address: address.clone(),
        documents,
        devices: connections,
        dialects: lab.dialects(target)?,
        variants: lab.traffic(20, 1, 2),
        read_buffer: 2048,
        concurrency: 64,
        acks: target.kind.acks(),
    };
    std::thread::sleep(Duration::from_millis(500));
    let (rss_before, pss_before) = server.memory_kib();
    let cpu = server.cpu_seconds();
    let fleet = Fleet::connect(&cast, arguments.threads)?;
    let opened_cpu = server.cpu_seconds() - cpu;

    // One edit in each document, so that there is something to evict.
    fleet.start(Plan::Closed { window: 1, limit: 1 })?;
    let edits = fleet.stop(&Ending::AtLimit, PATIENCE)?;
    let settling = Instant::now();
    let still_open = settle(lab, target, &address);
    let idle_cpu = server.cpu_seconds();
    std::thread::sleep(Duration::from_secs(5));
    let idle_cpu = server.cpu_seconds() - idle_cpu;
    let (rss, pss) = server.memory_kib();

    let count = fleet.sockets as f64;
    let mut add = |name: &str, value: f64| figures.add(format!("{connections}: {name}"), value);
    add("RSS KiB/conn", (rss - rss_before) / count);
    add("PSS KiB/conn", (pss - pss_before) / count);
    add("conn/s", count / fleet.connected_in.as_secs_f64());
    add("CPU ms/conn", opened_cpu * 1e3 / count);
    add("idle CPU ms/s", idle_cpu * 1e3 / 5.0);
    add("settled s", settling.elapsed().as_secs_f64() - 5.0);
    if let Some(open) = still_open {
        add("documents still open", open);
    }
    if edits.stats.closed > 0 || !edits.quiet {
        add("lost sockets", edits.stats.closed as f64);
        add("edits not delivered and acked", f64::from(u8::from(!edits.quiet)));
    }
    Ok(())
}

/// Waits until documents are evicted, or for a fixed time where the server does not tell.
fn settle(lab: &Lab, target: &Target, address: &crate::target::Address) -> Option<f64> {
    std::thread::sleep(Duration::from_secs(lab.arguments.settle));
    if target.kind != Kind::Syncline {
        return None;
    }
    let deadline = Instant::now() + EVICTION;
    let mut open = address.metric(OPEN_DOCUMENTS)?;
    while open > 0.0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_secs(1));
        open = address.metric(OPEN_DOCUMENTS)?;
    }
    Some(open)
}
