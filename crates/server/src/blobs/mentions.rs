//! Which documents may refer to a blob: those an update of which held the text `blob:sha256:{64 hex digits}`.
//!
//! A row `mention/{user}/{sha256}/{rest}` is written in the commit of every update of `{user}/{rest}` in which the text
//! stands, whatever the update means: an accepted message, a draft, a pending part, a free-form document. So there is
//! a row for everything that refers to a blob, and for some that does not any more; the collector looks closer. An
//! update with very many names gets one row under [`ANY`], which stands for all of them.
//!
//! While the collector looks at a blob, it leaves its name here. An update that mentions it spoils the look before it
//! goes to the journal, and the file is removed under the same lock: so either the collector hears of the edit, or the
//! file was gone before the edit was taken.

use std::{collections::BTreeSet, sync::Arc};

use memchr::memmem;
use parking_lot::Mutex;
use syncline_document::record::{Entry, EntryKind, Stored};
use syncline_exchange::archive;
use syncline_protocol::names::DocumentName;
use syncline_store::Row;

use super::{Key, Name};

/// How a file part refers to a blob of its user: this, and 64 hexadecimal digits in lower case.
pub(crate) const FORM: &str = archive::BLOB_URL;
/// Stands for every name.
const ANY: &str = "*";
const TABLE: &str = "mention";
/// Names of one update that get a row each.
const NAMES: usize = 256;

/// What the collector looks at, and whether it was mentioned meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Mentions(Mutex<Option<Look>>);

#[derive(Debug)]
struct Look {
    key: Key,
    spoiled: bool,
}

impl Mentions {
    /// Returns the rows that go into the commit of an update. To be called before the update goes to the journal.
    pub(crate) fn rows<'a>(
        &self,
        document: &DocumentName,
        updates: impl IntoIterator<Item = &'a [u8]>,
    ) -> Vec<Row> {
        let Some((user, rest)) = document.as_str().split_once('/') else { return Vec::new() };
        let mut names = BTreeSet::new();
        for update in updates {
            gather(update, &mut names);
        }
        if names.is_empty() {
            return Vec::new();
        }
        let any = names.len() > NAMES;
        if let Some(look) = &mut *self.0.lock()
            && *look.key.0 == *user
            && (any || names.contains(&look.key.1))
        {
            look.spoiled = true;
        }
        let row = |name: &dyn std::fmt::Display| Row {
            key: format!("{TABLE}/{user}/{name}/{rest}").into_bytes(),
            value: Some(b"{}".as_slice().into()),
        };
        match any {
            true => vec![row(&ANY)],
            false => names.iter().map(|name| row(name)).collect(),
        }
    }

    /// Begins to look at a blob. There is one look at a time ([`Blobs::look_at`](super::Blobs::look_at)).
    pub(super) fn begin(&self, key: Key) {
        *self.0.lock() = Some(Look { key, spoiled: false });
    }

    /// Does something unless the blob was mentioned since the look at it began, or nobody looks at it; an update that
    /// comes meanwhile waits.
    pub(super) fn unless_spoiled<R>(&self, key: &Key, act: impl FnOnce() -> R) -> Option<R> {
        let look = self.0.lock();
        look.as_ref().is_some_and(|look| look.key == *key && !look.spoiled).then(act)
    }

    /// Ends the look.
    pub(super) fn end(&self) {
        *self.0.lock() = None;
    }
}

/// Collects the names that stand in some bytes, one more than get rows at most.
fn gather(bytes: &[u8], names: &mut BTreeSet<Name>) {
    for name in names_in(bytes) {
        names.insert(name);
        if names.len() > NAMES {
            return;
        }
    }
}

/// Goes through the names that stand in some bytes.
pub(crate) fn names_in(bytes: &[u8]) -> impl Iterator<Item = Name> {
    archive::names_in(bytes).filter_map(Name::parse)
}

/// Returns the range of all rows.
pub(super) fn of_all() -> (Vec<u8>, Vec<u8>) {
    (format!("{TABLE}/").into_bytes(), format!("{TABLE}0").into_bytes())
}

/// Returns which blob a row says is mentioned, and by which document.
pub(super) fn parse(row: &[u8]) -> Option<(Key, DocumentName)> {
    let row = std::str::from_utf8(row).ok()?.strip_prefix(TABLE)?.strip_prefix('/')?;
    let (user, rest) = row.split_once('/')?;
    let (name, of) = rest.split_once('/')?;
    Some(((user.into(), Name::parse(name)?), DocumentName::parse(&format!("{user}/{of}")).ok()?))
}

/// Returns the range of all rows of a user.
pub(super) fn of_user(user: &str) -> (Vec<u8>, Vec<u8>) {
    (format!("{TABLE}/{user}/").into_bytes(), format!("{TABLE}/{user}0").into_bytes())
}

/// Returns the key of the row that says that a document of the blob's user mentions it.
pub(super) fn row_of((user, name): &Key, document: &DocumentName) -> Option<Vec<u8>> {
    let rest = document.as_str().strip_prefix(&**user)?.strip_prefix('/')?;
    Some(format!("{TABLE}/{user}/{name}/{rest}").into_bytes())
}

