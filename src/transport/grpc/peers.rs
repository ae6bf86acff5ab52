//! The peers by name: those of the list, and those that were added since.
//!
//! Whoever adds a member gives its address to the leader alone. Until it is on everybody's list, those who know it tell
//! it with each request; who hears of it from a peer that is on its list connects, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tonic::metadata::{Ascii, MetadataValue};

use super::Security;
use super::address::Address;
use super::peer::Peer;
use crate::record::MEMBERS_MAX;
use crate::transport::{Inbox, TransportError};
use crate::types::NodeId;

/// How long the list of added members may be that goes with each request, in bytes.
const ADDED_LEN_MAX: usize = 4096;

/// What all connections of this node share.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) security: Security,
    pub(super) backoff_max: Duration,
    pub(super) inbox: Inbox,
}

/// All peers.
#[derive(Debug)]
pub(super) struct Peers {
    place: Place,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    entries: BTreeMap<NodeId, Entry>,
    /// What is told of those that were added, as it travels.
    added: Option<MetadataValue<Ascii>>,
    /// What was heard last of such: most requests say the same.
    heard: Option<MetadataValue<Ascii>>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Entry {
    peer: Arc<Peer>,
    /// Its address, if it was added.
    added: Option<String>,
    keeping: Option<AbortHandle>,
}

impl Peers {
    /// The peers of the list; nothing connects yet.
    ///
    /// # Errors
    /// [`TransportError`]: one of the addresses cannot be used.
    pub(super) fn new(place: Place, list: &[(NodeId, String)]) -> Result<Peers, TransportError> {
        let mut book = Book::default();
        for (node, text) in list.iter().filter(|(node, _)| *node != place.node) {
            let peer = place.peer(node, text)?;
            book.entries.insert(node.clone(), Entry { peer, added: None, keeping: None });
        }
        Ok(Peers { place, book: Mutex::new(book) })
    }

    #[cfg(test)]
    pub(super) fn none() -> Peers {
        let node = NodeId::new("a").expect("a name");
        let place =
            Place { node, security: Security::Loopback, backoff_max: Duration::from_secs(1), inbox: Inbox::new().0 };
        Peers { place, book: Mutex::default() }
    }

    /// Begins to keep a connection to each.
    pub(super) fn connect(&self) {
        let Book { entries, tasks, .. } = &mut *self.book();
        for entry in entries.values_mut() {
            entry.keeping = Some(tasks.spawn(entry.peer.clone().keep(self.place.inbox.clone())));
        }
    }

    /// Closes every connection.
    pub(super) async fn disconnect(&self) {
        let mut tasks = std::mem::take(&mut self.book().tasks);
        tasks.shutdown().await;
    }

    pub(super) fn get(&self, node: &NodeId) -> Option<Arc<Peer>> {
        self.book().entries.get(node).map(|entry| entry.peer.clone())
    }

    /// Learns where a node is, and keeps a connection to it. One that is on the list stays where the list says.
    ///
    /// # Errors
    /// [`TransportError`]: the address cannot be used.
    pub(super) fn reach(&self, node: &NodeId, text: &str) -> Result<(), TransportError> {
        let peer = self.place.peer(node, text)?;
        let book = &mut *self.book();
        let known = book.entries.get(node).is_some_and(|entry| entry.added.as_deref().is_none_or(|old| old == text));
        if known || *node == self.place.node {
            return Ok(());
        }
        book.drop_entry(node);
        let keeping = book.tasks.spawn(peer.clone().keep(self.place.inbox.clone()));
        book.entries.insert(node.clone(), Entry { peer, added: Some(text.to_owned()), keeping: Some(keeping) });
        book.write_added();
        Ok(())
    }

    /// Closes the connection to a node that was added and is no member any more.
    pub(super) fn forget(&self, node: &NodeId) {
        let book = &mut *self.book();
        if book.entries.get(node).is_some_and(|entry| entry.added.is_some()) {
            book.drop_entry(node);
            book.write_added();
        }
    }

    /// What is told of those that were added.
    pub(super) fn added(&self) -> Option<MetadataValue<Ascii>> {
        self.book().added.clone()
    }

