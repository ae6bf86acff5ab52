//! Who is no member, and speaks all the same.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hustings::config::Timing;
use hustings::elector::BoxError;
use hustings::message::{Identity, PROTOCOL_VERSION, Request, RequestBody, RequestId};
use hustings::record::{HardState, Member, Record, RecordId};
use hustings::storage::Storage;
use hustings::storage::file::FileStorage;
use hustings::transport::grpc::{GrpcConfig, GrpcTransport, Security};
use hustings::transport::{Inbox, Transport};
use hustings::types::{ClusterId, DiskId, GroupId, Incarnation, NodeId, Term, TraceContext};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::member::CLUSTER;
use crate::options::{self, Options};

/// What it is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plan {
    /// Says that it leads, with a newer record that lists itself alone.
    Record,
    /// Asks for votes for another cluster, as fast as it is answered.
    Flood,
    /// Names terms that nobody can have reached.
    Terms,
    /// Connects, begins to speak, and goes no further.
    HalfOpen,
}

impl Plan {
    /// All of them.
    pub const ALL: [Plan; 4] = [Plan::Record, Plan::Flood, Plan::Terms, Plan::HalfOpen];

    /// Its name among the arguments, and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Plan::Record => "record",
            Plan::Flood => "flood",
            Plan::Terms => "terms",
            Plan::HalfOpen => "half-open",
        }
    }
}

impl FromStr for Plan {
    type Err = ();

    fn from_str(name: &str) -> Result<Plan, ()> {
        Plan::ALL.into_iter().find(|plan| plan.name() == name).ok_or(())
    }
}

const KNOWN: &[&str] = &["--plan", "--listen", "--peers", "--copy", "--of"];
const NAME: &str = "stranger";
/// Connections to each member that are begun and held.
const HELD: usize = 300;
/// Questions to each member that wait at once.
const AT_ONCE: usize = 16;
const DEADLINE: Duration = Duration::from_millis(300);

/// Goes on until it is killed.
///
/// # Errors
/// It cannot start.
pub fn run(arguments: impl Iterator<Item = String>) -> Result<std::process::ExitCode, BoxError> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let options = Options::parse(arguments, KNOWN)?;
    let plan: Plan = options.get("--plan")?;
    let peers = options::peers(&options.get::<String>("--peers")?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        if plan == Plan::HalfOpen {
            return hold(&peers).await;
        }
        let of: NodeId = NodeId::new(options.get::<String>("--of")?)?;
        let mut copy = FileStorage::open(options.get::<PathBuf>("--copy")?, &ClusterId::new(CLUSTER)?, &of)?;
        let state = copy.load(&GroupId::default())?.ok_or("the copy is empty")?;
        let node = NodeId::new(NAME)?;
        let peers = peers.into_iter().map(|(name, address)| Ok((NodeId::new(name)?, address)));
        let config = GrpcConfig {
            node,
            listen: options.get("--listen")?,
            peers: peers.collect::<Result<_, BoxError>>()?,
            security: Security::Insecure,
            backoff_max: Duration::from_millis(50),
        };
        speak(plan, &state, config).await
    })
}

async fn speak(plan: Plan, state: &HardState, config: GrpcConfig) -> Result<std::process::ExitCode, BoxError> {
    let (inbox, mut heard) = Inbox::new();
    let members: Vec<NodeId> = config.peers.iter().map(|(node, _)| node.clone()).collect();
    let transport = Arc::new(GrpcTransport::new(config));
    transport.start(inbox).await?;
    tokio::spawn(async move { while heard.recv().await.is_some() {} });
    let stranger = Stranger::new(plan, state)?;
    let mut calls = JoinSet::new();
    for (at, member) in members.iter().cycle().enumerate() {
        let (term, body) = stranger.question(at / members.len());
        let id = RequestId(u64::try_from(at)? + 1);
        let request = Request { from: stranger.identity.clone(), to: member.clone(), id, term, body };
        let transport = transport.clone();
        calls.spawn(async move { transport.call(request, TraceContext::NONE, DEADLINE).await });
        if calls.len() >= AT_ONCE * members.len() {
            calls.join_next().await;
        }
        if plan != Plan::Flood {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    Ok(std::process::ExitCode::SUCCESS)
}

struct Stranger {
    plan: Plan,
    identity: Arc<Identity>,
    /// The term, and the newest record, of the member whose folder was copied.
    term: Term,
    record: Record,
}

impl Stranger {
    fn new(plan: Plan, state: &HardState) -> Result<Stranger, BoxError> {
        let cluster = if plan == Plan::Flood { "another" } else { CLUSTER };
        let identity = Identity {
            version: PROTOCOL_VERSION,
            cluster: ClusterId::new(cluster)?,
            founding: state.founding,
            group: GroupId::default(),
            node: NodeId::new(NAME)?,
            disk: DiskId(7),
            incarnation: Incarnation(1),
            timing: Timing::default().fingerprint(),
            priority: 255,
            amnesiac: false,
        };
        let record = state.record.as_deref().ok_or("the copy has no record")?.clone();
        Ok(Stranger { plan, identity: Arc::new(identity), term: state.term, record })
    }

    fn question(&self, round: usize) -> (Term, RequestBody) {
        let far = [u64::MAX, u64::MAX - 1, self.term.0 + (1 << 32) + 2, self.term.0 + 1000];
        match self.plan {
            Plan::Record => {
                let term = Term(self.term.0 + 1 + u64::try_from(round / 8).unwrap_or(0) * 100);
                (term, self.claim(term, round % 5))
            }
            Plan::Terms => {
                let term = Term(far[round % far.len()]);
                (term, self.claim(term, round / far.len() % 5))
            }
            Plan::Flood | Plan::HalfOpen => {
                (Term(self.term.0 + 1), RequestBody::PreVote { last: Some(self.record.id) })
            }
        }
    }

    fn claim(&self, term: Term, which: usize) -> RequestBody {
        let own = Member { node: self.identity.node.clone(), disk: self.identity.disk, voter: true };
        let id = RecordId { term, index: self.record.id.index + 1 };
        let record =
            Record { id, parent: self.record.id, members: vec![own], proclaimed: self.record.proclaimed.clone() };
        match which {
            0 => RequestBody::AppendEntries {
                promise: Duration::from_millis(150),
                record: Some(Arc::new(record)),
                committed: Some(id),
                rank: Some(0),
                election: TraceContext::NONE,
            },
            1 => RequestBody::RequestVote { last: Some(id), transfer: None },
            2 => RequestBody::PreVote { last: Some(id) },
            3 => RequestBody::TimeoutNow,
            _ => RequestBody::Resign,
        }
    }
}

/// Opens connections that say nothing, or only how HTTP/2 begins, or half of a frame.
async fn hold(peers: &[(String, String)]) -> Result<std::process::ExitCode, BoxError> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const HALF: &[u8] = b"\0\x40\0\x01\x04\0\0\0\x01half";
    let mut held = Vec::new();
    for at in 0..HELD {
        for (_, address) in peers {
            let address: SocketAddr = address.parse()?;
            let connecting = tokio::time::timeout(DEADLINE, TcpStream::connect(address));
            let Ok(Ok(mut connection)) = connecting.await else { continue };
            let words = [&b""[..], PREFACE, &[PREFACE, HALF].concat()][at % 3].to_vec();
            if connection.write_all(&words).await.is_ok() {
                held.push(connection);
            }
        }
    }
    std::future::pending().await
}
