//! The services of the contract: each method is an rpc, with this crate's key, retries and errors.

use tokio_stream::Stream;

use crate::chunked::{joined, listed};
use crate::client::Line;
use crate::proto::clip_service_client::ClipServiceClient;
use crate::proto::dino_service_client::DinoServiceClient;
use crate::proto::estimate_service_client::EstimateServiceClient;
use crate::proto::model_service_client::ModelServiceClient;
use crate::proto::object_service_client::ObjectServiceClient;
use crate::proto::sam2_service_client::Sam2ServiceClient;
use crate::proto::*;
use crate::stream::{Answers, streamed};
use crate::{Error, stream};

/// A service and its rpcs: `plain` ones of one message, those in `pieces` that a function joins, and `streamed` ones.
macro_rules! service {
    (
        $(#[$about:meta])* $name:ident over $stub:ident;
        plain {
            $($(#[$doc:meta])* $plain:ident($question:ty) -> $answer:ty;)*
        }
        pieces {
            $($(#[$whole_doc:meta])* $pieces:ident($wrapped:ident of $whole_question:ty) -> $whole:ty, by $join:ident;)*
        }
        streamed {
            $($(#[$many_doc:meta])* $many:ident($item:ident of $one_question:ty) -> $one:ty;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        pub struct $name {
            line: Line,
            stub: $stub<tonic::transport::Channel>,
        }

        impl $name {
            pub(crate) fn over(line: &Line) -> Self {
                let stub = $stub::new(line.channel.clone())
                    .max_decoding_message_size(line.limit)
                    .max_encoding_message_size(line.limit);
                Self { line: line.clone(), stub }
            }

            $($(#[$doc])*
            pub async fn $plain(&self, request: $question) -> Result<$answer, Error> {
                self.line.asked(request, |request| {
                    let mut stub = self.stub.clone();
                    async move { Ok(stub.$plain(request).await?.into_inner()) }
                }).await
            })*

            $($(#[$whole_doc])*
            pub async fn $pieces(&self, request: $whole_question) -> Result<$whole, Error> {
                self.line.asked($wrapped { request: Some(request) }, |request| {
                    let mut stub = self.stub.clone();
                    async move { $join(stub.$pieces(request).await?.into_inner()).await }
                }).await
            })*

            $($(#[$many_doc])*
            ///
            /// Each question goes under the caller's own name, with at most `window` of them under way. Answers come as
            /// they are done; what is wrong with one question is its answer. An error ends the stream: it is of the
            /// connection, and some questions stay without answer. Dropping the answers ends all that is under way.
            pub fn $many(
                &self, questions: impl Stream<Item = (String, $one_question)> + Send + 'static, window: usize,
            ) -> Answers<$one> {
                let stub = self.stub.clone();
                streamed::<_, $item, _, _, _>(&self.line, questions, window, move |request| {
                    let mut stub = stub.clone();
                    async move { Ok(stub.$many(request).await?.into_inner()) }
                })
            })*
        }

        $(impl stream::Item for $item {
            type Question = $one_question;
            fn wrapped(request_id: String, question: $one_question) -> Self {
                Self { request_id, request: Some(question) }
            }
        })*
    };
}

service! {
    /// Features of pictures and texts in one space.
    Clip over ClipServiceClient;
    plain {
        /// Dense features of a picture, one vector for each patch, in the space of the text embeddings.
        extract_features(ClipServiceExtractFeaturesRequest) -> ClipServiceExtractFeaturesResponse;
        /// Embeddings of texts, each of length 1.
        encode_text(EncodeTextRequest) -> EncodeTextResponse;
        /// How well each patch of a picture fits each text.
        compute_similarity(ComputeSimilarityRequest) -> ComputeSimilarityResponse;
        /// One embedding of a whole picture, of length 1, for retrieval and zero-shot use.
        encode_image(EncodeImageRequest) -> EncodeImageResponse;
        /// Embeddings of tiles of a picture in several sizes, or what they say at points of it.
        embed_pyramid(EmbedPyramidRequest) -> EmbedPyramidResponse;
    }
    pieces {
        /// [`Clip::extract_features`] with the answer in pieces, which suits answers of any size.
        extract_features_chunked(ClipServiceExtractFeaturesChunkedRequest of ClipServiceExtractFeaturesRequest)
            -> ClipServiceExtractFeaturesResponse, by joined;
        /// [`Clip::embed_pyramid`] with the answer in pieces, which suits answers of any size.
        embed_pyramid_chunked(EmbedPyramidChunkedRequest of EmbedPyramidRequest) -> EmbedPyramidResponse, by joined;
    }
    streamed {
        /// [`Clip::extract_features`] about many pictures over one call.
        extract_features_stream(ClipServiceExtractFeaturesStreamRequest of ClipServiceExtractFeaturesRequest)
            -> ClipServiceExtractFeaturesResponse;
        /// [`Clip::embed_pyramid`] about many pictures over one call.
        embed_pyramid_stream(EmbedPyramidStreamRequest of EmbedPyramidRequest) -> EmbedPyramidResponse;
    }
}

service! {
    /// Self-supervised features of pictures.
    Dino over DinoServiceClient;
    plain {
        /// Dense features of a picture, one vector for each patch.
        extract_features(DinoServiceExtractFeaturesRequest) -> DinoServiceExtractFeaturesResponse;
    }
    pieces {
        /// [`Dino::extract_features`] with the answer in pieces, which suits answers of any size.
        extract_features_chunked(DinoServiceExtractFeaturesChunkedRequest of DinoServiceExtractFeaturesRequest)
            -> DinoServiceExtractFeaturesResponse, by joined;
    }
    streamed {
        /// [`Dino::extract_features`] about many pictures over one call.
        extract_features_stream(DinoServiceExtractFeaturesStreamRequest of DinoServiceExtractFeaturesRequest)
            -> DinoServiceExtractFeaturesResponse;
    }
}

service! {
    /// Masks of pictures.
    Sam2 over Sam2ServiceClient;
    plain {
        /// Masks of everything in a picture.
        generate_masks(GenerateMasksRequest) -> GenerateMasksResponse;
        /// Masks of what prompts point at.
        predict_masks(PredictMasksRequest) -> PredictMasksResponse;
        /// Encodes a picture, so that questions about it are answered sooner.
        embed_image(EmbedImageRequest) -> EmbedImageResponse;
    }
    pieces {
        /// [`Sam2::generate_masks`] with each mask in a message of its own, which suits any number of them.
        generate_masks_stream(GenerateMasksStreamRequest of GenerateMasksRequest) -> GenerateMasksResponse, by listed;
    }
    streamed {
        /// [`Sam2::predict_masks`] about many pictures over one call.
        predict_masks_stream(PredictMasksStreamRequest of PredictMasksRequest) -> PredictMasksResponse;
    }
}

service! {
    /// Objects of pictures: masks with vectors that describe them.
    Objects over ObjectServiceClient;
    plain {
        /// Masks of a picture, found or given, each with vectors that describe it.
        describe_objects(DescribeObjectsRequest) -> DescribeObjectsResponse;
        /// The objects of a picture that texts name, or that are like given vectors.
        find_objects(FindObjectsRequest) -> FindObjectsResponse;
    }
    pieces {}
    streamed {
        /// [`Objects::describe_objects`] about many pictures over one call.
        describe_objects_stream(DescribeObjectsStreamRequest of DescribeObjectsRequest) -> DescribeObjectsResponse;
        /// [`Objects::find_objects`] about many pictures over one call.
        find_objects_stream(FindObjectsStreamRequest of FindObjectsRequest) -> FindObjectsResponse;
    }
}

service! {
    /// What questions would cost, without asking them.
    Estimates over EstimateServiceClient;
    plain {
        /// What a question would cost, and how long it would wait.
        estimate(EstimateRequest) -> EstimateResponse;
    }
    pieces {}
    streamed {}
}

service! {
    /// The models of the server.
    Models over ModelServiceClient;
    plain {
        /// Who you are to the server: name, roles, models and limits of your key.
        get_caller(GetCallerRequest) -> GetCallerResponse;
        /// The models that the server knows.
        list_models(ListModelsRequest) -> ListModelsResponse;
        /// Loads a model ahead of its first question.
        load_model(LoadModelRequest) -> LoadModelResponse;
        /// Takes a model out of memory.
        unload_model(UnloadModelRequest) -> UnloadModelResponse;
        /// Has the server finish what it has, and end.
        drain(DrainRequest) -> DrainResponse;
        /// What the server is doing.
        get_status(GetStatusRequest) -> GetStatusResponse;
    }
    pieces {}
    streamed {}
}
