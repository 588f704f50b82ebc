//! The rpcs of the contract, each by the client's own way to ask it.

use std::boxed::Box; // The contract has a Box too.
use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use featsvc::proto::*;
use featsvc::{Answers, Client, Options, RetryPolicy};
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio_stream::wrappers::ReceiverStream;

use crate::arrays::{self, Arrays};
use crate::{Case, Question};

/// The contract, by which protobuf JSON is read.
const DESCRIPTORS: &[u8] = include!("../../gen/descriptors.in");
const WINDOW: usize = 2;

type Lines = Result<Vec<Value>, Box<dyn Error>>;

/// A reply that tells the key of the model that answered, or that it is about.
trait About {
    fn model(&self) -> &str;
}

macro_rules! about {
    ($(|$reply:ident: $type:ty| $model:expr;)*) => {
        $(impl About for $type {
            fn model(&self) -> &str {
                let $reply = self;
                $model
            }
        })*
    };
}
about! {
    |reply: ClipServiceExtractFeaturesResponse| &reply.model;
    |reply: EncodeTextResponse| &reply.model;
    |reply: ComputeSimilarityResponse| &reply.model;
    |reply: EncodeImageResponse| &reply.model;
    |reply: EmbedPyramidResponse| &reply.model;
    |reply: DinoServiceExtractFeaturesResponse| &reply.model;
    |reply: GenerateMasksResponse| &reply.model;
    |reply: PredictMasksResponse| &reply.model;
    |reply: EmbedImageResponse| &reply.model;
    |reply: DescribeObjectsResponse| &reply.model;
    |reply: FindObjectsResponse| &reply.model;
    |reply: LoadModelResponse| reply.model.as_ref().map_or("", |model| &model.key);
    |reply: UnloadModelResponse| reply.model.as_ref().map_or("", |model| &model.key);
    |_reply: GetCallerResponse| "";
    |_reply: ListModelsResponse| "";
    |_reply: GetStatusResponse| "";
}

/// The lines about a case.
pub async fn lines(address: &str, key: &str, case: &Case) -> Lines {
    let key = if case.api_key.is_empty() { key } else { &case.api_key };
    let options = Options {
        api_key: key.to_owned(),
        timeout: Some(Duration::from_secs_f64(case.timeout_s)),
        // Waits for a server that is restarted meanwhile.
        retry: RetryPolicy { attempts: 60, max_delay: Duration::from_secs(1), ..RetryPolicy::default() },
        ..Options::default()
    };
    let c = Client::connect(address, options).await?;
    let name = case.name.as_str();
    let first = &case.questions[0];
    macro_rules! one {
        ($service:ident . $method:ident, $message:literal, $read:expr) => {{
            let outcome = c.$service.$method(message($message, first)?).await;
            Ok(vec![line(name, outcome, $read)?])
        }};
    }
    macro_rules! many {
        ($service:ident . $method:ident, $message:literal, $read:expr) => {{
            let names: Vec<String> = case.questions.iter().map(|each| format!("{name}/{}", each.id)).collect();
            let mut asked = Vec::new();
            for (id, question) in names.iter().zip(&case.questions) {
                asked.push((id.clone(), message($message, question)?));
            }
            let (seen, source) = source(asked, case.paced);
            collected(&names, c.$service.$method(source, WINDOW), seen, $read).await
        }};
    }
    match case.rpc.trim_start_matches("featsvc.v1.") {
        "ClipService/ExtractFeatures" => {
            one!(clip.extract_features, "ClipServiceExtractFeaturesRequest", arrays::features)
        }
        "ClipService/ExtractFeaturesChunked" => {
            one!(clip.extract_features_chunked, "ClipServiceExtractFeaturesRequest", arrays::features)
        }
        "ClipService/ExtractFeaturesStream" => {
            many!(clip.extract_features_stream, "ClipServiceExtractFeaturesRequest", arrays::features)
        }
        "ClipService/EncodeText" => one!(clip.encode_text, "EncodeTextRequest", |reply: &EncodeTextResponse| {
            arrays::floats("embeddings", reply.text_embedding.as_ref())
        }),
        "ClipService/ComputeSimilarity" => {
            one!(clip.compute_similarity, "ComputeSimilarityRequest", |reply: &ComputeSimilarityResponse| {
                arrays::floats("similarity", reply.similarity_map.as_ref())
            })
        }
        "ClipService/EncodeImage" => one!(clip.encode_image, "EncodeImageRequest", |reply: &EncodeImageResponse| {
            arrays::floats("embeddings", reply.image_embedding.as_ref())
        }),
        "ClipService/EmbedPyramid" => one!(clip.embed_pyramid, "EmbedPyramidRequest", arrays::features),
        "ClipService/EmbedPyramidChunked" => one!(clip.embed_pyramid_chunked, "EmbedPyramidRequest", arrays::features),
        "ClipService/EmbedPyramidStream" => many!(clip.embed_pyramid_stream, "EmbedPyramidRequest", arrays::features),
        "DinoService/ExtractFeatures" => {
            one!(dino.extract_features, "DinoServiceExtractFeaturesRequest", arrays::features)
        }
        "DinoService/ExtractFeaturesChunked" => {
            one!(dino.extract_features_chunked, "DinoServiceExtractFeaturesRequest", arrays::features)
        }
        "DinoService/ExtractFeaturesStream" => {
            many!(dino.extract_features_stream, "DinoServiceExtractFeaturesRequest", arrays::features)
        }
        "Sam2Service/GenerateMasks" => one!(sam2.generate_masks, "GenerateMasksRequest", arrays::masks),
        "Sam2Service/GenerateMasksStream" => one!(sam2.generate_masks_stream, "GenerateMasksRequest", arrays::masks),
        "Sam2Service/PredictMasks" => one!(sam2.predict_masks, "PredictMasksRequest", arrays::prompts),
        "Sam2Service/PredictMasksStream" => many!(sam2.predict_masks_stream, "PredictMasksRequest", arrays::prompts),
        "Sam2Service/EmbedImage" => one!(sam2.embed_image, "EmbedImageRequest", arrays::embedding),
        "ObjectService/DescribeObjects" => {
            one!(objects.describe_objects, "DescribeObjectsRequest", arrays::objects)
        }
        "ObjectService/DescribeObjectsStream" => {
            many!(objects.describe_objects_stream, "DescribeObjectsRequest", arrays::objects)
        }
        "ObjectService/FindObjects" => one!(objects.find_objects, "FindObjectsRequest", arrays::found),
        "ObjectService/FindObjectsStream" => many!(objects.find_objects_stream, "FindObjectsRequest", arrays::found),
        "ModelService/GetCaller" => one!(models.get_caller, "GetCallerRequest", arrays::nothing),
        "ModelService/ListModels" => one!(models.list_models, "ListModelsRequest", arrays::nothing),
        "ModelService/LoadModel" => one!(models.load_model, "LoadModelRequest", arrays::nothing),
        "ModelService/UnloadModel" => one!(models.unload_model, "UnloadModelRequest", arrays::nothing),
        "ModelService/GetStatus" => one!(models.get_status, "GetStatusRequest", arrays::nothing),
        other => Err(format!("no method {other}").into()),
    }
}

