//! `syncline erasures`: the ledger of what was erased for good, one receipt a line, and whether each is as it was sealed.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde::{Deserialize, Serialize};
use syncline_store::{Row, Store};

use crate::{
    auth::Secret,
    cli::{Erasures, Failure},
    commands::{open_existing, print},
    erasure::{ErasureError, Receipt, Seal, ledger},
};

/// Receipts written in one commit.
const PAGE: usize = 64;

/// A line of the ledger.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The receipt holds under this folder's secret.
    sealed: bool,
    receipt: Receipt,
}

pub(crate) fn run(arguments: &Erasures) -> Result<(), Failure> {
    let store = open_existing(&arguments.data)?;
    let seal = Seal::new(&Secret::read_or_create(&arguments.data)?);
    let (mut count, mut broken) = (0_u64, 0_u64);
    let mut told = Ok(());
    ledger::all(&store, |receipt| {
        let line = Line { sealed: seal.holds(&receipt), receipt };
        count += 1;
        // One that is under way is not sealed yet.
        broken += u64::from(!line.sealed && line.receipt.done.is_some());
        if told.is_ok() {
            let text =
                serde_json::to_string(&line).map_err(|error| ErasureError::Engine(error.to_string()))?;
            told = print(&text);
        }
        Ok(())
    })
    .map_err(failed)?;
    told?;
    match broken {
        0 => Ok(()),
        _ => Err(Failure::Check(format!(
            "{broken} of {count} receipts do not hold under {}/secret: they were changed, or sealed under another secret",
            arguments.data.display()
        ))),
    }
}

/// Has everything erased again that a ledger names and the store does not know of: the next start does it. Returns how
/// much that is.
pub(super) fn replay(store: &impl Store, ledger_file: &Path) -> Result<u64, Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", ledger_file.display()));
    let file = File::open(ledger_file).map_err(|error| usage(&error))?;
    let (mut rows, mut count): (Vec<Row>, u64) = (Vec::new(), 0);
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|error| usage(&error))?;
        if line.trim().is_empty() {
            continue;
        }
        let Line { receipt, .. } = serde_json::from_str(&line).map_err(|error| usage(&error))?;
        if ledger::find(store, &receipt.target()).map_err(failed)?.is_some() {
            continue;
        }
        rows.extend(ledger::begin(&receipt.reopened()));
        count += 1;
        if rows.len() >= PAGE {
            store.commit(&[], &std::mem::take(&mut rows))?;
        }
    }
    store.commit(&[], &rows)?;
    Ok(count)
}

fn failed(error: ErasureError) -> Failure {
    match error {
        ErasureError::Store(error) => error.into(),
        other => Failure::Check(other.to_string()),
    }
}
