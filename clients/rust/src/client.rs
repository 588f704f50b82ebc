use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request};

use crate::{Clip, Dino, Error, Estimates, Models, Objects, RetryPolicy, Sam2};

/// The key of a server on loopback that was given none of its own.
pub const DEFAULT_KEY: &str = "smfeats";

/// The PEM files of a connection with TLS.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The authority that signed the server's certificate; None: those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and its key, for servers that ask for them.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How to connect. The default is good for a server on this machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sent with every call.
    pub api_key: String,
    /// Makes the connection one with TLS.
    pub tls: Option<Tls>,
    /// The time of each call, other tries included, and of each stream as a whole; None: no limit.
    pub timeout: Option<Duration>,
    /// Limits messages in both directions; None leaves the limits to the server.
    pub max_message_bytes: Option<usize>,
    /// When a failed call is tried again.
    pub retry: RetryPolicy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            api_key: DEFAULT_KEY.to_owned(),
            tls: None,
            timeout: None,
            max_message_bytes: None,
            retry: RetryPolicy::default(),
        }
    }
}

/// A connection to a server. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    /// Features of pictures and texts in one space.
    pub clip: Clip,
    /// Self-supervised features of pictures.
    pub dino: Dino,
    /// Masks of pictures.
    pub sam2: Sam2,
    /// Objects of pictures: masks with vectors that describe them.
    pub objects: Objects,
    /// The models of the server.
    pub models: Models,
    /// What questions would cost, without asking them.
    pub estimates: Estimates,
    line: Line,
}

impl Client {
    /// Prepares a connection to `host:port`. The first call opens it.
    pub async fn connect(address: &str, options: Options) -> Result<Self, Error> {
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(|error| unusable(address, error))?
            .connect_timeout(Duration::from_secs(20))
            .tcp_nodelay(true);
        if let Some(tls) = &options.tls {
            endpoint = endpoint.tls_config(tls.config().await?).map_err(|error| unusable("TLS", error))?;
        }
        let mut bearer: MetadataValue<Ascii> =
            format!("Bearer {}", options.api_key).parse().map_err(|error| unusable("the API key", error))?;
        bearer.set_sensitive(true);
        let line = Line {
            channel: endpoint.connect_lazy(),
            bearer,
            limit: options.max_message_bytes.unwrap_or(usize::MAX),
            timeout: options.timeout,
            priority: 0,
            retry: options.retry,
        };
        Ok(Self::over(line))
    }

    /// The same connection with another time for each call.
    pub fn with_timeout(&self, timeout: Option<Duration>) -> Self {
        Self::over(Line { timeout, ..self.line.clone() })
    }

    /// The same connection with calls that are urgent beside others with the same key, from -9 to 9: higher ones come first.
    pub fn with_priority(&self, priority: i32) -> Self {
        Self::over(Line { priority, ..self.line.clone() })
    }

    fn over(line: Line) -> Self {
        Self {
            clip: Clip::over(&line),
            dino: Dino::over(&line),
            sam2: Sam2::over(&line),
            objects: Objects::over(&line),
            models: Models::over(&line),
            estimates: Estimates::over(&line),
            line,
        }
    }
}

impl Tls {
    async fn config(&self) -> Result<ClientTlsConfig, Error> {
        let mut config = ClientTlsConfig::new();
        config = match &self.ca {
            Some(ca) => config.ca_certificate(Certificate::from_pem(pem(ca).await?)),
            None => config.with_native_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(pem(certificate).await?, pem(key).await?));
        }
        Ok(config)
    }
}

async fn pem(path: &Path) -> Result<String, Error> {
    let content = tokio::fs::read_to_string(path).await.map_err(|error| unusable(path.display(), error))?;
    if !content.contains("-----BEGIN ") {
        return Err(unusable(path.display(), "holds no PEM"));
    }
    Ok(content)
}

fn unusable(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Error {
    Error::new(Code::InvalidArgument, format!("{what}: {why}"))
}

/// What the services share.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub channel: Channel,
    bearer: MetadataValue<Ascii>,
    pub limit: usize,
    timeout: Option<Duration>,
    priority: i32,
    pub retry: RetryPolicy,
}

impl Line {
    /// When a call that begins now must have ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| Instant::now() + timeout)
    }

    /// A request with the key, and the time that is left.
    pub fn request<Q>(&self, message: Q, deadline: Option<Instant>) -> Request<Q> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        if self.priority != 0 {
            request.metadata_mut().insert("x-featsvc-priority", self.priority.into());
        }
        if let Some(end) = deadline {
            request.set_timeout(end.saturating_duration_since(Instant::now()));
        }
        request
    }

    /// Asks until there is an answer, or another try is of no use.
    pub async fn asked<Q: Clone, R, F>(&self, question: Q, call: impl Fn(Request<Q>) -> F) -> Result<R, Error>
    where
        F: Future<Output = Result<R, Error>>,
    {
        let deadline = self.deadline();
        self.retry.run(deadline, || call(self.request(question.clone(), deadline))).await
    }
}
