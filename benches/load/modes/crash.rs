//! W6: the server is killed under load; which edits that it had acked, or passed on, are gone?

use crate::fleet::{Ending, Fleet, Outcome, Plan, Progress, document_name};
use crate::lab::{Lab, Variants, add_health};
use crate::probe::{Probe, runtime};
use crate::process::Server;
use crate::report::Figures;
use crate::target::Target;
use std::time::Duration;
use syncline_benches::traffic;
use syncline_benches::wire;

/// How long a server may take to load a document that it answered for as if it were empty.
const LATE: Duration = Duration::from_millis(300);

pub(crate) fn run(lab: &Lab, target: &Target) -> anyhow::Result<Figures> {
    let arguments = &lab.arguments;
    let folder = lab.folder()?;
    let mut server = target.start(folder.path())?;
    let rate = arguments.crash_rate;
    let count = (rate * (arguments.seconds + 2) as f64 / (arguments.users * 3) as f64) as usize + 10;
    let variants = lab.traffic(arguments.users, 3, count);
    let cast = lab.users(target, target.address(&server), variants.clone())?;
    let fleet = Fleet::connect(&cast, arguments.threads)?;
    fleet.start(Plan::Open { rate })?;
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    server.kill()?;
    // What the dead server had written to its sockets still arrives.
    let outcome = fleet.stop(&Ending::Now, Duration::from_millis(500))?;
    drop(fleet);
    let server = target.start(folder.path())?;
    let mut figures = judge(target, &server, &variants, &outcome)?;
    figures.add("ready after the kill ms", server.ready_in.as_secs_f64() * 1e3);
    let mut stats = outcome.stats;
    stats.closed = 0;
    add_health(&mut figures, &stats, 2);
    Ok(figures)
}

fn judge(
    target: &Target,
    server: &Server,
    variants: &Variants,
    outcome: &Outcome,
) -> anyhow::Result<Figures> {
    let address = target.address(server);
    let dialect = target.kind.dialects()[0];
    let (mut acked, mut acked_lost, mut seen, mut seen_lost) = (0u64, 0u64, 0u64, 0u64);
    runtime()?.block_on(async {
        for (document, streams) in variants.iter().enumerate() {
            let mut probe = Probe::open(&address, &document_name(document), dialect, 0).await?;
            let synced = probe.sync(wire::EMPTY_STATE_VECTOR, wire::EMPTY_UPDATE).await?;
            let clients: Vec<u64> = streams.iter().map(|stream| stream.client).collect();
            let mut reached = traffic::reached(&synced.update, &clients)?;
            if reached.is_empty()
                && let Some(update) = probe.late_update(LATE).await?
            {
                reached = traffic::reached(&update, &clients)?;
            }
            for &Progress { device, acked: told, elsewhere, .. } in
                outcome.progress.iter().filter(|progress| progress.document == document)
            {
                let clock =
                    reached.iter().find(|(client, _)| *client == clients[device]).map_or(0, |of| of.1);
                let kept = streams[device].count_below(clock) as u32;
                acked += u64::from(told);
                acked_lost += u64::from(told.saturating_sub(kept));
                seen += u64::from(elsewhere);
                seen_lost += u64::from(elsewhere.saturating_sub(kept));
            }
        }
        anyhow::Ok(())
    })?;
    let mut figures = Figures::default();
    figures.add("acked", acked as f64);
    figures.add("acked and lost", acked_lost as f64);
    figures.add("seen elsewhere", seen as f64);
    figures.add("seen elsewhere and lost", seen_lost as f64);
    figures.add("kept % of what was seen", 100.0 - seen_lost as f64 * 100.0 / seen.max(1) as f64);
    Ok(figures)
}
