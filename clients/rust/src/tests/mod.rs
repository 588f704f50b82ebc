//! Tests against a server in this process that answers DinoService as each test says.

mod calls;
mod chunked;
mod masks;
mod stream;
mod tensor;
mod tls;

use std::boxed::Box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::proto::dino_service_server::{DinoService, DinoServiceServer};
use crate::proto::{
    DType, DinoServiceExtractFeaturesChunkedRequest, DinoServiceExtractFeaturesChunkedResponse as ChunkedResponse,
    DinoServiceExtractFeaturesRequest as Question, DinoServiceExtractFeaturesResponse as Reply,
    DinoServiceExtractFeaturesStreamRequest as StreamRequest,
    DinoServiceExtractFeaturesStreamResponse as StreamResponse, Tensor,
};
use crate::{Client, Options, RetryPolicy};

type Script<Q, R> = Box<dyn Fn(Q) -> R + Send + Sync>;
/// What a server does with each question of one stream; an error ends the stream.
type Conversation = Box<dyn FnMut(StreamRequest) -> Vec<Result<StreamResponse, Status>> + Send>;
type Outgoing<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

#[derive(Default)]
struct Scripted {
    extract: Option<Script<Request<Question>, Result<Reply, Status>>>,
    chunked: Option<Script<(), Vec<Result<ChunkedResponse, Status>>>>,
    stream: Option<Script<(), Result<Conversation, Status>>>,
}

#[tonic::async_trait]
impl DinoService for Scripted {
    async fn extract_features(&self, request: Request<Question>) -> Result<Response<Reply>, Status> {
        self.extract.as_ref().unwrap()(request).map(Response::new)
    }

    type ExtractFeaturesChunkedStream = Outgoing<ChunkedResponse>;

    async fn extract_features_chunked(
        &self,
        _: Request<DinoServiceExtractFeaturesChunkedRequest>,
    ) -> Result<Response<Self::ExtractFeaturesChunkedStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::iter(self.chunked.as_ref().unwrap()(())))))
    }

    type ExtractFeaturesStreamStream = Outgoing<StreamResponse>;

    async fn extract_features_stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::ExtractFeaturesStreamStream>, Status> {
        let mut answers = self.stream.as_ref().unwrap()(())?;
        let (out, replies) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut questions = request.into_inner();
            while let Some(Ok(question)) = questions.next().await {
                for answer in answers(question) {
                    let is_end = answer.is_err();
                    if out.send(answer).await.is_err() || is_end {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }
}

/// Address of the server, on a free loopback port.
async fn serving(service: Scripted, mut server: Server) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let service = DinoServiceServer::new(service).max_decoding_message_size(usize::MAX);
    tokio::spawn(server.add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
    address
}

/// Retries without waiting long.
fn quick() -> RetryPolicy {
    let (first_delay, max_delay) = (Duration::from_millis(1), Duration::from_millis(5));
    RetryPolicy { attempts: 5, first_delay, max_delay, factor: 2.0, jitter: 0.0 }
}

async fn connected(service: Scripted) -> Client {
    let options = Options { retry: quick(), ..Options::default() };
    Client::connect(&serving(service, Server::builder()).await, options).await.unwrap()
}

/// A reply with features of the shape 1 x 1 x D.
fn reply(values: impl Into<Vec<u8>>) -> Reply {
    let data = values.into();
    let features = tensor(DType::Uint8, &[1, 1, data.len() as u32], data);
    Reply { features: Some(features), ..Reply::default() }
}

fn tensor(dtype: DType, shape: &[u32], data: impl Into<Vec<u8>>) -> Tensor {
    Tensor { dtype: dtype.into(), shape: shape.to_vec(), data: data.into().into() }
}

#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl Counter {
    /// The number before this one.
    fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}
