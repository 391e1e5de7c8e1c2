//! How a broken or hostile device breaks the rules of a document with a meaning.

use serde_json::json;
use yrs::{Doc, Map, MapPrelim, MapRef, Out, Text, Transact, TransactionMut, WriteTxn};

use crate::{
    author::{Author, Deed, Scene, any, draw_id, put_message, time},
    model::{FORGED, places},
    page::{Page, conversation},
    rng::Rng,
};

impl Author {
    /// Breaks a rule.
    pub(crate) fn offend(&mut self, doc: &Doc, scene: &Scene<'_>, rng: &mut Rng) -> (Vec<u8>, Vec<Deed>) {
        self.written += 1;
        let mut txn = doc.transact_mut();
        let mut deeds = Vec::new();
        if scene.page == Page::Conversation {
            self.offend_in(&mut txn, scene, rng, &mut deeds);
        } else if let Some(root) = scene.page.registers().first() {
            let field = match scene.page {
                Page::Profile => "tone".to_owned(),
                Page::Index => format!("{}|title", conversation(0)),
                _ => format!("{}|read", conversation(0)),
            };
            forge_register(&mut txn, root, &field, scene.now_ms);
        }
        (txn.encode_update_v1(), deeds)
    }

    fn offend_in(
        &mut self,
        txn: &mut TransactionMut<'_>,
        scene: &Scene<'_>,
        rng: &mut Rng,
        deeds: &mut Vec<Deed>,
    ) {
        let forged = || any(&json!([7, null, { FORGED: 1 }]));
        let seen = places(txn);
        let held: Vec<&String> = scene.accepted.iter().filter(|id| seen.contains_key(*id)).collect();
        if held.is_empty() || rng.chance(100) {
            return self.offend_anew(txn, seen.len() as u64, rng, deeds);
        }
        let id = held[rng.index(held.len())].clone();
        let messages = txn.get_or_insert_map("messages");
        match rng.below(13) {
            0 | 1 => drop(messages.remove(txn, &id)),
            2 => put_message(txn, &id, any(&json!({ FORGED: 1 })), FORGED, rng.chance(300)),
            3 => drop(messages.insert(txn, id, FORGED)),
            4 | 5 => change_message(txn, &messages, &id, rng),
            6 | 7 => {
                let accepted = txn.get_or_insert_map("accepted");
                match rng.below(3) {
                    0 => drop(accepted.remove(txn, &id)),
                    1 => drop(accepted.insert(txn, id.clone(), forged())),
                    // What it says is true: an old fact that comes back under this device's name.
                    _ => {
                        if let Some(Out::Any(fact)) = accepted.get(txn, &id) {
                            accepted.insert(txn, id.clone(), fact);
                        }
                    }
                }
                deeds.push(Deed::Claim(id));
            }
            8 | 9 => {
                let root = ["state", "facts"][rng.index(2)];
                let map = txn.get_or_insert_map(root);
                match rng.below(3) {
                    0 => drop(map.remove(txn, &id)),
                    1 => drop(map.insert(txn, id, any(&json!(["streaming", { "error": FORGED }])))),
                    _ => drop(map.insert(txn, id, any(&json!({ FORGED: 1 })))),
                }
            }
            10 => drop(txn.get_or_insert_map("runs").insert(txn, "r1", forged())),
            11 => drop(txn.get_or_insert_map("meta").insert(txn, "owner", FORGED)),
            _ => forge_register(txn, "selected", "root", scene.now_ms),
        }
    }

    /// Breaks a rule with something new: a message that cannot be one, or that brings its own place.
    fn offend_anew(
        &mut self,
        txn: &mut TransactionMut<'_>,
        placed: u64,
        rng: &mut Rng,
        deeds: &mut Vec<Deed>,
    ) {
        let messages = txn.get_or_insert_map("messages");
        match rng.below(3) {
            0 => drop(messages.insert(txn, draw_id(rng), MapPrelim::from([("head", FORGED)]))),
            1 => drop(messages.insert(txn, draw_id(rng), FORGED)),
            _ => {
                self.say(txn, None, None, rng, deeds);
                let Some(id) = self.newest.clone() else { return };
                let seq = placed + 1 + rng.below(2);
                txn.get_or_insert_map("accepted").insert(txn, id.clone(), any(&json!([seq, null])));
                deeds.push(Deed::Claim(id));
            }
        }
    }
}

fn forge_register(txn: &mut TransactionMut<'_>, root: &'static str, field: &str, now_ms: u64) {
    let value = any(&json!([time(now_ms + 200, 0), FORGED, { "source": "explicit" }]));
    txn.get_or_insert_map(root).insert(txn, format!("{field}@server"), value);
}

/// Changes a message that stands there: its head, or its content in whatever form.
fn change_message(txn: &mut TransactionMut<'_>, messages: &MapRef, id: &str, rng: &mut Rng) {
    let Some(Out::YMap(container)) = messages.get(txn, id) else { return };
    if rng.chance(300) {
        container.insert(txn, "head", any(&json!({ "role": "user", FORGED: 1 })));
        return;
    }
    if let Some(Out::YMap(parts)) = container.get(txn, "parts")
        && let Some(Out::YMap(part)) = parts.get(txn, "0")
        && let Some(Out::YText(text)) = part.get(txn, "text")
    {
        return text.push(txn, FORGED);
    }
    if rng.chance(300) {
        container.remove(txn, "parts");
    } else {
        container.insert(txn, "parts", any(&json!([{ "type": "text", "text": FORGED }])));
    }
}
