//! W5: a device comes back with a thousand offline edits to a document that has a thousand new ones.

use crate::fleet::document_name;
use crate::lab::{Lab, median};
use crate::probe::{Probe, runtime};
use crate::report::Figures;
use crate::target::Target;
use bytes::{BufMut, BytesMut};
use std::sync::Arc;
use std::time::{Duration, Instant};
use syncline_benches::traffic;
use syncline_benches::wire::{self, Dialect, Heard};

const EDITS: usize = 1_000;
const DOCUMENTS: usize = 60;
/// Long enough for the durable queue to drain where a server does not tell.
const QUIET: Duration = Duration::from_secs(1);

pub(crate) fn run(lab: &Lab, target: &Target) -> anyhow::Result<Figures> {
    let folder = lab.folder()?;
    let server = target.start(folder.path())?;
    let address = target.address(&server);
    let variants = lab.traffic(1, 2, EDITS);
    let (stayed, left) = (Arc::clone(&variants[0][0]), Arc::clone(&variants[0][1]));
    let offline = left.folded(0, EDITS)?;
    let mut vector = BytesMut::new();
    vector.put_u8(1);
    wire::put_var(&mut vector, left.client);
    wire::put_var(&mut vector, u64::from(left.clock_after(EDITS)));
    let dialects = target.kind.dialects();

    runtime()?.block_on(async {
        let mut online = Vec::new();
        for index in 0..DOCUMENTS {
            let name = document_name(index);
            let mut probe = Probe::open(&address, &name, dialects[0], index).await?;
            probe.sync(wire::EMPTY_STATE_VECTOR, wire::EMPTY_UPDATE).await?;
            probe.send_plain((0..EDITS).map(|edit| stayed.frame(edit))).await?;
            if dialects[0] == Dialect::Plain {
                probe.await_message(|heard| holds(heard, &stayed)).await?;
            }
            online.push(probe);
        }
        tokio::time::sleep(QUIET).await;

        let cpu = server.cpu_seconds();
        let (mut down, mut whole) = (Vec::new(), Vec::new());
        let (mut sent, mut received) = (0, 0);
        for (index, other) in online.iter_mut().enumerate() {
            let dialect = dialects[index % dialects.len()];
            let mut probe = Probe::open(&address, &document_name(index), dialect, index).await?;
            let started = Instant::now();
            let synced = probe.sync(&vector, &offline).await?;
            let arrived = other.await_message(|heard| holds(heard, &left)).await?;
            down.push(synced.step2_in.as_secs_f64() * 1e3);
            whole.push((arrived - started).as_secs_f64() * 1e3);
            (sent, received) = (synced.sent_bytes, synced.received_bytes);
        }
        let cpu = server.cpu_seconds() - cpu;
        let mut figures = Figures::default();
        figures.add("SyncStep2 p50 ms", median(down));
        figures.add("rejoined on both sides p50 ms", median(whole));
        figures.add("server CPU ms", cpu * 1e3 / DOCUMENTS as f64);
        figures.add("KB up", sent as f64 / 1e3);
        figures.add("KB down", received as f64 / 1e3);
        Ok(figures)
    })
}

/// Whether a message brings the last edit of a stream.
fn holds(heard: &Heard<'_>, stream: &traffic::Stream) -> bool {
    let (Heard::Update(update) | Heard::SyncStep2(update)) = heard else { return false };
    let end = stream.clock_after(stream.len());
    traffic::reached(update, &[stream.client]).is_ok_and(|reached| reached == [(stream.client, end)])
}
