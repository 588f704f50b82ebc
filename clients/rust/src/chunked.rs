//! Answers in pieces, joined to those that the plain rpcs give.

use tonic::Streaming;

use crate::proto::{
    ClipServiceExtractFeaturesChunkedResponse, DinoServiceExtractFeaturesChunkedResponse, EmbedPyramidChunkedResponse,
    GenerateMasksResponse, GenerateMasksStreamResponse, TensorChunk,
    clip_service_extract_features_chunked_response as clip, dino_service_extract_features_chunked_response as dino,
    embed_pyramid_chunked_response as pyramid, generate_masks_stream_response as masks,
};
use crate::tensor::{FeatureReply, layout};
use crate::{Error, proto};

/// A message of an answer in pieces.
pub(crate) trait Piece {
    type Whole: FeatureReply;
    fn part(self) -> Option<Part<Self::Whole>>;
}

pub(crate) enum Part<R> {
    Reply(R),
    Chunk(TensorChunk),
}

impl Piece for ClipServiceExtractFeaturesChunkedResponse {
    type Whole = proto::ClipServiceExtractFeaturesResponse;
    fn part(self) -> Option<Part<Self::Whole>> {
        Some(match self.part? {
            clip::Part::Reply(reply) => Part::Reply(reply),
            clip::Part::Chunk(chunk) => Part::Chunk(chunk),
        })
    }
}

impl Piece for DinoServiceExtractFeaturesChunkedResponse {
    type Whole = proto::DinoServiceExtractFeaturesResponse;
    fn part(self) -> Option<Part<Self::Whole>> {
        Some(match self.part? {
            dino::Part::Reply(reply) => Part::Reply(reply),
            dino::Part::Chunk(chunk) => Part::Chunk(chunk),
        })
    }
}

impl Piece for EmbedPyramidChunkedResponse {
    type Whole = proto::EmbedPyramidResponse;
    fn part(self) -> Option<Part<Self::Whole>> {
        Some(match self.part? {
            pyramid::Part::Reply(reply) => Part::Reply(reply),
            pyramid::Part::Chunk(chunk) => Part::Chunk(chunk),
        })
    }
}

/// The whole answer, with the data received into one allocation.
pub(crate) async fn joined<P: Piece>(mut stream: Streaming<P>) -> Result<P::Whole, Error> {
    let begin = stream.message().await?.ok_or_else(cut_off)?;
    let Some(Part::Reply(mut reply)) = begin.part() else {
        return Err(Error::damaged("it began with a piece"));
    };
    let tensor = reply.features_mut().ok_or_else(|| Error::damaged("it has no features"))?;
    let size = layout(tensor)?.bytes;
    let mut data = Vec::new();
    let mut at = tensor.data.len();
    while let Some(message) = stream.message().await? {
        let Some(Part::Chunk(chunk)) = message.part() else {
            return Err(Error::damaged("a second beginning"));
        };
        if chunk.offset != at as u64 || at.checked_add(chunk.data.len()).is_none_or(|end| end > size) {
            let (count, offset) = (chunk.data.len(), chunk.offset);
            return Err(Error::damaged(format!("{count} bytes came for {offset} where {at} to {size} were due")));
        }
        if data.is_empty() {
            data.try_reserve_exact(size).map_err(|_| Error::damaged(format!("no memory for {size} bytes")))?;
            data.extend_from_slice(&tensor.data);
        }
        data.extend_from_slice(&chunk.data);
        at += chunk.data.len();
    }
    if at != size {
        return Err(Error::damaged(format!("it ended after {at} of {size} bytes")));
    }
    if !data.is_empty() {
        tensor.data = data.into();
    }
    Ok(reply)
}

/// All masks of a stream and what its summary says.
pub(crate) async fn listed(mut stream: Streaming<GenerateMasksStreamResponse>) -> Result<GenerateMasksResponse, Error> {
    let mut found = Vec::new();
    loop {
        match stream.message().await?.ok_or_else(cut_off)?.part {
            Some(masks::Part::Mask(mask)) => found.push(mask),
            Some(masks::Part::Summary(summary)) => {
                // What comes after the summary is how the call ended.
                stream.message().await?;
                if summary.count as usize != found.len() {
                    return Err(Error::damaged(format!("{} masks came of {}", found.len(), summary.count)));
                }
                return Ok(GenerateMasksResponse {
                    masks: found,
                    height: summary.height,
                    width: summary.width,
                    model: summary.model,
                    image_digest: summary.image_digest,
                    image_orientation: summary.image_orientation,
                    label_map: summary.label_map,
                });
            }
            None => return Err(Error::damaged("a message without a part")),
        }
    }
}

fn cut_off() -> Error {
    Error::damaged("it ended before it was whole")
}
