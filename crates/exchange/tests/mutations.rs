//! Whatever the bytes are, an import ends, does not panic, and hands out only what can be written.

mod support;

use std::{collections::BTreeSet, io::Cursor, ops::ControlFlow};

use fastrand::Rng;
use serde_json::{Value, json};
use support::{NOW, User, imported};
use syncline_exchange::{
    Bounds,
    import::{self, Imported, Item, Options},
};

/// A small export with everything in it that is read.
fn export() -> Value {
    let message = |role: &str, content: Value| {
        json!({ "author": { "role": role, "name": "python" }, "create_time": 1_700_000_001.5, "weight": 1.0,
            "content": content, "recipient": "all", "metadata": { "model_slug": "gpt-4",
                "attachments": [{ "id": "file-1", "name": "a.png" }], "citations": [{ "metadata": { "url": "u" } }] } })
    };
    let text = |said: &str| json!({ "content_type": "text", "parts": [said, { "content_type": "image_asset_pointer", "asset_pointer": "sediment://file-1" }] });
    let mut call =
        message("assistant", json!({ "content_type": "code", "language": "python", "text": "1+1" }));
    call["recipient"] = json!("python");
    let conversation = |id: &str| {
        json!({ "conversation_id": id, "title": "T", "create_time": 1_700_000_000.0, "update_time": 1_700_000_100.0,
            "current_node": "e", "is_archived": true, "mapping": {
                "r": { "message": null, "parent": null, "children": ["s"] },
                "s": { "message": message("system", text("s")), "parent": "r", "children": ["a"] },
                "a": { "message": message("user", text("q")), "parent": "s", "children": ["b", "f"] },
                "b": { "message": message("assistant", json!({ "content_type": "thoughts", "thoughts": [{ "content": "hm" }] })), "parent": "a", "children": ["c"] },
                "c": { "message": call, "parent": "b", "children": ["d"] },
                "d": { "message": message("tool", json!({ "content_type": "execution_output", "text": "2" })), "parent": "c", "children": ["e"] },
                "e": { "message": message("assistant", json!({ "content_type": "new", "x": [1] })), "parent": "d", "children": [] },
                "f": { "message": message("assistant", text("other")), "parent": "a", "children": [] },
            } })
    };
    let reply = |id: &str, replies: Value| json!({ "message_id": id, "text": id, "role": "prompter", "deleted": false, "replies": replies });
    let tree = json!({ "message_tree_id": "t", "prompt": reply("p", json!([reply("x", json!([reply("z", json!([]))])), reply("y", json!([]))])) });
    json!([conversation("c1"), tree, conversation("c2")])
}

/// Lists the paths of all values.
fn paths(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| paths(item, &format!("{at}/{n}"), found));
        }
        Value::Object(entries) => {
            entries
                .iter()
                .for_each(|(key, entry)| paths(entry, &format!("{at}/{}", key.replace('/', "~1")), found));
        }
        _ => {}
    }
}

/// Changes some values into others of the same input, or into odd ones.
fn mutate(value: &mut Value, rng: &mut Rng) {
    for _ in 0..rng.usize(1..6) {
        let mut found = Vec::new();
        paths(value, "", &mut found);
        let other = value.pointer(&found[rng.usize(..found.len())]).cloned().unwrap_or_default();
        let odd = [
            json!(null),
            json!(-1),
            json!(1e308),
            json!(""),
            json!([]),
            json!({}),
            json!("a"),
            json!(true),
            json!("r"),
            other,
        ];
        let new = odd[rng.usize(..odd.len())].clone();
        // What is put into itself doubles the input: a few times at most.
        let is_small = value.to_string().len() + new.to_string().len() < 200_000;
        if let Some(place) = value.pointer_mut(&found[rng.usize(..found.len())]).filter(|_| is_small) {
            *place = new;
        }
    }
}

/// Checks that messages come after those they name, with ids that are theirs alone.
fn check(imported: &Imported) {
    let mut seen = BTreeSet::new();
    for message in &imported.messages {
        for named in [&message.parent, &message.alternative_to].into_iter().flatten() {
            assert!(seen.contains(named), "{named} comes later");
        }
        assert!(seen.insert(message.id.clone()), "{} comes twice", message.id);
    }
    assert!(imported.selected.iter().all(|choice| seen.contains(&choice.child)));
    let mut user = User::new();
    assert_eq!(user.import(imported).0, imported.report.turns);
}

fn run(input: &[u8]) -> usize {
    let bounds = Bounds { conversation_bytes: 1 << 20, total_bytes: 4 << 20, ..Bounds::default() };
    let options = Options { user: "ada", now_ms: NOW, bounds };
    let mut found = 0;
    // An error ends an import; it is as good an end as any.
    let _ = import::read(Cursor::new(input), &options, &mut |item| {
        if let Item::Conversation(imported) = &item {
            found += 1;
            check(imported);
        }
        ControlFlow::Continue(())
    });
    found
}

#[test]
fn the_unchanged_export_is_read_whole() {
    let (totals, conversations) = imported(&serde_json::to_vec(&export()).expect("JSON"));
    assert_eq!((totals.imported, totals.turns, totals.hidden, totals.unknown_parts), (3, 14, 2, 2));
    conversations.iter().for_each(check);
}

#[test]
fn values_that_are_changed_cost_their_conversation_at_most() {
    let seed = 0x5eed;
    let mut found = 0;
    for round in 0..1500 {
        let mut rng = Rng::with_seed(seed + round);
        let mut input = export();
        mutate(&mut input, &mut rng);
        println!("seed {}", seed + round);
        found += run(&serde_json::to_vec(&input).expect("JSON"));
    }
    assert!(found > 3000, "most conversations survive: {found}");
}

#[test]
fn bytes_that_are_changed_end_the_import_at_most() {
    let plain = serde_json::to_vec(&export()).expect("JSON");
    let mut user = User::new();
    imported(&plain).1.iter().for_each(|conversation| {
        user.import(conversation);
    });
    let archive = user.export();
    for round in 0..3000 {
        let mut rng = Rng::with_seed(round);
        println!("seed {round}");
        let mut input = if round % 2 == 0 { plain.clone() } else { archive.clone() };
        for _ in 0..rng.usize(1..8) {
            if input.is_empty() {
                break;
            }
            let at = rng.usize(..input.len());
            match rng.u8(..4) {
                0 => input[at] = rng.u8(..),
                1 => input[at] = b"[]{}\",:\\ 0-e"[rng.usize(..12)],
                2 => drop(input.drain(at..(at + rng.usize(1..50)).min(input.len()))),
                _ => input.truncate(at),
            }
        }
        run(&input);
    }
}
