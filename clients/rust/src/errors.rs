use std::fmt;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status, TimeoutExpired};

use crate::proto::{FieldViolation, ItemError};

/// The names of the codes, each at its number.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Why a call, or one question of a stream, has no answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// The gRPC status.
    pub code: Code,
    /// What is wrong, and what would mend it.
    pub message: String,
    /// The bad fields, where the server names them.
    pub violations: Vec<FieldViolation>,
    /// When the server expects to have a place, where it says so.
    pub retry_after: Option<Duration>,
    /// What finds the call in the server's log; empty where the server did not say.
    pub request_id: String,
    /// Whether the server says that another try will not help, though the code alone would allow it.
    pub is_final: bool,
}

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message, violations: Vec::new(), retry_after: None, request_id: String::new(), is_final: false }
    }

    /// The error for an answer that cannot be read.
    pub(crate) fn damaged(what: impl fmt::Display) -> Self {
        Self::new(Code::Internal, format!("the answer cannot be read: {what}"))
    }

    pub(crate) fn late() -> Self {
        Self::new(Code::DeadlineExceeded, "no answer within the deadline")
    }

    /// Name of the code, such as `INVALID_ARGUMENT`.
    pub fn code_name(&self) -> &'static str {
        NAMES[self.code as usize]
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code_name(), self.message)
    }
}

impl std::error::Error for Error {}

/// What a status and the trailing metadata beside it say.
impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let mut found = Self::new(status.code(), status.message());
        let said = |key| status.metadata().get(key).and_then(|value| value.to_str().ok());
        // A status with a source was made here, not by the server: the connection broke.
        if let Some(source) = std::error::Error::source(&status) {
            let sources = std::iter::successors(Some(source), |error| error.source());
            let is_late = sources.into_iter().any(|error| error.is::<TimeoutExpired>());
            found.code = if is_late { Code::DeadlineExceeded } else { Code::Unavailable };
        }
        // What tonic says of its own limits.
        let too_large = found.code == Code::OutOfRange && found.message.contains("message length too large");
        if too_large {
            found.code = Code::ResourceExhausted;
        }
        found.violations = violations(status.details());
        found.retry_after = said("retry-after-ms").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        found.request_id = said("x-request-id").unwrap_or_default().to_owned();
        // The server gives a reason where no other try will help, whatever the code; gRPC has only words for its own limits.
        found.is_final =
            too_large || said("featsvc-reason").is_some() || found.message.contains("message larger than max");
        found
    }
}

/// The same of one question of a stream.
impl From<ItemError> for Error {
    fn from(item: ItemError) -> Self {
        let number = NAMES.iter().position(|name| *name == item.code);
        let mut found = Self::new(number.map_or(Code::Unknown, |n| Code::from_i32(n as i32)), item.message);
        found.violations = item.field_violations;
        found.retry_after = (item.retry_after_ms > 0).then(|| Duration::from_millis(item.retry_after_ms.into()));
        found.is_final =
            !item.reason.is_empty() || (found.code == Code::ResourceExhausted && found.retry_after.is_none());
        found
    }
}

/// google.rpc.Status, as far as it is read here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Details {
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Detail>,
}

/// google.protobuf.Any.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Detail {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// google.rpc.BadRequest, whose violations have the fields of the contract's own.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    pub field_violations: Vec<FieldViolation>,
}

fn violations(details: &[u8]) -> Vec<FieldViolation> {
    let said = Details::decode(details).unwrap_or_default().details.into_iter();
    said.filter(|detail| detail.type_url.ends_with("/google.rpc.BadRequest"))
        .filter_map(|detail| BadRequest::decode(detail.value.as_slice()).ok())
        .flat_map(|bad| bad.field_violations)
        .collect()
}
