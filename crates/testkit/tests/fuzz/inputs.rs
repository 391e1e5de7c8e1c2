//! What an attacker sends: honest bytes mutated, the known killers, and the largest things that a few bytes can mean.

use bytes::Bytes;
use fastrand::Rng;
use syncline_protocol::{
    frame::Dialect,
    lib0::{write_buf, write_str, write_var_uint},
};

use crate::{TIMES, host::NAME, support::unhex};

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Step1,
    Step2,
    Update,
    Awareness,
    Query,
    Version,
    Json,
}

pub(crate) fn frame(dialect: Dialect, kind: Kind, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(payload.len() + 32);
    let addressed = dialect == Dialect::Hocuspocus;
    if addressed {
        write_str(&mut out, NAME);
    }
    match kind {
        Kind::Step1 => out.extend_from_slice(&[0, 0]),
        Kind::Step2 => out.extend_from_slice(&[0, 1]),
        Kind::Update => out.extend_from_slice(&[0, 2]),
        Kind::Awareness => out.push(1),
        Kind::Query => {
            out.push(3);
            return out.into();
        }
        Kind::Version => out.push(102),
        Kind::Json => out.push(if addressed { 5 } else { 110 }),
    }
    write_buf(&mut out, payload);
    out.into()
}

/// Changes bytes at one to five places.
pub(crate) fn mutate(bytes: &[u8], others: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=rng.usize(0..4) {
        if out.is_empty() {
            break;
        }
        let at = rng.usize(0..out.len());
        match rng.u8(0..9) {
            0 => out[at] ^= 1 << rng.u8(0..8),
            1 | 2 => out[at] = rng.u8(0..16),
            3 => out.truncate(at),
            4 => drop(out.remove(at)),
            5 => {
                let numbers = [0, 1, 2, 127, 128, 16_384, (1 << 31) - 1, 1 << 31, (1 << 53) - 1, 1 << 53];
                let mut number = Vec::new();
                write_var_uint(&mut number, rng.choice(numbers).unwrap_or(0));
                out.splice(at..at, number);
            }
            6 => out[at] = out[at].wrapping_add(1),
            7 => {
                let to = rng.usize(at..=out.len().min(at + 24));
                let again = out[at..to].to_vec();
                out.splice(at..at, again);
            }
            _ => {
                let Some(other) = rng.choice(others).filter(|other| !other.is_empty()) else { continue };
                let from = rng.usize(0..other.len());
                let to = rng.usize(from..=other.len().min(from + 24));
                out.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    out
}

/// The updates that broke yrs, as found by others.
pub(crate) fn killers() -> Vec<Vec<u8>> {
    let file = std::fs::read_to_string("../../tests/vectors/hostile-updates.json").expect("the vectors");
    let json: serde_json::Value = serde_json::from_str(&file).expect("JSON");
    let parts = |case: &serde_json::Value| -> Vec<Vec<u8>> {
        let hex = case["hex"].as_array().expect("a list");
        let parts: Vec<Vec<u8>> = hex.iter().map(|part| unhex(part.as_str().expect("hex"))).collect();
        if case["join"] == true { vec![parts.concat()] } else { parts }
    };
    ["updates", "stateVectors", "awareness"]
        .iter()
        .flat_map(|list| json[list].as_array().expect("a list"))
        .flat_map(parts)
        .collect()
}

fn number(out: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|number| write_var_uint(out, *number));
}

/// One section of `blocks` blocks of a client from clock 0, without its delete set.
fn section(client: u64, blocks: u64, block: impl Fn(&mut Vec<u8>, u64)) -> Vec<u8> {
    let mut out = Vec::new();
    number(&mut out, &[1, blocks, client, 0]);
    (0..blocks).for_each(|index| block(&mut out, index));
    out
}

/// `count` sections of one block each, highest client first.
fn sections(count: u64, blocks: u64, block: impl Fn(&mut Vec<u8>, u64)) -> Vec<u8> {
    let mut out = Vec::new();
    number(&mut out, &[count]);
    for client in (1..=count).rev() {
        number(&mut out, &[blocks, client, 0]);
        if blocks > 0 {
            block(&mut out, client);
        }
    }
    out.push(0);
    out
}

/// A chain of blocks: the first into a root, each other after the one before.
fn chain(client: u64, blocks: u64, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut out = section(client, blocks, |out, index| {
        if index == 0 {
            out.extend_from_slice(&[kind, 1, 1, b'c']);
        } else {
            out.push(0x80 | kind);
            number(out, &[client, index - 1]);
        }
        out.extend_from_slice(content);
    });
    out.push(0);
    out
}

fn text(client: u64, len: usize) -> Vec<u8> {
    let mut out = section(client, 1, |out, _| {
        out.extend_from_slice(&[4, 1, 1, b't']);
        write_str(out, &"x".repeat(len));
    });
    out.push(0);
    out
}

fn every_second(client: u64, ranges: u64) -> Vec<u8> {
    let mut out = vec![0];
    number(&mut out, &[1, client, ranges]);
    (0..ranges).for_each(|range| number(&mut out, &[2 * range, 1]));
    out
}

/// One attack: updates that are sent one after the other.
pub(crate) struct Attack {
    pub(crate) what: &'static str,
    pub(crate) updates: Vec<Vec<u8>>,
    /// What each may allocate: so many times its bytes,
    pub(crate) times: usize,
    /// and this beside what every input may.
    pub(crate) more: usize,
}

/// The generators that come with the killers, and the densest updates that pass. Each under clients of its own, so that
/// they follow one another in one document.
pub(crate) fn generated() -> Vec<Attack> {
    let attack = |what, updates| Attack { what, updates, times: TIMES, more: 0 };
    // What is known to take more than it should. A range of three bytes cuts a block of 250 in three; a shared type of
    // five bytes is two things of 250.
    let dense = |what, updates| Attack { what, updates, times: 2 * TIMES, more: 0 };
    // Blocks that continue each other are copied over and over while yrs joins them, up to `Limits::join_bytes`; and
    // all that is pending is listed whenever it is tried again.
    let large = |what, updates, more| Attack { what, updates, times: TIMES, more };
    let nested = |client: u64, depth: u64| {
        let mut out = section(client, depth, |out, index| {
            if index == 0 {
                out.extend_from_slice(&[0x27, 1, 1, b'm', 1, b'k', 1]);
            } else {
                out.extend_from_slice(&[0x27, 0]);
                number(out, &[client, index - 1]);
                out.extend_from_slice(&[1, b'k', 1]);
            }
        });
        out.push(0);
        out
    };
    let any = |depth: usize| {
        let mut out = section(101, 1, |out, _| {
            out.extend_from_slice(&[8, 1, 1, b'a', 1]);
            out.extend([117, 1].repeat(depth));
            out.push(126);
        });
        out.push(0);
        out
    };
    let unknown = |client: u64| {
        let mut out = section(client, 1, |out, _| {
            out.push(0x84);
            number(out, &[999_999_999, client]);
            write_str(out, "x");
        });
        out.push(0);
        out
    };
    let strings = |client: u64, blocks: u64| chain(client, blocks, 4, &[1, b'x']);
    vec![
        attack("an any-value nested 7,000 deep", vec![any(7_000)]),
        attack("an any-value nested as deep as may be", vec![any(60)]),
        attack("maps nested 5,000 deep", vec![nested(102, 5_000)]),
        attack("maps nested as deep as may be", vec![nested(103, 64)]),
        attack("50,000 empty sections", vec![sections(50_000, 0, |_, _| {})]),
        attack(
            "a megabyte, every second character deleted",
            vec![text(104, 1_000_000), every_second(104, 499_999)],
        ),
        dense("60,000 characters, every second deleted", vec![text(105, 60_000), every_second(105, 29_999)]),
        large("5,000 updates of unknown origin", (10_000_000..10_005_000).map(unknown).collect(), 1 << 20),
        attack("200,000 deletions of an unknown client", vec![every_second(999_999_998, 200_000)]),
        attack("deletes a client that will come", vec![unhex("00016301000a")]),
        attack(
            "20,000 clients at once",
            vec![sections(20_000, 1, |out, _| {
                out.extend_from_slice(&[4, 1, 1, b's', 1, b'x']);
            })],
        ),
        dense("100,000 arrays in an array", vec![chain(106, 100_000, 7, &[0])]),
        large("4,000 strings in a row", vec![strings(107, 4_000)], 32 << 20),
        attack("100,000 strings in a row", vec![strings(114, 100_000)]),
        attack("100,000 embeds", vec![chain(108, 100_000, 5, &[1, b'1'])]),
        attack("100,000 formats", vec![chain(109, 100_000, 6, &[1, b'b', 1, b'1'])]),
        attack("100,000 deleted blocks", vec![chain(110, 100_000, 1, &[1])]),
        attack(
            "500,000 collected blocks",
            vec![{
                let mut out = section(111, 500_000, |out, _| out.extend_from_slice(&[0, 1]));
                out.push(0);
                out
            }],
        ),
        attack(
            "a million nulls in one block",
            vec![{
                let mut out = section(112, 1, |out, _| {
                    out.extend_from_slice(&[8, 1, 1, b'n']);
                    number(out, &[1_000_000]);
                    out.resize(out.len() + 1_000_000, 126);
                });
                out.push(0);
                out
            }],
        ),
        attack(
            "100,000 entries of one map",
            vec![{
                let mut out = section(113, 100_000, |out, index| {
                    out.extend_from_slice(&[0x28, 1, 1, b'm']);
                    write_str(out, &index.to_string());
                    out.extend_from_slice(&[1, 126]);
                });
                out.push(0);
                out
            }],
        ),
        attack(
            "a block under the clock that a client would use next",
            vec![
                unhex("010105000401016601610000"),
                unhex("010105018405000162").into_iter().chain([0]).collect(),
            ],
        ),
    ]
}
