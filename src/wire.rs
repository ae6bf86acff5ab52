//! Messages as bytes: protobuf, with every limit checked before anything is allocated.
//!
//! Bytes from the network are untrusted. Decoding never panics, allocates in proportion to the limits and not to what a
//! sender claims, and names the field that is wrong. Unknown fields are ignored, so that the next version may add some;
//! an unknown verdict is a refusal, never a yes. The description is `hustings.proto` beside this file.

use bytes::BufMut;
use prost::Message as _;

use crate::message::{Identity, Reply, Request, RequestId};
use crate::record::{MEMBERS_MAX, PROCLAIMED_LEN_MAX};
use crate::types::{NAME_LEN_MAX, NameError, NodeId, Term};

mod convert;
mod limits;
#[rustfmt::skip] // generated
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub(crate) mod proto;

/// The most that a record may need on the wire, in bytes.
pub const RECORD_LEN_MAX: usize = PROCLAIMED_LEN_MAX + MEMBERS_MAX * (NAME_LEN_MAX + 64) + 1024;
/// The longest message, in bytes: a record, and 64 KiB for what goes with it.
pub const FRAME_LEN_MAX: usize = 64 * 1024 + RECORD_LEN_MAX;

/// Appends a request's bytes to `buffer`.
///
/// # Panics
/// If the buffer cannot grow to hold it: a `Vec<u8>` and a `BytesMut` can.
pub fn encode_request(request: &Request, buffer: &mut impl BufMut) {
    append(&proto::Request::from(request), buffer);
}

/// Appends a reply's bytes to `buffer`.
///
/// # Panics
/// If the buffer cannot grow to hold it: a `Vec<u8>` and a `BytesMut` can.
pub fn encode_reply(reply: &Reply, buffer: &mut impl BufMut) {
    append(&proto::Reply::from(reply), buffer);
}

/// Reads a request. A protocol version newer than [`PROTOCOL_VERSION`](crate::message::PROTOCOL_VERSION) is read as far
/// as it is understood; whether to deal with its sender is for the core to decide.
///
/// # Errors
/// [`WireError`] names the field that is wrong. [`WireError::UnknownKind`] carries what is needed to answer
/// `unsupported`.
pub fn decode_request(bytes: &[u8]) -> Result<Request, WireError> {
    check(bytes, limits::REQUEST)?;
    proto::Request::decode(bytes)?.try_into()
}

/// Reads a reply.
///
/// # Errors
/// [`WireError`] names the field that is wrong.
pub fn decode_reply(bytes: &[u8]) -> Result<Reply, WireError> {
    check(bytes, limits::REPLY)?;
    proto::Reply::decode(bytes)?.try_into()
}

/// Why bytes are not a message. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The message is too long to be read.
    #[error("a message of {len} bytes is longer than {max}")]
    FrameTooLong {
        /// How long it is, in bytes.
        len: usize,
        /// How long it may be, in bytes.
        max: usize,
    },
    /// The bytes are not protobuf, or not that of a message between nodes.
    #[error("malformed: {reason}")]
    Malformed {
        /// What is wrong, with the field where it is known.
        reason: String,
    },
    /// A field that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: String,
    },
    /// A field is too long.
    #[error("{field} of {len} bytes is longer than {max}")]
    TooLong {
        /// The field.
        field: String,
        /// How long it is, in bytes.
        len: usize,
        /// How long it may be, in bytes.
        max: usize,
    },
    /// A field occurs too often.
    #[error("{field} occurs more than {max} times")]
    TooMany {
        /// The field.
        field: String,
        /// How often it may occur.
        max: usize,
    },
    /// A name cannot be one.
    #[error("{field}: {reason}")]
    Name {
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: NameError,
    },
    /// A number has no meaning in its field.
    #[error("{field} cannot be {value}")]
    OutOfRange {
        /// The field.
        field: String,
        /// The number.
        value: u64,
    },
    /// A request of a kind that this release does not know: the answer is
    /// [`Reason::Unsupported`](crate::message::Reason::Unsupported).
    #[error("a request of an unknown kind from {}", .0.from.node)]
    UnknownKind(Box<UnknownRequest>),
}

/// What can be read of a request whose kind is unknown: enough to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRequest {
    /// Who asks.
    pub from: Identity,
    /// Who is asked.
    pub to: NodeId,
    /// The number of the request.
    pub id: RequestId,
    /// The term of the asker.
    pub term: Term,
}

impl WireError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            WireError::FrameTooLong { .. } => "frame_too_long",
            WireError::Malformed { .. } => "malformed",
            WireError::Missing { .. } => "missing",
            WireError::TooLong { .. } => "too_long",
            WireError::TooMany { .. } => "too_many",
            WireError::Name { .. } => "name",
            WireError::OutOfRange { .. } => "out_of_range",
            WireError::UnknownKind(_) => "unknown_kind",
        }
    }

    /// The field at fault, from the message down to it: `request.from.node`. `None` where the message as a whole is.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            WireError::Missing { field }
            | WireError::TooLong { field, .. }
            | WireError::TooMany { field, .. }
            | WireError::Name { field, .. }
            | WireError::OutOfRange { field, .. } => Some(field),
            WireError::FrameTooLong { .. } | WireError::Malformed { .. } | WireError::UnknownKind(_) => None,
        }
    }

    /// The same error, of a field that lies within `outer`.
    fn within(mut self, outer: &str) -> WireError {
        match &mut self {
            WireError::Missing { field }
            | WireError::TooLong { field, .. }
            | WireError::TooMany { field, .. }
            | WireError::Name { field, .. }
            | WireError::OutOfRange { field, .. } => *field = format!("{outer}.{field}"),
            WireError::FrameTooLong { .. } | WireError::Malformed { .. } | WireError::UnknownKind(_) => {}
        }
        self
    }
}

impl From<prost::DecodeError> for WireError {
    fn from(error: prost::DecodeError) -> WireError {
        WireError::Malformed { reason: error.to_string() }
    }
}

fn append(message: &impl prost::Message, buffer: &mut impl BufMut) {
    message.encode(buffer).expect("the buffer grows to hold any message");
}

fn check(bytes: &[u8], message: limits::Message) -> Result<(), WireError> {
    if bytes.len() > FRAME_LEN_MAX {
        return Err(WireError::FrameTooLong { len: bytes.len(), max: FRAME_LEN_MAX });
    }
    limits::check(bytes, message)
}
