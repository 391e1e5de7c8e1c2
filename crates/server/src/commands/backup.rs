//! `syncline backup`: everything in one file, whole or not at all.

use std::io::{BufWriter, Write};

use syncline_store::export::export;

use crate::{
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
            export(&store, &mut out)?;
        }
        (None, Some(server)) => {
            Remote::new(server, place.token.as_deref())?.copy("/v1/admin/backup", &mut out)?;
        }
        (None, None) => return Err(Failure::Usage("give --data or --server".to_owned())),
    }
    out.flush().map_err(|error| unwritable(&arguments.to, &error))?;
    drop(out);
    let bytes = draft.keep(&arguments.to)?;
    print(&format!("{bytes} bytes in {}", arguments.to.display()))
}
