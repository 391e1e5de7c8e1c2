//! What changed, told by its meaning: for those who are no CRDT client, and for what is derived from documents.
//!
//! A change is told where what holds changed: a value that lost against another writer's tells nothing, nor does one
//! that was healed, nor text that grows in a message while it is streamed. What a person wrote is never told, only where
//! it stands: so what is erased later stands nowhere else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::Serialize;
use yrs::Any;

use super::{Bench, Rule, fields::Fields, messages::Messages};
use crate::{
    ids::{ConversationId, Writer, is_id},
    json,
    order::{SELECTED, TOP},
    register::{Entry, Field, Ranking, split},
    schema::{
        Kind, is_erasure_mark,
        message::State,
        preferences::{Standing, standing},
    },
    tree::{FACTS, FEEDBACK, HIDDEN, STATE},
};

/// Changes that are told of one edit: an import may make thousands.
const TOLD: usize = 64;

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Changed {
    /// A conversation was entered in an index.
    #[serde(rename = "conversation.made")]
    ConversationMade {
        /// Which.
        conversation: String,
    },
    /// Its title changed.
    #[serde(rename = "conversation.renamed")]
    ConversationRenamed {
        /// Which.
        conversation: String,
        /// It was the automatic title, which gives way to the person's own.
        auto: bool,
    },
    /// It was put on top, or not any more.
    #[serde(rename = "conversation.pinned")]
    ConversationPinned {
        /// Which.
        conversation: String,
        /// It stands on top.
        pinned: bool,
    },
    /// It was put away, or taken out again.
    #[serde(rename = "conversation.archived")]
    ConversationArchived {
        /// Which.
        conversation: String,
        /// It is put away.
        archived: bool,
    },
    /// It stands in another folder.
    #[serde(rename = "conversation.moved")]
    ConversationMoved {
        /// Which.
        conversation: String,
        /// The folder; none for no folder.
        folder: Option<String>,
    },
    /// Its tags changed.
    #[serde(rename = "conversation.tagged")]
    ConversationTagged {
        /// Which.
        conversation: String,
    },
    /// It was moved to "recently deleted".
    #[serde(rename = "conversation.deleted")]
    ConversationDeleted {
        /// Which.
        conversation: String,
    },
    /// It came back from there.
    #[serde(rename = "conversation.restored")]
    ConversationRestored {
        /// Which.
        conversation: String,
    },
    /// It was erased for good.
    #[serde(rename = "conversation.erased")]
    ConversationErased {
        /// Which.
        conversation: String,
    },
    /// It was read up to a turn, or marked unread from there on.
    #[serde(rename = "conversation.read")]
    ConversationRead {
        /// Which.
        conversation: String,
        /// The last turn that was read.
        seq: u64,
    },
    /// Another branch is shown.
    #[serde(rename = "conversation.selected")]
    ConversationSelected {
        /// Which.
        conversation: String,
        /// Behind which turn; none for the first.
        parent: Option<String>,
        /// The turn that is shown there; none where nothing is chosen any more.
        child: Option<String>,
    },
    /// A message got its place.
    #[serde(rename = "message.accepted")]
    MessageAccepted {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
        /// Its number; 0 for one that repeats another.
        seq: u64,
        /// The message it follows.
        after: Option<String>,
        /// Who speaks.
        role: String,
        /// The message it repeats, if it does: it has no place of its own.
        #[serde(skip_serializing_if = "Option::is_none")]
        same: Option<String>,
    },
    /// What a device had done to it was taken back: it stands as it was accepted.
    #[serde(rename = "message.healed")]
    MessageHealed {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
    },
    /// Its content is gone for good.
    #[serde(rename = "message.erased")]
    MessageErased {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
    },
    /// It began, waits, or ended.
    #[serde(rename = "message.state")]
    MessageState {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
        /// How far it is.
        state: State,
    },
    /// Usage, timing, citations came.
    #[serde(rename = "message.facts")]
    MessageFacts {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
    },
    /// Somebody thinks otherwise of it.
    #[serde(rename = "message.feedback")]
    MessageFeedback {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
        /// 1, 0 or -1; none where the opinion was taken back.
        v: Option<i8>,
    },
    /// It is kept out of sight, or shown again.
    #[serde(rename = "message.hidden")]
    MessageHidden {
        /// Its conversation.
        conversation: String,
        /// Its id.
        message: String,
        /// It is out of sight.
        hidden: bool,
    },
    /// A preference has another value, or another source.
    #[serde(rename = "preference.set")]
    PreferenceSet {
        /// Its name.
        name: String,
    },
    /// It has no value any more.
    #[serde(rename = "preference.cleared")]
    PreferenceCleared {
        /// Its name.
        name: String,
    },
    /// It is not to be inferred.
    #[serde(rename = "preference.blocked")]
    PreferenceBlocked {
        /// Its name.
        name: String,
    },
    /// A device was named, or said what it is.
    #[serde(rename = "device.changed")]
    DeviceChanged {
        /// Its id.
        device: String,
    },
    /// It was signed out for good, or let in again.
    #[serde(rename = "device.revoked")]
    DeviceRevoked {
        /// Its id.
        device: String,
        /// It is signed out.
        revoked: bool,
    },
    /// A folder was made, named, moved, deleted or brought back.
    #[serde(rename = "folder.changed")]
    FolderChanged {
        /// Its id.
        folder: String,
    },
    /// A composer holds something else.
    #[serde(rename = "draft.changed")]
    DraftChanged {
        /// The conversation it is for.
        conversation: String,
        /// Whose composer it is.
        writer: String,
    },
    /// A composer was emptied.
    #[serde(rename = "draft.removed")]
    DraftRemoved {
        /// The conversation it was for.
        conversation: String,
        /// Whose composer it was.
        writer: String,
    },
}

