//! Between the failures of gRPC and those of a call.

use std::error::Error;
use std::io;

use tonic::{Code, Status};

use crate::message::CallError;
use crate::transport::HandleError;
use crate::wire::WireError;

/// What a server answers to a request that it cannot read.
pub(super) fn status_of_wire(error: &WireError) -> Status {
    match error {
        WireError::UnknownKind(_) => Status::unimplemented(error.to_string()),
        WireError::FrameTooLong { .. } => Status::out_of_range(error.to_string()),
        _ => Status::invalid_argument(error.to_string()),
    }
}

/// What a server answers to a request that its node does not.
pub(super) fn status_of_handle(error: HandleError) -> Status {
    match error {
        HandleError::Overloaded => Status::resource_exhausted(error.to_string()),
        HandleError::Stopped => Status::unavailable(error.to_string()),
        HandleError::Unanswered => Status::aborted(error.to_string()),
    }
}

/// What a status means to the caller.
pub(super) fn call_error(status: &Status) -> CallError {
    let mut source = status.source();
    let local = source.is_some();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<WireError>() {
            return CallError::Malformed(error.to_string());
        }
        source = error.source();
    }
    let said = || format!("the peer says {}", status.message());
    match status.code() {
        // A status with a source was made on this side: the connection broke.
        _ if local => CallError::Closed,
        // The peer's node did not see the request.
        Code::ResourceExhausted | Code::Unavailable => CallError::Unreachable(said()),
        Code::Unimplemented => CallError::Malformed("the peer does not know this kind of request".to_owned()),
        Code::InvalidArgument | Code::OutOfRange => CallError::Malformed(said()),
        // `Aborted` and the like: it may have acted, and will not answer.
        _ => CallError::Closed,
    }
}

/// What a failed attempt to connect means to the caller.
pub(super) fn connect_error(error: &io::Error) -> CallError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => CallError::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            CallError::Unreachable(format!("no route: {error}"))
        }
        // The resolver's errors have no kind of their own.
        _ if error.to_string().contains("lookup address") => {
            CallError::Unreachable(format!("does not resolve: {error}"))
        }
        _ => CallError::Unreachable(error.to_string()),
    }
}
