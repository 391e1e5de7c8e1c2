//! What is known to break yrs 0.28.1, case by case, and what must pass although it looks alike.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use support::unhex;
use syncline_protocol::{
    awareness::{self, AwarenessError},
    known::{Known, Verdict},
    lib0::{write_str, write_var_uint},
    limits::Limits,
    state_vector::{self, StateVectorError},
    update::Refusal,
};

fn vectors() -> Value {
    let file = std::fs::read_to_string("../../tests/vectors/hostile-updates.json").unwrap();
    serde_json::from_str(&file).unwrap()
}

/// Judges updates one after the other as a server would; says how the last one ended.
fn judge_all(updates: &[Vec<u8>]) -> &'static str {
    let mut known = Known::new();
    let mut last = "";
    for update in updates {
        last = match known.judge(update, &Limits::default()) {
            Err(refusal) => refusal.code(),
            Ok(Verdict::Gap(_)) => "gap",
            Ok(Verdict::Whole(checked)) => {
                known.admit(&checked);
                "whole"
            }
        };
    }
    last
}

fn refusal(update: &[u8]) -> Refusal {
    Known::new().judge(update, &Limits::default()).expect_err("refused")
}

fn whole(update: &[u8]) -> Known {
    let mut known = Known::new();
    match known.judge(update, &Limits::default()) {
        Ok(Verdict::Whole(checked)) => known.admit(&checked),
        other => panic!("{other:?}"),
    }
    known
}

#[test]
fn each_known_killer_is_stopped() {
    // The emoji in an array is an emoji in a text as far as anyone can tell from the bytes: readers take care.
    let expected = [
        "malformed",
        "unsupported",
        "unsupported",
        "malformed",
        "whole",
        "malformed",
        "too_many_sections",
        "gap",
        "malformed",
    ];
    let vectors = vectors();
    let cases = vectors["updates"].as_array().unwrap();
    assert_eq!(cases.len(), expected.len());
    for (case, expected) in cases.iter().zip(expected) {
        let parts: Vec<Vec<u8>> =
            case["hex"].as_array().unwrap().iter().map(|part| unhex(part.as_str().unwrap())).collect();
        let updates = if case["join"] == true { vec![parts.concat()] } else { parts };
        assert_eq!(judge_all(&updates), expected, "{case}");
    }
}

#[test]
fn claims_of_many_states_are_refused_before_anything_is_allocated() {
    let limits = Limits::default();
    let bytes = unhex("8080808001");
    assert_eq!(state_vector::parse(&bytes, &limits), Err(StateVectorError::TooManyEntries));
    assert_eq!(awareness::parse(&bytes, &limits), Err(AwarenessError::TooManyStates));
}

/// Starts an update of one section of client 1 from clock 0.
fn section(blocks: u64) -> Vec<u8> {
    let mut update = vec![1];
    write_var_uint(&mut update, blocks);
    update.extend_from_slice(&[1, 0]);
    update
}

fn id(update: &mut Vec<u8>, client: u64, clock: u64) {
    write_var_uint(update, client);
    write_var_uint(update, clock);
}

#[test]
fn deep_nesting_is_refused_in_one_update_and_over_many() {
    let nested = |depth: u64| {
        let mut update = section(depth);
        update.extend_from_slice(&[0x27, 1, 1, b'm', 1, b'k', 1]);
        for parent in 0..depth - 1 {
            update.extend_from_slice(&[0x27, 0]);
            id(&mut update, 1, parent);
            update.extend_from_slice(&[1, b'k', 1]);
        }
        update.push(0);
        update
    };
    let known = whole(&nested(64));
    assert_eq!(refusal(&nested(65)), Refusal::TypeTooDeep);
    assert_eq!(refusal(&nested(5_000)), Refusal::TypeTooDeep);
    let next = [&[1, 1, 1, 64, 0x27, 0, 1, 63, 1, b'k', 1][..], &[0]].concat();
    assert_eq!(known.judge(&next, &Limits::default()).expect_err("refused"), Refusal::TypeTooDeep);
    let mut any = section(1);
    any.extend_from_slice(&[8, 1, 1, b'a', 1]);
    any.extend([117, 1].repeat(7_000));
    any.extend_from_slice(&[126, 0]);
    assert_eq!(refusal(&any), Refusal::AnyTooDeep);
}

