//! W1: how long an update takes to reach the user's other devices at a fixed rate, and how far the rate can go.

use crate::fleet::{Ending, Fleet, Outcome, Plan};
use crate::lab::{Lab, add_health, over_windows};
use crate::process::own_cpu_seconds;
use crate::report::Figures;
use crate::stats::Stats;
use crate::target::Target;
use std::time::Duration;
use syncline_benches::histogram::Histogram;

const PATIENCE: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(2);
/// The knee is the last of these rates at which p99 stays within 50 ms.
const KNEE_RATES: [u32; 12] =
    [2_000, 4_000, 8_000, 12_000, 16_000, 24_000, 32_000, 48_000, 64_000, 80_000, 96_000, 128_000];
const KNEE_P99_US: f64 = 50_000.0;
const KNEE_STEP: Duration = Duration::from_secs(4);

pub(crate) fn run(lab: &Lab, target: &Target) -> anyhow::Result<Figures> {
    let arguments = &lab.arguments;
    let folder = lab.folder()?;
    let server = target.start(folder.path())?;
    let seconds = (WARM_UP.as_secs() + arguments.seconds) as f64;
    let mut updates = arguments.rate * (seconds + 1.0);
    if arguments.knee {
        updates += KNEE_RATES.iter().map(|&rate| f64::from(rate) * KNEE_STEP.as_secs_f64()).sum::<f64>();
    }
    let count = (updates / (arguments.users * 3) as f64) as usize + 10;
    let variants = lab.traffic(arguments.users.min(50), 3, count);
    let fleet = Fleet::connect(&lab.users(target, target.address(&server), variants)?, arguments.threads)?;

    let run_at = |rate: f64, time: Duration| -> anyhow::Result<(Outcome, f64, f64)> {
        let (cpu, own) = (server.cpu_seconds(), own_cpu_seconds());
        fleet.start(Plan::Open { rate })?;
        std::thread::sleep(time);
        let outcome = fleet.stop(&Ending::Now, PATIENCE)?;
        Ok((outcome, server.cpu_seconds() - cpu, own_cpu_seconds() - own))
    };
    run_at(arguments.rate, WARM_UP)?;
    let (outcome, cpu, own) = run_at(arguments.rate, Duration::from_secs(arguments.seconds))?;
    let stats = &outcome.stats;
    let mut figures = Figures::default();
    let quantiles = [("p50", 0.5), ("p99", 0.99)];
    for (name, share) in quantiles {
        if let Some((middle, best)) = over_windows(stats.windows.iter().map(|window| &window.delivery), share)
        {
            figures.add(format!("delivery {name} us, median second"), middle);
            figures.add(format!("delivery {name} us, best second"), best);
        }
    }
    for (name, share) in quantiles {
        if let Some((middle, best)) = over_windows(stats.windows.iter().map(|window| &window.ack), share) {
            figures.add(format!("ack {name} us, median second"), middle);
            figures.add(format!("ack {name} us, best second"), best);
        }
    }
    figures.add("server CPU s/M deliveries", cpu * 1e6 / stats.deliveries.max(1) as f64);
    figures.add("generator CPU s/M deliveries", own * 1e6 / stats.deliveries.max(1) as f64);
    add_health(&mut figures, stats, 2);
    if arguments.knee {
        let mut knee = 0;
        for rate in KNEE_RATES {
            let (outcome, ..) = run_at(f64::from(rate), KNEE_STEP)?;
            let kept_up = p99(&outcome.stats).is_some_and(|p99| p99 <= KNEE_P99_US);
            if !kept_up || !outcome.quiet || outcome.stats.overloaded {
                let late = outcome.stats.lag.quantile_us(0.99).unwrap_or_default();
                figures.add("generator lag p99 us past the knee", late);
                break;
            }
            knee = rate;
        }
        figures.add("knee upd/s", f64::from(knee));
    }
    Ok(figures)
}

fn p99(stats: &Stats) -> Option<f64> {
    let mut all = Histogram::default();
    // The first second is still filling buffers.
    stats.windows.iter().skip(1).for_each(|window| all.merge(&window.delivery));
    all.quantile_us(0.99)
}
