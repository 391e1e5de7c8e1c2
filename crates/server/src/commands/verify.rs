//! `syncline verify`: reads everything and says what is wrong.

use syncline_store::{fold::replay, verify::verify};

use crate::{
    cli::{Failure, Verify},
    commands::{open_existing, print},
};

pub(crate) fn run(arguments: &Verify) -> Result<(), Failure> {
    let store = open_existing(&arguments.data)?;
    let verified = verify(&store, replay)?;
    for finding in &verified.findings {
        print(&format!("{}: {}", finding.document, finding.problem))?;
    }
    let (documents, entries) = (verified.documents, verified.entries);
    match verified.findings.len() {
        0 => print(&format!("{documents} documents with {entries} entries: all of it is whole")),
        wrong => Err(Failure::Check(format!("{wrong} of {documents} documents are damaged"))),
    }
}
