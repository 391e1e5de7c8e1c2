//! A conversation that was imported, and how it is written.

use serde::{Deserialize, Serialize};
use syncline_document::{
    Pen,
    hlc::Hlc,
    ids::{ConversationId, Writer},
    register::Stamp,
    schema::{
        Unfit,
        conversation::{self, NewMessage},
        index::{self, Setting},
    },
};

use super::{Options, Source, forest, identity};
use crate::{Report, Status};

/// Who writes what is imported.
const WRITER: &str = "import";
/// The longest title that is kept, in characters.
const TITLE_CHARS: usize = 1000;

/// Which message is shown behind another, or first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The message; none for the top.
    pub parent: Option<String>,
    /// The one that is shown behind it.
    pub child: String,
}

/// A conversation of another product, ready to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Its id here: the same one whenever it is imported.
    pub id: ConversationId,
    /// Its id there.
    pub source_id: String,
    /// Where it comes from: `chatgpt`, `oasst`.
    pub origin: &'static str,
    /// Its title.
    pub title: Option<String>,
    /// When it was made: unix milliseconds.
    pub created_at_ms: u64,
    /// When it last changed there.
    pub updated_at_ms: u64,
    /// Says whether it was put away.
    pub archived: bool,
    /// Says whether it was kept on top.
    pub pinned: bool,
    /// Its messages in the order in which they are to be accepted: none comes before one that it names.
    pub messages: Vec<NewMessage>,
    /// Which branches are shown, where there is a choice.
    pub selected: Vec<Selection>,
    /// What there is to say of it.
    pub report: Report,
}

/// Returns the stamp of what is imported.
pub(crate) fn stamp(ms: u64, now_ms: u64) -> Stamp {
    // The name of the agent is plain, so this never is the server.
    let writer = Writer::agent(WRITER).unwrap_or_else(Writer::server);
    Stamp { writer, hlc: Hlc::at(ms.min(now_ms)) }
}

impl Imported {
    /// Makes it of its source. An error is the report of one that is not imported.
    pub(super) fn of(source: Source, mut report: Report, options: &Options<'_>) -> Result<Self, Box<Report>> {
        let first_ms = source.nodes.iter().filter_map(|node| node.made_ms).min();
        let created_ms = source.created_ms.or(first_ms).unwrap_or(identity::UNDATED_MS);
        let flat = forest::flatten(source.nodes, source.current, created_ms);
        report.turns = flat.turns.len();
        report.branches = flat.branches;
        report.hidden = flat.hidden;
        report.reparented = flat.reparented;
        report.cut = flat.cut;
        report.unknown_parts = flat.turns.iter().map(|placed| placed.turn.unknown).sum();
        let Some(last_ms) = flat.turns.iter().map(|placed| placed.at_ms).max() else {
            return Err(Box::new(report.ended(Status::Skipped, "there is no message in it")));
        };
        let Some(id) = identity::conversation(created_ms, options.user, &source.id) else {
            return Err(Box::new(report.ended(Status::Failed, "its id cannot be made")));
        };
        let ids: Vec<String> = flat
            .turns
            .iter()
            .map(|placed| {
                let mut names = vec![options.user, "message", &source.id, &placed.key];
                names.extend(placed.turn.with.as_deref());
                identity::uuid(placed.at_ms, &names)
            })
            .collect();
        let selected = flat.selected.iter().map(|(parent, child)| Selection {
            parent: parent.map(|parent| ids[parent].clone()),
            child: ids[*child].clone(),
        });
        let selected = selected.collect();
        let messages = flat.turns.into_iter().zip(&ids).map(|(placed, id)| NewMessage {
            id: id.clone(),
            role: placed.turn.role.to_owned(),
            parent: placed.parent.map(|parent| ids[parent].clone()),
            alternative_to: placed.alternative_to.map(|first| ids[first].clone()),
            stamp: stamp(placed.at_ms, options.now_ms),
            req: None,
            model: placed.turn.model,
            parts: placed.turn.parts,
        });
        let title = source.title.filter(|title| !title.trim().is_empty());
        Ok(Self {
            id,
            source_id: source.id,
            origin: source.origin,
            title: title.map(|title| title.chars().take(TITLE_CHARS).collect()),
            created_at_ms: created_ms,
            updated_at_ms: source.updated_ms.unwrap_or(last_ms).max(created_ms),
            archived: source.archived,
            pinned: source.pinned,
            messages: messages.collect(),
            selected,
            report,
        })
    }

    /// Writes the messages and branch choices into the conversation's document. Judging it then accepts them in their
    /// order. Answers how many messages were not there; where all were, nothing is written.
    ///
    /// # Errors
    /// [`Unfit`] where a message cannot be written; none that was made here is.
    pub fn write_conversation(
        &self,
        pen: &mut Pen<'_, '_>,
        owner: &str,
        now_ms: u64,
    ) -> Result<usize, Unfit> {
        conversation::create(pen, &self.id, owner, self.created_at_ms, Some(self.origin));
        let mut new = 0;
        for message in &self.messages {
            new += usize::from(conversation::append(pen, message)?);
        }
        let stamp = stamp(self.updated_at_ms, now_ms);
        for choice in &self.selected {
            conversation::select(pen, choice.parent.as_deref(), &stamp, &choice.child)?;
        }
        Ok(new)
    }

    /// Writes what is set on the conversation into the index of its quarter
    /// ([`ConversationId::quarter`]). What a person set later stays as it is.
    ///
    /// # Errors
    /// [`Unfit`] where something cannot be written; nothing that was made here is.
    pub fn write_index(&self, pen: &mut Pen<'_, '_>, now_ms: u64) -> Result<(), Unfit> {
        index::enter(pen, &self.id, &stamp(self.created_at_ms, now_ms), self.created_at_ms);
        let stamp = stamp(self.updated_at_ms, now_ms);
        if let Some(title) = &self.title {
            index::set(pen, &self.id, &stamp, &Setting::Title(title.clone()))?;
        }
        if self.archived {
            index::set(pen, &self.id, &stamp, &Setting::Archived(true))?;
        }
        if self.pinned {
            index::set(pen, &self.id, &stamp, &Setting::Pinned(true))?;
        }
        Ok(())
    }
}
