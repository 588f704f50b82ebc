//! Asks the cases of a file and prints a line of JSON about each question:
//!
//! conformance ADDRESS CASES.json [API_KEY]

mod arrays;
mod ask;

use std::error::Error;
use std::io::{Write, stdout};

use serde::Deserialize;
use serde_json::value::RawValue;

/// One call of the case file.
#[derive(Deserialize)]
struct Case {
    name: String,
    rpc: String,
    questions: Vec<Question>,
    api_key: String,
    timeout_s: f64,
    /// Whether each question comes only when the answer to the one before it has been seen.
    paced: bool,
}

/// One request, as protobuf JSON.
#[derive(Deserialize)]
struct Question {
    id: String,
    request: Box<RawValue>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, path, key @ ..] = arguments.as_slice() else {
        return Err("usage: conformance ADDRESS CASES.json [API_KEY]".into());
    };
    let key = key.first().map_or(featsvc::DEFAULT_KEY, String::as_str);
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path)?)?;
    for case in &cases {
        for line in ask::lines(address, key, case).await.map_err(|error| format!("{}: {error}", case.name))? {
            let mut out = stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()?;
        }
    }
    Ok(())
}
