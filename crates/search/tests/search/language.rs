//! What a query means.

use syncline_search::{Batch, Filter, Item, Page};

use crate::kit::{Kit, message, title};

#[test]
fn words_phrases_exclusions_and_beginnings() {
    let kit = Kit::new();
    kit.put(
        "ada",
        &[
            ("1", "The quick brown fox"),
            ("2", "the brown quick dog"),
            ("3", "a quicksand of browns, isn't it"),
            ("4", "version 3.14 of foo_bar"),
        ],
    );
    for (query, ids) in [
        ("quick brown ", &["1", "2"][..]),
        ("QUICK", &["1", "2", "3"]),
        ("quick ", &["1", "2"]),
        ("\"quick brown\"", &["1"]),
        ("\"brown quick", &["2"]),
        ("quick -dog", &["1"]),
        ("quick -\"dog x\" -\"brown quick\" -\"a quicksand\"", &["1"]),
        ("brown -\"quick brown\" ", &["2"]),
        ("-dog", &[]),
        ("isn't ", &["3"]),
        ("isn", &["3"]),
        ("3.14", &["4"]),
        ("14.3 ", &[]),
        ("foo_bar", &["4"]),
        ("the q", &["1", "2"]),
        ("", &[]),
        ("🙂 !", &[]),
    ] {
        assert_eq!(kit.ids("ada", query), ids, "{query}");
    }
}

#[test]
fn case_accents_and_width_do_not_matter() {
    let kit = Kit::new();
    kit.put("ada", &[("1", "Crème Brûlée"), ("2", "STRASSE"), ("3", "Łódź"), ("4", "ＦＵＬＬ width")]);
    for (query, id) in [("creme brulee", "1"), ("CRÈME", "1"), ("Straße", "2"), ("lodz", "3"), ("full", "4")]
    {
        assert_eq!(kit.ids("ada", query), [id], "{query}");
    }
}

#[test]
fn scripts_without_spaces_are_found_in_the_middle() {
    let kit = Kit::new();
    kit.put(
        "ada",
        &[
            ("1", "私は東京都に住んでいます"),
            ("2", "京東的猫"),
            ("3", "서울특별시에서"),
            ("4", "ภาษาไทยง่ายมาก"),
        ],
    );
    for (query, ids) in [
        ("東京", &["1"][..]),
        ("東京都", &["1"]),
        ("京", &["1", "2"]),
        ("猫", &["2"]),
        ("京都東", &[]),
        ("\"住んで\"", &["1"]),
        ("특별시", &["3"]),
        ("ภาษา ไทย", &["4"]),
        ("東京 -住", &[]),
    ] {
        assert_eq!(kit.ids("ada", query), ids, "{query}");
    }
}

#[test]
fn a_text_replaces_the_one_before_and_a_batch_is_in_order() {
    let kit = Kit::new();
    kit.put("ada", &[("1", "before"), ("1", "after")]);
    assert_eq!((kit.ids("ada", "before").len(), kit.ids("ada", "after").len()), (0, 1));
    let batch = Batch::new("ada").remove_conversation("c").put(message("c", "2", "newer"));
    kit.apply(batch.put(message("c", "3", "gone")).remove_message("c", Some("3")));
    kit.index.flush().expect("flushes");
    assert_eq!(kit.ids("ada", "after newer"), [""; 0]);
    assert_eq!(kit.ids("ada", "newer"), ["2"]);
    assert_eq!(kit.ids("ada", "gone"), [""; 0]);
}

#[test]
fn filters_narrow_and_hits_say_what_they_are() {
    let kit = Kit::new();
    let answer = Item {
        role: "assistant".into(),
        at_ms: 9_000,
        alternative: true,
        ..message("c1", "2", "word there")
    };
    let batch = Batch::new("ada").put(title("c1", "word")).put(message("c1", "1", "word here")).put(answer);
    kit.apply(batch.put(message("c2", "3", "word elsewhere")));
    kit.index.flush().expect("flushes");
    let find = |filter: Filter| {
        let found = kit.index.search("ada", "word", &Page::default(), &filter).expect("finds");
        let mut ids: Vec<_> = found.hits.into_iter().map(|hit| hit.message.unwrap_or_default()).collect();
        ids.sort();
        ids
    };
    assert_eq!(find(Filter::default()), ["", "1", "2", "3"]);
    assert_eq!(find(Filter { conversation: Some("c1".into()), ..Filter::default() }), ["", "1", "2"]);
    assert_eq!(find(Filter { role: Some("assistant".into()), ..Filter::default() }), ["2"]);
    assert_eq!(find(Filter { since_ms: Some(1_001), ..Filter::default() }), ["2"]);
    assert_eq!(find(Filter { since_ms: Some(9_000), until_ms: Some(9_000), ..Filter::default() }), [""; 0]);
    assert_eq!(find(Filter { since_ms: Some(9_000), until_ms: Some(9_001), ..Filter::default() }), ["2"]);
    assert_eq!(find(Filter { conversation: Some("c".into()), ..Filter::default() }), [""; 0]);
    let hit = kit.find("ada", "there").hits.remove(0);
    assert_eq!((hit.conversation.as_str(), hit.role.as_str(), hit.at_ms), ("c1", "assistant", 9_000));
    let pieces: Vec<(&str, bool)> = hit.snippet.pieces().collect();
    assert_eq!(pieces, [("word ", false), ("there", true)]);
}
