//! Hits come in an order, a page at a time.

use syncline_search::{Batch, Cursor, Filter, Item, Options, Page};

use crate::kit::{Kit, message};

fn many(kit: &Kit, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let item = message("c", &format!("{number:03}"), "word and some more");
        kit.apply(Batch::new("ada").put(Item { at_ms: number, ..item }));
    }
    kit.index.flush().expect("flushes");
}

fn page(kit: &Kit, after: Option<Cursor>) -> (Vec<String>, Option<Cursor>) {
    let found = kit.index.search("ada", "word", &Page { limit: 10, after }, &Filter::default());
    let found = found.expect("finds");
    (found.hits.into_iter().filter_map(|hit| hit.message).collect(), found.next)
}

#[test]
fn the_better_fit_comes_first_then_the_newer() {
    let kit = Kit::new();
    let long = "word ".to_owned() + &"filling ".repeat(300);
    let texts = [("old", 1, "word"), ("new", 2, "word"), ("long", 3, long.as_str())];
    for (id, at_ms, text) in texts {
        kit.apply(Batch::new("ada").put(Item { at_ms, ..message("c", id, text) }));
    }
    kit.index.flush().expect("flushes");
    let hits = kit.find("ada", "word").hits;
    let ids: Vec<_> = hits.iter().filter_map(|hit| hit.message.as_deref()).collect();
    assert_eq!(ids, ["new", "old", "long"]);
    assert!(hits[0].score > hits[2].score);
}

#[test]
fn pages_join_without_gaps_while_the_index_is_rewritten() {
    let kit = Kit::new();
    many(&kit, 0..35);
    let (mut ids, mut next) = page(&kit, None);
    assert_eq!(ids.len(), 10);
    // Between the pages: newer texts, another user's, and all segments become others.
    many(&kit, 500..510);
    kit.put("bob", &[("1", "word word word")]);
    kit.apply(Batch::new("ada").remove_message("c", Some("500")));
    kit.index.purge().expect("purges");
    while let Some(after) = next {
        let after = after.to_string().parse().expect("a cursor");
        let (more, then) = page(&kit, Some(after));
        ids.extend(more);
        next = then;
    }
    let expected: Vec<String> = (0..35).rev().map(|number| format!("{number:03}")).collect();
    assert_eq!(ids, expected);
}

#[test]
fn a_search_stops_at_its_limits_and_says_so() {
    let kit = Kit::with(Options { search_texts: 10, ..Options::default() });
    many(&kit, 0..10);
    assert!(!kit.find("ada", "word").partial);
    many(&kit, 10..11);
    assert!(kit.find("ada", "word").partial);
    let hasty = Kit::with(Options { search_ms: 0, ..Options::default() });
    many(&hasty, 0..1);
    assert!(hasty.find("ada", "word").partial);
}
