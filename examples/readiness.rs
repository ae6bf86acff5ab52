//! A readiness page over HTTP, for frameworks of all kinds: three members, each with a page of its own, asked while one leads and two
//! follow, and once more when one has left.
//!
//! ```text
//! cargo run --example readiness
//! ```
//!
//! The page here is a few lines on a bare socket. In axum, actix or hyper only [`answer`] stays: a status and a body.
//! The gRPC transport needs none of this for gRPC probes: it answers `grpc.health.v1.Health` on the members' own port.

use std::error::Error;
use std::io::{self, Write};
use std::net::TcpListener as StdListener;
use std::time::Duration;

use hustings::elector::Elector;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// What goes into a handler of `GET /readyz`: 200 for a leader and for followers that take part, 503 for a member that does not yet, with
/// the reason, or that leaves.
fn answer(elector: &Elector) -> (u16, String) {
    let readiness = elector.readiness();
    (readiness.http_status(), readiness.to_json())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut peers = Vec::new();
    for name in ["a", "b", "c"] {
        peers.push((name, StdListener::bind("127.0.0.1:0")?.local_addr()?.to_string()));
    }
    let (mut electors, mut pages) = (Vec::new(), Vec::new());
    for (name, address) in &peers {
        let builder = Elector::builder().cluster("readiness").node(*name).listen(address.as_str());
        let elector = builder.peers(peers.clone()).volatile().start().await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        pages.push(listener.local_addr()?);
        tokio::spawn(serve(listener, elector.clone()));
        electors.push(elector);
    }
    for elector in &electors {
        let mut watch = elector.watch_health();
        let ready = async {
            while watch.unready().is_some() {
                watch.changed().await;
            }
        };
        timeout(Duration::from_secs(30), ready).await?;
    }
    let mut out = io::stdout();
    writeln!(out, "one leads, two follow, all are ready:")?;
    for page in &pages {
        writeln!(out, "{}", ask(*page).await?)?;
    }
    electors[0].shutdown().await;
    writeln!(out, "one has left:")?;
    writeln!(out, "{}", ask(pages[0]).await?)?;
    for elector in &electors[1..] {
        elector.shutdown().await;
    }
    Ok(())
}

async fn serve(listener: TcpListener, elector: Elector) {
    while let Ok((stream, _)) = listener.accept().await {
        let elector = elector.clone();
        tokio::spawn(async move {
            // Whoever asks slowly, or asks too much, gets no answer.
            let _ = timeout(Duration::from_secs(2), respond(stream, &elector)).await;
        });
    }
}

async fn respond(mut stream: TcpStream, elector: &Elector) -> io::Result<()> {
    let (mut request, mut len) = ([0; 4096], 0);
    while !request[..len].windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut request[len..]).await? {
            0 => return Ok(()),
            read => len += read,
        }
    }
    let (status, body) = match request.starts_with(b"GET /readyz ") {
        true => answer(elector),
        false => (404, String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status} \r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}

/// What `curl` would do: the status and the body.
async fn ask(page: std::net::SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(page).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    Ok(format!("  {status} {body}"))
}
