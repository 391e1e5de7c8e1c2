//! What a person or a program sees of an import: a line for each conversation on stdout, how far it is on stderr.

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use syncline_exchange::{Report, Status};

use crate::{
    api::transfer::{BlobStatus, Told},
    cli::Failure,
    commands::print,
};

/// Characters of a title that are shown.
const TITLE_CHARS: usize = 60;
/// Characters of a reason that are shown.
const REASON_CHARS: usize = 400;
/// Where there is no terminal, how far it is is told at each of so many percent.
const STEP_PERCENT: u64 = 10;
/// Statuses that say something of the file, not of the server: the next file is read all the same.
pub(super) const REFUSED: [u16; 3] = [400, 413, 422];
/// How often the bar is drawn while nothing happens.
const REDRAW: Duration = Duration::from_millis(200);

/// How far an import is, and what came of it.
pub(super) struct Progress {
    json: bool,
    /// The file that is being imported.
    file: String,
    /// Hidden where stderr is no terminal.
    bar: ProgressBar,
    /// Percent told last, where there is no bar.
    told_percent: u64,
    counts: Counts,
    /// A file broke off for a reason that would stop the next one, too.
    stopped: Option<String>,
    /// The file was told of to its end.
    ended: bool,
}

/// What became of conversations.
#[derive(Default)]
struct Counts {
    imported: usize,
    unchanged: usize,
    skipped: usize,
    failed: usize,
    new: usize,
    /// Blobs that were not there.
    blobs: usize,
    /// Files that could not be read on, and parts of archives that could not be written.
    left: usize,
}

impl Progress {
    pub(super) fn new(json: bool) -> Self {
        let target = match stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        // The template is our own and right; the plain bar is what is left if it were not.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {percent:>3}% {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        let counts = Counts::default();
        Self { json, file: String::new(), bar, told_percent: 0, counts, stopped: None, ended: false }
    }

    /// Begins a file.
    pub(super) fn begin(&mut self, file: &str, bytes: u64) {
        file.clone_into(&mut self.file);
        self.told_percent = 0;
        self.ended = false;
        self.bar.reset();
        self.bar.set_length(bytes);
        self.bar.set_prefix(clean(file, TITLE_CHARS));
        self.bar.set_message("");
        self.bar.enable_steady_tick(REDRAW);
    }

