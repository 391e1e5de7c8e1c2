//! Writing what an archive holds into documents, with the ids, writers and times that it names.
//!
//! What an archive does not name (when a title was set) is stamped with the time of its export, so that whatever
//! was set afterwards stays, and restoring twice changes nothing.

use serde::Deserialize as _;
use syncline_document::{
    Pen,
    hlc::Hlc,
    ids::{ConversationId, Writer},
    register::Stamp,
    schema::{
        Unfit,
        conversation::{self, Feedback, NewMessage},
        drafts::{self, Composer, Draft},
        index::{self, Setting},
        marks,
        message::{Message, State},
        preferences::{self, Preference, Provenance},
        profile::{self, DeviceField, FolderField},
    },
};

use super::{Conversation, Drafts, Manifest, Marks, Profile};
use crate::import;

/// Something of an archive that could not be written: a document that a device wrote by itself may hold more than the
/// server writes for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// What it is: `preference tone`, `message M`.
    pub what: String,
    /// Why.
    pub why: Unfit,
}

/// Starts to write what an archive holds.
pub fn restore(manifest: &Manifest, now_ms: u64) -> Restore {
    Restore { stamp: import::stamp(manifest.exported_at, now_ms), left: Vec::new() }
}

/// Writes what an archive holds, each function into the document of its name.
#[derive(Debug)]
pub struct Restore {
    stamp: Stamp,
    left: Vec<Left>,
}

impl Restore {
    /// Returns what could not be written.
    pub fn left(&self) -> &[Left] {
        &self.left
    }

    fn note(&mut self, what: impl FnOnce() -> String, done: Result<(), Unfit>) {
        if let Err(why) = done {
            self.left.push(Left { what: what(), why });
        }
    }

    /// Writes preferences, devices and folders into `profile`.
    pub fn profile(&mut self, pen: &mut Pen<'_, '_>, profile: &Profile) {
        let stamp = self.stamp.clone();
        for preference in &profile.preferences {
            let done = self.preference(pen, preference);
            self.note(|| format!("preference {}", preference.name), done);
        }
        for device in &profile.devices {
            let name = device.name.clone().map(DeviceField::Name);
            let kind = device.kind.clone().map(DeviceField::Kind);
            let revoked = device.revoked.then_some(DeviceField::Revoked(true));
            for field in [name, kind, revoked].into_iter().flatten() {
                let done = profile::set_device(pen, &device.id, &stamp, &field);
                self.note(|| format!("device {}", device.id), done);
            }
        }
        for folder in &profile.folders {
            let name = folder.name.clone().map(FolderField::Name);
            let parent = folder.parent.clone().map(|parent| FolderField::Parent(Some(parent)));
            let order = folder.order.clone().map(FolderField::Order);
            let deleted = folder.deleted.then_some(FolderField::Deleted(true));
            for field in [name, parent, order, deleted].into_iter().flatten() {
                let done = profile::set_folder(pen, &folder.id, &stamp, &field);
                self.note(|| format!("folder {}", folder.id), done);
            }
        }
    }

    fn preference(&self, pen: &mut Pen<'_, '_>, preference: &Preference) -> Result<(), Unfit> {
        let name = &preference.name;
        let stamp = Stamp { writer: writer(&preference.writer)?, hlc: preference.hlc };
        if preference.blocked && preference.value.is_null() {
            return preferences::block(pen, name, &stamp);
        }
        if preference.blocked {
            // The block stands beside a value that came later; whoever said it is not told.
            let hlc = Hlc::at(preference.hlc.ms().saturating_sub(1));
            preferences::block(pen, name, &Stamp { writer: self.stamp.writer.clone(), hlc })?;
        }
        let provenance = Provenance {
            source: preference.source,
            confidence: preference.confidence,
            evidence: preference.evidence.clone(),
            ttl: preference.ttl,
        };
        preferences::set(pen, name, &stamp, &preference.value, &provenance)
    }

    /// Writes what was set on a conversation into the index of its quarter ([`ConversationId::quarter`]).
    pub fn entry(&mut self, pen: &mut Pen<'_, '_>, entry: &index::Conversation) {
        let done = self.settings(pen, entry);
        self.note(|| format!("index entry {}", entry.id), done);
    }

    fn settings(&self, pen: &mut Pen<'_, '_>, entry: &index::Conversation) -> Result<(), Unfit> {
        let id = ConversationId::parse(&entry.id).ok_or(Unfit::Name)?;
        let at = |ms: u64| Stamp { writer: self.stamp.writer.clone(), hlc: Hlc::at(ms).min(self.stamp.hlc) };
        index::enter(pen, &id, &at(entry.created_at), entry.created_at);
        let mut settings = Vec::new();
        match &entry.title {
            Some(title) if entry.auto_title => index::set_autotitle(pen, &id, self.stamp.hlc, title)?,
            Some(title) => settings.push(Setting::Title(title.clone())),
            None => {}
        }
        settings.extend(entry.pinned.then_some(Setting::Pinned(true)));
        settings.extend(entry.archived.then_some(Setting::Archived(true)));
        settings.extend(entry.folder.clone().map(|folder| Setting::Folder(Some(folder))));
        settings.extend(entry.tags.iter().map(|tag| Setting::Tag(tag.clone(), true)));
        for setting in settings {
            index::set(pen, &id, &self.stamp, &setting)?;
        }
        if entry.deleted {
            let stamp = entry.deleted_at.map_or_else(|| self.stamp.clone(), at);
            index::set(pen, &id, &stamp, &Setting::Deleted { seen: entry.deleted_seq })?;
        }
        Ok(())
    }

