//! W2: how much a server passes on, and what that costs, when each document always has updates under way.

use crate::fleet::{Ending, Fleet, Plan};
use crate::lab::{Lab, add_health, over_windows};
use crate::process::own_cpu_seconds;
use crate::report::Figures;
use crate::target::Target;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
/// Updates of a device: at 600 devices, ten seconds of 360,000 updates a second.
const UPDATES_A_DEVICE: usize = 6_000;
const VARIANTS: usize = 40;

pub(crate) fn run(lab: &Lab, target: &Target) -> anyhow::Result<Figures> {
    let arguments = &lab.arguments;
    let folder = lab.folder()?;
    let server = target.start(folder.path())?;
    let variants = lab.traffic(VARIANTS.min(arguments.users), 3, UPDATES_A_DEVICE);
    let fleet = Fleet::connect(&lab.users(target, target.address(&server), variants)?, arguments.threads)?;
    let plan = Plan::Closed { window: arguments.in_flight, limit: u32::MAX };
    fleet.start(plan)?;
    std::thread::sleep(Duration::from_secs(1));
    fleet.stop(&Ending::Now, PATIENCE)?;

    let (cpu, own) = (server.cpu_seconds(), own_cpu_seconds());
    fleet.start(plan)?;
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let outcome = fleet.stop(&Ending::Now, PATIENCE)?;
    let (cpu, own) = (server.cpu_seconds() - cpu, own_cpu_seconds() - own);
    let stats = &outcome.stats;
    let seconds = stats.elapsed().as_secs_f64();
    let mut figures = Figures::default();
    figures.add("server CPU s/M deliveries", cpu * 1e6 / stats.deliveries.max(1) as f64);
    figures.add("deliveries/s", stats.deliveries as f64 / seconds);
    let best = stats.windows.iter().map(|window| window.delivery.count()).max();
    figures.add_some("deliveries/s, best second", best.map(|count| count as f64));
    figures.add("server CPU cores", cpu / seconds);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        if let Some((middle, _)) = over_windows(stats.windows.iter().map(|window| &window.delivery), share) {
            figures.add(format!("delivery {name} us"), middle);
        }
        if let Some((middle, _)) = over_windows(stats.windows.iter().map(|window| &window.ack), share) {
            figures.add(format!("ack {name} us"), middle);
        }
    }
    figures.add("generator CPU s/M deliveries", own * 1e6 / stats.deliveries.max(1) as f64);
    add_health(&mut figures, stats, 2);
    Ok(figures)
}
