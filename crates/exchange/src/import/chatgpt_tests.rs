//! How a mapping is read: links that disagree, and tools.

use serde_json::json;

use super::*;
use crate::import::forest::Turn;

fn source(mapping: &Value) -> Source {
    let conversation =
        json!({ "conversation_id": "c", "mapping": mapping, "current_node": "b", "is_starred": true });
    let Value::Object(conversation) = conversation else { unreachable!("an object") };
    read(conversation, &Bounds::default()).expect("a conversation")
}

fn said(text: &str) -> Value {
    json!({ "author": { "role": "user" }, "content": { "content_type": "text", "parts": [text] } })
}

fn parents(source: &Source) -> Vec<(&str, Option<&str>, usize)> {
    let key = |at: usize| source.nodes[at].key.as_str();
    source.nodes.iter().map(|node| (node.key.as_str(), node.parent.map(key), node.rank)).collect()
}

#[test]
fn a_node_follows_the_one_it_names_or_else_the_one_that_lists_it() {
    let source = source(&json!({
        "a": { "message": said("a"), "parent": null, "children": ["c", "b", "gone", 5, "a"] },
        "b": { "message": said("b"), "parent": "a", "children": ["d"] },
        "c": { "message": said("c") },
        "d": { "message": said("d"), "parent": "c", "children": [] },
        "e": { "message": said("e"), "parent": "missing" },
        "f": { "message": said("f"), "parent": "f" },
        "g": "no node",
    }));
    let max = usize::MAX;
    let expected = [
        ("a", None, max),
        ("b", Some("a"), 1),
        ("c", Some("a"), 0),
        ("d", Some("c"), max),
        ("e", None, max),
        ("f", None, max),
        ("g", None, max),
    ];
    assert_eq!(parents(&source), expected);
    assert_eq!((source.current, source.pinned, source.archived), (Some(1), true, false));
}

#[test]
fn what_is_no_conversation_says_why() {
    let small = Bounds { nodes: 1, ..Bounds::default() };
    for (conversation, reason) in [
        (json!({ "id": "c" }), "mapping"),
        (json!({ "id": "c", "mapping": [] }), "mapping"),
        (json!({ "mapping": {} }), "no id"),
        (json!({ "id": "c", "mapping": { "a": {}, "b": {} } }), "2 nodes"),
    ] {
        let error = read(conversation.as_object().expect("an object").clone(), &small).expect_err("none");
        assert!(error.contains(reason), "{error}");
    }
}

fn turns(source: &Source) -> Vec<&Turn> {
    let turns = source.nodes.iter().filter_map(|node| match &node.content {
        Content::Said(turn) => Some(turn),
        _ => None,
    });
    turns.collect()
}

#[test]
fn an_answer_that_alone_follows_its_call_is_one_part_with_it() {
    let call = json!({ "author": { "role": "assistant" }, "recipient": "python",
        "content": { "content_type": "code", "language": "python", "text": "1+1" } });
    let answer = |text: &str| {
        json!({ "author": { "role": "tool", "name": "python" },
        "content": { "content_type": "execution_output", "text": text } })
    };
    let one = source(&json!({
        "a": { "message": call, "children": ["b"] },
        "b": { "message": answer("2"), "parent": "a" },
    }));
    let part = json!({ "type": "dynamic-tool", "toolName": "python", "toolCallId": "a", "input": "1+1",
        "state": "output-available", "output": "2" });
    assert_eq!(turns(&one).iter().map(|turn| turn.parts.clone()).collect::<Vec<_>>(), [[part.clone()]]);
    assert_eq!(turns(&one)[0].with.as_deref(), Some("b"));
    let two = source(&json!({
        "a": { "message": call, "children": ["b", "c"] },
        "b": { "message": answer("2"), "parent": "a" },
        "c": { "message": answer("3"), "parent": "a" },
        "d": { "message": answer("4") },
    }));
    let turns = turns(&two);
    assert_eq!(turns[0].parts[0]["state"], "input-available");
    assert_eq!(turns[1].parts, [part]);
    assert_eq!((&turns[2].parts[0]["output"], &turns[3].parts[0]["input"]), (&json!("3"), &Value::Null));
}
