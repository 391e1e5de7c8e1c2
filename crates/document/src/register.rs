//! Registers: `field@writer` -> `[hlc, value]` or `[hlc, value, meta]` in a flat map.
//!
//! Every writer has a key of its own, so that Yjs never has to choose between two of them (it would choose by client
//! id); readers take the largest by rank, time and writer, and the others stay readable as conflict hints.

use std::{cmp::Ordering, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use yrs::{Any, Map as _, Out, ReadTxn};

use crate::{hlc::Hlc, ids::Writer, json, pen::Pen};

/// How many losing values are shown of one field.
const HINTS: usize = 8;
/// A writer whose newest register in a document is older than this is gone: milliseconds.
pub(crate) const GONE_MS: u64 = 90 * 24 * 60 * 60 * 1_000;
/// The longest key that is read as a register: bytes.
const KEY_BYTES: usize = 1024;

/// Who writes, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The writer.
    pub writer: Writer,
    /// Its time, from its [`Clock`](crate::hlc::Clock).
    pub hlc: Hlc,
}

/// A value that lost against another writer's: "also named 'Rome' on iPhone".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hint {
    /// The value.
    pub value: Value,
    /// Who wrote it.
    pub writer: String,
    /// When.
    pub hlc: Hlc,
}

/// What comes before the time when two values are compared, and what after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ranking {
    /// The later one.
    Time,
    /// By the source in its meta (explicit, imported, inferred, default), then the later one.
    Source,
    /// The later one, then the larger value (a read mark's sequence).
    Value,
}

/// One writer's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) writer: Writer,
    pub(crate) hlc: Hlc,
    pub(crate) value: Any,
    pub(crate) meta: Option<Any>,
}

/// Where a preference's value came from, least trusted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The application's own.
    Default,
    /// An agent concluded it.
    Inferred,
    /// It came from elsewhere, as the person had set it there.
    Imported,
    /// The person set it.
    Explicit,
}

impl Source {
    /// Returns its name in a document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Inferred => "inferred",
            Self::Imported => "imported",
            Self::Explicit => "explicit",
        }
    }

    /// Reads it from the meta of a register. What is not understood counts least, so that it cannot beat what a
    /// person set.
    pub(crate) fn of(meta: Option<&Any>) -> Self {
        match meta.and_then(|meta| json::text_field(meta, "source")) {
            Some("explicit") => Self::Explicit,
            Some("imported") => Self::Imported,
            Some("inferred") => Self::Inferred,
            _ => Self::Default,
        }
    }
}

impl Entry {
    /// Reads `[hlc, value]` or `[hlc, value, meta]`; `None` where it is neither.
    pub(crate) fn parse(writer: Writer, stored: &Any) -> Option<Self> {
        let Any::Array(items) = stored else { return None };
        let (hlc, value, meta) = match &items[..] {
            [hlc, value] => (hlc, value, None),
            [hlc, value, meta] => (hlc, value, Some(meta)),
            _ => return None,
        };
        let hlc = json::text(hlc)?.parse().ok()?;
        Some(Self { writer, hlc, value: value.clone(), meta: meta.cloned() })
    }

    /// Makes what is stored.
    pub(crate) fn stored(&self) -> Any {
        let mut items = vec![Any::String(self.hlc.to_string().into()), self.value.clone()];
        items.extend(self.meta.clone());
        Any::Array(items.into())
    }

    /// Compares two values of one field: the larger one wins.
    pub(crate) fn cmp(&self, other: &Self, ranking: Ranking) -> Ordering {
        let source = |entry: &Self| (ranking == Ranking::Source).then(|| Source::of(entry.meta.as_ref()));
        let value = |entry: &Self| (ranking == Ranking::Value).then(|| json::whole(&entry.value));
        source(self)
            .cmp(&source(other))
            .then(self.hlc.cmp(&other.hlc))
            .then_with(|| value(self).cmp(&value(other)))
            .then_with(|| self.writer.cmp(&other.writer))
    }

    pub(crate) fn hint(&self) -> Hint {
        Hint { value: json::read(&self.value), writer: self.writer.to_string(), hlc: self.hlc }
    }
}

/// Splits a key into field and writer; `None` where it is no register's.
pub(crate) fn split(key: &str) -> Option<(&str, Writer)> {
    let (field, writer) = key.rsplit_once('@')?;
    if field.is_empty() || key.len() > KEY_BYTES {
        return None;
    }
    Some((field, Writer::parse(writer)?))
}

