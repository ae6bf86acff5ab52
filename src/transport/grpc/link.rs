//! One HTTP/2 connection to one peer, and the word that it has ended, also when it was idle.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::Uri;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::{Service, http};

use super::address::Address;
use super::service::election_client::ElectionClient;
use crate::observer::Traffic;
use crate::types::nanos;
use crate::wire::FRAME_LEN_MAX;

/// The generated client on one connection.
pub(super) type Client = ElectionClient<Channel>;

/// A connection that stands. Dropping it closes it, and ends every call on it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) pulse: Arc<Pulse>,
    ended: oneshot::Receiver<()>,
    _tasks: Nursery,
}

impl Link {
    /// Resolves the name, connects, and waits until the peer has spoken HTTP/2: a proxy that accepts and closes, or a
    /// process that has stopped, is no connection.
    pub(super) async fn connect(address: &Address, limit: Duration, traffic: Arc<Traffic>) -> io::Result<Link> {
        tokio::time::timeout(limit, connect(address, traffic))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")))
    }

    /// Waits until the connection has ended: closed by the peer, reset or broken.
    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.ended).await;
    }
}

async fn connect(address: &Address, traffic: Arc<Traffic>) -> io::Result<Link> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    let pulse = Arc::new(Pulse::new());
    let tasks = Nursery::new();
    let stream = TokioIo::new(Watched { stream, pulse: pulse.clone(), traffic });
    let (sender, connection) = Builder::new(tasks.spawner()).handshake(stream).await.map_err(io::Error::other)?;
    let (over, mut ended) = oneshot::channel();
    tasks.spawner().spawn(async move {
        let _ = connection.await;
        let _ = over.send(());
    });
    tokio::select! {
        biased;
        () = pulse.first.notified() => {}
        _ = &mut ended => return Err(io::Error::new(io::ErrorKind::ConnectionReset, "closed before it spoke HTTP/2")),
    }
    let origin: Uri = format!("http://{}", address.authority()).parse().map_err(io::Error::other)?;
    let client = ElectionClient::with_origin(Channel { sender }, origin).max_decoding_message_size(FRAME_LEN_MAX);
    Ok(Link { client, pulse, ended, _tasks: tasks })
}

/// The client end of a connection, as the generated client wants it.
#[derive(Debug, Clone)]
pub(super) struct Channel {
    sender: SendRequest<Body>,
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}

/// When a connection was last heard.
#[derive(Debug)]
pub(super) struct Pulse {
    since: Instant,
    /// Nanoseconds after `since`.
    heard: AtomicU64,
    /// Told once, at the first bytes.
    first: Notify,
}

impl Pulse {
    pub(super) fn new() -> Pulse {
        Pulse { since: Instant::now(), heard: AtomicU64::new(0), first: Notify::new() }
    }

    /// Whether anything was heard at all.
    pub(super) fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed) > 0
    }

    /// For how long nothing has been heard.
    pub(super) fn silence(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_nanos(self.heard.load(Ordering::Relaxed)))
    }

    /// Something was heard.
    pub(super) fn beat(&self) {
        if self.heard.swap(nanos(self.since.elapsed()).max(1), Ordering::Relaxed) == 0 {
            self.first.notify_one();
        }
    }
}

/// A stream that takes the pulse of what it reads, and counts what passes.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) pulse: Arc<Pulse>,
    pub(super) traffic: Arc<Traffic>,
}

impl<S> Watched<S> {
    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(len)) = &result {
            self.traffic.count_sent(*len);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.pulse.beat();
            self.traffic.count_received(buf.filled().len() - before);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(written)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(written)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The tasks of one connection, which end with it: hyper would let them go on until their last call has ended.
#[derive(Debug)]
pub(super) struct Nursery(Spawner);

impl Nursery {
    pub(super) fn new() -> Nursery {
        Nursery(Spawner { tasks: Arc::new(Mutex::new(Some(JoinSet::new()))) })
    }

    pub(super) fn spawner(&self) -> Spawner {
        self.0.clone()
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        let tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(tasks);
    }
}

/// Adds tasks to a [`Nursery`], and none any more once that is gone.
#[derive(Debug, Clone)]
pub(super) struct Spawner {
    tasks: Arc<Mutex<Option<JoinSet<()>>>>,
}

impl Spawner {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tasks) = &mut *tasks {
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }
}

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.spawn(async {
            task.await;
        });
    }
}
