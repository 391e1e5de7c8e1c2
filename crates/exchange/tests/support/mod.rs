//! A user's documents in memory, under the judge, as a server holds them; and the real input, where it is.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    collections::BTreeMap,
    io::{Cursor, Read, Seek},
    ops::ControlFlow,
    path::Path,
};

use syncline_document::{
    Ledger, Pen, Replica,
    hlc::Clock,
    ids::{ConversationId, Quarter},
    schema::{
        Kind,
        conversation::{self, Branch},
        drafts, index, marks, preferences, profile,
    },
};
use syncline_exchange::{
    Bounds, Totals,
    archive::{self, Drafts, Index, Left, Marks, Profile, Restore},
    import::{self, Imported, Item, Options, Selection},
};

/// The time of these tests.
pub(crate) const NOW: u64 = 1_800_000_000_000;

/// Reads a file of the real input: it lies beside this project, or beside a folder that this project is in.
pub(crate) fn shared(name: &str) -> Option<Vec<u8>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut places = here.ancestors().map(|folder| folder.join("shared/data").join(name));
    let found = places.find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: no shared/data/{name} beside this project or above it");
    }
    found.map(|path| std::fs::read(path).expect("reads"))
}

/// Reads an import whole.
pub(crate) fn items(input: impl Read + Seek, bounds: Bounds) -> (Totals, Vec<Item>) {
    let mut items = Vec::new();
    let options = Options { user: "ada", now_ms: NOW, bounds };
    let totals = import::read(input, &options, &mut |item| {
        items.push(item);
        ControlFlow::Continue(())
    });
    (totals.expect("an import"), items)
}

pub(crate) fn imported(input: &[u8]) -> (Totals, Vec<Imported>) {
    let (totals, items) = items(Cursor::new(input), Bounds::default());
    let conversations = items.into_iter().map(|item| match item {
        Item::Conversation(imported) => *imported,
        other => panic!("{other:?}"),
    });
    (totals, conversations.collect())
}

/// A document and what the server remembers of it.
pub(crate) struct Open {
    replica: Replica,
    ledger: Ledger,
    clock: Clock,
}

impl Open {
    fn new(kind: Kind) -> Self {
        let mut replica = Replica::of_client(1);
        let ledger = Ledger::of(kind, &mut replica).expect("a ledger");
        Self { replica, ledger, clock: Clock::new() }
    }

    /// Writes and judges. Answers what was written, and whether anything changed.
    pub(crate) fn write<R>(&mut self, write: impl FnOnce(&mut Pen<'_, '_>) -> R) -> (R, bool) {
        let edit = self.replica.edit(write).expect("writes");
        let judgement = self.ledger.judge(&mut self.replica, &mut self.clock, NOW).expect("judges");
        assert!(judgement.heals.is_empty() && judgement.malformed.is_empty(), "{judgement:?}");
        (edit.value, edit.update.is_some() || judgement.update.is_some())
    }
}

/// All documents of one user.
pub(crate) struct User {
    pub(crate) profile: Open,
    pub(crate) marks: Open,
    pub(crate) drafts: Open,
    pub(crate) indexes: BTreeMap<Quarter, Open>,
    pub(crate) conversations: BTreeMap<ConversationId, Open>,
}

impl User {
    pub(crate) fn new() -> Self {
        Self {
            profile: Open::new(Kind::Profile),
            marks: Open::new(Kind::Marks),
            drafts: Open::new(Kind::Drafts),
            indexes: BTreeMap::new(),
            conversations: BTreeMap::new(),
        }
    }

    pub(crate) fn index(&mut self, id: &ConversationId) -> &mut Open {
        let quarter = id.quarter();
        self.indexes.entry(quarter).or_insert_with(|| Open::new(Kind::Index(quarter)))
    }

    pub(crate) fn conversation(&mut self, id: &ConversationId) -> &mut Open {
        self.conversations.entry(id.clone()).or_insert_with(|| Open::new(Kind::Conversation(id.clone())))
    }

