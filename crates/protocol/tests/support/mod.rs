//! Random honest documents and a stand-in for the server: a yrs document behind the checker.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{collections::HashMap, sync::Arc};

use fastrand::Rng;
use syncline_protocol::{
    known::{Checked, Known, Verdict},
    limits::Limits,
    state_vector,
};
use yrs::{
    Any, Array, ArrayPrelim, ArrayRef, ClientID, Doc, GetString, Map, MapPrelim, MapRef, OffsetKind, Options,
    Out, ReadTxn, StateVector, Text, TextPrelim, TextRef, Transact, TransactionMut, Update, WriteTxn, Xml,
    XmlElementPrelim, XmlFragment, XmlFragmentRef, XmlOut, XmlTextPrelim,
    branch::{Branch, BranchPtr},
    types::text::YChange,
    updates::decoder::Decode,
};

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub(crate) fn new_doc(client: u64, gc: bool) -> Doc {
    let mut options = Options::with_client_id(ClientID::new(client));
    options.offset_kind = OffsetKind::Utf16;
    options.skip_gc = !gc;
    Doc::with_options(options)
}

/// Makes one random edit and returns its update.
pub(crate) fn edit(doc: &Doc, rng: &mut Rng) -> Vec<u8> {
    let mut txn = doc.transact_mut();
    for _ in 0..=rng.usize(0..3) {
        match rng.u8(0..5) {
            0 => {
                let text = txn.get_or_insert_text("t");
                edit_text(&text, &mut txn, rng);
            }
            1 => {
                let map = txn.get_or_insert_map("m");
                edit_map(&map, &mut txn, rng, 0);
            }
            2 => {
                let array = txn.get_or_insert_array("a");
                edit_array(&array, &mut txn, rng, 0);
            }
            3 => {
                let xml = txn.get_or_insert_xml_fragment("x");
                edit_xml(&xml, &mut txn, rng);
            }
            _ => {
                let text = txn.get_or_insert_text("t2");
                edit_text(&text, &mut txn, rng);
            }
        }
    }
    txn.encode_update_v1()
}

const WORDS: [&str; 8] = ["a", "hello ", "x\u{1f642}y", "ü", "\u{fffd}", "line\n", "0123456789", "女"];

fn any(rng: &mut Rng) -> Any {
    match rng.u8(0..9) {
        0 => Any::Null,
        1 => Any::Undefined,
        2 => Any::from(rng.bool()),
        3 => Any::from(rng.i32(..)),
        4 => Any::from(rng.f64()),
        5 => Any::from(WORDS[rng.usize(0..8)]),
        6 => Any::from(vec![1_u8, 2, 3]),
        7 => Any::Array(Arc::from([Any::from(1), Any::from("x")])),
        _ => Any::Map(Arc::new(HashMap::from([("k".to_owned(), Any::from(i64::MAX))]))),
    }
}

fn json(rng: &mut Rng) -> Any {
    match rng.u8(0..4) {
        0 => Any::Null,
        1 => Any::from(true),
        2 => Any::from("#fff"),
        _ => Any::Map(Arc::new(HashMap::from([("image".to_owned(), Any::from("u\"rl"))]))),
    }
}

fn attrs(rng: &mut Rng) -> HashMap<Arc<str>, Any> {
    HashMap::from([(Arc::from(["b", "i", "color"][rng.usize(0..3)]), json(rng))])
}

fn edit_text(text: &impl Text, txn: &mut TransactionMut<'_>, rng: &mut Rng) {
    let len = text.len(txn);
    let at = rng.u32(0..=len);
    match rng.u8(0..12) {
        0..=4 => text.insert(txn, at, WORDS[rng.usize(0..8)]),
        5 => text.insert_with_attributes(txn, at, WORDS[rng.usize(0..8)], attrs(rng)),
        6 if at < len => text.format(txn, at, rng.u32(1..=len - at), attrs(rng)),
        7 => {
            text.insert_embed(txn, at, json(rng));
        }
        8 => {
            text.insert_embed(txn, at, MapPrelim::from([("k", 1)]));
        }
        9 | 10 if at < len => text.remove_range(txn, at, rng.u32(1..=(len - at).min(20))),
        11 if rng.u8(0..8) == 0 => text.remove_range(txn, 0, len),
        _ => text.push(txn, WORDS[rng.usize(0..8)]),
    }
}

fn descend(out: Out, txn: &mut TransactionMut<'_>, rng: &mut Rng, depth: usize) {
    match out {
        Out::YText(text) => edit_text(&text, txn, rng),
        Out::YMap(map) => edit_map(&map, txn, rng, depth + 1),
        Out::YArray(array) => edit_array(&array, txn, rng, depth + 1),
        Out::YXmlText(text) => edit_text(&text, txn, rng),
        _ => {}
    }
}

