//! Judges a conversation: heals what contradicts its committed messages and facts, then accepts new messages.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use yrs::{Any, Map as _};

use super::{
    Accepted, Bench, Malformed, Rule,
    messages::{Image, Messages, place_of},
};
use crate::{
    ids::is_id,
    json,
    order::{ACCEPTED, Acceptance, Choices},
    schema::{
        message::{Alt, Head, State},
        parts::{self, Parts},
    },
    tree::{self, FACTS, MESSAGES, STATE, after_their_parents},
    watch::{Author, Place},
};

/// Characters of a message's text that lists show.
const PREVIEW: usize = 160;

/// A well-formed message that has no place yet.
struct Candidate {
    head: Head,
    /// The order in which its writer made it, by Yjs' own count: no wall clock has a say.
    made: Place,
    /// What a device says of its place: an acceptance that this server lost, with a restored backup, or a forgery.
    claim: Option<Acceptance>,
}

/// Judges what changed. Returns the messages whose content the server erased.
pub(super) fn judge(bench: &mut Bench<'_, '_, '_>, messages: &mut Messages) -> BTreeSet<Arc<str>> {
    let mut erased = BTreeSet::new();
    for (key, committed) in bench.offences("meta") {
        // Whoever makes the conversation says what it is, once.
        if committed.is_some() {
            bench.restore(Rule::Meta, "meta", &key, committed);
        }
    }
    let mut claims = judge_acceptances(bench, messages);
    let mut doubtful = messages.take_waiting();
    for (id, author) in changed_messages(bench, messages) {
        match (messages.image(&id), author) {
            (Some(image), Author::Client) => {
                let image = image.clone();
                heal_message(bench, messages, &id, &image);
            }
            (Some(image), Author::Own) => {
                let was = parts::is_erased(&image.parts);
                messages.remember(bench.pen.txn(), &id);
                if !was && messages.image(&id).is_some_and(|image| parts::is_erased(&image.parts)) {
                    erased.insert(id);
                }
            }
            (None, _) => {
                doubtful.insert(id);
            }
        }
    }
    let restored = accept(bench, messages, &doubtful, &mut claims);
    for id in claims.keys() {
        bench.restore(Rule::ServerFact, ACCEPTED, id, None);
    }
    judge_facts(bench, &restored);
    refresh_states(bench, messages);
    erased
}

/// Sets committed acceptances again, and returns those that are claimed for messages that have none.
fn judge_acceptances(bench: &mut Bench<'_, '_, '_>, messages: &Messages) -> BTreeMap<Arc<str>, Any> {
    let mut claims = BTreeMap::new();
    for (id, _) in bench.offences(ACCEPTED) {
        match messages.order.acceptance(&id) {
            Some(committed) => bench.restore(Rule::ServerFact, ACCEPTED, &id, Some(committed.stored())),
            None => {
                if bench.pen.has(ACCEPTED, &id) {
                    let claim = bench.pen.get(ACCEPTED, &id).unwrap_or(Any::Null);
                    claims.insert(id, claim);
                }
            }
        }
    }
    claims
}

/// Lists the messages whose entry or container changed, and by whom. A client's change counts before the server's.
fn changed_messages(bench: &Bench<'_, '_, '_>, messages: &Messages) -> Vec<(Arc<str>, Author)> {
    let mut changed: HashMap<Arc<str>, Author> = HashMap::new();
    let mut note = |id: &Arc<str>, author: Author| {
        let entry = changed.entry(id.clone()).or_insert(author);
        if author == Author::Client {
            *entry = author;
        }
    };
    for ((root, key), change) in &bench.changes.keys {
        if *root == MESSAGES {
            note(key, change.author);
        }
    }
    for (place, author) in &bench.changes.touched {
        if let Some(id) = messages.at(*place) {
            note(id, *author);
        }
    }
    let mut changed: Vec<_> = changed.into_iter().collect();
    changed.sort_by(|a, b| a.0.cmp(&b.0));
    changed
}

