//! `syncline verify`: reads everything and says what is wrong.

use syncline_store::{
    fold::replay,
    verify::{Place, verify},
};

use crate::{
    blobs::check,
    cli::{Failure, Verify},
    commands::{open_existing, print},
};

pub(crate) fn run(arguments: &Verify) -> Result<(), Failure> {
    let store = open_existing(&arguments.data)?;
    let verified = verify(&store, replay)?;
    for finding in &verified.findings {
        print(&format!("{}: {}", finding.at, finding.problem))?;
    }
    let blobs = check::check(&store, &arguments.data)?;
    for (blob, problem) in &blobs.findings {
        print(&format!("{blob}: {problem}"))?;
    }
    if blobs.strangers > 0 {
        print(&format!("{} files under blobs belong to nothing here: they can be deleted", blobs.strangers))?;
    }
    if blobs.absent > 0 {
        print(&format!("{} names of blobs stand in documents and were not uploaded here", blobs.absent))?;
    }
    let (documents, entries, rows) = (verified.documents, verified.entries, verified.rows);
    let (total, damaged) = (blobs.blobs, blobs.findings.len());
    if verified.findings.is_empty() && blobs.findings.is_empty() {
        let text = format!(
            "{documents} documents with {entries} entries, {rows} rows, {total} blobs: all of it is whole"
        );
        return print(&text);
    }
    let wrong = verified.findings.len();
    let wrong_rows = verified.findings.iter().filter(|finding| matches!(finding.at, Place::Row(_))).count();
    let wrong_documents = wrong - wrong_rows;
    Err(Failure::Check(format!(
        "{wrong_documents} of {documents} documents, {wrong_rows} of {rows} rows and {damaged} of {total} blobs are \
         damaged"
    )))
}
