//! `syncline backup`: everything in one file, whole or not at all. It is read once before it gets its name.

use std::io::{BufReader, BufWriter, Seek, Write};

use syncline_store::export::{Files, export_with, survey};

use crate::{
    blobs::backup::Carried,
    cli::{Backup, Failure},
    commands::{
        draft::{Draft, unwritable},
        open_existing, print,
        remote::Remote,
    },
};

pub(crate) fn run(arguments: &Backup) -> Result<(), Failure> {
    let place = &arguments.place;
    let draft = Draft::new(&arguments.to)?;
    let mut out = BufWriter::with_capacity(1 << 20, &draft.file);
    match (&place.data, &place.server) {
        (Some(data), _) => {
            let store = open_existing(data)?;
            let mut blobs = Carried::new(&store, data);
            let files = (!arguments.without_blobs).then_some(&mut blobs as Files<'_>);
            export_with(&store, files, &mut out)?;
        }
        (None, Some(server)) => {
            let path = match arguments.without_blobs {
                true => "/v1/admin/backup?blobs=false",
                false => "/v1/admin/backup",
            };
            Remote::new(server, place.token.as_deref())?.copy(path, &mut out)?;
        }
        (None, None) => return Err(Failure::Usage("give --data or --server".to_owned())),
    }
    out.flush().map_err(|error| unwritable(&arguments.to, &error))?;
    drop(out);
    let mut left = Vec::new();
    let mut written = &draft.file;
    written.rewind().map_err(|error| unwritable(&arguments.to, &error))?;
    let mut note = |name: &str, why: &str| left.push(format!("blob {name} is not in it: {why}"));
    let seen = survey(&mut BufReader::with_capacity(1 << 20, written), &mut note)?;
    let bytes = draft.keep(&arguments.to)?;
    for line in &left {
        print(line)?;
    }
    let (documents, blobs) = (seen.documents, seen.files.unwrap_or(0));
    let place = arguments.to.display();
    print(&format!("{bytes} bytes in {place}: {documents} documents, {blobs} blobs"))?;
    match left.len() {
        0 => Ok(()),
        left => Err(Failure::Check(format!("{left} blobs are not in the backup; all else is"))),
    }
}
