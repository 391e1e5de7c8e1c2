//! Prometheus' text format: `# HELP`, `# TYPE`, and lines of values.

use std::fmt::{Display, Write};

/// Everything of ours begins so.
const PREFIX: &str = "syncline_";

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Writing to a `String` does not fail: results of `write!` are let go.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {PREFIX}{name} {help}.\n# TYPE {PREFIX}{name} {kind}");
    }

    pub(super) fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        let _ = writeln!(self.0, "{PREFIX}{name} {value}");
    }

    /// A label's value must need no escaping: all of them are words of ours or numbers.
    pub(super) fn labelled(&mut self, name: &str, label: &str, word: impl Display, value: impl Display) {
        let _ = writeln!(self.0, "{PREFIX}{name}{{{label}=\"{word}\"}} {value}");
    }

    /// `counts` has one more entry than `bounds`, for what is above them all.
    pub(super) fn histogram(&mut self, name: &str, help: &str, bounds: &[f64], counts: &[u64], sum: f64) {
        self.family(name, Kind::Histogram, help);
        let mut total = 0;
        for (bound, count) in bounds.iter().zip(counts) {
            total += count;
            let _ = writeln!(self.0, "{PREFIX}{name}_bucket{{le=\"{bound}\"}} {total}");
        }
        total += counts.get(bounds.len()).copied().unwrap_or_default();
        let _ = writeln!(self.0, "{PREFIX}{name}_bucket{{le=\"+Inf\"}} {total}");
        let _ = writeln!(self.0, "{PREFIX}{name}_sum {sum}\n{PREFIX}{name}_count {total}");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}
