//! Preferences: who set a value, by hand or by inference, how sure, on what evidence, and for how long it holds.
//!
//! What a person set always beats what an agent inferred. `clear` takes back what was there and lets inference go on;
//! `block` takes it back and stops inference until it is cleared or set again.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use yrs::{Any, Number, ReadTxn, Transact as _};

use super::{Unfit, VALUE_BYTES, check_name};
pub use crate::register::Source;
use crate::{
    Broken, Pen, Replica,
    hlc::Hlc,
    json,
    register::{self, Entry, Field, Hint, Ranking, Stamp},
};

const ROOT: &str = "preferences";

/// A preference as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preference {
    /// Its name.
    pub name: String,
    /// Its value; null while it is blocked.
    pub value: Value,
    /// Where the value came from.
    pub source: Source,
    /// Says whether the person stopped inference.
    pub blocked: bool,
    /// How sure its source is, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// What it was concluded from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Value>,
    /// For how many seconds it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Says whether it still holds.
    pub fresh: bool,
    /// Who wrote it.
    pub writer: String,
    /// When.
    pub hlc: Hlc,
    /// Values that lost against it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Hint>,
}

/// Where a value to set comes from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Provenance {
    /// Its source.
    pub source: Source,
    /// How sure it is, 0 to 1.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// What it was concluded from.
    #[serde(default)]
    pub evidence: Option<Value>,
    /// For how many seconds it holds.
    #[serde(default)]
    pub ttl: Option<u64>,
}

impl Provenance {
    /// Makes the provenance of what the person set by hand.
    pub fn explicit() -> Self {
        Self { source: Source::Explicit, confidence: None, evidence: None, ttl: None }
    }
}

/// Reads all preferences that have a value or are blocked, by name.
///
/// # Errors
/// [`Broken`] where yrs fails; the replica must then be dropped.
pub fn read(replica: &mut Replica, now_ms: u64) -> Result<Vec<Preference>, Broken> {
    replica.read(|doc| {
        let fields = register::read(&doc.transact(), ROOT, Ranking::Source);
        fields.into_iter().filter_map(|(name, field)| view(name, &field, now_ms)).collect()
    })
}

