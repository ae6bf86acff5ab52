//! OTLP over HTTP: one connection, kept while the collector keeps it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::tls::Trust;

/// Of an answer no more is read: it holds a count and a sentence at most.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Bytes to and from a collector, in the clear or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Sender = SendRequest<Full<Bytes>>;

/// The client under the exporter, which lives in the courier's runtime whoever polls it. How long a request may take is
/// left to whom it serves.
pub(super) struct Poster {
    inner: Arc<Inner>,
    runtime: Handle,
}

struct Inner {
    trust: Option<Arc<Trust>>,
    idle: Mutex<Option<Sender>>,
    /// Why the last request failed: the exporter keeps it to itself.
    reason: Reason,
}

/// Why the last export failed.
pub(super) type Reason = Arc<Mutex<Option<String>>>;

impl Poster {
    pub(super) fn new(runtime: Handle, trust: Option<Arc<Trust>>, reason: Reason) -> Poster {
        Poster { inner: Arc::new(Inner { trust, idle: Mutex::default(), reason }), runtime }
    }
}

impl HttpClient for Poster {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let inner = Arc::clone(&self.inner);
        let task = AbortOnDrop(self.runtime.spawn(async move { inner.post(request).await }));
        Box::pin(async move {
            let mut task = task;
            (&mut task.0).await?
        })
    }
}

/// Who gives up waiting ends the request, too.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Inner {
    async fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.send(request).await;
        let reason = match &answer {
            Err(error) => Some(chain(&**error)),
            Ok(answer) if !answer.status().is_success() => Some(format!("the collector answers {}", answer.status())),
            Ok(_) => None,
        };
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        answer
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut head, body) = request.into_parts();
        let uri = std::mem::take(&mut head.uri);
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        head.headers.insert(HOST, HeaderValue::from_str(&authority)?);
        head.uri = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
        let mut request = Request::from_parts(head, Full::new(body));

        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut sender) = kept
            && sender.ready().await.is_ok()
        {
            match sender.try_send_request(request).await {
                Ok(answer) => return self.receive(sender, answer).await,
                // The collector closed it at that moment: nothing of this has left.
                Err(mut refused) => match refused.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(refused.into_error().into()),
                },
            }
        }
        let mut sender = self.connect(&uri).await?;
        let answer = sender.send_request(request).await?;
        self.receive(sender, answer).await
    }

    async fn connect(&self, uri: &Uri) -> Result<Sender, HttpError> {
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.trust {
            Some(trust) if secure => trust.greet(host, stream).await?,
            _ => Box::new(stream),
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn receive(
        &self,
        sender: Sender,
        answer: Response<hyper::body::Incoming>,
    ) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        if !sender.is_closed() {
            *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        }
        Ok(Response::from_parts(head, body))
    }
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster").finish_non_exhaustive()
    }
}

/// An error with what caused it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
