//! The codec that messages in memory go through.

use crate::message::{Reply, Request};

pub(super) fn encode_request(request: &Request) -> Vec<u8> {
    serde_json::to_vec(request).unwrap_or_default()
}

pub(super) fn decode_request(frame: &[u8]) -> Result<Request, String> {
    serde_json::from_slice(frame).map_err(|error| error.to_string())
}

pub(super) fn encode_reply(reply: &Reply) -> Vec<u8> {
    serde_json::to_vec(reply).unwrap_or_default()
}

pub(super) fn decode_reply(frame: &[u8]) -> Result<Reply, String> {
    serde_json::from_slice(frame).map_err(|error| error.to_string())
}