fn view(name: String, field: &Field, now_ms: u64) -> Option<Preference> {
    let outcome = resolve(field);
    let entry = outcome.value.or(outcome.block)?;
    let meta = entry.meta.as_ref();
    let ttl = meta.and_then(|meta| json::field(meta, "ttl")).and_then(json::whole);
    let confidence = match meta.and_then(|meta| json::field(meta, "confidence")) {
        Some(Any::Number(Number::Float(float))) if (0.0..=1.0).contains(float) => Some(*float),
        Some(Any::Number(Number::Int(whole))) if (0..=1).contains(whole) => Some(*whole as f64),
        _ => None,
    };
    let losing = field.entries().iter().filter(|other| *other != entry && op(other) == Some(Op::Set));
    Some(Preference {
        name,
        value: outcome.value.map_or(Value::Null, |entry| json::read(&entry.value)),
        source: Source::of(meta),
        blocked: outcome.block.is_some(),
        confidence,
        evidence: meta.and_then(|meta| json::field(meta, "evidence")).map(json::read),
        ttl,
        fresh: ttl.is_none_or(|ttl| now_ms <= entry.hlc.ms().saturating_add(ttl.saturating_mul(1000))),
        writer: entry.writer.to_string(),
        hlc: entry.hlc,
        conflicts: register::hints(outcome.value, losing),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Set,
    Clear,
    Block,
}

/// Reads what a register does; `None` for what this version does not know.
fn op(entry: &Entry) -> Option<Op> {
    match entry.meta.as_ref().and_then(|meta| json::field(meta, "op")) {
        None => Some(Op::Set),
        Some(op) => match json::text(op)? {
            "set" => Some(Op::Set),
            "clear" => Some(Op::Clear),
            "block" => Some(Op::Block),
            _ => None,
        },
    }
}

/// What holds of a preference.
#[derive(Debug, PartialEq)]
pub(crate) enum Standing<'a> {
    /// It has a value, of a source.
    Set(&'a Any, Source),
    /// It has none.
    Cleared,
    /// It has none that was set by hand, and none is to be inferred.
    Blocked,
}

/// Says what holds of a preference, and whether inference is blocked.
pub(crate) fn standing(field: &Field) -> (Standing<'_>, bool) {
    let outcome = resolve(field);
    let blocked = outcome.block.is_some();
    let standing = match outcome.value {
        Some(entry) => Standing::Set(&entry.value, Source::of(entry.meta.as_ref())),
        None if blocked => Standing::Blocked,
        None => Standing::Cleared,
    };
    (standing, blocked)
}

struct Outcome<'a> {
    value: Option<&'a Entry>,
    block: Option<&'a Entry>,
}

/// Walks the values from the strongest. One that takes back hides what is not later than itself, save the
/// application's default, which is what is left when all else is taken back.
fn resolve(field: &Field) -> Outcome<'_> {
    let mut taken_back: Option<Hlc> = None;
    let mut block = None;
    for entry in field.entries() {
        let source = Source::of(entry.meta.as_ref());
        let hidden = source != Source::Default && taken_back.is_some_and(|at| entry.hlc <= at);
        if hidden || (block.is_some() && source == Source::Inferred) {
            continue;
        }
        match op(entry) {
            Some(Op::Set) => return Outcome { value: Some(entry), block },
            Some(Op::Clear) => taken_back = taken_back.max(Some(entry.hlc)),
            Some(Op::Block) => {
                taken_back = taken_back.max(Some(entry.hlc));
                // Only the person may forbid.
                block = block.or(Some(entry).filter(|_| source == Source::Explicit));
            }
            None => {}
        }
    }
    Outcome { value: None, block }
}

fn field_of<T: ReadTxn>(txn: &T, name: &str) -> Field {
    register::read_where(txn, ROOT, Ranking::Source, |field| field == name).remove(name).unwrap_or_default()
}

/// Sets a preference.
///
/// # Errors
/// As [`check`]; [`Unfit::Blocked`] where an inferred value is not wanted.
pub fn set(
    pen: &mut Pen<'_, '_>,
    name: &str,
    stamp: &Stamp,
    value: &Value,
    provenance: &Provenance,
) -> Result<(), Unfit> {
    check(name, value, provenance)?;
    let evidence = provenance.evidence.as_ref();
    if provenance.source == Source::Inferred && resolve(&field_of(pen.txn(), name)).block.is_some() {
        return Err(Unfit::Blocked);
    }
    let meta = json::object([
        ("source", Some(Any::from(provenance.source.as_str()))),
        ("confidence", provenance.confidence.map(|float| Any::Number(Number::Float(float)))),
        ("evidence", evidence.map(json::store)),
        ("ttl", provenance.ttl.map(json::int)),
    ]);
    register::write_with(pen, ROOT, name, stamp, json::store(value), Some(meta));
    Ok(())
}

/// Says whether a preference can be written, unless it is blocked: a call of several writes all of them or none.
///
/// # Errors
/// [`Unfit::Name`]; [`Unfit::TooLong`]; [`Unfit::Form`] for a confidence beyond 0 to 1.
pub fn check(name: &str, value: &Value, provenance: &Provenance) -> Result<(), Unfit> {
    check_name(name)?;
    if provenance.confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
        return Err(Unfit::Form);
    }
    let evidence = provenance.evidence.as_ref().map_or(0, |evidence| evidence.to_string().len());
    if value.to_string().len() + evidence > VALUE_BYTES { Err(Unfit::TooLong) } else { Ok(()) }
}

/// Takes back whatever was set or inferred; what comes later counts again. It also ends a block.
///
/// # Errors
/// [`Unfit::Name`].
pub fn clear(pen: &mut Pen<'_, '_>, name: &str, stamp: &Stamp) -> Result<(), Unfit> {
    take_back(pen, name, stamp, "clear")
}

