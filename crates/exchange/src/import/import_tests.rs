//! Whole inputs: what is handed out, and what stops an import.

use std::io::{Cursor, Write as _};

use serde_json::json;
use zip::{ZipWriter, write::SimpleFileOptions};

use super::*;

fn options(bounds: Bounds) -> Options<'static> {
    Options { user: "ada", now_ms: 1_800_000_000_000, bounds }
}

fn run(input: &[u8], bounds: Bounds) -> (Result<Totals, ImportError>, Vec<Item>) {
    let mut items = Vec::new();
    let totals = read(Cursor::new(input), &options(bounds), &mut |item| {
        items.push(item);
        ControlFlow::Continue(())
    });
    (totals, items)
}

fn conversation(id: &str) -> Value {
    let message = |role: &str, text: &str, time: f64| {
        json!({ "author": { "role": role }, "create_time": time, "weight": 1.0,
            "content": { "content_type": "text", "parts": [text] }, "metadata": {} })
    };
    json!({ "conversation_id": id, "title": id, "create_time": 1_700_000_000.0, "update_time": 1_700_000_100.0,
        "current_node": "a1", "mapping": {
            "root": { "message": null, "children": ["q"] },
            "q": { "message": message("user", "Hi", 1_700_000_001.0), "parent": "root", "children": ["a1", "a2"] },
            "a1": { "message": message("assistant", "Hello", 1_700_000_003.0), "parent": "q" },
            "a2": { "message": message("assistant", "Hey", 1_700_000_002.0), "parent": "q" },
        } })
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, SimpleFileOptions::default()).expect("starts");
        zip.write_all(content).expect("writes");
    }
    zip.finish().expect("a zip").into_inner()
}

fn reasons(items: &[Item]) -> Vec<String> {
    let reports = items.iter().filter_map(|item| match item {
        Item::Left(report) => report.reason.clone(),
        _ => None,
    });
    reports.collect()
}

#[test]
fn branches_come_in_their_order_with_the_choice_of_their_user() {
    let (totals, items) = run(&serde_json::to_vec(&[conversation("c1")]).expect("JSON"), Bounds::default());
    let [Item::Conversation(imported)] = &items[..] else { panic!("{items:?}") };
    let [q, a1, a2] = &imported.messages[..] else { panic!("{imported:?}") };
    assert_eq!((q.parent.as_ref(), q.alternative_to.as_ref()), (None, None));
    assert_eq!((a1.parent.as_ref(), a1.alternative_to.as_ref()), (Some(&q.id), None));
    assert_eq!((a2.parent.as_ref(), a2.alternative_to.as_ref()), (Some(&q.id), Some(&a1.id)));
    assert_eq!(imported.selected, [Selection { parent: Some(q.id.clone()), child: a1.id.clone() }]);
    assert_eq!(
        (q.stamp.hlc.to_string(), q.stamp.writer.as_str()),
        ("1700000001000-0000".to_owned(), "agent:import")
    );
    assert_eq!((imported.created_at_ms, imported.updated_at_ms), (1_700_000_000_000, 1_700_000_100_000));
    let expected = Totals { imported: 1, turns: 3, branches: 2, ..Totals::default() };
    assert_eq!(totals.expect("reads"), expected);
}

#[test]
fn bad_conversations_never_stop_the_rest() {
    let (good, other) = (conversation("c1").to_string(), conversation("c2").to_string());
    let large = format!("{{\"id\":\"l\",\"x\":\"{}\"}}", "y".repeat(5000));
    let deep = format!("{{\"id\":\"d\",\"x\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let input = format!(
        "[{good},5,{{\"id\":\"n\"}},{large},{deep},{{bad json}},{good},{{\"id\":\"e\",\"mapping\":{{}}}},{other},{{\"id\":"
    );
    let (totals, items) = run(input.as_bytes(), Bounds { conversation_bytes: 4000, ..Bounds::default() });
    let totals = totals.expect("reads");
    assert_eq!((totals.imported, totals.skipped, totals.failed), (2, 2, 6));
    let reasons = reasons(&items).join("\n");
    for said in ["mapping", "larger", "recursion", "came before", "no message", "ends in the middle"] {
        assert!(reasons.contains(said), "{said}: {reasons}");
    }
}

