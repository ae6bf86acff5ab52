//! The limits of each field, checked on the raw bytes: before the decoder allocates for any of them.
//!
//! Only fields with a length are listed; numbers need no limit here, and what is not listed is ignored by the decoder.

use super::WireError;
use crate::record::{MEMBERS_MAX, PROCLAIMED_LEN_MAX};
use crate::types::NAME_LEN_MAX;

/// A message: its name and its fields that have a length.
pub(super) type Message = (&'static str, &'static [Field]);

/// A field that has a length.
pub(super) struct Field {
    number: u64,
    name: &'static str,
    count_max: usize,
    content: Content,
}

enum Content {
    Bytes(usize),
    Fields(&'static [Field]),
}

pub(super) const REQUEST: Message = (
    "request",
    &[
        message(1, "from", IDENTITY),
        name(2, "to"),
        message(8, "pre_vote", &[message(1, "last", &[])]),
        message(9, "request_vote", &[message(1, "last", &[]), message(2, "transfer", &[message(1, "leader", HOLDER)])]),
        message(
            10,
            "append_entries",
            &[message(2, "record", RECORD), message(3, "committed", &[]), message(5, "election", &[])],
        ),
        message(11, "timeout_now", &[]),
        message(12, "resign", &[]),
    ],
);

pub(super) const REPLY: Message = (
    "reply",
    &[
        message(1, "from", IDENTITY),
        message(2, "to", HOLDER),
        message(8, "vote", &[message(2, "record", RECORD), message(3, "hearsay", &[name(1, "leader")])]),
        message(9, "append", &[message(2, "durable", &[])]),
        message(10, "timeout_now", &[message(1, "election", &[])]),
    ],
);

const IDENTITY: &[Field] = &[name(2, "cluster"), name(4, "group"), name(5, "node"), message(6, "disk", &[])];
const HOLDER: &[Field] = &[name(1, "node"), message(2, "disk", &[])];
const RECORD: &[Field] = &[
    message(1, "id", &[]),
    message(2, "parent", &[]),
    Field {
        number: 3,
        name: "members",
        count_max: MEMBERS_MAX,
        content: Content::Fields(&[name(1, "node"), message(2, "disk", &[])]),
    },
    Field { number: 4, name: "proclaimed", count_max: 1, content: Content::Bytes(PROCLAIMED_LEN_MAX) },
];

/// The most fields with a length that one message has.
const FIELDS_MAX: usize = 8;

const fn name(number: u64, name: &'static str) -> Field {
    Field { number, name, count_max: 1, content: Content::Bytes(NAME_LEN_MAX) }
}

const fn message(number: u64, name: &'static str, fields: &'static [Field]) -> Field {
    assert!(fields.len() <= FIELDS_MAX);
    Field { number, name, count_max: 1, content: Content::Fields(fields) }
}

/// Checks a whole message.
pub(super) fn check(bytes: &[u8], (name, fields): Message) -> Result<(), WireError> {
    check_fields(bytes, fields).map_err(|error| error.within(name))
}

fn check_fields(mut rest: &[u8], fields: &[Field]) -> Result<(), WireError> {
    let mut counts = [0_usize; FIELDS_MAX];
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        let content = match key & 7 {
            0 => {
                take_varint(&mut rest)?;
                continue;
            }
            1 => {
                take(&mut rest, 8)?;
                continue;
            }
            5 => {
                take(&mut rest, 4)?;
                continue;
            }
            2 => {
                let len = take_varint(&mut rest)?;
                take(&mut rest, len)?
            }
            other => return Err(malformed(&format!("wire type {other}"))),
        };
        if let Some((field, count)) = fields.iter().zip(&mut counts).find(|(field, _)| field.number == key >> 3) {
            *count += 1;
            check_field(content, field, *count)?;
        }
    }
    Ok(())
}

fn check_field(content: &[u8], field: &Field, count: usize) -> Result<(), WireError> {
    // A field that is given again is merged into the first: its parts would escape their limits.
    if count > field.count_max {
        return Err(WireError::TooMany { field: field.name.to_owned(), max: field.count_max });
    }
    match field.content {
        Content::Bytes(max) if content.len() > max => {
            Err(WireError::TooLong { field: field.name.to_owned(), len: content.len(), max })
        }
        Content::Bytes(_) => Ok(()),
        Content::Fields(fields) => check_fields(content, fields).map_err(|error| error.within(field.name)),
    }
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8], WireError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let (taken, left) = rest.split_at_checked(len).ok_or_else(|| malformed("it ends within a field"))?;
    *rest = left;
    Ok(taken)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = take(rest, 1)?[0];
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(malformed("a number has more than 64 bits"))
}

fn malformed(reason: &str) -> WireError {
    WireError::Malformed { reason: reason.to_owned() }
}
