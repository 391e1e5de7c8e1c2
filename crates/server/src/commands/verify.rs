//! `syncline verify`: reads everything and says what is wrong.

use syncline_store::{
    fold::replay,
    verify::{Place, verify},
};

use crate::{
    cli::{Failure, Verify},
    commands::{open_existing, print},
};

pub(crate) fn run(arguments: &Verify) -> Result<(), Failure> {
    let store = open_existing(&arguments.data)?;
    let verified = verify(&store, replay)?;
    for finding in &verified.findings {
        print(&format!("{}: {}", finding.at, finding.problem))?;
    }
    let (documents, entries, rows) = (verified.documents, verified.entries, verified.rows);
    if verified.findings.is_empty() {
        let text = format!("{documents} documents with {entries} entries, {rows} rows: all of it is whole");
        return print(&text);
    }
    let wrong = verified.findings.len();
    let wrong_rows = verified.findings.iter().filter(|finding| matches!(finding.at, Place::Row(_))).count();
    let wrong_documents = wrong - wrong_rows;
    Err(Failure::Check(format!(
        "{wrong_documents} of {documents} documents and {wrong_rows} of {rows} rows are damaged"
    )))
}
