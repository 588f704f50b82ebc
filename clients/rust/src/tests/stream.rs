use std::collections::BTreeMap;

use tokio::time::timeout;

use super::*;
use crate::proto::dino_service_extract_features_stream_response::Outcome;
use crate::proto::image::Source;
use crate::proto::{ItemError, Timing};
use crate::{Answers, Code, Error, picture};

type Sent = Vec<Result<StreamResponse, Status>>;

/// Questions with the names q0, q1 and so on.
fn numbered(count: u8) -> impl Stream<Item = (String, Question)> + Send + 'static {
    tokio_stream::iter((0..count).map(|i| (format!("q{i}"), with(vec![i]))))
}

fn with(content: Vec<u8>) -> Question {
    Question { image: Some(picture(content)), ..Question::default() }
}

/// The bytes of a question's picture.
fn content(asked: &StreamRequest) -> Vec<u8> {
    match asked.request.as_ref().and_then(|each| each.image.as_ref()).and_then(|each| each.source.as_ref()) {
        Some(Source::Content(content)) => content.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn answer(asked: &StreamRequest) -> Result<StreamResponse, Status> {
    let outcome = Some(Outcome::Response(reply(content(asked))));
    let timing = Some(Timing { batch_size: 2, ..Timing::default() });
    Ok(StreamResponse { request_id: asked.request_id.clone(), outcome, timing })
}

fn refuse(asked: &StreamRequest, code: &str, retry_after_ms: u32) -> Result<StreamResponse, Status> {
    let error = ItemError { code: code.to_owned(), retry_after_ms, ..ItemError::default() };
    let outcome = Some(Outcome::Error(error));
    Ok(StreamResponse { request_id: asked.request_id.clone(), outcome, timing: None })
}

/// A client of a server that begins each stream so.
async fn talking(begin: impl Fn() -> Result<Conversation, Status> + Send + Sync + 'static) -> Client {
    connected(Scripted { stream: Some(Box::new(move |()| begin())), ..Scripted::default() }).await
}

/// A client of a server that does so with each question.
async fn each(act: impl Fn(StreamRequest) -> Sent + Clone + Send + Sync + 'static) -> Client {
    talking(move || Ok(Box::new(act.clone()))).await
}

/// The answers by name, the first byte of each or the code of its error, and the error that ended the stream.
async fn collected(mut answers: Answers<Reply>) -> (BTreeMap<String, Result<u8, Code>>, Option<Error>) {
    let mut found = BTreeMap::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Err(error) => return (found, Some(error)),
            Ok(answer) => {
                assert_eq!(answer.timing.is_some_and(|each| each.batch_size == 2), answer.outcome.is_ok());
                let outcome = answer.outcome.map(|reply| reply.features.unwrap().data[0]);
                assert_eq!(found.insert(answer.id, outcome.map_err(|error| error.code)), None);
            }
        }
    }
    (found, None)
}

fn whole(count: u8) -> (BTreeMap<String, Result<u8, Code>>, Option<Error>) {
    ((0..count).map(|i| (format!("q{i}"), Ok(i))).collect(), None)
}

#[tokio::test]
async fn every_question_gets_its_own_answer_in_any_order() {
    let client = talking(|| {
        let mut held = None;
        Ok(Box::new(move |asked| match held.take() {
            None => {
                held = Some(asked);
                Vec::new()
            }
            // The later one first.
            Some(earlier) => vec![answer(&asked), answer(&earlier)],
        }))
    });
    let client = client.await;
    assert_eq!(collected(client.dino.extract_features_stream(numbered(10), 4)).await, whole(10));
}

#[tokio::test]
async fn no_more_questions_are_under_way_than_the_window_holds() {
    let (came, mut questions) = mpsc::unbounded_channel();
    let client = each(move |asked| {
        came.send(content(&asked)[0]).unwrap();
        // The first is answered when the window is full, the others never.
        if content(&asked)[0] == 2 {
            vec![answer(&StreamRequest { request_id: "0".to_owned(), ..asked })]
        } else {
            Vec::new()
        }
    });
    let mut answers = client.await.dino.extract_features_stream(numbered(20), 3);
    assert_eq!(answers.next().await.unwrap().unwrap().id, "q0");
    for expected in 0..4 {
        assert_eq!(questions.recv().await, Some(expected));
    }
    assert!(timeout(Duration::from_millis(50), questions.recv()).await.is_err());
}

