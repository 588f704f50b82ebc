//! The questions of a stream that are under way.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Streaming};

use crate::stream::{Answer, Item, Reply};
use crate::{Error, RetryPolicy};

/// One question without an answer so far.
struct Question<Q> {
    id: String,
    request: Q,
    /// Refusals that did not say when to come back.
    failed: u32,
    /// When to send it (again); None while the server has it.
    due: Option<Instant>,
}

/// The state of a stream.
pub(crate) struct Window<I: Item> {
    retry: RetryPolicy,
    deadline: Option<Instant>,
    /// How many questions wait at most.
    size: usize,
    /// The questions that wait for an answer, by the numbers that the server knows them by.
    waiting: BTreeMap<u64, Question<I::Question>>,
    asked: u64,
    /// Whether the caller may have more questions.
    more: bool,
    /// Streams that broke off without an answer in between.
    breaks: u32,
    /// Whether the server has answered anything.
    answered: bool,
}

/// Ends a task with what waits for it.
struct Reading(JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Given<A> = mpsc::Sender<Result<Answer<<A as Reply>::Response>, Error>>;

impl<I: Item> Window<I> {
    pub fn new(retry: RetryPolicy, deadline: Option<Instant>, size: usize) -> Self {
        let size = size.max(1);
        Self { retry, deadline, size, waiting: BTreeMap::new(), asked: 0, more: true, breaks: 0, answered: false }
    }

    /// Asks until all is answered, or nobody takes the answers; an error where that is of no use.
    pub async fn run<S, A, F>(
        &mut self,
        mut questions: Pin<&mut S>,
        open: impl Fn(mpsc::UnboundedReceiver<I>) -> F,
        give: &Given<A>,
    ) -> Result<(), Error>
    where
        S: Stream<Item = (String, I::Question)>,
        A: Reply,
        F: Future<Output = Result<Streaming<A>, Error>> + Send + 'static,
    {
        loop {
            // A call is opened when there is something to ask.
            if self.waiting.is_empty() {
                let next = questions.next().await;
                self.add(next);
            }
            if self.waiting.is_empty() {
                return Ok(());
            }
            let (out, queue) = mpsc::unbounded_channel();
            match self.line(questions.as_mut(), out, open(queue), give).await {
                Ok(()) => return Ok(()),
                Err(error) if !self.waiting.is_empty() => self.broken(error).await?,
                Err(_) => {}
            }
        }
    }

    /// Asks over one call until all is answered or the call breaks.
    async fn line<S, A, F>(
        &mut self,
        mut questions: Pin<&mut S>,
        out: mpsc::UnboundedSender<I>,
        opening: F,
        give: &Given<A>,
    ) -> Result<(), Error>
    where
        S: Stream<Item = (String, I::Question)>,
        A: Reply,
        F: Future<Output = Result<Streaming<A>, Error>> + Send + 'static,
    {
        let (tell, mut events) = mpsc::channel(self.size);
        let _reading = Reading(tokio::spawn(async move {
            if let Err(error) = read(opening, &tell).await {
                let _ = tell.send(Err(error)).await;
            }
        }));
        while self.more || !self.waiting.is_empty() {
            self.send(&out);
            let due = self.waiting.values().filter_map(|each| each.due).min();
            tokio::select! {
                next = questions.next(), if self.more && self.waiting.len() < self.size => self.add(next),
                event = events.recv() => {
                    let ended = || Error::new(Code::Unavailable, "the server ended the stream before it had answered all");
                    if let Some(answer) = self.take(event.unwrap_or_else(|| Err(ended()))?)
                        && give.send(Ok(answer)).await.is_err()
                    {
                        return Ok(());
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
        // The server ends its side at once when it has answered all.
        drop(out);
        let _ = timeout(Duration::from_secs(1), events.recv()).await;
        Ok(())
    }

    fn add(&mut self, next: Option<(String, I::Question)>) {
        let Some((id, request)) = next else {
            self.more = false;
            return;
        };
        self.waiting.insert(self.asked, Question { id, request, failed: 0, due: Some(Instant::now()) });
        self.asked += 1;
    }

    /// Sends what is due. The queue has room for all, because the window bounds them.
    fn send(&mut self, out: &mpsc::UnboundedSender<I>) {
        let now = Instant::now();
        for (number, each) in &mut self.waiting {
            if each.due.is_some_and(|due| due <= now) {
                each.due = None;
                // An error is only that the stream has ended; reading says why.
                let _ = out.send(I::wrapped(number.to_string(), each.request.clone()));
            }
        }
    }

    /// What an answer means to the caller; None where it means nothing yet.
    fn take<A: Reply>(&mut self, message: A) -> Option<Answer<A::Response>> {
        let answer = message.answer();
        let number = answer.id.parse().ok()?;
        let asked = self.waiting.get_mut(&number)?;
        (self.breaks, self.answered) = (0, true);
        if let Err(error) = &answer.outcome {
            asked.failed += u32::from(error.retry_after.is_none());
            // Refusals that say when to come back are limited by the deadline alone.
            let delay = self.retry.pause(asked.failed, error, self.deadline).filter(|_| self.retry.attempts > 1);
            if let Some(delay) = delay {
                asked.due = Some(Instant::now() + delay);
                return None;
            }
        }
        self.waiting.remove(&number).map(|asked| Answer { id: asked.id, ..answer })
    }

    /// Waits before a new call, over which all that wait go again; the error where that is of no use. A server that has
    /// answered before may be restarting: where there is a deadline, that alone limits the wait for it.
    async fn broken(&mut self, error: Error) -> Result<(), Error> {
        self.breaks += 1;
        let mut retry = self.retry.clone();
        if self.deadline.is_some() && self.answered && retry.attempts > 1 {
            retry.attempts = u32::MAX;
        }
        let Some(delay) = retry.pause(self.breaks, &error, self.deadline) else { return Err(error) };
        sleep(delay).await;
        for each in self.waiting.values_mut() {
            each.due = Some(Instant::now());
        }
        Ok(())
    }
}

/// Hands on all messages of a call.
async fn read<A>(
    opening: impl Future<Output = Result<Streaming<A>, Error>>,
    tell: &mpsc::Sender<Result<A, Error>>,
) -> Result<(), Error> {
    let mut stream = opening.await?;
    while let Some(message) = stream.message().await? {
        if tell.send(Ok(message)).await.is_err() {
            break;
        }
    }
    Ok(())
}
