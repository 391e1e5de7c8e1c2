//! Real conversations: what is counted of them by hand is what comes out, in documents too.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use support::{User, imported, shared};
use syncline_document::schema::conversation::Branch;

/// What a plain walk finds: turns by parent, and the branch that its user saw.
#[derive(Debug, Default)]
struct Walk {
    turns: usize,
    branches: usize,
    texts: BTreeSet<(String, String)>,
    shown: Vec<String>,
}

fn walk_mapping(conversation: &Value) -> Walk {
    let mapping = conversation["mapping"].as_object().expect("a mapping");
    let text = |key: &str| mapping[key]["message"]["content"]["parts"][0].as_str().map(str::to_owned);
    let mut walk = Walk::default();
    for (key, node) in mapping {
        let Some(said) = text(key) else { continue };
        walk.turns += 1;
        walk.branches += usize::from(node["children"].as_array().is_none_or(Vec::is_empty));
        let parent = node["parent"].as_str().and_then(text).unwrap_or_default();
        walk.texts.insert((parent, said));
    }
    let mut at = conversation["current_node"].as_str();
    while let Some(key) = at {
        walk.shown.extend(text(key));
        at = mapping[key]["parent"].as_str();
    }
    walk.shown.reverse();
    walk
}

fn walk_replies(message: &Value, parent: &str, walk: &mut Walk) {
    let text = message["text"].as_str().expect("a text").to_owned();
    let replies = message["replies"].as_array().expect("replies");
    walk.turns += 1;
    walk.branches += usize::from(replies.is_empty());
    for reply in replies {
        walk_replies(reply, &text, walk);
    }
    walk.texts.insert((parent.to_owned(), text));
}

/// Imports all into documents, and compares them with what was counted, by source id.
fn compare(input: &[u8], walks: &BTreeMap<String, Walk>) {
    let (totals, conversations) = imported(input);
    assert_eq!((totals.imported, totals.skipped, totals.failed), (walks.len(), 0, 0));
    assert_eq!(totals.turns, walks.values().map(|walk| walk.turns).sum::<usize>());
    assert_eq!(totals.branches, walks.values().map(|walk| walk.branches).sum::<usize>());
    assert_eq!((totals.hidden, totals.reparented, totals.unknown_parts), (0, 0, 0));
    let mut user = User::new();
    for conversation in &conversations {
        let walk = &walks[&conversation.source_id];
        assert_eq!(user.import(conversation), (walk.turns, true));
        assert_eq!(user.import(conversation), (0, false), "importing twice changes nothing");
        let all = user.read(&conversation.id, Branch::All).messages;
        let text = |id: &str| {
            let message = all.iter().find(|message| message.id == id).expect("a message");
            message.parts[0]["text"].as_str().expect("a text").to_owned()
        };
        let texts = all
            .iter()
            .map(|message| (message.parent.as_deref().map(text).unwrap_or_default(), text(&message.id)))
            .collect();
        assert_eq!((all.len(), walk.branches), (walk.turns, conversation.report.branches));
        assert_eq!(walk.texts, texts, "{}", conversation.source_id);
        if !walk.shown.is_empty() {
            let shown = user.read(&conversation.id, Branch::Selected).messages;
            assert_eq!(walk.shown, shown.iter().map(|message| text(&message.id)).collect::<Vec<_>>());
        }
    }
    println!("{} conversations, {} turns, {} branches", totals.imported, totals.turns, totals.branches);
}

#[test]
fn an_export_comes_out_turn_by_turn() {
    let Some(input) = shared("conversations.json") else { return };
    let conversations: Vec<Value> = serde_json::from_slice(&input).expect("JSON");
    assert_eq!(conversations.len(), 70);
    let walks = conversations.iter().map(|conversation| {
        (conversation["id"].as_str().expect("an id").to_owned(), walk_mapping(conversation))
    });
    compare(&input, &walks.collect());
}

#[test]
fn message_trees_come_out_turn_by_turn() {
    let Some(input) = shared("oasst_trees.jsonl") else { return };
    let walks = input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
        let tree: Value = serde_json::from_slice(line).expect("JSON");
        let mut walk = Walk::default();
        walk_replies(&tree["prompt"], "", &mut walk);
        (tree["message_tree_id"].as_str().expect("an id").to_owned(), walk)
    });
    compare(&input, &walks.collect());
}

#[test]
fn real_conversations_go_into_an_archive_and_come_back_the_same() {
    let Some(input) = shared("conversations.json") else { return };
    let mut user = User::new();
    for conversation in imported(&input).1 {
        user.import(&conversation);
    }
    let archive = user.export();
    let mut other = User::new();
    assert_eq!(other.restore(&archive), (vec![], true));
    assert!(other.export() == archive, "an archive of what was restored is the same archive");
    println!("{} bytes of archive", archive.len());
}