/// Returns those of some names that stand in a stored document, or in what is not part of it yet.
pub(super) fn still_in(stored: &Stored, names: &BTreeSet<Name>) -> BTreeSet<Name> {
    let mut found = BTreeSet::new();
    let pending = stored.checkpoint.iter().flat_map(|checkpoint| &checkpoint.pending);
    let entries = pending.chain(&stored.quarantined).chain(&stored.tail).map(|entry| &entry.bytes);
    for bytes in entries.chain(stored.checkpoint.iter().map(|checkpoint| &checkpoint.update)) {
        found.extend(names_in(bytes).filter(|name| names.contains(name)));
    }
    found
}

/// Says whether the name of a blob stands in some bytes.
pub(super) fn mentions(bytes: &[u8], name: Name) -> bool {
    memmem::find(bytes, format!("{FORM}{name}").as_bytes()).is_some()
}

/// How a stored document refers to a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Referral {
    /// Not at all.
    None,
    /// It may: its history does. What stands in it now says more.
    Past,
    /// What is not part of the document yet does.
    Waiting,
}

/// Looks for the name of a blob in a stored document.
pub(super) fn in_stored(stored: &Stored, name: Name) -> Referral {
    let in_one = |entry: &Entry| mentions(&entry.bytes, name);
    let parked = stored.checkpoint.iter().flat_map(|checkpoint| &checkpoint.pending);
    let waiting = stored.tail.iter().filter(|entry| entry.kind != EntryKind::Update);
    if parked.chain(waiting).chain(&stored.quarantined).any(in_one) {
        return Referral::Waiting;
    }
    let state = stored.checkpoint.as_ref().is_some_and(|checkpoint| mentions(&checkpoint.update, name));
    match state || stored.tail.iter().any(in_one) {
        true => Referral::Past,
        false => Referral::None,
    }
}

/// The rows that mention a blob: those of its own, and those of names too many to tell.
pub(super) fn ranges((user, name): &Key) -> [Range; 2] {
    [name.to_string(), ANY.to_owned()].map(|name| Range { user: user.clone(), name })
}

/// Rows of one name.
pub(super) struct Range {
    user: Arc<str>,
    name: String,
}

impl Range {
    /// Returns where they begin.
    pub(super) fn from(&self) -> Vec<u8> {
        format!("{TABLE}/{}/{}/", self.user, self.name).into_bytes()
    }

    /// Returns where they have ended.
    pub(super) fn to(&self) -> Vec<u8> {
        format!("{TABLE}/{}/{}0", self.user, self.name).into_bytes()
    }

    /// Says whether they are of one blob: others may not go because that one is not mentioned any more.
    pub(super) fn is_of_one(&self) -> bool {
        self.name != ANY
    }

    /// Returns the document that a row names.
    pub(super) fn document(&self, row: &[u8]) -> Option<DocumentName> {
        let rest = std::str::from_utf8(row.strip_prefix(&*self.from())?).ok()?;
        DocumentName::parse(&format!("{}/{rest}", self.user)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> DocumentName {
        DocumentName::parse("ada/c/1").expect("a name")
    }

    fn name(digit: char) -> Name {
        Name::parse(&digit.to_string().repeat(64)).expect("a name")
    }

    fn keys(rows: &[Row]) -> Vec<String> {
        rows.iter().map(|row| String::from_utf8(row.key.clone()).expect("text")).collect()
    }

    #[test]
    fn every_name_in_an_update_gets_a_row_once() {
        let (a, b) = (name('a'), name('b'));
        let update = format!("\u{1}x{FORM}{a}\"..{FORM}{b}{FORM}{a}{FORM}{}", "a".repeat(63));
        let rows = Mentions::default().rows(&document(), [update.as_bytes(), b"", b"blob:sha256:"]);
        assert_eq!(keys(&rows), [format!("mention/ada/{a}/c/1"), format!("mention/ada/{b}/c/1")]);
        let nobodys = DocumentName::parse("doc").expect("a name");
        assert!(Mentions::default().rows(&nobodys, [update.as_bytes()]).is_empty());
    }

    #[test]
    fn an_update_with_very_many_names_gets_one_row_for_all() {
        let update: String = (0..=NAMES).map(|number| format!("{FORM}{number:064x}")).collect();
        let mentions = Mentions::default();
        let key = ("ada".into(), name('f'));
        mentions.begin(key.clone());
        assert_eq!(keys(&mentions.rows(&document(), [update.as_bytes()])), ["mention/ada/*/c/1"]);
        assert_eq!(mentions.unless_spoiled(&key, || ()), None, "it may be any of them");
    }

    #[test]
    fn a_mention_spoils_the_look_at_that_blob_only() {
        let mentions = Mentions::default();
        let says = |name: Name| format!("{FORM}{name}").into_bytes();
        let (key, other) = (("ada".into(), name('a')), ("ada".into(), name('b')));
        mentions.begin(key.clone());
        assert_eq!(mentions.unless_spoiled(&other, || 7), None, "that is not looked at");
        mentions.rows(&document(), [&*says(name('b'))]);
        let eves = DocumentName::parse("eve/c/1").expect("a name");
        mentions.rows(&eves, [&*says(name('a'))]);
        assert_eq!(mentions.unless_spoiled(&key, || 7), Some(7));
        mentions.rows(&document(), [&*says(name('a'))]);
        assert_eq!(mentions.unless_spoiled(&key, || 7), None);
        mentions.end();
        assert_eq!(mentions.unless_spoiled(&key, || 7), None, "nobody looks");
    }
}
