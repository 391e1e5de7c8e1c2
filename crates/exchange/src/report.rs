//! What an import says of each conversation, and of all.

use serde::{Deserialize, Serialize};

/// What became of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It can be written.
    Imported,
    /// There was nothing to import in it, or it came before.
    Skipped,
    /// It could not be read.
    Failed,
}

/// What became of one conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its place in the input, from 1.
    pub position: usize,
    /// Its id where it comes from, or the file of a zip that could not be read; none where it has none.
    pub source_id: Option<String>,
    /// Its title there.
    pub title: Option<String>,
    /// What became of it.
    pub status: Status,
    /// Why it was not imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Messages.
    pub turns: usize,
    /// Ends of branches: 1 for a conversation that never forks.
    pub branches: usize,
    /// Messages left out because nobody was meant to see them: hidden, system, without content or weight.
    pub hidden: usize,
    /// Messages that now follow another one, as the one they followed was left out.
    pub reparented: usize,
    /// Links that ran in a circle, and were cut.
    pub cut: usize,
    /// Contents of an unknown type, kept as `data-*` parts.
    pub unknown_parts: usize,
}

impl Report {
    /// Starts the report of a conversation.
    pub(crate) fn new(position: usize, source_id: Option<String>, title: Option<String>) -> Self {
        Self {
            position,
            source_id,
            title,
            status: Status::Imported,
            reason: None,
            turns: 0,
            branches: 0,
            hidden: 0,
            reparented: 0,
            cut: 0,
            unknown_parts: 0,
        }
    }

    /// Says what else became of it, and why.
    pub fn ended(mut self, status: Status, reason: impl Into<String>) -> Self {
        self.status = status;
        self.reason = Some(reason.into());
        self
    }
}

/// What became of all conversations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Conversations that can be written.
    pub imported: usize,
    /// Those that were skipped.
    pub skipped: usize,
    /// Those that failed.
    pub failed: usize,
    /// Messages of those that can be written.
    pub turns: usize,
    /// Ends of their branches.
    pub branches: usize,
    /// Messages left out.
    pub hidden: usize,
    /// Messages that follow another one than they did.
    pub reparented: usize,
    /// Contents of an unknown type, kept.
    pub unknown_parts: usize,
}

impl Totals {
    /// Adds a conversation.
    pub fn add(&mut self, report: &Report) {
        match report.status {
            Status::Imported => {
                self.imported += 1;
                self.turns += report.turns;
                self.branches += report.branches;
                self.hidden += report.hidden;
                self.reparented += report.reparented;
                self.unknown_parts += report.unknown_parts;
            }
            Status::Skipped => self.skipped += 1,
            Status::Failed => self.failed += 1,
        }
    }
}
