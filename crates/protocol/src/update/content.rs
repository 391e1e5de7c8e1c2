//! What a block holds: each kind of content that Yjs 13 writes, checked to be what yrs will read.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Content, Refusal};
use crate::{lib0::Reader, limits::Limits};

/// Reads one content. Returns its class and its length in clocks.
pub(super) fn read(
    reader: &mut Reader<'_>,
    kind: u8,
    values: &mut usize,
    limits: &Limits,
) -> Result<(Content, u32), Refusal> {
    match kind {
        1 => Ok((Content::Deleted, reader.var_u32()?)),
        3 => {
            reader.buf()?;
            Ok((Content::Single, 1))
        }
        4 => {
            let text = reader.str()?;
            Ok((Content::Run, utf16_len(text)))
        }
        5 => {
            json(reader.str()?, values, limits)?;
            Ok((Content::Single, 1))
        }
        6 => {
            reader.str()?;
            json(reader.str()?, values, limits)?;
            Ok((Content::Single, 1))
        }
        7 => {
            shared_type(reader)?;
            Ok((Content::Type, 1))
        }
        8 => {
            let count = reader.var_u32()?;
            claim(values, u64::from(count), reader.remaining())?;
            for _ in 0..count {
                any(reader, values, limits.any_depth)?;
            }
            Ok((Content::Run, count))
        }
        other => Err(Refusal::Content(other)),
    }
}

/// Counts as yrs and JavaScript do: a character beyond the basic plane has two units.
fn utf16_len(text: &str) -> u32 {
    // In UTF-8 those have a first byte of 0xf0 or more; continuation bytes count for nothing.
    text.bytes().map(|byte| u32::from(byte & 0xc0 != 0x80) + u32::from(byte >= 0xf0)).sum()
}

/// Array, map, text, XML element (with its name), fragment, text. Not the XML hook (5): Yjs writes its name, yrs does
/// not read it and takes it for the next block. Not the weak link (7), the subdocument (9), the unknown root (15): Yjs
/// 13 writes none of them.
fn shared_type(reader: &mut Reader<'_>) -> Result<(), Refusal> {
    match reader.byte()? {
        0..=2 | 4 | 6 => Ok(()),
        3 => {
            reader.str()?;
            Ok(())
        }
        other => Err(Refusal::TypeKind(other)),
    }
}

/// Takes `count` values off the budget; each has a byte at least.
fn claim(values: &mut usize, count: u64, remaining: usize) -> Result<(), Refusal> {
    if count > remaining as u64 {
        return Err(Refusal::Malformed("more values claimed than there are bytes"));
    }
    *values = values.checked_sub(count as usize).ok_or(Refusal::TooManyValues)?;
    Ok(())
}

fn any(reader: &mut Reader<'_>, values: &mut usize, depth: usize) -> Result<(), Refusal> {
    match reader.byte()? {
        120 | 121 | 126 | 127 => {}
        119 => {
            reader.str()?;
        }
        125 => reader.skip_var_int()?,
        124 => {
            reader.take(4)?;
        }
        122 | 123 => {
            reader.take(8)?;
        }
        116 => {
            reader.buf()?;
        }
        kind @ (117 | 118) => {
            let depth = depth.checked_sub(1).ok_or(Refusal::AnyTooDeep)?;
            let count = reader.var_uint()?;
            claim(values, count, reader.remaining())?;
            for _ in 0..count {
                if kind == 118 {
                    reader.str()?;
                }
                any(reader, values, depth)?;
            }
        }
        _ => return Err(Refusal::Malformed("an unknown kind of value")),
    }
    Ok(())
}

/// Checks a JSON text with the parser that yrs uses, so that what passes here parses there.
fn json(text: &str, values: &mut usize, limits: &Limits) -> Result<(), Refusal> {
    if matches!(text, "null" | "true" | "false") {
        return Ok(());
    }
    let budget = Cell::new(*values);
    let too_deep = Cell::new(false);
    let mut parser = serde_json::Deserializer::from_str(text);
    let parsed =
        Json { depth: limits.any_depth, budget: &budget, too_deep: &too_deep }.deserialize(&mut parser);
    *values = budget.get();
    match parsed.and_then(|()| parser.end()) {
        Ok(()) => Ok(()),
        Err(_) if too_deep.get() => Err(Refusal::AnyTooDeep),
        Err(_) if budget.get() == 0 => Err(Refusal::TooManyValues),
        Err(_) => Err(Refusal::BadJson),
    }
}

/// Walks a JSON value of at most `depth` levels and keeps nothing of it.
#[derive(Clone, Copy)]
struct Json<'a> {
    depth: usize,
    budget: &'a Cell<usize>,
    too_deep: &'a Cell<bool>,
}

impl Json<'_> {
    fn value<E: Error>(self) -> Result<(), E> {
        let left = self.budget.get().checked_sub(1).ok_or_else(|| E::custom("too many values"))?;
        self.budget.set(left);
        Ok(())
    }

    fn deeper<E: Error>(mut self) -> Result<Self, E> {
        self.value()?;
        self.depth = self.depth.checked_sub(1).ok_or_else(|| {
            self.too_deep.set(true);
            E::custom("too deep")
        })?;
        Ok(self)
    }
}

impl<'de> DeserializeSeed<'de> for Json<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a json value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.value()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.value()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.value()
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        // yrs holds whole numbers as i64 and refuses larger ones.
        if value > i64::MAX as u64 {
            return Err(E::custom("a whole number is out of range"));
        }
        self.value()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.value()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.value()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while entries.next_key_seed(Key)?.is_some() {
            entries.next_value_seed(inner)?;
        }
        Ok(())
    }
}

/// A key: text, not counted as a value.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}
