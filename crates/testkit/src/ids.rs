//! The checkers' own idea of an edit: the ids that it inserts and the ids that it deletes. Read with yrs from
//! the bytes of updates, never asked of the code under test.

use yrs::{Doc, IdSet, ReadTxn, StateVector, Transact, Update, updates::decoder::Decode};

/// Ids inserted and ids deleted.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    /// Every clock of every block, deleted and collected ones included; Skips are none.
    pub inserts: IdSet,
    /// The delete set.
    pub deletes: IdSet,
}

impl Ids {
    /// Reads them from an update.
    ///
    /// # Errors
    /// The text of yrs where the bytes are no update.
    pub fn of_update(update: &[u8]) -> Result<Self, String> {
        let update = Update::decode_v1(update).map_err(|error| format!("not an update: {error}"))?;
        Ok(Self { inserts: update.insertions(true), deletes: update.delete_set().clone() })
    }

    /// Reads all that a document has integrated.
    pub fn of_doc(doc: &Doc) -> Self {
        let snapshot = doc.transact().snapshot();
        Self { inserts: below(&snapshot.state_map), deletes: snapshot.delete_set }
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.inserts.merge_with(other.inserts.clone());
        self.deletes.merge_with(other.deletes.clone());
    }

    /// Takes others out.
    pub fn remove(&mut self, other: &Self) {
        self.inserts.diff_with(&other.inserts);
        self.deletes.diff_with(&other.deletes);
    }

    /// Says whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        empty(&self.inserts) && empty(&self.deletes)
    }

    /// Returns what of this is not in `whole`; `None` if all is.
    pub fn missing_from(&self, whole: &Self) -> Option<Self> {
        let mut missing = self.clone();
        missing.remove(whole);
        if missing.is_empty() { None } else { Some(missing) }
    }

    /// Returns the end of what `client` inserts.
    pub fn inserts_of(&self, client: u64) -> Option<u32> {
        let ranges = self.inserts.get(&yrs::ClientID::new(client))?;
        ranges.ranges().map(|range| range.end).max()
    }
}

impl std::fmt::Display for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "inserts {} deletes {}", self.inserts, self.deletes)
    }
}

/// Two documents are equal: state vectors, delete sets and content.
///
/// # Errors
/// What differs.
pub(crate) fn same(a: &Doc, b: &Doc) -> Result<(), String> {
    let (ids_a, ids_b) = (Ids::of_doc(a), Ids::of_doc(b));
    if let Some(missing) = ids_a.missing_from(&ids_b) {
        return Err(format!("the second lacks {missing}"));
    }
    if let Some(missing) = ids_b.missing_from(&ids_a) {
        return Err(format!("the first lacks {missing}"));
    }
    let (text_a, text_b) = (content(a), content(b));
    if text_a == text_b { Ok(()) } else { Err(format!("content differs: {text_a:?} and {text_b:?}")) }
}

/// The content of a document as one text, keys in order.
pub(crate) fn content(doc: &Doc) -> String {
    let text = doc.get_or_insert_text("t");
    let maps = crate::model::maps(doc);
    let txn = doc.transact();
    format!("{}{maps}", yrs::GetString::get_string(&text, &txn))
}

fn below(state_vector: &StateVector) -> IdSet {
    #[allow(clippy::single_range_in_vec_init)]
    IdSet::from_iter(state_vector.iter().map(|(client, clock)| (*client, [0..*clock])))
}

fn empty(set: &IdSet) -> bool {
    set.iter().all(|(_, ranges)| ranges.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use yrs::Text;

    #[test]
    fn what_an_update_holds_is_missing_until_it_is_added() {
        let doc = Doc::with_client_id(7);
        let text = doc.get_or_insert_text("t");
        text.push(&mut doc.transact_mut(), "abc");
        text.remove_range(&mut doc.transact_mut(), 1, 1);
        let update = doc.transact().encode_diff_v1(&StateVector::default());
        let ids = Ids::of_update(&update).expect("an update");
        assert_eq!(ids.inserts_of(7), Some(3));
        let mut held = Ids::default();
        assert!(ids.missing_from(&held).is_some());
        held.add(&ids);
        assert!(ids.missing_from(&held).is_none());
        assert!(ids.missing_from(&Ids::of_doc(&doc)).is_none());
        held.remove(&ids);
        assert!(held.is_empty());
    }
}
