//! What becomes of the server's other tables when something is erased: rows that belong to it go, and those that repeat
//! a part of it are cut.

use serde_json::Value;
use syncline_protocol::names::DocumentName;
use syncline_store::{Row, Store, StoreError};

use super::{ErasureError, ledger};
use crate::{api::idempotency, registry::Journal};

/// Rows read, and written in one commit.
const PAGE: usize = 64;
/// Tables that are looked for in a store, at most.
const TABLES: usize = 256;
/// The table of revoked devices. It outlives its user: a device that was signed out may hold a token that opens what
/// belongs to others.
const REVOKED: &str = "revoked";

/// Deletes the rows of a user or a document in every table that does not stay: `{table}/{of}` and `{table}/{of}/...`. Returns how many
/// went.
pub(super) async fn remove_all(journal: &Journal, of: &str) -> Result<u64, ErasureError> {
    let mut went = 0;
    for table in tables(&**journal.store())? {
        let exact = format!("{table}/{of}").into_bytes();
        let mut rows = Vec::new();
        if journal.store().row(&exact)?.is_some() {
            rows.push(Row { key: exact, value: None });
        }
        let (mut from, to) = (format!("{table}/{of}/").into_bytes(), format!("{table}/{of}0"));
        loop {
            let page = journal.store().rows(&from, to.as_bytes(), PAGE)?;
            let is_last = page.len() < PAGE;
            if let Some((last, _)) = page.last() {
                from = [last, &[0][..]].concat();
            }
            rows.extend(page.into_iter().map(|(key, _)| Row { key, value: None }));
            went += rows.len() as u64;
            if !rows.is_empty() {
                ledger::write(journal, std::mem::take(&mut rows)).await?;
            }
            if is_last {
                break;
            }
        }
    }
    Ok(went)
}

/// Lists the tables of a store, without those that stay, the ledger's and that of revoked devices: a table is what comes before the first slash.
fn tables(store: &dyn Store) -> Result<Vec<String>, StoreError> {
    let (mut tables, mut from) = (Vec::new(), Vec::new());
    while tables.len() < TABLES
        && let Some((key, _)) = store.rows(&from, &[255; 4], 1)?.pop()
    {
        let Some(end) = key.iter().position(|byte| *byte == b'/') else {
            from = [&key[..], &[0]].concat();
            continue;
        };
        // The byte after the slash: the first key of the next table.
        from = [&key[..end], b"0"].concat();
        if let Ok(table) = std::str::from_utf8(&key[..end])
            && table != REVOKED
            && !ledger::TABLES.contains(&table)
        {
            tables.push(table.to_owned());
        }
    }
    Ok(tables)
}

/// Cuts what was told of heals of something out of the audit of a document. `is_of` picks the keys of what was healed,
/// `root/key`.
pub(super) async fn cut_audit(
    journal: &Journal,
    name: &DocumentName,
    is_of: impl Fn(&str) -> bool,
) -> Result<u64, ErasureError> {
    let (from, to) = (format!("audit/{name}/"), format!("audit/{name}0"));
    let mut cut = Vec::new();
    for (key, value) in journal.store().rows(from.as_bytes(), to.as_bytes(), PAGE)? {
        let Ok(mut audit) = serde_json::from_slice::<Value>(&value) else { continue };
        let Some(heals) = audit["heals"].as_array_mut() else { continue };
        let mut changed = false;
        for heal in heals {
            let Some(key) = heal["key"].as_str().filter(|key| is_of(key)) else { continue };
            let of = key.split(['|', '@']).next().unwrap_or_default().to_owned();
            if heal["key"] != of.as_str() || !heal["before"].is_null() {
                (heal["before"], heal["key"]) = (Value::Null, of.into());
                changed = true;
            }
        }
        if changed {
            cut.push(Row { key, value: Some(audit.to_string().into()) });
        }
    }
    let count = cut.len() as u64;
    if count > 0 {
        ledger::write(journal, cut).await?;
    }
    Ok(count)
}

/// Cuts the answers that are kept for a user's writes with keys, where they say one of these things; all of them where
/// nothing is named.
pub(super) async fn cut_answers(journal: &Journal, user: &str, says: &[&str]) -> Result<u64, ErasureError> {
    let (mut from, to) = (format!("idem/{user}/").into_bytes(), format!("idem/{user}0"));
    let mut count = 0;
    loop {
        let page = journal.store().rows(&from, to.as_bytes(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(count) };
        from = [last, &[0][..]].concat();
        let rows: Vec<Row> = page
            .into_iter()
            .filter_map(|(key, value)| Some(Row { key, value: Some(idempotency::cut(&value, says)?) }))
            .collect();
        count += rows.len() as u64;
        if !rows.is_empty() {
            ledger::write(journal, rows).await?;
        }
    }
}