    /// Writes an imported conversation; answers how many messages were new, and whether anything changed.
    pub(crate) fn import(&mut self, imported: &Imported) -> (usize, bool) {
        let (new, is_changed) =
            self.conversation(&imported.id).write(|pen| imported.write_conversation(pen, "ada", NOW));
        let (done, is_entered) = self.index(&imported.id).write(|pen| imported.write_index(pen, NOW));
        assert_eq!(done, Ok(()));
        (new.expect("every message fits"), is_changed || is_entered)
    }

    pub(crate) fn read(&mut self, id: &ConversationId, branch: Branch) -> archive::Conversation {
        let replica = &mut self.conversation(id).replica;
        let selected = conversation::selected(replica).expect("reads").into_iter();
        archive::Conversation {
            meta: conversation::meta(replica).expect("reads").expect("is made"),
            selected: selected.map(|(parent, child)| Selection { parent, child }).collect(),
            messages: conversation::messages(replica, branch).expect("reads"),
        }
    }

    pub(crate) fn profile(&mut self) -> Profile {
        let replica = &mut self.profile.replica;
        Profile {
            preferences: preferences::read(replica, NOW).expect("reads"),
            devices: profile::devices(replica).expect("reads"),
            folders: profile::folders(replica).expect("reads"),
        }
    }

    pub(crate) fn entries(&mut self) -> Index {
        let entries = self.indexes.values_mut().map(|open| index::read(&mut open.replica).expect("reads"));
        Index { entries: entries.flatten().collect() }
    }

    pub(crate) fn marks(&mut self) -> Marks {
        Marks { marks: marks::read(&mut self.marks.replica).expect("reads") }
    }

    pub(crate) fn drafts(&mut self) -> Drafts {
        Drafts { drafts: drafts::read(&mut self.drafts.replica).expect("reads") }
    }

    pub(crate) fn export(&mut self) -> Vec<u8> {
        let mut writer = archive::Writer::new(Cursor::new(Vec::new()), "ada", NOW).expect("begins");
        writer.profile(self.profile()).expect("writes");
        writer.index(self.entries()).expect("writes");
        let ids: Vec<ConversationId> = self.conversations.keys().cloned().collect();
        for id in ids {
            writer.conversation(&self.read(&id, Branch::All)).expect("writes");
        }
        writer.marks(&self.marks()).expect("writes");
        writer.drafts(&self.drafts()).expect("writes");
        writer.finish().expect("ends").into_inner()
    }

    /// Writes all of an archive; answers what could not be, and whether anything changed.
    pub(crate) fn restore(&mut self, archive: &[u8]) -> (Vec<Left>, bool) {
        let mut restore: Option<Restore> = None;
        let mut is_changed = false;
        let mut drop_in = |item: Item| {
            if let Item::Archive(manifest) = &item {
                restore = Some(archive::restore(manifest, NOW));
            }
            let restore = restore.as_mut().expect("the manifest comes first");
            is_changed |= match item {
                Item::Archive(_) => false,
                Item::Profile(profile) => self.profile.write(|pen| restore.profile(pen, &profile)).1,
                Item::Index(index) => index.entries.iter().fold(false, |is_changed, entry| {
                    let id = ConversationId::parse(&entry.id).expect("an id");
                    self.index(&id).write(|pen| restore.entry(pen, entry)).1 || is_changed
                }),
                Item::Archived(conversation, _) => {
                    let id = conversation.id().expect("an id");
                    self.conversation(&id).write(|pen| restore.conversation(pen, "ada", &conversation)).1
                }
                Item::Marks(marks) => self.marks.write(|pen| restore.marks(pen, &marks)).1,
                Item::Drafts(drafts) => self.drafts.write(|pen| restore.drafts(pen, &drafts)).1,
                Item::Conversation(_)
                | Item::Left(_)
                | Item::Blob(_)
                | Item::BlobPiece(_)
                | Item::BlobEnd(_)
                | Item::BlobLeft(_) => panic!("{item:?}"),
            };
        };
        for item in items(Cursor::new(archive), Bounds::default()).1 {
            drop_in(item);
        }
        (restore.map(|restore| restore.left().to_vec()).unwrap_or_default(), is_changed)
    }
}
