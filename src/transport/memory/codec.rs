//! The codec that messages in memory go through: the one of the wire.

use crate::message::{Reply, Request};
use crate::wire;

pub(super) fn encode_request(request: &Request) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::encode_request(request, &mut frame);
    frame
}

pub(super) fn decode_request(frame: &[u8]) -> Result<Request, String> {
    wire::decode_request(frame).map_err(|error| error.to_string())
}

pub(super) fn encode_reply(reply: &Reply) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::encode_reply(reply, &mut frame);
    frame
}

pub(super) fn decode_reply(frame: &[u8]) -> Result<Reply, String> {
    wire::decode_reply(frame).map_err(|error| error.to_string())
}