    /// Returns what is told how much of a file was sent, of how much.
    pub(super) fn upload(&self) -> impl Fn(u64, u64) + Send + Sync + 'static {
        let bar = self.bar.clone();
        move |sent, of| {
            bar.set_length(of);
            bar.set_position(sent);
            bar.set_message(if sent < of { "sending" } else { "sent" });
        }
    }

    /// Tells of a line.
    pub(super) fn tell(&mut self, told: &Told) -> Result<(), Failure> {
        match told {
            Told::Conversation { report, new, changed, read, of } => {
                self.counts.add(report, *new, *changed);
                self.say(told, || line(report, *new, *changed))?;
                self.advance(*read, *of);
                Ok(())
            }
            Told::Blob { blob, read, of } => {
                match blob.status {
                    BlobStatus::Stored => self.counts.blobs += 1,
                    // Those that failed are told at the end.
                    BlobStatus::Present | BlobStatus::Failed => {}
                }
                if self.json {
                    self.say(told, String::new)?;
                }
                self.advance(*read, *of);
                Ok(())
            }
            Told::End { left, .. } => {
                self.ended = true;
                self.counts.left += left.len();
                let lines: Vec<String> = left
                    .iter()
                    .map(|left| format!("failed     {}: {}", clean(&left.what, REASON_CHARS), left.why))
                    .collect();
                self.say(told, || lines.join("\n"))
            }
            Told::Stopped { problem } => {
                self.ended = true;
                let detail = problem["detail"].as_str().unwrap_or("the import broke off");
                if REFUSED.iter().any(|status| problem["status"] == *status) {
                    self.counts.left += 1;
                } else {
                    self.stopped = Some(detail.to_owned());
                }
                self.say(told, || format!("failed     {}: {detail}", self.file))
            }
        }
    }

    /// Ends a file; says whether those that come after would meet the same end.
    pub(super) fn end(&self) -> Result<bool, Failure> {
        if !self.ended {
            let text = format!("{} broke off: import it again to go on", self.file);
            return Err(Failure::Check(text));
        }
        Ok(self.stopped.is_some())
    }

    /// Sums up, and says how the command ends.
    pub(super) fn finish(self, imported: Result<(), Failure>) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        imported?;
        let summary = self.counts.summary();
        if let Some(reason) = self.stopped {
            return Err(Failure::Check(format!("{reason} ({summary})")));
        }
        if self.counts.failed + self.counts.left > 0 {
            return Err(Failure::Check(format!("not all was imported: {summary}")));
        }
        if self.json { Ok(()) } else { print(&summary) }
    }

    /// Prints a line on stdout, beside the bar.
    fn say(&self, told: &Told, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = if self.json { self.json(told)? } else { text() };
        if text.is_empty() { Ok(()) } else { self.bar.suspend(|| print(&text)) }
    }

    fn json(&self, told: &Told) -> Result<String, Failure> {
        let mut value = serde_json::to_value(told)
            .map_err(|error| Failure::Check(format!("cannot write JSON, which is a bug: {error}")))?;
        if let Value::Object(entries) = &mut value {
            entries.insert("file".to_owned(), json!(self.file));
        }
        Ok(value.to_string())
    }

    fn advance(&mut self, read: u64, of: u64) {
        self.bar.set_length(of);
        self.bar.set_position(read);
        self.bar.set_message(self.counts.short());
        let percent = read * 100 / of.max(1);
        if self.bar.is_hidden() && !self.json && percent >= self.told_percent + STEP_PERCENT {
            self.told_percent = percent - percent % STEP_PERCENT;
            eprintln!("{}: {percent}%, {}", clean(&self.file, TITLE_CHARS), self.counts.short());
        }
    }
}

impl Counts {
    fn add(&mut self, report: &Report, new: usize, changed: bool) {
        self.new += new;
        *match report.status {
            Status::Imported if changed => &mut self.imported,
            Status::Imported => &mut self.unchanged,
            Status::Skipped => &mut self.skipped,
            Status::Failed => &mut self.failed,
        } += 1;
    }

    fn short(&self) -> String {
        let Self { imported, unchanged, skipped, failed, .. } = self;
        format!("{imported} imported, {unchanged} unchanged, {skipped} skipped, {failed} failed")
    }

    fn summary(&self) -> String {
        let left = match self.left {
            0 => String::new(),
            left => format!(", {left} other failures"),
        };
        let blobs = match self.blobs {
            0 => String::new(),
            blobs => format!(", {blobs} new blobs"),
        };
        format!("{}{left}; {} new turns{blobs}", self.short(), self.new)
    }
}

/// Says what became of a conversation, in one line.
fn line(report: &Report, new: usize, changed: bool) -> String {
    let word = match report.status {
        Status::Imported if changed => "imported",
        Status::Imported => "unchanged",
        Status::Skipped => "skipped",
        Status::Failed => "failed",
    };
    let name = report.title.as_deref().or(report.source_id.as_deref()).unwrap_or_default();
    let name = clean(name, TITLE_CHARS);
    let what = match &report.reason {
        Some(reason) => clean(reason, REASON_CHARS),
        None => format!("{} turns, {new} new, {} branches", report.turns, report.branches),
    };
    format!("{word:<10} {:>5}  {name}: {what}", report.position)
}

/// Makes text of others fit to be shown: no control characters, not too long.
fn clean(text: &str, most: usize) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(most).collect();
    if text.chars().nth(most).is_some() { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_of_others_do_not_reach_the_terminal_as_they_are() {
        assert_eq!(clean("a\u{1b}[31mb\nc", 60), "a[31mbc");
        assert_eq!(clean(&"x".repeat(100), 60).chars().count(), 61);
    }
}