    /// Hears where added members are. Only of nodes that are unknown so far, from one that is on the list.
    pub(super) fn hear(&self, from: &NodeId, told: &MetadataValue<Ascii>) {
        {
            let book = &mut *self.book();
            let listed = book.entries.get(from).is_some();
            if !listed || book.heard.as_ref() == Some(told) {
                return;
            }
            book.heard = Some(told.clone());
        }
        let Ok(text) = told.to_str() else { return };
        for (node, address) in text.split(',').filter_map(|one| one.split_once('=')) {
            let room = self.book().entries.len() < MEMBERS_MAX;
            if let Ok(node) = NodeId::new(node)
                && room
                && self.get(&node).is_none()
            {
                // An address that is refused here is told by the refusals of calls.
                let _ = self.reach(&node, address);
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn drop_entry(&mut self, node: &NodeId) {
        if let Some(Entry { keeping: Some(keeping), .. }) = self.entries.remove(node) {
            keeping.abort();
        }
        while self.tasks.try_join_next().is_some() {}
        // What was heard may name it again: a member that returns is learned anew.
        self.heard = None;
    }

    fn write_added(&mut self) {
        let mut text = String::new();
        for (node, address) in self.entries.iter().filter_map(|(node, entry)| Some((node, entry.added.as_ref()?))) {
            let one = format!("{}{node}={address}", if text.is_empty() { "" } else { "," });
            if text.len() + one.len() <= ADDED_LEN_MAX {
                text.push_str(&one);
            }
        }
        self.added = MetadataValue::try_from(text).ok().filter(|text: &MetadataValue<Ascii>| !text.is_empty());
    }
}

impl Place {
    fn peer(&self, node: &NodeId, text: &str) -> Result<Arc<Peer>, TransportError> {
        let address = Address::parse(text)?;
        self.security.check(text, address.is_loopback())?;
        Ok(Arc::new(Peer::new(node.clone(), address, self.backoff_max)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> NodeId {
        NodeId::new(name).expect("a name")
    }

    fn peers(node: &str, list: &[&str]) -> Peers {
        let place = Place {
            node: name(node),
            security: Security::Loopback,
            backoff_max: Duration::from_secs(1),
            inbox: Inbox::new().0,
        };
        let list: Vec<_> = list.iter().map(|node| (name(node), "127.0.0.1:1".to_owned())).collect();
        Peers::new(place, &list).expect("addresses that can be used")
    }

    fn told(peers: &Peers) -> String {
        peers.added().map_or(String::new(), |added| added.to_str().expect("text").to_owned())
    }

    #[tokio::test]
    async fn who_was_added_is_told_to_those_who_do_not_know_it() {
        let (a, b) = (peers("a", &["a", "b"]), peers("b", &["a", "b"]));
        assert!(a.added().is_none(), "a list costs no request a byte");
        a.reach(&name("d"), "127.0.0.1:4").expect("an address");
        a.reach(&name("c"), "127.0.0.1:3").expect("an address");
        assert_eq!(told(&a), "c=127.0.0.1:3,d=127.0.0.1:4");
        let added = a.added().expect("two were added");
        b.hear(&name("x"), &added);
        assert!(b.get(&name("d")).is_none(), "from nobody knows whom");
        b.hear(&name("a"), &added);
        assert!(b.get(&name("c")).is_some() && b.get(&name("d")).is_some());
        assert_eq!(told(&b), told(&a), "and passes it on");
        b.forget(&name("c"));
        assert_eq!(told(&b), "d=127.0.0.1:4");
        b.hear(&name("a"), &added);
        assert!(b.get(&name("c")).is_some(), "a member that returns is learned anew");
    }

    #[tokio::test]
    async fn the_list_decides_where_its_members_are() {
        let a = peers("a", &["a", "b"]);
        a.reach(&name("b"), "127.0.0.1:9").expect("an address");
        a.reach(&name("a"), "127.0.0.1:9").expect("an address");
        assert_eq!(told(&a), "");
        a.forget(&name("b"));
        assert!(a.get(&name("b")).is_some());
        for bad in ["nowhere", "192.0.2.1:1"] {
            assert!(a.reach(&name("c"), bad).is_err(), "{bad}");
            let told = MetadataValue::try_from(format!("c={bad},=,x")).expect("text");
            a.hear(&name("b"), &told);
            assert!(a.get(&name("c")).is_none(), "{bad}");
        }
        a.reach(&name("c"), "127.0.0.1:3").expect("an address");
        a.reach(&name("c"), "127.0.0.1:4").expect("another one");
        assert_eq!(told(&a), "c=127.0.0.1:4");
    }
}
