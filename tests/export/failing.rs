//! Collectors that one would not wish for.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::receiver::Receiver;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody listens.
    Down,
    /// Takes everything and says nothing.
    Mute,
    /// The same, where a TLS handshake is waited for.
    MuteTls,
    /// Connections come about, and nobody reads from them.
    Deaf,
    /// Passes everything on, in small pieces and late. By gRPC its receiver is another than by HTTP.
    Slow,
    /// Closes each connection as soon as something comes.
    HangsUp,
    /// Answers, and not in any protocol.
    Nonsense,
    /// Answers 503 to everything, in HTTP/1.1: to gRPC that is nonsense, too.
    Refuses,
}

impl Failure {
    pub(crate) const ALL: [Failure; 8] = {
        use Failure::{Deaf, Down, HangsUp, Mute, MuteTls, Nonsense, Refuses, Slow};
        [Down, Mute, MuteTls, Deaf, Slow, HangsUp, Nonsense, Refuses]
    };
}

pub(crate) struct Collector {
    pub(crate) failure: Failure,
    address: String,
    /// How many connections came.
    connections: Arc<AtomicUsize>,
    _kept: Option<TcpListener>,
}

impl Collector {
    pub(crate) fn start(failure: Failure) -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let mut kept = None;
        match failure {
            Failure::Down => drop(listener),
            Failure::Deaf => kept = Some(listener),
            _ => serve(failure, listener, Arc::clone(&connections)),
        }
        Collector { failure, address, connections, _kept: kept }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Without a connection nothing would be shown.
    pub(crate) fn assert_was_asked(&self) {
        if ![Failure::Down, Failure::Deaf].contains(&self.failure) {
            super::wait_for("a connection", || (self.connections.load(Ordering::Relaxed) > 0).then_some(()));
        }
    }
}

fn serve(failure: Failure, listener: TcpListener, connections: Arc<AtomicUsize>) {
    // Which protocol it is, is seen from the first bytes.
    let receivers = (failure == Failure::Slow).then(|| Arc::new((Receiver::http(None), Receiver::grpc(None))));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            connections.fetch_add(1, Ordering::Relaxed);
            let receivers = receivers.clone();
            std::thread::spawn(move || answer(failure, stream, receivers.as_deref()));
        }
    });
}

/// An end of the connection ends it here, too.
fn answer(failure: Failure, mut stream: TcpStream, receivers: Option<&(Receiver, Receiver)>) -> Option<()> {
    let mut piece = vec![0; 1 << 16];
    let mut len = stream.read(&mut piece).ok().filter(|len| *len > 0)?;
    let mut onward = None;
    if let Some((http, grpc)) = receivers {
        let receiver = if piece.starts_with(b"PRI") { grpc } else { http };
        let upstream = TcpStream::connect(receiver.address()).ok()?;
        let (from, to) = (upstream.try_clone().ok()?, stream.try_clone().ok()?);
        std::thread::spawn(move || pass_on(from, to));
        onward = Some(upstream);
    }
    loop {
        match failure {
            Failure::HangsUp => return None,
            Failure::Nonsense => stream.write_all(b"\x00\x00\xff nonsense \r\n\r\n").ok()?,
            Failure::Refuses if piece[..len].windows(4).any(|four| four == b"POST") => {
                let text = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(text.as_bytes()).ok()?;
            }
            _ => {}
        }
        if let Some(onward) = &mut onward {
            late();
            onward.write_all(&piece[..len]).ok()?;
        }
        len = stream.read(&mut piece).ok().filter(|len| *len > 0)?;
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) -> Option<()> {
    let mut piece = vec![0; 64];
    loop {
        let len = from.read(&mut piece).ok().filter(|len| *len > 0)?;
        late();
        to.write_all(&piece[..len]).ok()?;
    }
}

fn late() {
    std::thread::park_timeout(Duration::from_millis(300));
}
