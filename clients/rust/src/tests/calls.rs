use std::sync::Mutex;
use std::time::Instant;

use prost::Message;
use tonic::Code;
use tonic::metadata::MetadataMap;

use super::*;
use crate::errors::{BadRequest, Detail, Details};
use crate::proto::{FieldViolation, image::Source};
use crate::{Error, picture_file};

/// A status with what the server says beside it.
fn refusal(code: Code, beside: &[(&'static str, &str)]) -> Status {
    let mut metadata = MetadataMap::new();
    for (key, value) in beside {
        metadata.insert(*key, value.parse().unwrap());
    }
    Status::with_metadata(code, "refused", metadata)
}

/// One call of a server that fails so many times: the attempts, and how it ended.
async fn asked(
    timeout: Option<Duration>,
    failures: usize,
    fail: impl Fn() -> Status + Send + Sync + 'static,
) -> (usize, Result<Reply, Error>) {
    let attempts = Counter::default();
    let counted = attempts.clone();
    let extract: Script<_, _> = Box::new(move |_| if counted.next() < failures { Err(fail()) } else { Ok(reply([7])) });
    let client = connected(Scripted { extract: Some(extract), ..Scripted::default() }).await;
    let outcome = client.with_timeout(timeout).dino.extract_features(Question::default()).await;
    (attempts.count(), outcome)
}

#[tokio::test]
async fn a_call_is_tried_again_where_the_server_is_unavailable() {
    let (attempts, outcome) = asked(None, 2, || refusal(Code::Unavailable, &[])).await;
    assert_eq!((attempts, outcome), (3, Ok(reply([7]))));
}

#[tokio::test]
async fn a_full_server_is_asked_again_not_before_it_says() {
    let begin = Instant::now();
    let full = || refusal(Code::ResourceExhausted, &[("retry-after-ms", "150")]);
    let (attempts, outcome) = asked(None, 1, full).await;
    assert_eq!((attempts, outcome), (2, Ok(reply([7]))));
    assert!(begin.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn no_other_try_is_made_where_it_would_not_help() {
    let (attempts, outcome) = asked(None, 9, || refusal(Code::InvalidArgument, &[])).await;
    assert_eq!((attempts, outcome.unwrap_err().code), (1, Code::InvalidArgument));
    let too_large = || refusal(Code::ResourceExhausted, &[("featsvc-reason", "reply-too-large")]);
    assert_eq!(asked(None, 9, too_large).await.0, 1);
    let ends_workers = || refusal(Code::Unavailable, &[("featsvc-reason", "killed-workers")]);
    assert_eq!(asked(None, 9, ends_workers).await.0, 1);
    let too_large = || Status::resource_exhausted("Received message larger than max (5 vs. 4)");
    assert_eq!(asked(None, 9, too_large).await.0, 1);
}

#[tokio::test]
async fn attempts_are_limited() {
    let (attempts, outcome) = asked(None, 99, || refusal(Code::Unavailable, &[])).await;
    assert_eq!((attempts, outcome.unwrap_err().code), (5, Code::Unavailable));
}

#[tokio::test]
async fn a_pause_longer_than_the_deadline_is_not_made() {
    let begin = Instant::now();
    let full = || refusal(Code::ResourceExhausted, &[("retry-after-ms", "60000")]);
    let (_, outcome) = asked(Some(Duration::from_secs(20)), 9, full).await;
    assert_eq!(outcome.unwrap_err().retry_after, Some(Duration::from_secs(60)));
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    // A stream that gives nothing: the server does not answer.
    let silent = || Ok(Box::new(|_| Vec::new()) as Conversation);
    let client = connected(Scripted { stream: Some(Box::new(move |()| silent())), ..Scripted::default() }).await;
    let hurried = client.with_timeout(Some(Duration::from_millis(5)));
    // Often, because two things happen at the deadline, in any order.
    for _ in 0..20 {
        let questions = tokio_stream::iter([("q".to_owned(), Question::default())]);
        let ended = hurried.dino.extract_features_stream(questions, 1).next().await.unwrap();
        assert_eq!(ended.unwrap_err().code, Code::DeadlineExceeded);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let options = Options { retry: quick(), ..Options::default() };
    let client = Client::connect("127.0.0.1:1", options).await.unwrap();
    let error = client.dino.extract_features(Question::default()).await.unwrap_err();
    assert_eq!(error.code_name(), "UNAVAILABLE");
}

#[tokio::test]
async fn an_error_names_the_bad_fields() {
    let violation = |field: &str| FieldViolation { field: field.to_owned(), description: "is wrong".to_owned() };
    let said = vec![violation("image"), violation("params")];
    let bad = BadRequest { field_violations: said.clone() };
    let detail =
        Detail { type_url: "type.googleapis.com/google.rpc.BadRequest".to_owned(), value: bad.encode_to_vec() };
    let details = Details { details: vec![detail] }.encode_to_vec();
    let fail = move || {
        let beside = refusal(Code::Ok, &[("x-request-id", "abc")]).metadata().clone();
        Status::with_details_and_metadata(Code::InvalidArgument, "two bad fields", details.clone().into(), beside)
    };
    let error = asked(None, 9, fail).await.1.unwrap_err();
    assert_eq!((error.violations.clone(), error.request_id.as_str()), (said, "abc"));
    assert_eq!(error.to_string(), "INVALID_ARGUMENT: two bad fields");
}

#[tokio::test]
async fn the_key_and_the_picture_arrive_as_given() {
    let seen = Arc::new(Mutex::new((String::new(), None)));
    let noted = seen.clone();
    let extract: Script<_, _> = Box::new(move |asked: Request<Question>| {
        let said =
            ["authorization", "x-featsvc-priority"].map(|name| asked.metadata().get(name).unwrap().to_str().unwrap());
        let key = said.join(" ");
        *noted.lock().unwrap() = (key, asked.into_inner().image.unwrap().source);
        Ok(reply([7]))
    });
    let address = serving(Scripted { extract: Some(extract), ..Scripted::default() }, Server::builder()).await;
    let options = Options { api_key: "mine".to_owned(), ..Options::default() };
    let client = Client::connect(&address, options).await.unwrap();
    let path = std::env::temp_dir().join(format!("featsvc-picture-{}", std::process::id()));
    std::fs::write(&path, "a file").unwrap();
    let image = picture_file(&path).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let urgent = client.with_priority(-3);
    urgent.dino.extract_features(Question { image: Some(image), ..Question::default() }).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), ("Bearer mine -3".to_owned(), Some(Source::Content("a file".into()))));
}

#[tokio::test]
async fn a_message_over_the_limit_of_the_client_is_not_asked_for_again() {
    let attempts = Counter::default();
    let counted = attempts.clone();
    let extract: Script<_, _> = Box::new(move |_| {
        counted.next();
        Ok(reply([0; 4096]))
    });
    let address = serving(Scripted { extract: Some(extract), ..Scripted::default() }, Server::builder()).await;
    let options = Options { max_message_bytes: Some(1024), retry: quick(), ..Options::default() };
    let client = Client::connect(&address, options).await.unwrap();
    let error = client.dino.extract_features(Question::default()).await.unwrap_err();
    assert_eq!((error.code, attempts.count()), (Code::ResourceExhausted, 1));
}

#[test]
fn pauses_grow_up_to_the_longest_and_never_are_shorter_than_the_server_asks() {
    let policy = RetryPolicy { jitter: 0.5, ..quick() };
    let ms = Duration::from_millis;
    assert_eq!(policy.delay(1, None, 0.0), ms(1));
    assert_eq!(policy.delay(3, None, 0.5), ms(3));
    assert_eq!(policy.delay(1000, None, 0.0), ms(5));
    assert!(policy.delay(1, Some(ms(7)), 0.9) >= ms(7));
}