fn edit_map(map: &MapRef, txn: &mut TransactionMut<'_>, rng: &mut Rng, depth: usize) {
    let key = ["a", "b", "c", "d"][rng.usize(0..4)];
    match rng.u8(0..10) {
        0..=2 => {
            map.insert(txn, key, any(rng));
        }
        3 => {
            map.remove(txn, key);
        }
        4 => {
            map.insert(txn, key, TextPrelim::new("nested"));
        }
        5 if depth < 6 => {
            map.insert(txn, key, MapPrelim::from([("in", any(rng))]));
        }
        6 if depth < 6 => {
            map.insert(txn, key, ArrayPrelim::from([any(rng), any(rng)]));
        }
        _ => {
            if let Some(out) = map.get(txn, key) {
                descend(out, txn, rng, depth);
            }
        }
    }
}

fn edit_array(array: &ArrayRef, txn: &mut TransactionMut<'_>, rng: &mut Rng, depth: usize) {
    let len = array.len(txn);
    let at = rng.u32(0..=len);
    match rng.u8(0..12) {
        0..=2 => {
            array.insert(txn, at, any(rng));
        }
        3 => array.insert_range(txn, at, [1, 2, 3]),
        4 => {
            array.insert(txn, at, MapPrelim::from([("in", any(rng))]));
        }
        5 if depth < 6 => {
            array.insert(txn, at, ArrayPrelim::from(["x"]));
        }
        6 => {
            array.insert(txn, at, TextPrelim::new("item"));
        }
        7 | 8 if at < len => array.remove_range(txn, at, rng.u32(1..=(len - at).min(4))),
        9 if rng.u8(0..8) == 0 => array.remove_range(txn, 0, len),
        _ if at < len => {
            if let Some(out) = array.get(txn, at) {
                descend(out, txn, rng, depth);
            }
        }
        _ => {
            array.push_back(txn, any(rng));
        }
    }
}

fn edit_xml(xml: &XmlFragmentRef, txn: &mut TransactionMut<'_>, rng: &mut Rng) {
    let len = xml.len(txn);
    let at = rng.u32(0..=len);
    match rng.u8(0..8) {
        0 | 1 => {
            let element = xml.insert(txn, at, XmlElementPrelim::empty(["p", "h1"][rng.usize(0..2)]));
            element.insert_attribute(txn, "id", "1");
        }
        2 => {
            xml.insert(txn, at, XmlTextPrelim::new("text"));
        }
        3 if at < len => xml.remove_range(txn, at, 1),
        _ if at < len => match xml.get(txn, at) {
            Some(XmlOut::Element(element)) => {
                let inner = element.len(txn);
                match rng.u8(0..4) {
                    0 => {
                        element.insert_attribute(txn, "id", WORDS[rng.usize(0..8)]);
                    }
                    1 => {
                        element.insert(txn, rng.u32(0..=inner), XmlTextPrelim::new("deep"));
                    }
                    2 => {
                        element.insert(txn, rng.u32(0..=inner), XmlElementPrelim::empty("b"));
                    }
                    _ if inner > 0 => element.remove_range(txn, rng.u32(0..inner), 1),
                    _ => {}
                }
            }
            Some(XmlOut::Text(text)) => edit_text(&text, txn, rng),
            _ => {}
        },
        _ => {}
    }
}

/// A yrs document behind the checker.
pub(crate) struct Server {
    pub(crate) doc: Doc,
    pub(crate) known: Known,
    pub(crate) limits: Limits,
    /// Rests of updates with gaps.
    pub(crate) pending: Vec<Vec<u8>>,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self { doc: new_doc(0, true), known: Known::new(), limits: Limits::default(), pending: Vec::new() }
    }

    /// Takes an honest update: it is never refused, and what is whole leaves nothing missing.
    pub(crate) fn receive(&mut self, update: &[u8]) {
        match self.known.judge(update, &self.limits) {
            Err(refusal) => panic!("honest update refused: {refusal} {}", hex(update)),
            Ok(Verdict::Whole(checked)) => self.apply(update, &checked),
            Ok(Verdict::Gap(gap)) => {
                if let Some(closed) = gap.closed {
                    match self.known.judge(&closed, &self.limits) {
                        Ok(Verdict::Whole(checked)) => self.apply(&closed, &checked),
                        other => panic!("closed part {} of {}: {other:?}", hex(&closed), hex(update)),
                    }
                }
                self.pending.push(gap.rest);
            }
        }
    }

    /// Offers what is pending again, until nothing moves.
    pub(crate) fn retry(&mut self) {
        loop {
            let before = (self.pending.len(), self.known.state_vector());
            for rest in std::mem::take(&mut self.pending) {
                self.receive(&rest);
            }
            if before == (self.pending.len(), self.known.state_vector()) {
                return;
            }
        }
    }

    fn apply(&mut self, update: &[u8], checked: &Checked) {
        let mut txn = self.doc.transact_mut();
        txn.apply_update(Update::decode_v1(update).expect("decodes")).expect("applies");
        assert!(!txn.has_missing_updates(), "left something missing: {}", hex(update));
        drop(txn);
        self.known.admit(checked);
        self.check_state_vector();
    }

    pub(crate) fn check_state_vector(&self) {
        let ours = StateVector::decode_v1(&self.known.state_vector()).unwrap();
        assert_eq!(ours, self.doc.transact().state_vector());
    }

    pub(crate) fn state(&self) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v1(&StateVector::default())
    }

    /// Knows the same after a checkpoint: the state of the document, judged on nothing.
    pub(crate) fn reload(&self) -> Self {
        let mut server = Self::new();
        let state = self.state();
        server.receive(&state);
        assert!(server.pending.is_empty(), "a checkpoint has no gap");
        assert_eq!(content(&server.doc), content(&self.doc));
        server
    }
}

