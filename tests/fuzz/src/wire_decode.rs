//! A message between nodes: whatever is read can be written, and is then read as the same.

use hustings::wire::{FRAME_LEN_MAX, WireError, decode_reply, decode_request, encode_reply, encode_request};

pub(crate) fn check(data: &[u8]) {
    match decode_request(data) {
        Ok(request) => {
            let mut bytes = Vec::new();
            encode_request(&request, &mut bytes);
            assert!(bytes.len() <= FRAME_LEN_MAX, "a request of {} bytes came of one that was read", bytes.len());
            assert_eq!(decode_request(&bytes).as_ref(), Ok(&request));
        }
        Err(error) => check_error(&error, data),
    }
    match decode_reply(data) {
        Ok(reply) => {
            let mut bytes = Vec::new();
            encode_reply(&reply, &mut bytes);
            assert!(bytes.len() <= FRAME_LEN_MAX, "a reply of {} bytes came of one that was read", bytes.len());
            assert_eq!(decode_reply(&bytes).as_ref(), Ok(&reply));
        }
        Err(error) => {
            assert!(!matches!(error, WireError::UnknownKind(_)), "a reply has no kind to be unknown");
            check_error(&error, data);
        }
    }
}

/// An error is short, whatever the sender put in: it goes into a log.
fn check_error(error: &WireError, data: &[u8]) {
    let shown = error.to_string();
    assert!(!error.code().is_empty() && !shown.is_empty());
    assert!(shown.len() <= 1024 + data.len(), "an error of {} bytes for {}", shown.len(), data.len());
}