/// The request of a question.
fn message<Q: prost::Message + Default>(name: &str, question: &Question) -> Result<Q, Box<dyn Error>> {
    let contract = DescriptorPool::decode(DESCRIPTORS)?;
    let descriptor = contract.get_message_by_name(&format!("featsvc.v1.{name}")).ok_or("no such message")?;
    let mut json = serde_json::Deserializer::from_str(question.request.get());
    Ok(DynamicMessage::deserialize(descriptor, &mut json)?.transcode_to()?)
}

/// The questions; paced, each is given only when the answer to the one before it has been seen, which the sender tells.
fn source<Q: Send + 'static>(asked: Vec<Q>, is_paced: bool) -> (UnboundedSender<()>, ReceiverStream<Q>) {
    let (tell, mut seen) = mpsc::unbounded_channel();
    let (give, questions) = mpsc::channel(1);
    tokio::spawn(async move {
        for question in asked {
            if give.send(question).await.is_err() || (is_paced && seen.recv().await.is_none()) {
                break;
            }
        }
    });
    (tell, ReceiverStream::new(questions))
}

/// The lines about a stream, in the order of its questions.
async fn collected<R: About>(
    names: &[String],
    mut answers: Answers<R>,
    seen: UnboundedSender<()>,
    read: impl Fn(&R) -> Result<Arrays, featsvc::Error>,
) -> Lines {
    let mut found = HashMap::new();
    let mut broken = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(answer) => {
                found.insert(answer.id.clone(), line(&answer.id, answer.outcome, &read)?);
                // Nobody listens where the source is not paced.
                let _ = seen.send(());
            }
            Err(error) => broken = Some(error),
        }
    }
    let missing = |name| broken.as_ref().map(|error| refused(name, error)).ok_or("a question without answer".into());
    names.iter().map(|name| found.remove(name).map_or_else(|| missing(name), Ok)).collect()
}

/// The line about one outcome.
fn line<R: About>(
    name: &str,
    outcome: Result<R, featsvc::Error>,
    read: impl Fn(&R) -> Result<Arrays, featsvc::Error>,
) -> Result<Value, Box<dyn Error>> {
    match outcome.and_then(|reply| Ok((read(&reply)?, reply))) {
        Ok((arrays, reply)) => Ok(json!({"name": name, "code": "OK", "model": reply.model(), "arrays": arrays})),
        Err(error) => Ok(refused(name, &error)),
    }
}

fn refused(name: &str, error: &featsvc::Error) -> Value {
    let fields: Vec<&str> = error.violations.iter().map(|each| each.field.as_str()).collect();
    json!({"name": name, "code": error.code_name(), "fields": fields, "retry_after": error.retry_after.is_some()})
}
