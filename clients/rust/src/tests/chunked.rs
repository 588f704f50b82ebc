use super::*;
use crate::Error;
use crate::proto::TensorChunk;
use crate::proto::dino_service_extract_features_chunked_response::Part;

/// The head of a tensor of so many bytes, then the pieces.
fn sent(size: u32, pieces: &[(u64, &[u8])]) -> Vec<Result<ChunkedResponse, Status>> {
    let mut head = reply([]);
    head.features.as_mut().unwrap().shape[2] = size;
    let chunk =
        |(offset, data): &(u64, &[u8])| Part::Chunk(TensorChunk { offset: *offset, data: data.to_vec().into() });
    let parts = std::iter::once(Part::Reply(head)).chain(pieces.iter().map(chunk));
    parts.map(|part| Ok(ChunkedResponse { part: Some(part) })).collect()
}

async fn asked(
    answer: impl Fn() -> Vec<Result<ChunkedResponse, Status>> + Send + Sync + 'static,
) -> Result<Reply, Error> {
    let client = connected(Scripted { chunked: Some(Box::new(move |()| answer())), ..Scripted::default() }).await;
    client.dino.extract_features_chunked(Question::default()).await
}

#[tokio::test]
async fn pieces_are_joined_to_one_tensor() {
    let found = asked(|| sent(5, &[(0, &[1, 2, 3]), (3, &[4, 5])])).await;
    assert_eq!(found, Ok(reply([1, 2, 3, 4, 5])));
}

#[tokio::test]
async fn a_small_answer_comes_in_one_message() {
    let found = asked(|| vec![Ok(ChunkedResponse { part: Some(Part::Reply(reply([8, 9]))) })]).await;
    assert_eq!(found, Ok(reply([8, 9])));
}

#[tokio::test]
async fn an_answer_with_missing_pieces_is_an_error() {
    assert!(asked(|| sent(5, &[])).await.is_err());
    assert!(asked(|| sent(5, &[(0, &[1, 2])])).await.is_err());
    assert!(asked(|| sent(5, &[(0, &[1]), (3, &[4, 5])])).await.is_err());
    assert!(asked(|| sent(5, &[(0, &[1, 2, 3]), (4, &[4, 5])])).await.is_err());
    assert!(asked(|| sent(5, &[(0, &[1, 2, 3, 4, 5, 6])])).await.is_err());
    assert!(asked(|| sent(1, &[(0, &[1])]).split_off(1)).await.is_err());
    assert!(asked(Vec::new).await.is_err());
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    let attempts = Counter::default();
    let counted = attempts.clone();
    let found = asked(move || match counted.next() {
        0 => sent(2, &[(0, &[9])]).into_iter().chain([Err(Status::unavailable("broken off"))]).collect(),
        _ => sent(2, &[(0, &[1]), (1, &[2])]),
    });
    assert_eq!(found.await, Ok(reply([1, 2])));
    assert_eq!(attempts.count(), 2);
}
