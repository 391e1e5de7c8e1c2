//! Entries packed for the disk. What many entries share (document, user, device) is written once per record and
//! referred to by index, so an update of 26 bytes costs about 10 more beside its share of the tables.

use std::{collections::HashMap, fmt::Display, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use syncline_document::record::{Entry, EntryKind, Origin, Sequence};
use syncline_protocol::names::DocumentName;

use crate::{
    codec::{PLAIN_KEY, Raw, decode, encode_into},
    error::StoreError,
};

/// A user: most are the first segment of the document's name and cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum PackedUser<'a> {
    Nobody,
    Owner,
    Named(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct PackedOrigin<'a> {
    #[serde(borrow)]
    user: PackedUser<'a>,
    device: Option<&'a str>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PackedEntry<'a> {
    document: u32,
    origin: u32,
    sequence: Sequence,
    kind: u8,
    key: u8,
    /// Milliseconds after the record's first entry; negative where clocks say so.
    after_ms: i64,
    #[serde(borrow)]
    bytes: Raw<'a>,
}

/// Entries with their tables, as they are written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PackedEntries<'a> {
    base_ms: u64,
    #[serde(borrow)]
    documents: Vec<&'a str>,
    #[serde(borrow)]
    origins: Vec<PackedOrigin<'a>>,
    #[serde(borrow)]
    entries: Vec<PackedEntry<'a>>,
}

impl<'a> PackedEntries<'a> {
    /// Packs entries in their order.
    pub(crate) fn new(batch: &'a [Entry]) -> Self {
        let base_ms = batch.first().map_or(0, |entry| entry.origin.at_ms);
        let mut packed = Self {
            base_ms,
            documents: Vec::new(),
            origins: Vec::new(),
            entries: Vec::with_capacity(batch.len()),
        };
        let mut documents: HashMap<&str, u32> = HashMap::new();
        let mut origins: HashMap<PackedOrigin<'_>, u32> = HashMap::new();
        for entry in batch {
            let document = intern(&mut documents, &mut packed.documents, entry.document.as_str());
            let origin = intern(&mut origins, &mut packed.origins, pack_origin(entry));
            packed.entries.push(PackedEntry {
                document,
                origin,
                sequence: entry.sequence,
                kind: pack_kind(entry.kind),
                key: PLAIN_KEY,
                after_ms: entry.origin.at_ms.wrapping_sub(base_ms).cast_signed(),
                bytes: Raw(&entry.bytes),
            });
        }
        packed
    }
}

/// Returns the index of `item` in `table`, adding it where it is new. Runs of the same item skip the map.
fn intern<T: Copy + Eq + std::hash::Hash>(seen: &mut HashMap<T, u32>, table: &mut Vec<T>, item: T) -> u32 {
    let next = u32::try_from(table.len()).unwrap_or(u32::MAX);
    if table.last() == Some(&item) {
        return next - 1;
    }
    *seen.entry(item).or_insert_with(|| {
        table.push(item);
        next
    })
}

fn pack_origin(entry: &Entry) -> PackedOrigin<'_> {
    let user = match entry.origin.user.as_deref() {
        None => PackedUser::Nobody,
        Some(user) if entry.document.owner() == Some(user) => PackedUser::Owner,
        Some(user) => PackedUser::Named(user),
    };
    PackedOrigin { user, device: entry.origin.device.as_deref() }
}

fn pack_kind(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Update => 0,
        EntryKind::Pending => 1,
        EntryKind::Quarantined => 2,
    }
}

fn unpack_kind(kind: u8) -> Option<EntryKind> {
    match kind {
        0 => Some(EntryKind::Update),
        1 => Some(EntryKind::Pending),
        2 => Some(EntryKind::Quarantined),
        _ => None,
    }
}

/// One entry of a packed record, without the copies that [`Entry`] takes.
pub(crate) struct EntryView<'a> {
    pub(crate) document: &'a DocumentName,
    pub(crate) sequence: Sequence,
    pub(crate) kind: EntryKind,
    pub(crate) at_ms: u64,
    pub(crate) bytes: &'a [u8],
}