    /// Writes a conversation into its document. Judging it then accepts the messages in their order. Answers how many
    /// were not there.
    pub fn conversation(&mut self, pen: &mut Pen<'_, '_>, owner: &str, conversation: &Conversation) -> usize {
        let meta = &conversation.meta;
        let Some(id) = conversation.id() else {
            self.note(|| format!("conversation {}", meta.id), Err(Unfit::Name));
            return 0;
        };
        conversation::create(pen, &id, owner, meta.created_at, meta.origin.as_deref());
        let mut new = 0;
        for message in &conversation.messages {
            let done = self.message(pen, message);
            new += usize::from(done == Ok(true));
            self.note(|| format!("message {}", message.id), done.map(drop));
        }
        for choice in &conversation.selected {
            let done = conversation::select(pen, choice.parent.as_deref(), &self.stamp, &choice.child);
            self.note(|| format!("choice of {}", choice.child), done);
        }
        new
    }

    /// Writes a message, unless it is there, and what is said of it.
    fn message(&self, pen: &mut Pen<'_, '_>, message: &Message) -> Result<bool, Unfit> {
        let first = message.alternatives.ids.first().filter(|first| **first != message.id);
        let new = conversation::append(
            pen,
            &NewMessage {
                id: message.id.clone(),
                role: message.role.clone(),
                parent: message.parent.clone(),
                alternative_to: first.cloned(),
                stamp: Stamp { writer: writer(&message.by)?, hlc: message.at },
                req: message.req.clone(),
                model: message.model.clone(),
                parts: message.parts.clone(),
            },
        )?;
        if new {
            // Whoever wrote it is not there to end it.
            let state = match message.state {
                State::Submitted | State::Streaming => State::Interrupted,
                state => state,
            };
            // Done is what a message is of which nothing is said.
            if state != State::Pending && (state != State::Done || message.details.is_some()) {
                conversation::set_state(pen, &message.id, state, message.details.as_ref())?;
            }
            if let Some(facts) = &message.facts {
                conversation::set_facts(pen, &message.id, facts)?;
            }
        }
        if message.erased {
            // One that is there has its content by this server's own word.
            return if new { conversation::erase(pen, &message.id).map(|()| new) } else { Ok(false) };
        }
        if let Some(feedback) = &message.feedback {
            let feedback = Feedback::deserialize(feedback).map_err(|_| Unfit::Form)?;
            conversation::set_feedback(pen, &message.id, &self.stamp, Some(&feedback))?;
        }
        if message.hidden {
            conversation::set_hidden(pen, &message.id, &self.stamp, true)?;
        }
        Ok(new)
    }

    /// Writes the read marks into `marks`.
    pub fn marks(&mut self, pen: &mut Pen<'_, '_>, marks: &Marks) {
        for (conversation, mark) in &marks.marks {
            let stamp = Stamp { writer: self.stamp.writer.clone(), hlc: mark.hlc };
            let done = match ConversationId::parse(conversation) {
                Some(id) => marks::set(pen, &id, &stamp, mark.seq, mark.tip.as_deref()),
                None => Err(Unfit::Name),
            };
            self.note(|| format!("mark of {conversation}"), done);
        }
    }

    /// Writes the drafts into `drafts`.
    pub fn drafts(&mut self, pen: &mut Pen<'_, '_>, drafts: &Drafts) {
        let taken = taken(&drafts.drafts);
        let is_taker = |draft: &Draft| taken.iter().any(|(_, taker)| *taker == draft);
        for draft in drafts.drafts.iter().filter(|draft| !is_taker(draft)) {
            let done = parsed(draft).and_then(|(id, stamp)| drafts::set(pen, &id, &stamp, &composer(draft)));
            self.note(|| format!("draft of {}", draft.conversation), done);
        }
        for (draft, taker) in taken {
            let done = parsed(taker).and_then(|(id, stamp)| {
                let from = writer(&draft.writer)?;
                drafts::take_over(pen, &id, &stamp, &from)
            });
            self.note(|| format!("draft of {}", taker.conversation), done);
        }
    }
}

/// Pairs the drafts that somebody took over with what it is there. Taking over copies the text, so one that was edited
/// afterwards is none: it comes back as a draft of its own, under the same request.
fn taken(drafts: &[Draft]) -> Vec<(&Draft, &Draft)> {
    let mut taken: Vec<(&Draft, &Draft)> = Vec::new();
    for draft in drafts {
        let taker = drafts.iter().find(|other| {
            Some(&other.writer) == draft.taken_by.as_ref() && other.conversation == draft.conversation
        });
        if let Some(taker) = taker
            && composer(taker) == composer(draft)
            && taken.iter().all(|(_, other)| *other != taker)
        {
            taken.push((draft, taker));
        }
    }
    taken
}

fn writer(text: &str) -> Result<Writer, Unfit> {
    Writer::parse(text).ok_or(Unfit::Name)
}

fn parsed(draft: &Draft) -> Result<(ConversationId, Stamp), Unfit> {
    let id = ConversationId::parse(&draft.conversation).ok_or(Unfit::Name)?;
    Ok((id, Stamp { writer: writer(&draft.writer)?, hlc: draft.hlc }))
}

fn composer(draft: &Draft) -> Composer {
    Composer {
        text: draft.text.clone(),
        attachments: draft.attachments.clone(),
        model: draft.model.clone(),
        req: draft.req.clone(),
    }
}