/// A field as it was before an edit, and as it is now.
struct Turned {
    before: Field,
    now: Field,
}

/// Notes what changed, once everything was judged.
pub(super) fn note(bench: &mut Bench<'_, '_, '_>, kind: &Kind, messages: &Messages, fields: &Fields) {
    let mut told = Told::default();
    if let Kind::Conversation(id) = kind {
        accepted(bench, id, &mut told);
        for message in &bench.judgement.erased {
            told.push(Changed::MessageErased { conversation: id.to_string(), message: message.clone() });
        }
        healed(bench, id, &mut told);
        facts(bench, id, messages, &mut told);
    }
    if *kind == Kind::Drafts {
        drafts(bench, &mut told);
    }
    let erased = erased_now(bench, kind);
    if matches!(kind, Kind::Index(_)) {
        for conversation in &erased {
            told.push(Changed::ConversationErased { conversation: conversation.clone() });
        }
    }
    for (root, ranking) in kind.registers() {
        for (field, turned) in turned(bench, fields, root, *ranking) {
            // That a title and all else of it went says nothing that its erasure does not say.
            if field.split_once('|').is_some_and(|(id, _)| erased.contains(id)) {
                continue;
            }
            if let Some(changed) = tell(kind, root, &field, &turned) {
                told.push(changed);
            }
        }
    }
    bench.judgement.changed = told.changes;
    bench.judgement.more_changed = told.more;
}

/// Lists the conversations that are marked as erased since this edit.
fn erased_now(bench: &Bench<'_, '_, '_>, kind: &Kind) -> BTreeSet<String> {
    let Some(root) = kind.conversations() else { return BTreeSet::new() };
    let marked = changed_keys(bench, root).into_iter().filter(|(key, before)| {
        is_erasure_mark(key) && before.is_none() && bench.pen.get(root, key).is_some()
    });
    marked.filter_map(|(key, _)| Some(key.split_once('|')?.0.to_owned())).collect()
}

#[derive(Default)]
struct Told {
    changes: Vec<Changed>,
    more: usize,
}

impl Told {
    fn push(&mut self, changed: Changed) {
        // Several fields make one change: tags of a conversation, names of a device.
        if self.changes.last() == Some(&changed) {
            return;
        }
        if self.changes.len() < TOLD {
            self.changes.push(changed);
        } else {
            self.more += 1;
        }
    }
}

fn accepted(bench: &Bench<'_, '_, '_>, id: &ConversationId, told: &mut Told) {
    for message in &bench.judgement.accepted {
        told.push(Changed::MessageAccepted {
            conversation: id.to_string(),
            message: message.id.clone(),
            seq: message.seq,
            after: message.after.clone(),
            role: message.role.clone(),
            same: message.same.clone(),
        });
    }
}

fn healed(bench: &Bench<'_, '_, '_>, id: &ConversationId, told: &mut Told) {
    let of_messages = |rule: Rule| matches!(rule, Rule::MessageDeleted | Rule::MessageChanged);
    let heals = bench.judgement.heals.iter().filter(|heal| of_messages(heal.rule));
    let ids: BTreeSet<&str> = heals.filter_map(|heal| heal.key.split('/').nth(1)).collect();
    for message in ids {
        told.push(Changed::MessageHealed { conversation: id.to_string(), message: message.to_owned() });
    }
}

