use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;

use crate::Error;

/// When a failed call is tried again: on UNAVAILABLE and RESOURCE_EXHAUSTED, unless the server says that it will not help.
/// Every call is a pure function of its request, so all may be tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// How often a call is sent at most, the first time included; 1 never tries again.
    pub attempts: u32,
    /// The pause after the first failure.
    pub first_delay: Duration,
    /// The longest pause, where the server asks for no longer one.
    pub max_delay: Duration,
    /// How much longer each pause is than the one before.
    pub factor: f64,
    /// The part of each pause that is random, so that clients refused together do not come back together.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(10),
            factor: 2.0,
            jitter: 0.5,
        }
    }
}

impl RetryPolicy {
    /// The pause after so many failures, never less than the server asks for; chance is in [0, 1).
    pub(crate) fn delay(&self, failed: u32, after: Option<Duration>, chance: f64) -> Duration {
        // The exponent is bounded because a float is.
        let grown = self.first_delay.as_secs_f64() * self.factor.powi(failed.saturating_sub(1).min(60) as i32);
        let backoff = grown.min(self.max_delay.as_secs_f64());
        let shortened = Duration::from_secs_f64(backoff * (1.0 - self.jitter * chance));
        after.map_or(shortened, |after| shortened.max(after + Duration::from_secs_f64(backoff * self.jitter * chance)))
    }

    /// How long to wait after the last of so many failures; None where no other try is to be made.
    pub(crate) fn pause(&self, failed: u32, error: &Error, deadline: Option<Instant>) -> Option<Duration> {
        let retried = matches!(error.code, Code::Unavailable | Code::ResourceExhausted);
        if !retried || error.is_final || failed >= self.attempts {
            return None;
        }
        let delay = self.delay(failed, error.retry_after, chance());
        deadline.is_none_or(|end| Instant::now() + delay < end).then_some(delay)
    }

    /// Makes attempts until one succeeds or another is of no use, and gives the error of the last.
    pub(crate) async fn run<T, F>(&self, deadline: Option<Instant>, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut failed = 0;
        loop {
            let error = match within(deadline, attempt()).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            failed += 1;
            match self.pause(failed, &error, deadline) {
                Some(delay) => sleep(delay).await,
                None => return Err(error),
            }
        }
    }
}

/// What comes until the deadline; where it is over, that is the error, whatever the connection says of its end.
pub(crate) async fn within<T>(
    deadline: Option<Instant>,
    attempt: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(end) = deadline else { return attempt.await };
    match timeout_at(end, attempt).await {
        Err(_) => Err(Error::late()),
        Ok(Err(error)) if Instant::now() >= end && error.code != Code::DeadlineExceeded => Err(Error::late()),
        Ok(outcome) => outcome,
    }
}

fn chance() -> f64 {
    // Each state has its own random keys.
    RandomState::new().hash_one(0) as f64 / (u64::MAX as f64 + 1.0)
}