pub(crate) fn diff(doc: &Doc, state_vector: &[u8]) -> Vec<u8> {
    state_vector::parse(state_vector, &Limits::default()).expect("a state vector of yrs");
    doc.transact().encode_state_as_update_v1(&StateVector::decode_v1(state_vector).unwrap())
}

pub(crate) fn apply(doc: &Doc, update: &[u8]) {
    doc.transact_mut().apply_update(Update::decode_v1(update).unwrap()).unwrap();
}

/// Says what people see of a document.
pub(crate) fn content(doc: &Doc) -> String {
    let mut txn = doc.transact_mut();
    let text: TextRef = txn.get_or_insert_text("t");
    let text2: TextRef = txn.get_or_insert_text("t2");
    let map = txn.get_or_insert_map("m");
    let array = txn.get_or_insert_array("a");
    let xml = txn.get_or_insert_xml_fragment("x");
    let mut out = format!("{}|{}|", text.get_string(&txn), text2.get_string(&txn));
    show(&Out::YXmlFragment(xml), &txn, &mut out, 0);
    show(&Out::YMap(map), &txn, &mut out, 0);
    show(&Out::YArray(array), &txn, &mut out, 0);
    // A character of two units that somebody's index once cut in two is two U+FFFD there, and whole elsewhere: Yjs' own
    // doing.
    out.replace('\u{1f642}', "\u{fffd}\u{fffd}")
}

fn show(value: &Out, txn: &TransactionMut<'_>, out: &mut String, depth: usize) {
    match value {
        _ if depth > 200 || out.len() > 1 << 20 => out.push('~'),
        Out::YText(text) => out.push_str(&text.get_string(txn)),
        // Not yrs' own strings of XML: they read whatever is embedded by `to_json`.
        Out::YXmlText(text) => sequence(text.as_ref(), txn, out, depth),
        Out::YXmlFragment(fragment) => sequence(fragment.as_ref(), txn, out, depth),
        Out::YXmlElement(element) => {
            let mut attributes: Vec<(String, Out)> =
                element.attributes(txn).map(|(key, value)| (key.to_owned(), value)).collect();
            attributes.sort_by(|a, b| a.0.cmp(&b.0));
            out.push_str(&format!("<{}", element.tag()));
            for (key, value) in attributes {
                out.push_str(&key);
                out.push('=');
                show(&value, txn, out, depth + 1);
            }
            sequence(element.as_ref(), txn, out, depth);
        }
        Out::YMap(map) => {
            let mut entries: Vec<(String, Out)> =
                map.iter(txn).map(|(key, value)| (key.to_owned(), value)).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            out.push('{');
            for (key, value) in entries {
                out.push_str(&key);
                out.push(':');
                show(&value, txn, out, depth + 1);
            }
            out.push('}');
        }
        Out::YArray(array) => sequence(array.as_ref(), txn, out, depth),
        Out::Any(Any::Map(entries)) => {
            let mut keys: Vec<_> = entries.keys().collect();
            keys.sort();
            out.push_str(&format!("{keys:?}"));
        }
        Out::Any(any) => out.push_str(&format!("{any:?}")),
        _ => out.push('?'),
    }
}

pub(crate) fn seed() -> u64 {
    std::env::var("SYNCLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..))
}

/// Shows what stands in a row.
fn sequence(branch: &Branch, txn: &TransactionMut<'_>, out: &mut String, depth: usize) {
    // yrs loops for ever over an array that holds text with a character of two units: read that as text.
    let text = TextRef::from(BranchPtr::from(branch));
    out.push('[');
    if text.get_string(txn).is_empty() {
        for value in ArrayRef::from(BranchPtr::from(branch)).iter(txn).take(10_000) {
            show(&value, txn, out, depth + 1);
            out.push(',');
        }
    } else {
        for part in text.diff(txn, YChange::identity) {
            show(&part.insert, txn, out, depth + 1);
            out.push(',');
        }
    }
    out.push(']');
}