/// All values of one field, the winner first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Field(Vec<Entry>);

impl Field {
    /// Sorts the values of one field.
    pub(crate) fn of(mut entries: Vec<Entry>, ranking: Ranking) -> Self {
        entries.sort_by(|a, b| b.cmp(a, ranking));
        Self(entries)
    }

    pub(crate) fn winner(&self) -> Option<&Entry> {
        self.0.first()
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Returns the winner's value, if it is text.
    pub(crate) fn text(&self) -> Option<&str> {
        self.winner().and_then(|entry| json::text(&entry.value))
    }

    /// Says whether the winner's value is `true`.
    pub(crate) fn is_true(&self) -> bool {
        self.winner().is_some_and(|entry| entry.value == Any::Bool(true))
    }

    /// Returns the losing values that differ from the winner's and from each other, the strongest first.
    pub(crate) fn hints(&self) -> Vec<Hint> {
        hints(self.winner(), self.0.iter().skip(1))
    }
}

/// Returns the losing values that differ from the winner's and from each other, in their order, a few.
pub(crate) fn hints<'a>(winner: Option<&'a Entry>, losing: impl Iterator<Item = &'a Entry>) -> Vec<Hint> {
    let mut shown: Vec<&Entry> = Vec::new();
    for entry in losing {
        let is_new = winner.into_iter().chain(shown.iter().copied()).all(|seen| seen.value != entry.value);
        if is_new && shown.len() < HINTS {
            shown.push(entry);
        }
    }
    shown.into_iter().map(Entry::hint).collect()
}

/// Reads the registers of a root map whose field satisfies a condition. What is malformed is passed over.
pub(crate) fn read_where<T: ReadTxn>(
    txn: &T,
    root: &str,
    ranking: Ranking,
    wanted: impl Fn(&str) -> bool,
) -> BTreeMap<String, Field> {
    let mut fields: BTreeMap<String, Field> = BTreeMap::new();
    let Some(map) = txn.get_map(root) else { return fields };
    for (key, out) in map.iter(txn) {
        // Asked first: to read a writer costs more.
        if !key.rsplit_once('@').is_some_and(|(field, _)| wanted(field)) {
            continue;
        }
        let Some((field, writer)) = split(key) else { continue };
        let Out::Any(stored) = out else { continue };
        let Some(entry) = Entry::parse(writer, &stored) else { continue };
        match fields.get_mut(field) {
            Some(entries) => entries.0.push(entry),
            None => {
                fields.insert(field.to_owned(), Field(vec![entry]));
            }
        }
    }
    for field in fields.values_mut() {
        field.0.sort_by(|a, b| b.cmp(a, ranking));
    }
    fields
}

/// Reads all registers of a root map.
pub(crate) fn read<T: ReadTxn>(txn: &T, root: &str, ranking: Ranking) -> BTreeMap<String, Field> {
    read_where(txn, root, ranking, |_| true)
}

/// Writes a register: only ever the writer's own key.
pub(crate) fn write(pen: &mut Pen<'_, '_>, root: &'static str, field: &str, stamp: &Stamp, value: Any) {
    write_with(pen, root, field, stamp, value, None);
}

/// Writes a register with a meta object. What stands there already is not written again: that would cost every device an
/// update, for ever. Nor is anything that is older than what the same writer wrote, or what was folded into the server's
/// key: an import that is repeated would else take back what people set meanwhile, or bring back what was folded.
pub(crate) fn write_with(
    pen: &mut Pen<'_, '_>,
    root: &'static str,
    field: &str,
    stamp: &Stamp,
    value: Any,
    meta: Option<Any>,
) {
    let entry = Entry { writer: stamp.writer.clone(), hlc: stamp.hlc, value, meta };
    let (key, stored) = (format!("{field}@{}", stamp.writer), entry.stored());
    let stands = pen.get(root, &key);
    if stands.as_ref() == Some(&stored) {
        return;
    }
    let stands = stands.and_then(|stands| Entry::parse(stamp.writer.clone(), &stands));
    if stands.is_some_and(|stands| stands.hlc > stamp.hlc) || is_folded(pen, root, field, &entry) {
        return;
    }
    pen.set(root, key, stored);
}