/// Takes back whatever was set or inferred, and forbids inference.
///
/// # Errors
/// [`Unfit::Name`].
pub fn block(pen: &mut Pen<'_, '_>, name: &str, stamp: &Stamp) -> Result<(), Unfit> {
    take_back(pen, name, stamp, "block")
}

fn take_back(pen: &mut Pen<'_, '_>, name: &str, stamp: &Stamp, op: &str) -> Result<(), Unfit> {
    check_name(name)?;
    let meta =
        json::object([("source", Some(Any::from(Source::Explicit.as_str()))), ("op", Some(Any::from(op)))]);
    register::write_with(pen, ROOT, name, stamp, Any::Null, Some(meta));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Writer;
    use serde_json::json;

    fn stamp(writer: &str, ms: u64) -> Stamp {
        Stamp { writer: Writer::parse(writer).expect("a writer"), hlc: Hlc::at(ms) }
    }

    fn inferred() -> Provenance {
        Provenance {
            source: Source::Inferred,
            confidence: Some(0.5),
            evidence: Some(json!([{ "c": 1 }])),
            ttl: Some(60),
        }
    }

    fn tone(replica: &mut Replica, now_ms: u64) -> Option<Preference> {
        read(replica, now_ms).expect("reads").into_iter().find(|preference| preference.name == "tone")
    }

    #[test]
    fn explicit_beats_what_is_inferred_later() {
        let mut replica = Replica::of_client(1);
        let edit = replica.edit(|pen| {
            set(pen, "tone", &stamp("phone.a", 10), &json!("dry"), &Provenance::explicit())?;
            set(pen, "tone", &stamp("agent:x", 90), &json!("warm"), &inferred())
        });
        assert_eq!(edit.expect("writes").value, Ok(()));
        let tone = tone(&mut replica, 0).expect("a preference");
        assert_eq!((tone.value, tone.source, tone.fresh), (json!("dry"), Source::Explicit, true));
        assert_eq!(tone.conflicts[0].value, json!("warm"));
    }

    #[test]
    fn a_block_stops_inference_and_clear_allows_it_again() {
        let mut replica = Replica::of_client(1);
        let mut edit = |write: &dyn Fn(&mut Pen<'_, '_>) -> Result<(), Unfit>| {
            let done = replica.edit(|pen| write(pen)).expect("writes").value;
            (done, tone(&mut replica, 100_000))
        };
        let (_, seen) = edit(&|pen| set(pen, "tone", &stamp("agent:x", 10), &json!("warm"), &inferred()));
        let seen = seen.expect("a preference");
        assert_eq!((seen.value, seen.fresh, seen.confidence), (json!("warm"), false, Some(0.5)));
        let (_, seen) = edit(&|pen| block(pen, "tone", &stamp("phone.a", 20)));
        assert!(seen.is_some_and(|seen| seen.blocked && seen.value.is_null()));
        let (done, _) = edit(&|pen| set(pen, "tone", &stamp("agent:x", 30), &json!("hot"), &inferred()));
        assert_eq!(done, Err(Unfit::Blocked));
        // An agent beside the server, that did not ask.
        let (_, seen) = edit(&|pen| {
            let meta = json::object([("source", Some(Any::from("inferred")))]);
            register::write_with(pen, ROOT, "tone", &stamp("agent:y", 40), Any::from("hot"), Some(meta));
            Ok(())
        });
        assert!(seen.is_some_and(|seen| seen.blocked && seen.value.is_null()));
        let (_, seen) = edit(&|pen| clear(pen, "tone", &stamp("phone.a", 50)));
        assert_eq!(seen, None);
        let (done, seen) = edit(&|pen| set(pen, "tone", &stamp("agent:x", 60), &json!("cool"), &inferred()));
        assert_eq!((done, seen.map(|seen| seen.value)), (Ok(()), Some(json!("cool"))));
    }
}
