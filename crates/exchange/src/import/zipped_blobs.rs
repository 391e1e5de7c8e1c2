//! The blobs of an archive of ours, handed out piece by piece.

use std::{
    collections::{HashMap, HashSet},
    io::{Read, Seek},
};

use zip::{ZipArchive, result::ZipError};

use super::{ImportError, Item, Run, zipped::entry};
use crate::{
    Bounds, Report, Status,
    archive::{self, Blob, LeftBlob, entries, fill, is_name},
};

/// Bytes of a piece.
const PIECE: usize = 64 << 10;

/// Hands out the blobs of an archive. What is wrong with one costs that one.
pub(super) fn read<R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    names: &[String],
    run: &mut Run<'_>,
) -> Result<(), ImportError> {
    let mut listed = archive::Blobs::default();
    if !run.is_over && names.iter().any(|name| name == entries::BLOBS) {
        match entry(zip, entries::BLOBS, run)? {
            Ok(read) => listed = read,
            Err(reason) => {
                // The files are there all the same; only their types are not known.
                let report = Report::new(run.next_position()?, Some(entries::BLOBS.to_owned()), None);
                run.give(Item::Left(report.ended(Status::Failed, reason)));
            }
        }
    }
    let mut there: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix(entries::BLOB)).collect();
    there.retain(|name| !name.is_empty());
    there.sort_unstable();
    let is_there: HashSet<&str> = there.iter().copied().collect();
    let missing = listed.blobs.iter().filter(|blob| !is_there.contains(&*blob.sha256)).map(|blob| LeftBlob {
        sha256: blob.sha256.clone(),
        why: "the archive lists it and does not hold it".to_owned(),
    });
    let left: Vec<LeftBlob> = missing.chain(listed.left).collect();
    let kinds: HashMap<&str, Option<&String>> =
        listed.blobs.iter().map(|blob| (&*blob.sha256, blob.media_type.as_ref())).collect();
    for name in there {
        if run.is_over {
            return Ok(());
        }
        let kind = kinds.get(name).copied().flatten().cloned();
        if let Err(why) = blob(zip, name, kind, run) {
            run.give(Item::BlobLeft(LeftBlob { sha256: name.to_owned(), why }));
        }
    }
    for left in left {
        if run.is_over {
            return Ok(());
        }
        run.give(Item::BlobLeft(left));
    }
    Ok(())
}

/// Reads which blobs are in an archive, and which are not; nothing where the archive is from before there were any.
///
/// # Errors
/// [`ImportError`] where it cannot be read.
pub fn listed<R: Read + Seek>(input: R) -> Result<archive::Blobs, ImportError> {
    let mut zip = ZipArchive::new(input)?;
    let file = match zip.by_name(entries::BLOBS) {
        Ok(file) => file,
        Err(ZipError::FileNotFound) => return Ok(archive::Blobs::default()),
        Err(error) => return Err(error.into()),
    };
    let most = Bounds::default().conversation_bytes as u64;
    serde_json::from_reader(file.take(most)).map_err(|error| ImportError::Input(error.into()))
}

/// Hands out one blob, or says why it is not begun.
fn blob<R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    name: &str,
    media_type: Option<String>,
    run: &mut Run<'_>,
) -> Result<(), String> {
    if !is_name(name) {
        return Err("its name is no SHA-256: 64 hexadecimal digits in lower case".to_owned());
    }
    let mut file = zip.by_name(&format!("{}{name}", entries::BLOB)).map_err(|error| error.to_string())?;
    let (bytes, most) = (file.size(), run.options.bounds.blob_bytes);
    if bytes > most {
        return Err(format!("it has {bytes} bytes, and a blob has at most {most}"));
    }
    let Some(left) = run.blobs_left.checked_sub(bytes) else {
        let most = run.options.bounds.all_blobs_bytes;
        return Err(format!("the blobs of one import have at most {most} bytes together"));
    };
    run.blobs_left = left;
    run.give(Item::Blob(Blob { sha256: name.to_owned(), bytes, media_type }));
    let mut length = 0;
    while !run.is_over {
        let mut piece = vec![0; PIECE];
        // Only at its end is the checksum of an entry compared.
        let count = match fill(&mut file, &mut piece) {
            Ok(0) => {
                run.give(Item::BlobEnd(Ok(())));
                break;
            }
            Ok(count) => count,
            Err(error) => {
                run.give(Item::BlobEnd(Err(error.to_string())));
                break;
            }
        };
        length += count as u64;
        if length > bytes {
            run.give(Item::BlobEnd(Err(format!("it has more than the {bytes} bytes that it says"))));
            break;
        }
        piece.truncate(count);
        run.give(Item::BlobPiece(piece));
    }
    Ok(())
}
