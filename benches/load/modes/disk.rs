//! W7: bytes on disk: written while updates flow, and at rest afterwards.

use crate::fleet::{Ending, Fleet, Plan};
use crate::lab::{Lab, add_health};
use crate::process::disk_bytes;
use crate::report::Figures;
use crate::target::{Kind, Target};
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(lab: &Lab, target: &Target) -> anyhow::Result<Figures> {
    let arguments = &lab.arguments;
    let folder = lab.folder()?;
    let data = folder.path().join("data");
    let mut server = target.start(folder.path())?;
    let rate = arguments.disk_rate;
    let seconds = arguments.disk_seconds;
    let count = (rate * (seconds + 1) as f64 / (arguments.users * 3) as f64) as usize + 10;
    // Each document its own text: a store that compresses must not see the same one twice.
    let variants = lab.traffic(arguments.users, 3, count);
    let fleet = Fleet::connect(&lab.users(target, target.address(&server), variants)?, arguments.threads)?;
    let before = server.written_bytes();
    fleet.start(Plan::Open { rate })?;
    std::thread::sleep(Duration::from_secs(seconds));
    let outcome = fleet.stop(&Ending::Now, PATIENCE)?;
    let updates = outcome.stats.sent.max(1) as f64;
    let mut figures = Figures::default();
    figures.add("updates", updates);
    figures.add("written B/upd", (server.written_bytes() - before) / updates);
    figures.add("running file B/upd", disk_bytes(&data) / updates);
    drop(fleet);
    if target.attached.is_none() && target.kind == Kind::Syncline {
        std::thread::sleep(Duration::from_secs(arguments.settle));
        figures.add("written B/upd, settled", (server.written_bytes() - before) / updates);
        server.stop()?;
        figures.add("at rest B/upd, stopped", disk_bytes(&data) / updates);
        let compacted = Command::new(&target.binary)
            .args(["compact", "--data"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if compacted.success() {
            figures.add("at rest B/upd, compacted", disk_bytes(&data) / updates);
        }
    }
    add_health(&mut figures, &outcome.stats, 2);
    Ok(figures)
}
