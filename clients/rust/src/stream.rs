//! Many questions over one call, with a bounded number of them under way.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Streaming};

use crate::Error;
use crate::client::Line;
use crate::proto::*;
use crate::retry::within;
use crate::window::Window;

/// The answer to one question of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<R> {
    /// The caller's name of the question.
    pub id: String,
    /// The reply, or why there is none; other questions are not concerned.
    pub outcome: Result<R, Error>,
    /// What the answer has taken, where the server says so.
    pub timing: Option<Timing>,
}

/// The answers of a stream, as they come: [`Answers::next`], or any method of a `Stream`.
#[derive(Debug)]
pub struct Answers<R> {
    answers: mpsc::Receiver<Result<Answer<R>, Error>>,
    work: JoinHandle<()>,
}

impl<R> Answers<R> {
    /// The next answer; None after the last, or after the error that ended the stream.
    pub async fn next(&mut self) -> Option<Result<Answer<R>, Error>> {
        self.answers.recv().await
    }
}

impl<R> Stream for Answers<R> {
    type Item = Result<Answer<R>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.answers.poll_recv(context)
    }
}

impl<R> Drop for Answers<R> {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// A message with one question.
pub(crate) trait Item: Send + 'static {
    type Question: Clone + Send + 'static;
    fn wrapped(request_id: String, question: Self::Question) -> Self;
}

/// A message with one answer.
pub(crate) trait Reply: Send + 'static {
    type Response: Send + 'static;
    /// The server's name of the question, in place of the caller's, and how it went.
    fn answer(self) -> Answer<Self::Response>;
}

macro_rules! reply {
    ($($message:ty, $outcome:ident: $response:ty;)*) => {
        $(impl Reply for $message {
            type Response = $response;
            fn answer(self) -> Answer<$response> {
                let outcome = match self.outcome {
                    Some($outcome::Outcome::Response(response)) => Ok(response),
                    Some($outcome::Outcome::Error(error)) => Err(error.into()),
                    None => Err(Error::damaged("neither an answer nor an error")),
                };
                Answer { id: self.request_id, outcome, timing: self.timing }
            }
        })*
    };
}
reply! {
    ClipServiceExtractFeaturesStreamResponse, clip_service_extract_features_stream_response:
        ClipServiceExtractFeaturesResponse;
    DinoServiceExtractFeaturesStreamResponse, dino_service_extract_features_stream_response:
        DinoServiceExtractFeaturesResponse;
    EmbedPyramidStreamResponse, embed_pyramid_stream_response: EmbedPyramidResponse;
    PredictMasksStreamResponse, predict_masks_stream_response: PredictMasksResponse;
    DescribeObjectsStreamResponse, describe_objects_stream_response: DescribeObjectsResponse;
    FindObjectsStreamResponse, find_objects_stream_response: FindObjectsResponse;
}

/// Asks in a task of its own, so that answers are received whatever the caller is doing.
pub(crate) fn streamed<S, I, A, O, F>(line: &Line, questions: S, window: usize, open: O) -> Answers<A::Response>
where
    S: Stream<Item = (String, I::Question)> + Send + 'static,
    I: Item,
    A: Reply,
    O: Fn(Request<UnboundedReceiverStream<I>>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Streaming<A>, Error>> + Send + 'static,
{
    let (give, answers) = mpsc::channel(1);
    let line = line.clone();
    let work = tokio::spawn(async move {
        let deadline = line.deadline();
        let mut window = Window::<I>::new(line.retry.clone(), deadline, window);
        let open = |queue| {
            let request = line.request(UnboundedReceiverStream::new(queue), deadline);
            open(request)
        };
        if let Err(error) = within(deadline, window.run(pin!(questions), open, &give)).await {
            // Without anybody to give it to, there is nothing more to do.
            let _ = give.send(Err(error)).await;
        }
    });
    Answers { answers, work }
}
