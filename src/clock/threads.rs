//! Tasks, threads and waits of a node: the runtime's and the machine's own, or those that a simulation keeps.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use super::Clock;

impl Clock {
    /// Runs a task beside the one that runs, on the same runtime.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        #[cfg(feature = "sim")]
        if let Some(simulated) = &self.simulated {
            return simulated.spawn(Box::pin(task));
        }
        tokio::spawn(task);
    }

    /// Runs `body` on a thread of its own, without a runtime: it may block, and must not use one.
    pub(crate) fn thread(&self, name: &'static str, body: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        #[cfg(feature = "sim")]
        if let Some(simulated) = &self.simulated {
            simulated.thread(name, Box::pin(body));
            return Ok(());
        }
        thread::Builder::new().name(name.into()).spawn(move || block_on(body)).map(drop)
    }

    /// Runs `body` on a thread of its own, with a runtime of its own.
    pub(crate) fn runtime(
        &self,
        name: &'static str,
        body: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        #[cfg(feature = "sim")]
        if let Some(simulated) = &self.simulated {
            simulated.thread(name, Box::pin(body));
            return Ok(());
        }
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // Without a runtime the future is dropped, and with it whatever somebody waits on.
            if let Ok(runtime) = runtime {
                runtime.block_on(body);
            }
        };
        thread::Builder::new().name(name.into()).spawn(run).map(drop)
    }

    /// Waits for so long.
    pub(crate) async fn sleep(&self, wait: Duration) {
        #[cfg(feature = "sim")]
        if let Some(simulated) = &self.simulated {
            return simulated.until(simulated.now() + wait).await;
        }
        tokio::time::sleep(wait).await;
    }

    /// What comes of a future, unless it takes longer than `limit`: then it is dropped.
    pub(crate) async fn timeout<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        #[cfg(feature = "sim")]
        if self.simulated.is_some() {
            return tokio::select! {
                biased;
                done = future => Some(done),
                () = self.sleep(limit) => None,
            };
        }
        tokio::time::timeout(limit, future).await.ok()
    }

    /// To be awaited after each call that may block its thread: in a simulation such a call returns at once, and this waits
    /// for the time that it would have taken.
    pub(crate) async fn caught_up(&self) {
        #[cfg(feature = "sim")]
        if let Some(simulated) = &self.simulated {
            simulated.caught_up().await;
        }
    }
}

/// Runs a future to its end on this thread.
fn block_on(future: impl Future<Output = ()>) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        thread::park();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
