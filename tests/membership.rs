//! Members come and go in a running cluster, over real sockets and real disks: no test of a single rule, but that a user
//! can do it.
#![cfg(feature = "grpc")]

use std::net::TcpListener;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hustings::config::Timing;
use hustings::elector::{Elector, MembershipError};
use hustings::event::{Event, EventKind, Role};
use hustings::node::MembershipRefused;
use hustings::types::NodeId;

const PATIENCE: Duration = Duration::from_secs(30);

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

/// An elector, and whether it is exclusive: only then may members change.
struct Member {
    elector: Elector,
    exclusive: Arc<AtomicBool>,
}

impl Deref for Member {
    type Target = Elector;

    fn deref(&self) -> &Elector {
        &self.elector
    }
}

/// A machine: an address and a disk.
struct Machine {
    name: &'static str,
    address: String,
    disk: PathBuf,
}

impl Machine {
    /// `port` is kept free by nobody between here and the start: good enough on a machine of one's own.
    fn new(name: &'static str, root: &std::path::Path) -> Machine {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        Machine { name, address, disk: root.join(name) }
    }

    async fn start(&self, list: &[&Machine], joins: bool) -> Member {
        let exclusive = Arc::new(AtomicBool::new(false));
        let seen = exclusive.clone();
        // Calm: these are builds and machines under load.
        let builder = Elector::builder()
            .cluster("membership")
            .node(self.name)
            .listen(self.address.clone())
            .peers(list.iter().map(|machine| (machine.name, machine.address.clone())))
            .timing(Timing::of(Duration::from_millis(100)))
            .data_dir(&self.disk)
            .observer(move |event: &Event| match event.kind {
                EventKind::BecameExclusive { .. } => seen.store(true, Ordering::SeqCst),
                EventKind::LeadershipEnded { .. } => seen.store(false, Ordering::SeqCst),
                _ => {}
            });
        let builder = if joins { builder.join_existing() } else { builder };
        Member { elector: builder.start().await.expect("an elector starts"), exclusive }
    }
}

async fn until<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = holds() {
            return seen;
        }
        assert!(Instant::now() < end, "not seen within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until one of them leads alone, and all of them know it.
async fn leader<'a>(members: &[&'a Member]) -> &'a Member {
    until("one leads alone, and all know it", || {
        let alone = |member: &&&Member| member.view().role == Role::Leader && member.exclusive.load(Ordering::SeqCst);
        let leads = members.iter().find(alone)?;
        let leader = leads.view().leader;
        members.iter().all(|member| member.view().leader == leader).then_some(*leads)
    })
    .await
}

/// Orders a change of whoever leads alone, again where leadership was lost over it.
async fn change(members: &[&Member], add: Option<&Machine>, remove: Option<&str>) {
    let end = Instant::now() + PATIENCE;
    loop {
        let leader = leader(members).await;
        let done = match (add, remove) {
            (Some(machine), _) => leader.add_member(node(machine.name), machine.address.clone()).await,
            (None, Some(name)) => leader.remove_member(node(name)).await,
            (None, None) => Ok(()),
        };
        match done {
            Ok(())
            | Err(MembershipError::Refused(MembershipRefused::AlreadyMember | MembershipRefused::NotAMember)) => return,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

fn voters(elector: &Elector) -> Vec<String> {
    elector.members().iter().filter(|member| member.voter).map(|member| member.node.to_string()).collect()
}

/// Three electors, a fourth is added, the leader dies, the four elect: the two who stayed reach the newcomer although it
/// is on neither's list. Then one is removed.
#[tokio::test]
async fn a_fourth_member_comes_and_counts_and_one_goes() {
    let root = tempfile::tempdir().expect("a directory");
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| Machine::new(name, root.path()));
    let list = [&a, &b, &c];
    let mut electors = Vec::new();
    for machine in list {
        electors.push(machine.start(&list, false).await);
    }
    let three: Vec<&Member> = electors.iter().collect();
    leader(&three).await;
    let follower = three.iter().find(|elector| elector.view().role != Role::Leader).expect("a follower");
    let refused = follower.add_member(node("d"), d.address.clone()).await;
    assert!(matches!(&refused, Err(MembershipError::NotLeader { leader: Some(_) })), "{refused:?}");

    let newcomer = d.start(&[&a, &b, &c, &d], true).await;
    change(&three, Some(&d), None).await;
    let old = leader(&three).await;
    assert_eq!(voters(old), ["a", "b", "c", "d"]);
    let own = old.view().leader.expect("it leads");
    let oneself = old.remove_member(own.clone()).await;
    assert_eq!(oneself, Err(MembershipError::Refused(MembershipRefused::IsLeader)));
    let nowhere = old.add_member(node("e"), "nowhere").await;
    assert!(matches!(nowhere, Err(MembershipError::Address(_))), "{nowhere:?}");

    // Four members need three: without the newcomer the other two could not elect.
    let stays = |elector: &&Member| elector.view().role != Role::Leader;
    let rest: Vec<&Member> = three.iter().copied().filter(stays).chain([&newcomer]).collect();
    assert_eq!(rest.len(), 3);
    old.shutdown().await;
    // One of the list leads and is heard by the newcomer: it was told where that is.
    let end = Instant::now() + PATIENCE;
    let mut new = leader(&rest).await;
    while new.view().leader == Some(node("d")) {
        assert!(Instant::now() < end, "d does not hand over");
        let to = ["a", "b", "c"].map(node).into_iter().find(|name| *name != own);
        let _ = new.transfer_to(to).await;
        new = leader(&rest).await;
    }
    for elector in &rest {
        until("all know the members", || (voters(elector).len() == 4).then_some(())).await;
    }

    change(&rest, None, Some(own.as_str())).await;
    let new = leader(&rest).await;
    assert_eq!(voters(new).len(), 3);
    assert!(!voters(new).contains(&own.to_string()));
    for elector in rest {
        elector.shutdown().await;
    }
}

/// What was refused or timed out has changed nothing that counts.
#[tokio::test]
async fn a_newcomer_that_is_not_there_is_not_added() {
    let root = tempfile::tempdir().expect("a directory");
    let [a, b] = ["a", "b"].map(|name| Machine::new(name, root.path()));
    let elector = a.start(&[&a], false).await;
    let alone = [&elector];
    leader(&alone).await;
    let outcome = elector.add_member(node("b"), b.address.clone()).await;
    let error = outcome.expect_err("nobody is there");
    let said = format!("the newcomer did not catch up in time: b ({}): connection refused", b.address);
    assert!(error.to_string().starts_with(&said), "{error}");
    assert_eq!(voters(&elector), ["a"]);
    let newcomer = b.start(&[&a, &b], true).await;
    change(&alone, Some(&b), None).await;
    assert_eq!(voters(&elector), ["a", "b"]);
    until("the newcomer knows", || (voters(&newcomer).len() == 2).then_some(())).await;
    elector.shutdown().await;
    newcomer.shutdown().await;
}
