//! Makes a driver's loop stand still, as a process does that is stopped; and an observer.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use hustings::message::{CallError, Reply, Request};
use hustings::transport::memory::MemoryTransport;
use hustings::transport::{Inbox, Transport, TransportError};
use hustings::types::TraceContext;

/// The loop stands still from soon after it is pulled until it is released.
#[derive(Clone, Default)]
pub struct Brake(Arc<Shoe>);

#[derive(Default)]
struct Shoe {
    pulled: Mutex<bool>,
    released: Condvar,
    stands: AtomicBool,
}

impl Brake {
    pub fn set(&self, pulled: bool) {
        *self.0.pulled.lock().expect("unpoisoned") = pulled;
        self.0.released.notify_all();
    }

    pub fn stands(&self) -> bool {
        self.0.stands.load(Ordering::SeqCst)
    }

    /// Blocks whoever comes by while it is pulled.
    pub fn pass(&self) {
        let pulled = self.0.pulled.lock().expect("unpoisoned");
        self.0.stands.store(*pulled, Ordering::SeqCst);
        drop(self.0.released.wait_while(pulled, |pulled| *pulled).expect("unpoisoned"));
        self.0.stands.store(false, Ordering::SeqCst);
    }
}

/// Runs on the loop's own thread, and so can block it.
pub struct Braked(pub MemoryTransport, pub Brake);

impl Transport for Braked {
    async fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        let brake = self.1.clone();
        tokio::spawn(async move {
            loop {
                brake.pass();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        self.0.start(inbox).await
    }

    async fn call(&self, request: Request, context: TraceContext, deadline: Duration) -> Result<Reply, CallError> {
        self.0.call(request, context, deadline).await
    }

    async fn stop(&self) {
        self.0.stop().await;
    }
}
