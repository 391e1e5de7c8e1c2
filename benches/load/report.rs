//! Collects figures of every run, shows medians with their spread and ratios, and writes all of it as JSON.

use crate::target::Kind;
use serde_json::{Value, json};
use std::path::Path;

/// The figures of one run, in the order in which they are shown.
#[derive(Default)]
pub(crate) struct Figures(Vec<(String, f64)>);

impl Figures {
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.push((name.into(), value));
    }

    pub(crate) fn add_some(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

#[derive(Default)]
pub(crate) struct Report {
    runs: Vec<(String, Kind, Figures)>,
}

struct Summary {
    median: f64,
    low: f64,
    high: f64,
}

impl Report {
    pub(crate) fn note(&mut self, mode: &str, target: Kind, figures: Figures) {
        self.runs.push((mode.to_owned(), target, figures));
    }

    fn modes(&self) -> Vec<&str> {
        distinct(self.runs.iter().map(|(mode, ..)| mode.as_str()))
    }

    fn targets(&self, mode: &str) -> Vec<Kind> {
        distinct(self.runs.iter().filter(|(of, ..)| of == mode).map(|&(_, target, _)| target))
    }

    fn summary(&self, mode: &str, target: Kind, figure: &str) -> Option<Summary> {
        let mut values: Vec<f64> = self
            .runs
            .iter()
            .filter(|(of, by, _)| of == mode && *by == target)
            .flat_map(|(_, _, figures)| &figures.0)
            .filter(|(name, _)| name == figure)
            .map(|&(_, value)| value)
            .collect();
        values.sort_by(f64::total_cmp);
        Some(Summary { median: *values.get(values.len() / 2)?, low: *values.first()?, high: *values.last()? })
    }

    fn figure_names(&self, mode: &str) -> Vec<&str> {
        let runs = self.runs.iter().filter(|(of, ..)| of == mode);
        distinct(runs.flat_map(|(_, _, figures)| figures.0.iter().map(|(name, _)| name.as_str())))
    }

    /// Prints, a mode at a time, one line a figure and one column a target; ratios are to the first other target.
    pub(crate) fn print(&self) {
        for mode in self.modes() {
            let targets = self.targets(mode);
            println!("\n{mode}");
            print!("{:<34}", "");
            for target in &targets {
                print!("{:>34}", target.name());
            }
            println!("{:>9}", if targets.len() > 1 { "1st/2nd" } else { "" });
            for name in self.figure_names(mode) {
                print!("{name:<34}");
                let cells: Vec<_> = targets.iter().map(|&target| self.summary(mode, target, name)).collect();
                for cell in &cells {
                    print!("{:>34}", cell.as_ref().map_or_else(|| "-".to_owned(), show));
                }
                if let [Some(first), Some(second), ..] = &cells[..]
                    && second.median != 0.0
                {
                    print!("{:>9.2}", first.median / second.median);
                }
                println!();
            }
        }
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let runs: Vec<Value> = self
            .runs
            .iter()
            .map(|(mode, target, figures)| {
                let figures: serde_json::Map<String, Value> =
                    figures.0.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
                json!({ "mode": mode, "target": target.name(), "figures": figures })
            })
            .collect();
        let mut summaries = Vec::new();
        for mode in self.modes() {
            for target in self.targets(mode) {
                for name in self.figure_names(mode) {
                    if let Some(Summary { median, low, high }) = self.summary(mode, target, name) {
                        summaries.push(json!({ "mode": mode, "target": target.name(), "figure": name,
                            "median": median, "low": low, "high": high }));
                    }
                }
            }
        }
        let command: Vec<String> = std::env::args().skip(1).collect();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let all = json!({ "command": command, "cpus": cpus, "runs": runs, "summaries": summaries });
        std::fs::write(path, serde_json::to_vec_pretty(&all)?)?;
        Ok(())
    }
}

fn show(summary: &Summary) -> String {
    let Summary { median, low, high } = summary;
    if low == high {
        number(*median)
    } else {
        format!("{} [{} .. {}]", number(*median), number(*low), number(*high))
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}