/// Says whether the server's key holds an entry, or one of its kind that is later: it was folded there.
fn is_folded(pen: &Pen<'_, '_>, root: &'static str, field: &str, entry: &Entry) -> bool {
    let (server, is_plain) = (Writer::server(), is_plain(entry));
    let stored = pen.get(root, &format!("{field}@{server}"));
    let Some(folded) = stored.and_then(|stored| Entry::parse(server, &stored)) else { return false };
    let is_alike = is_plain && Source::of(folded.meta.as_ref()) == Source::of(entry.meta.as_ref());
    let is_same = folded.hlc == entry.hlc && folded.value == entry.value;
    !entry.writer.is_server() && is_alike && (folded.hlc > entry.hlc || is_same)
}

/// Says whether an entry sets a value, and neither clears nor blocks.
fn is_plain(entry: &Entry) -> bool {
    let op = entry.meta.as_ref().and_then(|meta| json::text_field(meta, "op"));
    op.is_none_or(|op| op == "set")
}

/// Folds the registers of writers that are gone into another writer's key, with their original times: the strongest
/// value of each field stays, the others of the folded writers go.
///
/// Where the source counts, only plain values of one source are folded: a weaker value may show again once a stronger
/// one is cleared, and a block outlasts what was set after it.
pub(crate) fn fold(
    pen: &mut Pen<'_, '_>,
    root: &'static str,
    ranking: Ranking,
    into: &Writer,
    is_gone: &impl Fn(&Writer) -> bool,
) -> usize {
    let fields = read(pen.txn(), root, ranking);
    let mut folded = 0;
    for (field, entries) in fields {
        let gone = |entry: &&Entry| entry.writer != *into && is_gone(&entry.writer);
        let Some(strongest) = entries.entries().iter().find(|entry| gone(entry)) else { continue };
        let stays = entries.entries().iter().find(|entry| entry.writer == *into);
        let alike = |entry: &Entry| {
            is_plain(entry) && Source::of(entry.meta.as_ref()) == Source::of(strongest.meta.as_ref())
        };
        let mut folded_ones = entries.entries().iter().filter(gone).chain(stays);
        if ranking == Ranking::Source && !folded_ones.all(alike) {
            continue;
        }
        if stays.is_none_or(|stays| strongest.cmp(stays, ranking) == Ordering::Greater) {
            let entry = Entry { writer: into.clone(), ..strongest.clone() };
            pen.set(root, format!("{field}@{into}"), entry.stored());
        }
        for entry in entries.entries().iter().filter(gone) {
            pen.remove(root, &format!("{field}@{}", entry.writer));
            folded += 1;
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Replica;

    fn stamp(writer: &str, ms: u64) -> Stamp {
        Stamp { writer: Writer::parse(writer).expect("a writer"), hlc: Hlc::at(ms) }
    }

    fn fields(replica: &mut Replica, ranking: Ranking) -> BTreeMap<String, Field> {
        use yrs::Transact as _;
        replica.read(|doc| read(&doc.transact(), "r", ranking)).expect("reads")
    }

    #[test]
    fn the_later_one_wins_and_the_other_is_a_hint() {
        let mut replica = Replica::of_client(1);
        let edit = replica.edit(|pen| {
            write(pen, "r", "c|title", &stamp("phone.a", 20), Any::from("Rome"));
            write(pen, "r", "c|title", &stamp("laptop.a", 30), Any::from("Paris"));
            write(pen, "r", "c|title", &stamp("tablet.a", 10), Any::from("Paris"));
        });
        assert!(edit.expect("writes").update.is_some());
        let fields = fields(&mut replica, Ranking::Time);
        let title = &fields["c|title"];
        assert_eq!(title.text(), Some("Paris"));
        let hints = title.hints();
        assert_eq!(hints.len(), 1);
        assert_eq!((&hints[0].value, &*hints[0].writer), (&Value::from("Rome"), "phone.a"));
    }

    #[test]
    fn what_stands_there_is_not_written_again() {
        let mut replica = Replica::of_client(1);
        let mut write = |ms| {
            let edit = replica.edit(|pen| write(pen, "r", "x", &stamp("phone.a", ms), Any::from("Rome")));
            edit.expect("writes").update.is_some()
        };
        assert_eq!([write(20), write(20), write(21), write(20)], [true, false, true, false]);
    }

    #[test]
    fn what_is_malformed_is_passed_over() {
        let mut replica = Replica::of_client(1);
        let edit = replica.edit(|pen| {
            for key in ["x", "x@", "@a.b", "x@nobody", "x@a.b", &format!("{}@a.b", "y".repeat(2000))] {
                pen.set("r", key, Any::from("what"));
            }
            pen.set("r", "z@a.b", Any::Array([Any::from("yesterday"), Any::from(1)].as_slice().into()));
            pen.nest("r", "n@a.b");
        });
        edit.expect("writes");
        assert!(fields(&mut replica, Ranking::Time).is_empty());
    }

    #[test]
    fn writers_that_are_gone_fold_into_another_with_their_time() {
        let mut replica = Replica::of_client(1);
        let edit = replica.edit(|pen| {
            write(pen, "r", "f", &stamp("a.1", 30), Any::from("later"));
            write(pen, "r", "f", &stamp("a.2", 20), Any::from("earlier"));
            write(pen, "r", "f", &stamp("b.1", 10), Any::from("alive"));
            write(pen, "r", "g", &stamp("a.1", 10), Any::from("old"));
            write(pen, "r", "g", &stamp("server", 20), Any::from("kept"));
            fold(pen, "r", Ranking::Time, &Writer::server(), &|writer: &Writer| {
                writer.device_id() == Some("a")
            })
        });
        assert_eq!(edit.expect("writes").value, 3);
        let fields = fields(&mut replica, Ranking::Time);
        let winner = fields["f"].winner().expect("a winner");
        assert_eq!(
            (winner.writer.as_str(), winner.hlc, fields["f"].text()),
            ("server", Hlc::at(30), Some("later"))
        );
        assert_eq!(fields["f"].entries().len(), 2);
        assert_eq!(fields["g"].text(), Some("kept"));
    }

    #[test]
    fn where_the_source_counts_only_plain_values_of_one_source_fold() {
        let meta =
            |source: &str, op: &str| json::object([("source", Some(source.into())), ("op", Some(op.into()))]);
        let mut replica = Replica::of_client(1);
        let edit = replica.edit(|pen| {
            let mut write = |field: &str, writer: &str, ms, source: &str, op: &str| {
                let (value, meta) = (Any::from(writer), Some(meta(source, op)));
                write_with(pen, "r", field, &stamp(writer, ms), value, meta);
            };
            write("one", "a.1", 10, "explicit", "set");
            write("one", "a.2", 20, "explicit", "set");
            write("two", "a.1", 10, "explicit", "set");
            write("two", "a.2", 20, "inferred", "set");
            write("block", "a.1", 10, "explicit", "block");
            write("block", "a.2", 20, "explicit", "set");
            fold(pen, "r", Ranking::Source, &Writer::server(), &|writer: &Writer| !writer.is_server())
        });
        assert_eq!(edit.expect("writes").value, 2);
        let fields = fields(&mut replica, Ranking::Source);
        assert_eq!(
            fields["one"].winner().map(|entry| (entry.writer.as_str(), entry.hlc)),
            Some(("server", Hlc::at(20)))
        );
        assert_eq!([fields["two"].entries().len(), fields["block"].entries().len()], [2, 2]);
    }

    #[test]
    fn what_was_folded_is_not_brought_back_by_writing_it_again() {
        let mut replica = Replica::of_client(1);
        let import = stamp("agent:import", 10);
        let edit = replica.edit(|pen| {
            write(pen, "r", "f", &import, Any::from("Rome"));
            write(pen, "r", "g", &import, Any::from("Rome"));
            write(pen, "r", "g", &stamp("a.1", 20), Any::from("Paris"));
            fold(pen, "r", Ranking::Time, &Writer::server(), &|writer: &Writer| !writer.is_server())
        });
        assert_eq!(edit.expect("writes").value, 3);
        let mut again = |field: &str, ms, value: &str| {
            let stamp = stamp("agent:import", ms);
            let edit = replica.edit(|pen| write(pen, "r", field, &stamp, Any::from(value)));
            edit.expect("writes").update.is_some()
        };
        assert_eq!([again("f", 10, "Rome"), again("g", 10, "Rome")], [false, false]);
        assert_eq!([again("f", 11, "Oslo"), again("g", 21, "Oslo")], [true, true]);
    }
}