/// Makes an accepted message what it was: a new container where its own was deleted or replaced by another content, or
/// the changed half of it.
fn heal_message(bench: &mut Bench<'_, '_, '_>, messages: &mut Messages, id: &Arc<str>, image: &Image) {
    let Some(container) = tree::container(bench.pen.txn(), id) else {
        let before = json::object([("head", Some(image.head.clone())), ("parts", Some(image.parts.clone()))]);
        bench.heal(Rule::MessageDeleted, format!("{MESSAGES}/{id}"), Some(json::read(&before)));
        let container = bench.pen.nest(MESSAGES, id);
        bench.pen.set_in(&container, "head", image.head.clone());
        bench.pen.set_in(&container, "parts", image.parts.clone());
        messages.moved(id, place_of(&container));
        return;
    };
    let place = place_of(&container);
    let rule = if place == image.place { Rule::MessageChanged } else { Rule::MessageDeleted };
    messages.moved(id, place);
    let head = tree::head_in(bench.pen.txn(), &container);
    if head.as_ref() != Some(&image.head) {
        bench.heal(rule, format!("{MESSAGES}/{id}/head"), Some(json::read(&image.head)));
        bench.pen.set_in(&container, "head", image.head.clone());
    }
    let parts = Parts::of(bench.pen.txn(), &container);
    let is_erased = parts::is_erased(&image.parts);
    let stands = parts.is_some_and(|parts| match &parts {
        // Only its run decides what becomes of it.
        Parts::Live(_) if image.is_live => true,
        // Nothing may grow where content was erased.
        Parts::Live(_) if is_erased => false,
        parts => parts.freeze(bench.pen.txn()) == image.parts,
    });
    if !stands {
        bench.heal(rule, format!("{MESSAGES}/{id}/parts"), Some(json::read(&image.parts)));
        bench.pen.set_in(&container, "parts", image.parts.clone());
    }
    if is_erased {
        let keys: Vec<String> = container.keys(bench.pen.txn()).map(str::to_owned).collect();
        for key in keys.iter().filter(|key| *key != "head" && *key != "parts") {
            bench.heal(rule, format!("{MESSAGES}/{id}/{key}"), None);
            bench.pen.remove_in(&container, key);
        }
    }
}

/// Gives messages their place. Returns those whose place a device knew: this server once gave it to them.
fn accept(
    bench: &mut Bench<'_, '_, '_>,
    messages: &mut Messages,
    doubtful: &BTreeSet<Arc<str>>,
    claims: &mut BTreeMap<Arc<str>, Any>,
) -> HashSet<Arc<str>> {
    let mut candidates: HashMap<&str, Candidate> = HashMap::new();
    for id in doubtful {
        if messages.order.acceptance(id).is_some() {
            // It has its place and lacked its content, which no healed state does: what came is taken for it.
            messages.remember(bench.pen.txn(), id);
            continue;
        }
        match candidate(bench, messages, id) {
            Ok(Some(mut candidate)) => {
                candidate.claim = claims.get(id).and_then(Acceptance::parse);
                candidates.insert(id, candidate);
            }
            Ok(None) => {}
            Err(reason) => bench.judgement.malformed.push(Malformed { id: id.to_string(), reason }),
        }
    }
    let mut ids: Vec<&str> = candidates.keys().copied().collect();
    ids.sort_by_key(|id| {
        let candidate = &candidates[id];
        let seq = match candidate.claim {
            Some(Acceptance::Placed { seq, .. }) => seq,
            _ => u64::MAX,
        };
        (seq, candidate.made)
    });
    let sorted = after_their_parents(&ids, |id| candidates.get(id).map_or([None; 2], refers_to));
    let mut restored = HashSet::new();
    for id in sorted {
        let Some(candidate) = candidates.get(id) else { continue };
        let id: Arc<str> = id.into();
        let acceptance = place(bench, messages, candidate);
        if candidate.claim.as_ref() == Some(&acceptance) {
            restored.insert(id.clone());
        } else {
            bench.pen.set(ACCEPTED, id.clone(), acceptance.stored());
        }
        claims.remove(&id);
        enter(messages, &id, &acceptance);
        messages.remember(bench.pen.txn(), &id);
        report(bench, messages, &id, candidate, &acceptance);
    }
    restored
}

fn refers_to(candidate: &Candidate) -> [Option<&str>; 2] {
    let alt = match &candidate.head.alt {
        Some(Alt::Of(alt)) => Some(alt.as_str()),
        _ => None,
    };
    [candidate.head.parent.as_deref(), alt]
}

/// Reads a message that may be accepted; none where nothing stands there any more.
fn candidate(
    bench: &Bench<'_, '_, '_>,
    messages: &mut Messages,
    id: &Arc<str>,
) -> Result<Option<Candidate>, &'static str> {
    let txn = bench.pen.txn();
    let Some(container) = tree::container(txn, id) else {
        return if bench.pen.has(MESSAGES, id) { Err("a message is a map") } else { Ok(None) };
    };
    messages.locate(id, &container);
    if !is_id(id) {
        return Err("its key is no message id");
    }
    let head = Head::parse(&tree::head_in(txn, &container).ok_or("it has no head")?)?;
    if Parts::of(txn, &container).is_none() {
        return Err("it has no parts");
    }
    Ok(Some(Candidate { head, made: place_of(&container), claim: None }))
}

