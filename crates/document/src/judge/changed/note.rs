//! Finds what an edit changed: what the judge did, the server's facts, drafts, and the fields of registers that turned.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use yrs::Any;

use super::{Changed, fields};
use crate::{
    ids::{ConversationId, Writer},
    judge::{Bench, Rule, fields::Fields, messages::Messages},
    register::{Entry, Field, Ranking, split},
    schema::{Kind, is_erasure_mark, message::State},
    tree::{FACTS, STATE},
};

/// Changes that are told of one edit: an import may make thousands.
pub(super) const TOLD: usize = 64;

/// A field as it was before an edit, and as it is now.
pub(super) struct Turned {
    pub(super) before: Field,
    pub(super) now: Field,
}

/// Notes what changed, once everything was judged.
pub(in crate::judge) fn note(
    bench: &mut Bench<'_, '_, '_>,
    kind: &Kind,
    messages: &Messages,
    standing: &Fields,
) {
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
        for (field, turned) in turned(bench, standing, root, *ranking) {
            // That a title and all else of it went says nothing that its erasure does not say.
            if field.split_once('|').is_some_and(|(id, _)| erased.contains(id)) {
                continue;
            }
            if let Some(changed) = fields::tell(kind, root, &field, &turned) {
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