#[test]
fn empty_sections_are_refused() {
    let mut update = Vec::new();
    write_var_uint(&mut update, 50_000);
    for client in (1..=50_000).rev() {
        update.push(0);
        id(&mut update, client, 0);
    }
    update.push(0);
    assert_eq!(refusal(&update), Refusal::EmptySection);
}

#[test]
fn a_megabyte_with_every_second_character_deleted_is_too_much_work() {
    let mut text = section(1);
    text.extend_from_slice(&[4, 1, 1, b't']);
    write_str(&mut text, &"x".repeat(1_000_000));
    let mut deletes = vec![1, 1];
    write_var_uint(&mut deletes, 499_999);
    for range in 0..499_999 {
        write_var_uint(&mut deletes, 2 * range);
        deletes.push(1);
    }
    assert_eq!(refusal(&[&text[..], &deletes].concat()), Refusal::TooMuchWork);
    text.push(0);
    let mut known = whole(&text);
    let update = [&[0][..], &deletes].concat();
    assert_eq!(known.judge(&update, &Limits::default()).expect_err("refused"), Refusal::TooMuchWork);
    // What is deleted already costs nothing: every reconnecting client repeats its whole delete set.
    let Ok(Verdict::Whole(checked)) = known.judge(&update, &Limits { work: u64::MAX, ..Limits::default() })
    else {
        panic!("whole")
    };
    known.admit(&checked);
    let Ok(Verdict::Whole(again)) = known.judge(&update, &Limits::default()) else { panic!("whole") };
    assert!(again.work == 0 && !again.new_deletes);
}

#[test]
fn an_unknown_origin_is_a_gap_and_comes_back_whole() {
    let mut known = Known::new();
    let update = unhex("010102008409000178").into_iter().chain([0]).collect::<Vec<u8>>();
    let Ok(Verdict::Gap(gap)) = known.judge(&update, &Limits::default()) else { panic!("a gap") };
    assert_eq!((gap.closed, gap.rest.as_slice()), (None, update.as_slice()));
    let missing = [&[1, 1, 9, 0, 4, 1, 1, b't'][..], &[1, b'a', 0]].concat();
    let Ok(Verdict::Whole(checked)) = known.judge(&missing, &Limits::default()) else { panic!("whole") };
    known.admit(&checked);
    assert!(matches!(known.judge(&gap.rest, &Limits::default()), Ok(Verdict::Whole(_))));
}

#[test]
fn neighbours_in_different_places_are_refused() {
    // Roots "a" and "b", one character each; the third block wants to be between them.
    let mut update = section(3);
    update.extend_from_slice(&[4, 1, 1, b'a', 1, b'x', 4, 1, 1, b'b', 1, b'y']);
    update.extend_from_slice(&[0xc4, 1, 0, 1, 1, 1, b'z', 0]);
    assert_eq!(refusal(&update), Refusal::Misplaced);
    // A parent that is a character.
    let mut update = section(2);
    update.extend_from_slice(&[4, 1, 1, b'a', 1, b'x', 4, 0, 1, 0, 1, b'z', 0]);
    assert_eq!(refusal(&update), Refusal::BadParent);
    // A live text of two units in an entry of a map; deleted it may be.
    let mut update = section(1);
    update.extend_from_slice(&[0x24, 1, 1, b'm', 1, b'k', 2, b'x', b'y']);
    assert_eq!(refusal(&[&update[..], &[0]].concat()), Refusal::LongEntry);
    whole(&[&update[..], &[1, 1, 1, 0, 2]].concat());
}

