//! Queries, texts and names that mean harm: refused or harmless, and soon over.

use std::time::{Duration, Instant};

use syncline_search::{Batch, Filter, Page, SearchError, limits::NAME_BYTES};

use crate::kit::{Kit, message};

#[test]
fn no_query_panics_or_takes_long() {
    let kit = Kit::new();
    let mut random = fastrand::Rng::with_seed(5);
    let text: String = (0..20_000).map(|_| random.alphanumeric()).collect();
    kit.put("ada", &[("1", &text), ("2", &"a ".repeat(50_000)), ("3", &"字".repeat(50_000))]);
    let signs =
        ['"', '-', ' ', 'a', '字', '\u{301}', '*', '\0', '(', ':', '\\', '\u{202e}', '\u{fdfa}', '\t'];
    let made = (0..3_000).map(|_| {
        let length = random.usize(..60);
        (0..length).map(|_| *random.choice(&signs).expect("a sign")).collect::<String>()
    });
    let known = [
        "\"".repeat(1_000),
        "-".repeat(1_000),
        "a".repeat(1_000),
        "\"a a a a a a a a\"".into(),
        "字".repeat(60),
    ];
    let begin = Instant::now();
    for query in made.chain(known) {
        match kit.index.search("ada", &query, &Page::default(), &Filter::default()) {
            Ok(_) | Err(SearchError::Query) => {}
            Err(error) => panic!("{query:?}: {error}"),
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(120), "{:?}", begin.elapsed());
}

#[test]
fn any_text_is_taken_and_no_more_of_it_than_a_limit() {
    let kit = Kit::new();
    let mut random = fastrand::Rng::with_seed(6);
    let noise: String = (0..100_000).map(|_| random.char(..)).collect();
    let long = "é".repeat(3 << 20) + " afterwards";
    kit.put("ada", &[("1", &noise), ("2", &long), ("3", ""), ("4", "\0\0 nul"), ("5", &"x".repeat(70_000))]);
    assert_eq!(kit.ids("ada", "nul"), ["4"]);
    assert_eq!(kit.ids("ada", "afterwards"), [""; 0]);
    assert_eq!(kit.ids("ada", &"x".repeat(900)), ["5"], "a long word is found by its beginning");
}

#[test]
fn names_that_are_too_long_are_refused() {
    let kit = Kit::new();
    let (long, longest) = ("n".repeat(NAME_BYTES + 1), "n".repeat(NAME_BYTES));
    let batch =
        |user: &str, conversation: &str, id: &str| Batch::new(user).put(message(conversation, id, "word"));
    for bad in [
        batch(&long, "c", "1"),
        batch("u", &long, "1"),
        batch("u", "c", &long),
        Batch::new("u").seen(&*long, 1),
    ] {
        assert_eq!(kit.index.apply(bad), Err(SearchError::Name));
    }
    kit.apply(batch(&longest, &longest, &longest));
    kit.index.flush().expect("flushes");
    assert_eq!(kit.ids(&longest, "word"), [longest]);
    let asked = kit.index.search(&long, "word", &Page::default(), &Filter::default());
    assert_eq!(asked, Err(SearchError::Name));
}
