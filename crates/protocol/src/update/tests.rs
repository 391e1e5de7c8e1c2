//! What the structure check refuses.

use super::*;

fn refusal(bytes: &[u8]) -> Refusal {
    scan(bytes, &Limits::default()).expect_err("refused")
}

/// One section of one block of client 1, into root "a".
fn one(info: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 1, 1, 0, info, 1, 1, b'a'];
    bytes.extend_from_slice(content);
    bytes.push(0);
    bytes
}

#[test]
fn every_content_of_yjs_13_passes() {
    let kinds: [(u8, &[u8], u32); 14] = [
        (1, &[5], 5),
        (3, &[2, 1, 2], 1),
        (4, &[4, 0xf0, 0x9f, 0x99, 0x82], 2),
        (4, &[3, 0xef, 0xbf, 0xbd], 1),
        (5, &[2, b'{', b'}'], 1),
        (6, &[1, b'b', 4, b'n', b'u', b'l', b'l'], 1),
        (7, &[0], 1),
        (7, &[1], 1),
        (7, &[2], 1),
        (7, &[3, 1, b'p'], 1),
        (7, &[4], 1),
        (7, &[6], 1),
        (8, &[2, 127, 125, 0x41], 2),
        (8, &[1, 118, 1, 1, b'k', 117, 2, 126, 120], 1),
    ];
    for (kind, content, len) in kinds {
        let bytes = one(kind, content);
        let scan = scan(&bytes, &Limits::default()).unwrap_or_else(|refusal| panic!("{kind}: {refusal}"));
        assert_eq!(scan.blocks[0].len, len, "{kind}");
    }
    assert_eq!(scan(&[1, 1, 1, 0, 0, 3, 0], &Limits::default()).map(|scan| scan.blocks()), Ok(1));
    assert_eq!(scan(&[0, 0], &Limits::default()).map(|scan| scan.blocks()), Ok(0));
}

#[test]
fn what_yrs_reads_otherwise_is_refused() {
    assert_eq!(refusal(&one(2, &[1, 1, b'x'])), Refusal::Content(2), "legacy JSON");
    assert_eq!(refusal(&one(9, &[0])), Refusal::Content(9), "subdocument");
    assert_eq!(refusal(&one(11, &[0])), Refusal::Content(11), "move");
    assert_eq!(refusal(&one(0x14, &[1, b'x'])), Refusal::Content(0x14), "a flag nobody defined");
    assert_eq!(refusal(&one(7, &[5, 1, b'h'])), Refusal::TypeKind(5), "XML hook");
    assert_eq!(refusal(&one(7, &[7])), Refusal::TypeKind(7), "weak link");
    assert_eq!(refusal(&one(7, &[9])), Refusal::TypeKind(9));
    assert_eq!(refusal(&one(7, &[15])), Refusal::TypeKind(15));
    assert_eq!(refusal(&one(5, &[1, b'{'])), Refusal::BadJson);
    assert_eq!(
        refusal(&one(
            5,
            b"\x141\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30"
        )),
        Refusal::BadJson,
        "beyond i64"
    );
    assert_eq!(
        refusal(&one(8, &[1, 125, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])),
        Refusal::Read(crate::lib0::ReadError::TooLarge)
    );
}

#[test]
fn lengths_without_bytes_or_blocks_are_refused() {
    assert_eq!(refusal(&[0x80, 0x80, 0x80, 0x80, 1]), Refusal::TooManySections);
    assert_eq!(refusal(&[1, 0, 1, 0, 0]), Refusal::EmptySection);
    assert_eq!(refusal(&one(4, &[0])), Refusal::EmptyBlock);
    assert_eq!(refusal(&one(8, &[0])), Refusal::EmptyBlock);
    assert_eq!(refusal(&[1, 1, 1, 0, 0, 0, 0]), Refusal::EmptyBlock);
    assert_eq!(
        refusal(&[1, 0xff, 0xff, 3, 1, 0, 0, 1]),
        Refusal::Malformed("more blocks claimed than there are bytes")
    );
    assert_eq!(
        refusal(&one(8, &[0xff, 0xff, 3, 126])),
        Refusal::Malformed("more values claimed than there are bytes")
    );
    assert_eq!(
        refusal(&[0, 1, 7, 0xff, 0xff, 3, 1]),
        Refusal::Malformed("more deletions claimed than there are bytes")
    );
}

#[test]
fn clocks_and_ids_stay_in_range() {
    let clock = |clock: u64| {
        let mut bytes = vec![1, 1, 1];
        crate::lib0::write_var_uint(&mut bytes, clock);
        bytes.extend_from_slice(&[0, 1, 0]);
        bytes
    };
    assert_eq!(refusal(&clock(CLOCK_END - 1)), Refusal::ClockTooLarge);
    assert!(scan(&clock(CLOCK_END - 2), &Limits::default()).is_ok());
    let mut bytes = vec![1, 1];
    crate::lib0::write_var_uint(&mut bytes, 1 << 53);
    bytes.extend_from_slice(&[0, 0, 1, 0]);
    assert_eq!(refusal(&bytes), Refusal::Read(crate::lib0::ReadError::TooLarge));
}

#[test]
fn a_client_occurs_once_in_any_order() {
    assert_eq!(refusal(&[2, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 0]), Refusal::DuplicateClient);
    assert!(scan(&[2, 1, 1, 0, 0, 1, 1, 2, 0, 0, 1, 0], &Limits::default()).is_ok(), "ascending");
    assert_eq!(refusal(&[0, 2, 1, 1, 0, 1, 1, 1, 2, 1]), Refusal::DuplicateClient);
}

#[test]
fn delete_ranges_ascend() {
    assert!(scan(&[0, 1, 1, 2, 0, 2, 2, 1], &Limits::default()).is_ok(), "touching");
    assert_eq!(refusal(&[0, 1, 1, 2, 0, 2, 1, 1]), Refusal::DeleteOrder);
    assert_eq!(refusal(&[0, 1, 1, 2, 5, 1, 1, 1]), Refusal::DeleteOrder);
    assert_eq!(refusal(&[0, 1, 1, 1, 5, 0]), Refusal::DeleteOrder);
}

#[test]
fn the_v2_encoding_is_refused() {
    assert_eq!(refusal(&[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]), Refusal::TrailingBytes);
}

#[test]
fn depth_is_limited_in_both_notations() {
    let any = |depth: usize| one(8, &[vec![1], [117, 1].repeat(depth), vec![126]].concat());
    assert!(scan(&any(64), &Limits::default()).is_ok());
    assert_eq!(refusal(&any(65)), Refusal::AnyTooDeep);
    let json = |depth: usize| {
        let mut content = Vec::new();
        crate::lib0::write_str(&mut content, &format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
        one(5, &content)
    };
    assert!(scan(&json(64), &Limits::default()).is_ok());
    assert_eq!(refusal(&json(65)), Refusal::AnyTooDeep);
    assert_eq!(refusal(&json(7_000)), Refusal::AnyTooDeep);
}

#[test]
fn every_prefix_of_an_update_is_refused() {
    let bytes = one(8, &[1, 118, 1, 1, b'k', 117, 2, 126, 120]);
    for end in 0..bytes.len() {
        assert!(scan(&bytes[..end], &Limits::default()).is_err(), "{end}");
    }
}