/// Visits the entries of a packed record, those of every document, without copying their bytes.
pub(crate) fn visit(
    what: &dyn Display,
    bytes: &[u8],
    mut each: impl FnMut(&EntryView<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let packed: PackedEntries<'_> = decode(what, bytes)?;
    let names = parse_names(what, &packed.documents)?;
    for entry in &packed.entries {
        each(&EntryView {
            document: lookup(what, &names, entry.document)?,
            sequence: entry.sequence,
            kind: kind_of(what, entry)?,
            at_ms: packed.base_ms.wrapping_add_signed(entry.after_ms),
            bytes: entry.bytes.0,
        })?;
    }
    Ok(())
}

/// Unpacks every entry of a record.
pub(crate) fn unpack(
    what: &dyn Display,
    bytes: &[u8],
    mut each: impl FnMut(Entry) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let packed: PackedEntries<'_> = decode(what, bytes)?;
    let names = parse_names(what, &packed.documents)?;
    let mut strings = Strings::default();
    for entry in &packed.entries {
        let document = lookup(what, &names, entry.document)?;
        each(unpack_entry(what, &packed, entry, document, &mut strings)?)?;
    }
    Ok(())
}

/// Unpacks the entries of one document out of a record.
pub(crate) fn unpack_of(
    what: &dyn Display,
    bytes: &[u8],
    name: &DocumentName,
    into: &mut Vec<Entry>,
) -> Result<(), StoreError> {
    let packed: PackedEntries<'_> = decode(what, bytes)?;
    let Some(index) = packed.documents.iter().position(|document| *document == name.as_str()) else {
        return Ok(());
    };
    let mut strings = Strings::default();
    for entry in packed.entries.iter().filter(|entry| entry.document as usize == index) {
        into.push(unpack_entry(what, &packed, entry, name, &mut strings)?);
    }
    Ok(())
}

/// Packs a record anew without the entries that `gone` picks; `None` where it has none. Also says how many went.
pub(crate) fn without(
    what: &dyn Display,
    bytes: &[u8],
    gone: impl Fn(&DocumentName, Sequence) -> bool,
) -> Result<Option<(Vec<u8>, u64)>, StoreError> {
    let packed: PackedEntries<'_> = decode(what, bytes)?;
    let names = parse_names(what, &packed.documents)?;
    let mut went = 0;
    for entry in &packed.entries {
        went += u64::from(gone(lookup(what, &names, entry.document)?, entry.sequence));
    }
    if went == 0 {
        return Ok(None);
    }
    let mut kept = Vec::with_capacity(packed.entries.len());
    unpack(what, bytes, |entry| {
        if !gone(&entry.document, entry.sequence) {
            kept.push(entry);
        }
        Ok(())
    })?;
    let mut out = Vec::new();
    // The tables are made anew: the names of what went are not in them.
    encode_into(&PackedEntries::new(&kept), &mut out)?;
    Ok(Some((out, went)))
}

fn unpack_entry(
    what: &dyn Display,
    packed: &PackedEntries<'_>,
    entry: &PackedEntry<'_>,
    document: &DocumentName,
    strings: &mut Strings,
) -> Result<Entry, StoreError> {
    if entry.key != PLAIN_KEY {
        return Err(StoreError::damaged(what, format!("an entry is encrypted with key {}", entry.key)));
    }
    let origin = lookup(what, &packed.origins, entry.origin)?;
    let user = match origin.user {
        PackedUser::Nobody => None,
        PackedUser::Named(user) => Some(user),
        PackedUser::Owner => Some(
            document
                .owner()
                .ok_or_else(|| StoreError::damaged(what, format!("{document} belongs to nobody")))?,
        ),
    };
    Ok(Entry {
        document: document.clone(),
        sequence: entry.sequence,
        kind: kind_of(what, entry)?,
        origin: Origin {
            user: user.map(|user| strings.share(user)),
            device: origin.device.map(|device| strings.share(device)),
            at_ms: packed.base_ms.wrapping_add_signed(entry.after_ms),
        },
        bytes: Bytes::copy_from_slice(entry.bytes.0),
    })
}

/// Strings that recur within one record, allocated once.
#[derive(Default)]
struct Strings(Vec<Arc<str>>);

impl Strings {
    fn share(&mut self, text: &str) -> Arc<str> {
        // A record has few origins in a row of one document: the last few are the likely ones.
        if let Some(known) = self.0.iter().rev().take(8).find(|known| ***known == *text) {
            return known.clone();
        }
        let shared: Arc<str> = text.into();
        self.0.push(shared.clone());
        shared
    }
}

fn parse_names(what: &dyn Display, names: &[&str]) -> Result<Vec<DocumentName>, StoreError> {
    names
        .iter()
        .map(|name| {
            DocumentName::parse(name)
                .map_err(|error| StoreError::damaged(what, format!("names {name:?} as a document: {error}")))
        })
        .collect()
}

fn lookup<'a, T>(what: &dyn Display, table: &'a [T], index: u32) -> Result<&'a T, StoreError> {
    table
        .get(index as usize)
        .ok_or_else(|| StoreError::damaged(what, format!("refers to {index} of {} in a table", table.len())))
}