/// Decides a message's place.
fn place(bench: &Bench<'_, '_, '_>, messages: &Messages, candidate: &Candidate) -> Acceptance {
    let head = &candidate.head;
    if let Some(original) = head.req.as_deref().and_then(|req| messages.answered(&head.role, req)) {
        return Acceptance::Same(original.clone());
    }
    let order = &messages.order;
    let seq = order.next_seq();
    if let Some(claim @ Acceptance::Placed { seq: claimed, after }) = &candidate.claim
        && *claimed == seq
        && after
            .as_deref()
            .is_none_or(|after| order.find(after).is_some_and(|at| *order.node(at).id == *after))
    {
        return claim.clone();
    }
    let parent = head.parent.as_deref().map(|parent| order.find(parent));
    let after = match (&head.alt, parent) {
        (Some(Alt::Of(alt)), _) if order.find(alt).is_some() => {
            order.find(alt).and_then(|alt| order.node(alt).after)
        }
        (Some(_), Some(Some(parent))) => Some(parent),
        (Some(_), None) => None,
        // Nothing is known of its parent: it goes where people read on.
        (_, Some(None)) => tip(bench, messages, None),
        (None, parent) => tip_of(bench, messages, parent.flatten()),
    };
    Acceptance::Placed { seq, after: after.map(|after| order.node(after).id.clone()) }
}

/// Returns a parent itself while nothing follows it, else the end of what is shown behind it.
fn tip_of(bench: &Bench<'_, '_, '_>, messages: &Messages, parent: Option<usize>) -> Option<usize> {
    if messages.order.children(parent).is_empty() { parent } else { tip(bench, messages, parent) }
}

fn tip(bench: &Bench<'_, '_, '_>, messages: &Messages, from: Option<usize>) -> Option<usize> {
    messages.order.branch(from, &Choices::read(bench.pen.txn())).last().copied().or(from)
}

fn enter(messages: &mut Messages, id: &Arc<str>, acceptance: &Acceptance) {
    match acceptance {
        Acceptance::Placed { seq, after } => {
            let after = after.as_deref().and_then(|after| messages.order.find(after));
            messages.order.push(id.clone(), *seq, after);
        }
        Acceptance::Same(original) => messages.order.push_same(id.clone(), original.clone()),
    }
}

fn report(
    bench: &mut Bench<'_, '_, '_>,
    messages: &Messages,
    id: &Arc<str>,
    candidate: &Candidate,
    acceptance: &Acceptance,
) {
    let (seq, after, same) = match acceptance {
        Acceptance::Placed { seq, after } => (*seq, after.as_deref().map(str::to_owned), None),
        Acceptance::Same(original) => (0, None, Some(original.to_string())),
    };
    bench.judgement.accepted.push(Accepted {
        id: id.to_string(),
        seq,
        after,
        same,
        role: candidate.head.role.clone(),
        by: candidate.head.by.to_string(),
        req: candidate.head.req.clone(),
        preview: messages.image(id).map(|image| parts::preview(&image.parts, PREVIEW)).unwrap_or_default(),
    });
}

/// Heals what only the server writes. What a device brings back together with an acceptance that this server lost is
/// this server's own too.
fn judge_facts(bench: &mut Bench<'_, '_, '_>, restored: &HashSet<Arc<str>>) {
    for root in [STATE, FACTS, "runs"] {
        for (key, committed) in bench.offences(root) {
            let offered = bench.pen.get(root, &key);
            let fits = match root {
                STATE => offered.as_ref().and_then(State::read).is_some_and(|(state, _)| state.is_final()),
                FACTS => matches!(offered, Some(Any::Map(_))),
                _ => false,
            };
            if committed.is_none() && fits && restored.contains(&key) {
                continue;
            }
            bench.restore(Rule::ServerFact, root, &key, committed);
        }
    }
}

/// Takes a message as it stands for final once the server says that it ended.
fn refresh_states(bench: &Bench<'_, '_, '_>, messages: &mut Messages) {
    for ((root, id), change) in &bench.changes.keys {
        if *root == STATE && change.author == Author::Own && messages.image(id).is_some() {
            messages.remember(bench.pen.txn(), id);
        }
    }
}
