//! A query never reaches another user's texts, nor feels that they are there.

use syncline_search::{Batch, Filter};

use crate::kit::{Kit, message, title};

/// Names that a layout without lengths, or a query language with fields, would mix up.
const USERS: [&str; 14] =
    ["a", "ab", "abc", "", " ", "a b", "001a", "a001", "A", "á", "*", "a OR user:ab", "a\0b", "\u{10ffff}"];

#[test]
fn nobody_finds_what_is_not_theirs() {
    let kit = Kit::new();
    for (number, user) in USERS.iter().enumerate() {
        let own = format!("shared word own{number}");
        kit.apply(Batch::new(*user).put(message("c", &number.to_string(), &own)).put(title("c", &own)));
    }
    kit.index.flush().expect("flushes");
    for (number, user) in USERS.iter().enumerate() {
        for query in ["shared", "\"shared word\"", "sha", "s", "shared -other", "own"] {
            assert_eq!(kit.ids(user, query), [number.to_string(), "title".into()], "{user:?} {query}");
        }
        for other in USERS.iter().filter(|other| *other != user) {
            assert_eq!(kit.ids(other, &format!("own{number} ")), [""; 0], "{other:?} {user:?}");
        }
    }
}

#[test]
fn a_query_that_spells_another_users_words_finds_nothing() {
    let kit = Kit::new();
    kit.put("victim", &[("1", "secret")]);
    kit.put("mallory", &[("2", "harmless")]);
    for query in [
        "006victimsecret",
        "victimsecret",
        "user:victim secret",
        "+user:victim",
        "\"006victim secret",
        "secret) OR (user:victim",
        "*",
        "sec*",
        "/sec.*/",
        "[a TO z]",
    ] {
        assert_eq!(kit.ids("mallory", query), [""; 0], "{query}");
    }
    let filter = Filter { conversation: Some("c".into()), ..Filter::default() };
    let found = kit.index.search("mallory", "secret", &Default::default(), &filter).expect("finds");
    assert_eq!(found.hits, []);
}

#[test]
fn the_same_ids_in_the_hands_of_two_users_are_two_texts() {
    let kit = Kit::new();
    kit.put("ada", &[("1", "first")]);
    kit.put("bob", &[("1", "first")]);
    kit.apply(Batch::new("bob").remove_message("c", Some("1")).remove_conversation("c").forget("d"));
    kit.index.flush().expect("flushes");
    assert_eq!(kit.ids("bob", "first"), [""; 0]);
    assert_eq!(kit.ids("ada", "first"), ["1"]);
}

#[test]
fn scores_do_not_tell_what_others_write() {
    let kit = Kit::new();
    kit.put("ada", &[("1", "rare words and common words")]);
    let before = kit.find("ada", "rare words");
    for number in 0..50 {
        kit.apply(Batch::new("bob").put(message("c", &number.to_string(), "rare rare rare words")));
    }
    kit.index.flush().expect("flushes");
    assert_eq!(kit.find("ada", "rare words"), before);
}

#[test]
fn many_words_of_others_do_not_crowd_out_a_completion() {
    let kit = Kit::new();
    kit.put("zoe", &[("1", "zebra")]);
    let crowd: String = (0..20_000).map(|number| format!("z{number:05} ")).collect();
    kit.put("bob", &[("2", &crowd)]);
    assert_eq!(kit.ids("zoe", "z"), ["1"]);
}