fn kind_of(what: &dyn Display, entry: &PackedEntry<'_>) -> Result<EntryKind, StoreError> {
    unpack_kind(entry.kind)
        .ok_or_else(|| StoreError::damaged(what, format!("has an entry of unknown kind {}", entry.kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::pack_entries;

    fn entry(document: &str, sequence: u64, user: Option<&str>, at_ms: u64) -> Entry {
        Entry {
            document: DocumentName::parse(document).unwrap(),
            sequence,
            kind: EntryKind::Update,
            origin: Origin { user: user.map(Into::into), device: Some("phone".into()), at_ms },
            bytes: vec![7; 26].into(),
        }
    }

    #[test]
    fn entries_come_back_as_they_went_in() {
        let mut batch = vec![
            entry("ada/a", 1, Some("ada"), 1_700_000_000_000),
            entry("ada/b", u64::MAX, Some("bob"), 1_600_000_000_000),
            entry("solo", 3, None, 1_700_000_000_001),
        ];
        batch[1].kind = EntryKind::Pending;
        batch[2].kind = EntryKind::Quarantined;
        batch[2].origin.device = None;
        let bytes = pack_entries(&batch).unwrap();
        let mut back = Vec::new();
        unpack(&"a record", &bytes, |entry| {
            back.push(entry);
            Ok(())
        })
        .unwrap();
        assert_eq!(back, batch);
    }

    #[test]
    fn a_small_update_costs_little_beside_its_bytes() {
        let batch: Vec<_> =
            (0..100).map(|n| entry("ada/notes", 1000 + n, Some("ada"), 1_700_000_000_000 + n)).collect();
        let bytes = pack_entries(&batch).unwrap().len();
        assert!(bytes <= 100 * (26 + 10) + 40, "{bytes} bytes for 100 updates of 26");
    }

    #[test]
    fn indices_and_names_that_are_not_there_are_damage() {
        let raw = PackedEntries {
            base_ms: 0,
            documents: vec!["a//b"],
            origins: vec![],
            entries: vec![PackedEntry {
                document: 0,
                origin: 3,
                sequence: 1,
                kind: 0,
                key: 0,
                after_ms: 0,
                bytes: Raw(b""),
            }],
        };
        let check = |packed: &PackedEntries<'_>| {
            let mut bytes = Vec::new();
            crate::codec::encode_into(packed, &mut bytes).unwrap();
            unpack(&"a record", &bytes, |_| Ok(()))
        };
        assert!(matches!(check(&raw), Err(StoreError::Damaged(text)) if text.contains("a//b")));
        let raw = PackedEntries { documents: vec!["a"], ..raw };
        assert!(matches!(check(&raw), Err(StoreError::Damaged(text)) if text.contains("refers to 3")));
    }
}