/// Tells of what the server says of messages: how far they are, and what came of them.
fn facts(bench: &Bench<'_, '_, '_>, id: &ConversationId, messages: &Messages, told: &mut Told) {
    for root in [STATE, FACTS] {
        for (key, before) in changed_keys(bench, root) {
            let now = bench.pen.get(root, &key);
            if now == before || messages.image(&key).is_none() {
                continue;
            }
            let (conversation, message) = (id.to_string(), key.to_string());
            match now.as_ref().filter(|_| root == STATE).and_then(State::read) {
                Some((state, _)) => told.push(Changed::MessageState { conversation, message, state }),
                None if root == FACTS && now.is_some() => {
                    told.push(Changed::MessageFacts { conversation, message });
                }
                None => {}
            }
        }
    }
}

fn drafts(bench: &Bench<'_, '_, '_>, told: &mut Told) {
    for (key, before) in changed_keys(bench, "drafts") {
        if is_erasure_mark(&key) {
            continue;
        }
        let now = bench.pen.get("drafts", &key);
        let Some((conversation, writer)) = split(&key).filter(|_| now != before) else { continue };
        let (conversation, writer) = (conversation.to_owned(), writer.to_string());
        told.push(match now {
            Some(_) => Changed::DraftChanged { conversation, writer },
            None => Changed::DraftRemoved { conversation, writer },
        });
    }
}

/// Lists what changed in a root map, whoever wrote, the judge too, with what stood there before.
fn changed_keys(bench: &Bench<'_, '_, '_>, root: &'static str) -> BTreeMap<Arc<str>, Option<Any>> {
    let moved = bench.moved.iter().map(|((at, key), before)| (*at, key, before));
    let changed = bench.changes.keys.iter().map(|((at, key), change)| (*at, key, &change.before));
    // What was changed before it was judged stood there first.
    let all = moved.chain(changed).filter(|(at, _, _)| *at == root);
    all.map(|(_, key, before)| (key.clone(), before.clone())).collect()
}

/// Lists the fields of registers that an edit touched. Looks at no others.
fn turned(
    bench: &Bench<'_, '_, '_>,
    fields: &Fields,
    root: &'static str,
    ranking: Ranking,
) -> BTreeMap<String, Turned> {
    let mut before: BTreeMap<String, HashMap<Writer, Option<Entry>>> = BTreeMap::new();
    for (key, stored) in changed_keys(bench, root) {
        let Some((field, writer)) = split(&key) else { continue };
        let entry = stored.as_ref().and_then(|stored| Entry::parse(writer.clone(), stored));
        before.entry(field.to_owned()).or_default().insert(writer, entry);
    }
    let turned = before.into_iter().map(|(field, changed)| {
        let now = fields.read(bench.pen.txn(), root, &field, ranking);
        let stayed = now.entries().iter().filter(|entry| !changed.contains_key(&entry.writer));
        let mut entries: Vec<Entry> = stayed.cloned().collect();
        entries.extend(changed.into_values().flatten());
        (field, Turned { before: Field::of(entries, ranking), now })
    });
    turned.collect()
}

/// Says what it means that a field turned; nothing where what holds is the same.
fn tell(kind: &Kind, root: &str, field: &str, turned: &Turned) -> Option<Changed> {
    let Turned { before, now } = turned;
    if root == "preferences" {
        return preference(field, before, now);
    }
    let holds = |field: &Field| field.winner().map(|entry| (entry.value.clone(), entry.meta.clone()));
    if holds(before) == holds(now) {
        return None;
    }
    match kind {
        Kind::Conversation(id) => of_conversation(id, root, field, before, now),
        Kind::Index(_) => of_index(field, before, now),
        Kind::Marks => {
            let conversation = ConversationId::parse(field.strip_suffix("|read")?)?.to_string();
            let seq = now.entries().iter().find_map(|entry| json::whole(&entry.value))?;
            Some(Changed::ConversationRead { conversation, seq })
        }
        Kind::Profile => {
            let (id, what) = field.split_once('|')?;
            let id = id.to_owned();
            match (root, what) {
                ("devices", "revoked") => Some(Changed::DeviceRevoked { device: id, revoked: now.is_true() }),
                ("devices", _) => Some(Changed::DeviceChanged { device: id }),
                ("folders", _) => Some(Changed::FolderChanged { folder: id }),
                _ => None,
            }
        }
        Kind::Drafts | Kind::FreeForm => None,
    }
}