#[test]
fn importing_twice_makes_the_same_conversation_whenever_it_is() {
    let input = serde_json::to_vec(&[conversation("c1")]).expect("JSON");
    let once = |now_ms: u64, user: &str| {
        let mut found = Vec::new();
        let options = Options { user, now_ms, bounds: Bounds::default() };
        let done = read(Cursor::new(&input), &options, &mut |item| {
            if let Item::Conversation(imported) = item {
                found.push(*imported);
            }
            ControlFlow::Continue(())
        });
        done.expect("reads");
        found.remove(0)
    };
    assert_eq!(once(1_800_000_000_000, "ada"), once(1_900_000_000_000, "ada"));
    assert_ne!(once(1_800_000_000_000, "ada").id, once(1_800_000_000_000, "ben").id);
    // A clock that was wrong there does not stamp the future here.
    assert_eq!(once(1_700_000_000_500, "ada").messages[2].stamp.hlc.ms(), 1_700_000_000_500);
}

#[test]
fn shards_of_a_zip_are_read_and_a_damaged_one_costs_itself() {
    let shard = |id: &str| serde_json::to_vec(&[conversation(id)]).expect("JSON");
    let (one, two, other) = (shard("c1"), shard("c2"), shard("c3"));
    let files: [(&str, &[u8]); 5] = [
        ("export/conversations-001.json", &two),
        ("export/conversations-000.json", &one),
        ("shared_conversations.json", &other),
        ("nested.zip", &zip(&[("conversations.json", &other)])),
        ("user.json", b"{}"),
    ];
    let mut bytes = zip(&files);
    let (totals, items) = run(&bytes, Bounds::default());
    assert_eq!(totals.expect("reads").imported, 2);
    let titles: Vec<&str> = items
        .iter()
        .filter_map(|item| match item {
            Item::Conversation(imported) => imported.title.as_deref(),
            _ => None,
        })
        .collect();
    assert_eq!(titles, ["c1", "c2"]);
    let start = bytes.windows(8).position(|window| window == b"000.json").expect("the name");
    bytes[start + 20..start + 60].fill(0xff);
    let (totals, items) = run(&bytes, Bounds::default());
    assert_eq!(totals.expect("reads").imported, 1);
    assert!(reasons(&items).iter().any(|reason| reason.contains("rest of this file")), "{items:?}");
}

#[test]
fn whole_inputs_are_bounded() {
    let input = serde_json::to_vec(&[conversation("c1"), conversation("c2")]).expect("JSON");
    let bomb = zip(&[("conversations.json", &vec![b' '; 1 << 20])]);
    assert!(bomb.len() < 4096);
    let total_bytes = input.len() as u64 - 1;
    let tight = Bounds { total_bytes, conversations: 1, entries: 0, ..Bounds::default() };
    let total = Bounds { total_bytes, ..Bounds::default() };
    let limit = |input: &[u8], bounds: &Bounds| match run(input, bounds.clone()).0 {
        Err(ImportError::TooMuch { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(limit(&input, &total), "bytes");
    assert_eq!(limit(&input, &tight), "conversations");
    assert_eq!(limit(&bomb, &total), "bytes");
    assert_eq!(limit(&bomb, &tight), "entries of a zip");
    assert!(matches!(run(b"hello", Bounds::default()).0, Err(ImportError::Unknown)));
    assert!(matches!(run(&zip(&[("a.txt", b"")]), Bounds::default()).0, Err(ImportError::Unknown)));
}

#[test]
fn who_takes_the_items_may_break_off() {
    let input = serde_json::to_vec(&[conversation("c1"), conversation("c2")]).expect("JSON");
    let mut items = 0;
    let totals = read(Cursor::new(input), &options(Bounds::default()), &mut |_| {
        items += 1;
        ControlFlow::Break(())
    });
    assert_eq!((totals.expect("reads").imported, items), (1, 1));
}