/// Writes `count` sections of one block each, highest client first, with the block that `block` writes.
fn sections(count: u64, block: impl Fn(&mut Vec<u8>, u64)) -> Vec<u8> {
    let mut update = Vec::new();
    write_var_uint(&mut update, count);
    for client in (1..=count).rev() {
        update.push(1);
        id(&mut update, client, 0);
        block(&mut update, client);
    }
    update.push(0);
    update
}

#[test]
fn sections_that_wait_for_each_other_in_a_long_chain_are_too_much_work() {
    // yrs searches its stack for each: a minute for 65,536 of them.
    let chain = |count| {
        sections(count, |update, client| {
            if client == 1 {
                update.extend_from_slice(&[4, 1, 1, b'a']);
            } else {
                update.push(0x84);
                id(update, client - 1, 0);
            }
            write_str(update, "x");
        })
    };
    whole(&chain(5_000));
    assert_eq!(refusal(&chain(65_536)), Refusal::TooMuchWork);
}

#[test]
fn inserts_at_one_spot_cost_what_they_cost() {
    let concurrent = |update: &mut Vec<u8>, _| update.extend_from_slice(&[4, 1, 1, b'a', 1, b'x']);
    // Honest: everybody begins at once. yrs takes the highest client first and passes nobody.
    whole(&sections(65_536, concurrent));
    // One more client makes yrs take them in the other order: 18 s for 5,000 of them.
    let count = 5_000;
    let mut update = Vec::new();
    write_var_uint(&mut update, count + 1);
    write_var_uint(&mut update, count);
    id(&mut update, count + 1, 0);
    for client in 1..=count {
        update.push(0x84);
        id(&mut update, client, 0);
        write_str(&mut update, "y");
    }
    update.extend_from_slice(&sections(count, concurrent)[2..]);
    assert_eq!(refusal(&update), Refusal::TooMuchWork);
}

#[test]
fn very_many_blocks_that_continue_each_other_are_too_much_work() {
    // As many updates of one keystroke or one value each, merged without joining them. yrs takes gigabytes to join them.
    let chain = |count: u64, content: &[u8]| {
        let mut update = section(count);
        for clock in 0..count {
            if clock == 0 {
                update.extend_from_slice(&[content[0], 1, 1, b'a']);
            } else {
                update.push(0x80 | content[0]);
                id(&mut update, 1, clock - 1);
            }
            update.extend_from_slice(&content[1..]);
        }
        update.push(0);
        update
    };
    let (character, value) = ([4, 1, b'x'].as_slice(), [8, 1, 126].as_slice());
    whole(&chain(12_000, character));
    whole(&chain(4_000, value));
    assert_eq!(refusal(&chain(100_000, character)), Refusal::TooMuchWork);
    assert_eq!(refusal(&chain(20_000, value)), Refusal::TooMuchWork);
    // What yrs does not join may be as long as it likes: embeds.
    whole(&chain(100_000, &[5, 1, b'1']));
}

#[test]
fn large_first_syncs_pass() {
    // Ten megabytes of text.
    let mut text = section(1);
    text.extend_from_slice(&[4, 1, 1, b't']);
    write_str(&mut text, &"x".repeat(10_000_000));
    text.push(0);
    assert_eq!(whole(&text).clock(1), 10_000_000);
    // A hundred thousand messages: maps in an array, of three entries each.
    let mut messages = section(400_000);
    for message in 0..100_000 {
        if message == 0 {
            messages.extend_from_slice(&[7, 1, 1, b'a', 1]);
        } else {
            messages.push(0x87);
            id(&mut messages, 1, 4 * (message - 1));
            messages.push(1);
        }
        for key in [b'f', b't', b'i'] {
            messages.extend_from_slice(&[0x28, 0]);
            id(&mut messages, 1, 4 * message);
            messages.extend_from_slice(&[1, key, 1, 119, 5, b'h', b'e', b'l', b'l', b'o']);
        }
    }
    messages.push(0);
    assert_eq!(whole(&messages).clock(1), 400_000);
    whole(&sections(5_000, |update, _| update.extend_from_slice(&[4, 1, 1, b'a', 1, b'x'])));
}