fn preference(field: &str, before: &Field, now: &Field) -> Option<Changed> {
    let (was, is) = (standing(before), standing(now));
    let name = field.to_owned();
    if was == is {
        return None;
    }
    Some(match is {
        (_, true) if !was.1 => Changed::PreferenceBlocked { name },
        (Standing::Set(..), _) => Changed::PreferenceSet { name },
        (Standing::Blocked, _) => Changed::PreferenceBlocked { name },
        (Standing::Cleared, _) => Changed::PreferenceCleared { name },
    })
}

fn of_index(field: &str, before: &Field, now: &Field) -> Option<Changed> {
    let (id, what) = field.split_once('|')?;
    let conversation = ConversationId::parse(id)?.to_string();
    Some(match what {
        "made" if before.winner().is_none() => Changed::ConversationMade { conversation },
        "title" | "autotitle" => Changed::ConversationRenamed { conversation, auto: what == "autotitle" },
        "pinned" => Changed::ConversationPinned { conversation, pinned: now.is_true() },
        "archived" => Changed::ConversationArchived { conversation, archived: now.is_true() },
        "folder" => Changed::ConversationMoved { conversation, folder: now.text().map(clipped) },
        "deleted" if now.is_true() => Changed::ConversationDeleted { conversation },
        // One that never was deleted is not restored.
        "deleted" if before.is_true() => Changed::ConversationRestored { conversation },
        _ if what.starts_with("tag:") => Changed::ConversationTagged { conversation },
        _ => return None,
    })
}

fn of_conversation(
    id: &ConversationId,
    root: &str,
    field: &str,
    before: &Field,
    now: &Field,
) -> Option<Changed> {
    let conversation = id.to_string();
    let message = || Some(field).filter(|field| is_id(field)).map(str::to_owned);
    match root {
        FEEDBACK => {
            let v = now.winner().and_then(|entry| match json::field(&entry.value, "v")? {
                Any::Number(yrs::Number::Int(v)) => i8::try_from(*v).ok(),
                _ => None,
            });
            Some(Changed::MessageFeedback { conversation, message: message()?, v })
        }
        HIDDEN => {
            let changed = Changed::MessageHidden { conversation, message: message()?, hidden: now.is_true() };
            Some(changed).filter(|_| before.is_true() != now.is_true())
        }
        SELECTED => {
            let parent = message()?;
            let parent = Some(parent).filter(|parent| parent != TOP);
            let child = now.text().filter(|child| is_id(child)).map(str::to_owned);
            Some(Changed::ConversationSelected { conversation, parent, child })
        }
        _ => None,
    }
}

