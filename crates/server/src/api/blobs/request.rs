//! What a request about a blob asks for.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_OFFSET};
use crate::api::problem::Problem;

/// Of a blob whose uploader named no type.
/// The media type of what says none.
pub(in crate::api) const BYTES: &str = "application/octet-stream";
/// The longest media type.
const KIND_BYTES: usize = 255;

/// What a request says about an upload.
pub(super) struct Said {
    pub(super) offset: Option<u64>,
    pub(super) complete: Option<bool>,
    length: Option<u64>,
    /// Of the body, where it is known beforehand.
    body: Option<u64>,
}

impl Said {
    pub(super) fn read(headers: &HeaderMap, body: Option<u64>) -> Result<Self, Problem> {
        let number = |name: &HeaderName| {
            let value = headers.get(name).map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
            value
                .map(|value| value.ok_or_else(|| Problem::bad(format!("{name} must be a number of bytes"))))
                .transpose()
        };
        let complete = match headers.get(UPLOAD_COMPLETE).map(HeaderValue::as_bytes) {
            None => None,
            Some(b"?1") => Some(true),
            Some(b"?0") => Some(false),
            Some(_) => return Err(Problem::bad("upload-complete must be ?1 or ?0")),
        };
        let (offset, length) = (number(&UPLOAD_OFFSET)?, number(&UPLOAD_LENGTH)?);
        Ok(Self { offset, complete, length, body })
    }

    /// Returns the length of the whole.
    pub(super) fn total(&self) -> Result<u64, Problem> {
        let whole = self.complete.unwrap_or(true);
        match (self.length, self.body) {
            (Some(length), Some(body)) if whole && body != length => {
                Err(Problem::bad("upload-length and content-length differ although upload-complete is ?1"))
            }
            (Some(length), _) => Ok(length),
            (None, Some(body)) if whole => Ok(body),
            (None, _) => {
                let text =
                    "say how long the whole is: in upload-length, or in content-length of a whole upload";
                Err(Problem::new(StatusCode::LENGTH_REQUIRED, "length_required", text))
            }
        }
    }
}

/// Reads the media type that is to be kept.
pub(super) fn kind(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(BYTES.to_owned()) };
    match kind.to_str().ok().and_then(fit) {
        Some(kind) => Ok(kind),
        None => Err(Problem::bad(format!("content-type must be a media type of at most {KIND_BYTES} bytes"))),
    }
}

/// Returns a media type that may be kept.
pub(in crate::api) fn fit(kind: &str) -> Option<String> {
    let is_plain = kind.bytes().all(|byte| (b' '..0x7f).contains(&byte));
    (is_plain && kind.len() <= KIND_BYTES && kind.contains('/')).then(|| kind.to_owned())
}

/// What of a blob is asked for: bytes `from..to`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    All,
    Part(u64, u64),
    Beyond,
}

impl Asked {
    /// Reads a `Range`; several ranges, and what is none, are answered with the whole.
    pub(super) fn read(range: &str, length: u64) -> Self {
        let ends = range.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'));
        match ends.map(|(from, to)| (from.parse::<u64>().ok(), to.parse::<u64>().ok(), from, to)) {
            Some((Some(from), Some(to), ..)) if from <= to && from < length => {
                Self::Part(from, to.saturating_add(1).min(length))
            }
            Some((Some(from), Some(to), ..)) if from > to => Self::All,
            Some((Some(from), None, _, "")) if from < length => Self::Part(from, length),
            Some((None, Some(last), "", _)) if last > 0 && length > 0 => {
                Self::Part(length.saturating_sub(last), length)
            }
            Some((Some(_), Some(_), ..) | (Some(_), None, _, "") | (None, Some(_), "", _)) => Self::Beyond,
            _ => Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_bytes_is_understood() {
        let read = |range: &str| Asked::read(range, 10);
        assert_eq!(read("bytes=0-3"), Asked::Part(0, 4));
        assert_eq!(read("bytes=4-"), Asked::Part(4, 10));
        assert_eq!(read("bytes=-3"), Asked::Part(7, 10));
        assert_eq!(read("bytes=-30"), Asked::Part(0, 10));
        assert_eq!(read("bytes=8-99"), Asked::Part(8, 10));
        assert_eq!(read(&format!("bytes=8-{}", u64::MAX)), Asked::Part(8, 10));
        for beyond in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
            assert_eq!(read(beyond), Asked::Beyond, "{beyond}");
        }
        for all in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=3-1",
            "bytes=0-1,4-5",
            "lines=1-2",
            "bytes=a-b",
            "bytes=1-b",
        ] {
            assert_eq!(read(all), Asked::All, "{all}");
        }
        assert_eq!(Asked::read("bytes=0-", 0), Asked::Beyond);
        assert_eq!(Asked::read("bytes=-1", 0), Asked::Beyond);
    }

    #[test]
    fn the_length_of_the_whole_must_be_known() {
        let total = |body, headers: &[(HeaderName, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            Said::read(&headers.collect(), body).and_then(|said| said.total()).ok()
        };
        let part = (UPLOAD_COMPLETE, "?0");
        assert_eq!(total(Some(5), &[]), Some(5));
        assert_eq!(total(Some(5), &[(UPLOAD_LENGTH, "9"), part.clone()]), Some(9));
        assert_eq!(total(None, &[(UPLOAD_LENGTH, "9")]), Some(9));
        assert_eq!(total(Some(5), &[(UPLOAD_LENGTH, "9")]), None, "they differ");
        assert_eq!(total(Some(5), &[part]), None);
        assert_eq!(total(None, &[]), None);
        assert_eq!(total(None, &[(UPLOAD_LENGTH, "-1")]), None);
        assert_eq!(total(Some(5), &[(UPLOAD_COMPLETE, "yes")]), None);
    }
}