#[tokio::test]
async fn large_questions_and_answers_do_not_wait_for_each_other() {
    // More than flow control lets either side send ahead, to a server that reads no further before its answers are out.
    let client = each(|asked| vec![answer(&asked)]).await;
    let questions = tokio_stream::iter((0..20).map(|_| (String::new(), with(vec![0; 1 << 20]))));
    let mut answers = client.dino.extract_features_stream(questions, 8);
    for _ in 0..20 {
        timeout(Duration::from_secs(60), answers.next()).await.unwrap().unwrap().unwrap().outcome.unwrap();
    }
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_question_is_answered_before_the_next_is_known() {
    let client = each(|asked| vec![answer(&asked)]).await;
    let (ask, questions) = mpsc::channel(1);
    let mut answers = client.dino.extract_features_stream(ReceiverStream::new(questions), 4);
    for i in 0..3 {
        ask.send((i.to_string(), with(vec![i]))).await.unwrap();
        assert_eq!(answers.next().await.unwrap().unwrap().id, i.to_string());
    }
    drop(ask);
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_bad_question_fails_alone() {
    let client = each(|asked| match content(&asked)[0] {
        1 => vec![refuse(&asked, "INVALID_ARGUMENT", 0)],
        _ => vec![answer(&asked)],
    });
    let (found, ended) = collected(client.await.dino.extract_features_stream(numbered(3), 2)).await;
    let outcomes: Vec<_> = found.into_values().collect();
    assert_eq!((outcomes, ended), (vec![Ok(0), Err(Code::InvalidArgument), Ok(2)], None));
}

#[tokio::test]
async fn a_question_that_the_server_has_no_place_for_is_asked_again() {
    let client = talking(|| {
        let mut refused = BTreeMap::<String, u32>::new();
        Ok(Box::new(move |asked| {
            let count = refused.entry(asked.request_id.clone()).or_default();
            *count += 1;
            // More often than the policy has attempts.
            vec![if *count <= 7 { refuse(&asked, "RESOURCE_EXHAUSTED", 2) } else { answer(&asked) }]
        }))
    });
    assert_eq!(collected(client.await.dino.extract_features_stream(numbered(5), 2)).await, whole(5));
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_asked_for_again() {
    let attempts = Counter::default();
    let counted = attempts.clone();
    let client = each(move |asked| {
        counted.next();
        vec![refuse(&asked, "RESOURCE_EXHAUSTED", 0)]
    });
    let (found, ended) = collected(client.await.dino.extract_features_stream(numbered(1), 1)).await;
    assert_eq!((found["q0"], ended, attempts.count()), (Err(Code::ResourceExhausted), None, 1));
}

#[tokio::test]
async fn a_question_that_fails_for_a_reason_is_not_asked_again() {
    let attempts = Counter::default();
    let counted = attempts.clone();
    let client = each(move |asked| {
        counted.next();
        let error = ItemError { code: "UNAVAILABLE".into(), reason: "killed-workers".into(), ..ItemError::default() };
        let outcome = Some(Outcome::Error(error));
        vec![Ok(StreamResponse { request_id: asked.request_id, outcome, timing: None })]
    });
    let (found, ended) = collected(client.await.dino.extract_features_stream(numbered(1), 1)).await;
    assert_eq!((found["q0"], ended, attempts.count()), (Err(Code::Unavailable), None, 1));
}

#[tokio::test]
async fn a_stream_that_breaks_goes_on_with_what_waits() {
    let streams = Counter::default();
    let counted = streams.clone();
    let client = talking(move || {
        counted.next();
        let mut count = 0;
        Ok(Box::new(move |asked| {
            count += 1;
            vec![if count > 3 { Err(Status::unavailable("restarting")) } else { answer(&asked) }]
        }))
    });
    assert_eq!(collected(client.await.dino.extract_features_stream(numbered(20), 4)).await, whole(20));
    assert!(streams.count() > 1);
}

#[tokio::test]
async fn a_server_that_has_answered_is_waited_for_until_the_deadline() {
    let streams = Counter::default();
    let counted = streams.clone();
    let client = talking(move || match counted.next() {
        1..14 => Err(Status::unavailable("restarting")),
        _ => {
            let mut count = 0;
            Ok(Box::new(move |asked| {
                count += 1;
                vec![if count > 1 { Err(Status::unavailable("restarting")) } else { answer(&asked) }]
            }))
        }
    });
    let client = client.await.with_timeout(Some(Duration::from_secs(60)));
    assert_eq!(collected(client.dino.extract_features_stream(numbered(2), 1)).await, whole(2));
    assert_eq!(streams.count(), 15);
}

#[tokio::test]
async fn a_stream_that_never_answers_ends_with_its_error() {
    let streams = Counter::default();
    let counted = streams.clone();
    let client = talking(move || {
        counted.next();
        Err(Status::unavailable("down"))
    });
    let (found, ended) = collected(client.await.dino.extract_features_stream(numbered(3), 2)).await;
    assert_eq!((found.len(), ended.map(|error| error.code), streams.count()), (0, Some(Code::Unavailable), 5));
}

#[tokio::test]
async fn dropping_the_answers_ends_the_stream() {
    let (talks, mut ended) = mpsc::channel::<()>(1);
    let only = std::sync::Mutex::new(Some(talks));
    let client = talking(move || {
        // Dropped with the conversation.
        let talks = only.lock().unwrap().take();
        Ok(Box::new(move |asked| {
            assert!(talks.is_some());
            vec![answer(&asked)]
        }))
    });
    let client = client.await;
    let mut answers = client.dino.extract_features_stream(numbered(1).chain(tokio_stream::pending()), 4);
    answers.next().await.unwrap().unwrap();
    drop(answers);
    assert_eq!(timeout(Duration::from_secs(10), ended.recv()).await, Ok(None));
}