/// Cuts an id that a client chose: what is longer is none.
fn clipped(id: &str) -> String {
    id[..id.floor_char_boundary(64)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Ledger, Replica,
        hlc::{Clock, Hlc},
        register::Stamp,
        schema::{self, drafts, index, marks, preferences},
    };

    const ID: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";

    fn stamp(writer: &str, ms: u64) -> Stamp {
        Stamp { writer: Writer::parse(writer).expect("a writer"), hlc: Hlc::at(ms) }
    }

    struct Server(Ledger, Replica, Clock);

    impl Server {
        fn new(name: &str) -> Self {
            let name = syncline_protocol::names::DocumentName::parse(name).expect("a name");
            let mut replica = Replica::of_client(1);
            let ledger = Ledger::of(Kind::of(&name), &mut replica).expect("a ledger");
            Self(ledger, replica, Clock::new())
        }

        fn edit(&mut self, write: impl FnOnce(&mut crate::Pen<'_, '_>)) -> (Vec<Changed>, usize) {
            self.1.edit(write).expect("writes");
            let judgement = self.0.judge(&mut self.1, &mut self.2, 1 << 40).expect("judges");
            (judgement.changed, judgement.more_changed)
        }
    }

    #[test]
    fn only_what_holds_is_told() {
        let id = ConversationId::parse(ID).expect("an id");
        let conversation = || ID.to_owned();
        let mut server = Server::new("ada/index/2022-q1");
        let mut set = |writer: &str, ms, setting: index::Setting| {
            server.edit(|pen| index::set(pen, &id, &stamp(writer, ms), &setting).expect("fits")).0
        };
        let title = |text: &str| index::Setting::Title(text.to_owned());
        let renamed = || vec![Changed::ConversationRenamed { conversation: conversation(), auto: false }];
        assert_eq!(set("phone.a", 20, title("Rome")), renamed());
        assert_eq!(set("laptop.a", 10, title("Paris")), [], "it lost");
        assert_eq!(set("laptop.a", 30, title("Rome")), [], "the same once more");
        assert_eq!(set("laptop.a", 40, title("Oslo")), renamed());
        let deleted = index::Setting::Deleted { seen: None };
        assert_eq!(set("phone.a", 50, index::Setting::Restored), []);
        assert_eq!(
            set("phone.a", 60, deleted),
            [Changed::ConversationDeleted { conversation: conversation() }]
        );
        let restored = [Changed::ConversationRestored { conversation: conversation() }];
        assert_eq!(set("phone.a", 70, index::Setting::Restored), restored);
        let (told, _) = server.edit(|pen| {
            for tag in ["a", "b"] {
                let tag = index::Setting::Tag(tag.to_owned(), true);
                index::set(pen, &id, &stamp("phone.a", 80), &tag).expect("fits");
            }
        });
        assert_eq!(told, [Changed::ConversationTagged { conversation: conversation() }]);
    }

    #[test]
    fn an_erased_conversation_is_told_as_that_and_as_nothing_else() {
        let id = ConversationId::parse(ID).expect("an id");
        let writer = Writer::parse("phone.a").expect("a writer");
        let erase = |server: &mut Server, kind: Kind| {
            let told = server.edit(|pen| {
                schema::erase_conversation(pen, &kind, &id, Hlc::at(50));
            });
            told.0
        };
        let mut server = Server::new("ada/index/2022-q1");
        for setting in [index::Setting::Title("Rome".to_owned()), index::Setting::Tag("a".to_owned(), true)] {
            server.edit(|pen| index::set(pen, &id, &stamp("phone.a", 20), &setting).expect("fits"));
        }
        let told = erase(&mut server, Kind::Index(id.quarter()));
        assert_eq!(told, [Changed::ConversationErased { conversation: ID.to_owned() }]);
        assert_eq!(erase(&mut server, Kind::Index(id.quarter())), [], "once");
        let mut server = Server::new("ada/marks");
        server.edit(|pen| marks::set(pen, &id, &stamp("phone.a", 20), 3, None).expect("fits"));
        assert_eq!(erase(&mut server, Kind::Marks), []);
        let mut server = Server::new("ada/drafts");
        let draft = drafts::Composer {
            text: "hello".to_owned(),
            attachments: Vec::new(),
            model: None,
            req: "r".to_owned(),
        };
        server.edit(|pen| drafts::set(pen, &id, &stamp("phone.a", 20), &draft).expect("fits"));
        let removed = Changed::DraftRemoved { conversation: ID.to_owned(), writer: writer.to_string() };
        assert_eq!(erase(&mut server, Kind::Drafts), [removed]);
    }

    #[test]
    fn many_changes_are_counted() {
        let mut server = Server::new("ada/marks");
        let (told, more) = server.edit(|pen| {
            for n in 0..100 {
                let id = ConversationId::parse(&format!("{}{n:03}", &ID[..33])).expect("an id");
                marks::set(pen, &id, &stamp("phone.a", 20), n, None).expect("fits");
            }
        });
        assert_eq!((told.len(), more), (TOLD, 36));
        assert!(matches!(told[7], Changed::ConversationRead { seq: 7, .. }), "{:?}", told[7]);
    }

    #[test]
    fn a_preference_tells_what_holds_of_it() {
        let mut server = Server::new("ada/profile");
        let name = || "theme".to_owned();
        let value = serde_json::json!("dark");
        let explicit = preferences::Provenance::explicit();
        let (told, _) = server.edit(|pen| {
            preferences::set(pen, "theme", &stamp("phone.a", 20), &value, &explicit).expect("fits");
        });
        assert_eq!(told, [Changed::PreferenceSet { name: name() }]);
        let (told, _) = server.edit(|pen| {
            preferences::block(pen, "theme", &stamp("phone.a", 30)).expect("fits");
        });
        assert_eq!(told, [Changed::PreferenceBlocked { name: name() }]);
        let (told, _) = server.edit(|pen| {
            preferences::clear(pen, "theme", &stamp("phone.a", 40)).expect("fits");
        });
        assert_eq!(told, [Changed::PreferenceCleared { name: name() }]);
    }
}
