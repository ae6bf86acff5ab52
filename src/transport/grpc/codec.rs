//! The codec of the generated service: the messages of the core, by [`crate::wire`].

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Buf as _;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::error::status_of_wire;
use crate::message::{Reply, Request};
use crate::wire::{self, WireError};

/// A message that travels.
pub(in crate::transport::grpc) trait Frame: Sized + Send + 'static {
    fn encode(&self, buffer: &mut EncodeBuf<'_>);
    fn decode(bytes: &[u8]) -> Result<Self, WireError>;
}

impl Frame for Request {
    fn encode(&self, buffer: &mut EncodeBuf<'_>) {
        wire::encode_request(self, buffer);
    }
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode_request(bytes)
    }
}

impl Frame for Reply {
    fn encode(&self, buffer: &mut EncodeBuf<'_>) {
        wire::encode_reply(self, buffer);
    }
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode_reply(bytes)
    }
}

/// Writes `E` and reads `D`.
#[derive(Debug)]
pub(in crate::transport::grpc) struct ElectionCodec<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for ElectionCodec<E, D> {
    fn default() -> Self {
        ElectionCodec(PhantomData)
    }
}

impl<E: Frame, D: Frame> Codec for ElectionCodec<E, D> {
    type Encode = E;
    type Decode = D;
    type Encoder = Half<E>;
    type Decoder = Half<D>;

    fn encoder(&mut self) -> Half<E> {
        Half(PhantomData)
    }
    fn decoder(&mut self) -> Half<D> {
        Half(PhantomData)
    }
}

/// One direction.
#[derive(Debug)]
pub(in crate::transport::grpc) struct Half<T>(PhantomData<T>);

impl<T: Frame> Encoder for Half<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer);
        Ok(())
    }
}

impl<T: Frame> Decoder for Half<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        T::decode(&bytes).map(Some).map_err(|error| {
            let mut status = status_of_wire(&error);
            status.set_source(Arc::new(error));
            status
        })
    }
}
