//! A network of network namespaces around a switch that lives in this process.
//!
//! Each host is a thread that moved into a namespace of its own, and starts its processes from there; a virtual link joins it
//! to this process's namespace. There every frame is read by a packet socket and sent on, late, twice, as a reset or never, as
//! [`Link`] says for each direction of each pair: neither `tc` nor `nft` is needed. Namespaces and links end with
//! the process, however it ends.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto, setsockopt, socket, sockopt,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::frame::Ports;
use crate::{frame, stamp};

/// One direction between two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Link {
    /// Nothing passes, and nobody is told.
    pub cut: bool,
    /// Every connection is reset, and every further packet of TCP is answered by a reset, to both ends.
    pub reset: bool,
    /// How many frames of a hundred are lost.
    pub loss: u8,
    /// How many of a hundred arrive twice.
    pub twice: u8,
    /// How long each takes.
    pub delay: Duration,
    /// And up to so much longer, so that they overtake each other.
    pub jitter: Duration,
}

/// The links between all hosts, numbered from 1.
#[derive(Debug, Clone)]
pub struct Links {
    links: Arc<Mutex<Vec<Vec<Link>>>>,
    /// Directions whose connections are still to be reset.
    resets: Arc<Mutex<Vec<(u8, u8)>>>,
}

impl Links {
    fn new(hosts: u8) -> Links {
        let side = usize::from(hosts) + 1;
        Links { links: Arc::new(Mutex::new(vec![vec![Link::default(); side]; side])), resets: Arc::default() }
    }

    /// Changes one direction.
    pub fn set(&self, from: u8, to: u8, link: Link) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links[usize::from(from)][usize::from(to)] = link;
        if link.reset {
            self.resets.lock().unwrap_or_else(PoisonError::into_inner).push((from, to));
        }
    }

    /// All links as they should be.
    pub fn heal(&self) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.iter_mut().flatten().for_each(|link| *link = Link::default());
    }

    fn get(&self, from: u8, to: u8) -> Option<Link> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(usize::from(from))?.get(usize::from(to)).copied()
    }
}

/// Starts a process in a host's namespace, and gives the result back.
type Order = (Command, Sender<io::Result<Child>>);

/// A namespace, held by a thread.
#[derive(Debug)]
pub struct Host {
    orders: Sender<Order>,
}

impl Host {
    /// Starts a process here. It is a child of this process.
    ///
    /// # Errors
    /// It does not start.
    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, child) = channel();
        self.orders.send((command, reply)).map_err(|_| io::Error::other("the host's thread has ended"))?;
        child.recv().map_err(|_| io::Error::other("the host's thread has ended"))?
    }
}

/// The address of a host.
pub fn address(host: u8) -> String {
    format!("10.97.0.{host}")
}

/// Makes so many hosts and a switch between them. This thread, and all that it starts from now on, is in a namespace of its own.
///
/// # Errors
/// What is missing, for a person.
pub fn build(hosts: u8, seed: u64) -> Result<(Vec<Host>, Links), String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("network namespaces are not permitted ({error})"))?;
    let made = (1..=hosts).map(|number| host(number, hosts)).collect::<Result<Vec<_>, _>>()?;
    let links = Links::new(hosts);
    let switch = Switch::new(hosts, links.clone(), seed).map_err(|error| format!("no packet socket ({error})"))?;
    std::thread::spawn(move || switch.run());
    Ok((made, links))
}

fn host(number: u8, hosts: u8) -> Result<Host, String> {
    let (orders, received): (Sender<Order>, Receiver<Order>) = channel();
    let (told, moved) = channel();
    std::thread::spawn(move || {
        let outcome = unshare(CloneFlags::CLONE_NEWNET).map(|()| nix::unistd::gettid());
        if told.send(outcome).is_ok() {
            for (mut command, reply) in received {
                let _ = reply.send(command.spawn());
            }
        }
    });
    let thread = moved.recv().map_err(|error| error.to_string())?;
    let thread = thread.map_err(|error| format!("network namespaces are not permitted ({error})"))?;
    let host = Host { orders };
    let mac = |host: u8| frame::mac(host).map(|byte| format!("{byte:02x}")).join(":");
    ip(&format!("link add port{number} type veth peer name eth0 address {} netns {thread}", mac(number)), None)?;
    ip(&format!("link set port{number} up"), None)?;
    ip("link set lo up", Some(&host))?;
    ip(&format!("address add {}/24 dev eth0", address(number)), Some(&host))?;
    // One segment in each frame: the switch cannot send larger ones on.
    ip("link set eth0 gso_max_segs 1 up", Some(&host))?;
    for other in (1..=hosts).filter(|other| *other != number) {
        ip(&format!("neighbour add {} lladdr {} dev eth0 nud permanent", address(other), mac(other)), Some(&host))?;
    }
    Ok(host)
}

fn ip(arguments: &str, at: Option<&Host>) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    let child = match at {
        Some(host) => host.spawn(command),
        None => command.spawn(),
    };
    let status = child.and_then(|mut child| child.wait()).map_err(|error| format!("the program `ip` ({error})"))?;
    if status.success() { Ok(()) } else { Err(format!("`ip {arguments}` is not permitted")) }
}

/// A frame that waits: when it is due, its number among all, its addressee, its bytes.
type Waiting = Reverse<(u64, u64, u8, Vec<u8>)>;

struct Switch {
    socket: OwnedFd,
    /// Where the ports lie, the first host's first.
    ports: Vec<LinkAddr>,
    links: Links,
    random: StdRng,
    waiting: BinaryHeap<Waiting>,
    frames: u64,
    /// What would reset each connection at the addressee.
    connections: HashMap<(u8, u8, Ports), Vec<u8>>,
}

/// How long the switch may take to notice that connections are to be reset.
const NOTICE: Duration = Duration::from_millis(3);
/// So many connections are known at once: beyond, all are forgotten, and learned again.
const KNOWN: usize = 10_000;

impl Switch {
    fn new(hosts: u8, links: Links, seed: u64) -> nix::Result<Switch> {
        let kind = (SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll);
        let socket = socket(AddressFamily::Packet, SockType::Raw, kind.0, kind.1)?;
        setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20))?;
        let all: Vec<_> = nix::ifaddrs::getifaddrs()?.collect();
        let port = |number: u8| {
            let named = all.iter().filter(|interface| interface.interface_name == format!("port{number}"));
            named.filter_map(|interface| interface.address?.as_link_addr().copied()).next()
        };
        let ports = (1..=hosts).map(port).collect::<Option<Vec<_>>>().ok_or(nix::Error::ENODEV)?;
        let random = StdRng::seed_from_u64(seed);
        let (waiting, connections) = (BinaryHeap::new(), HashMap::new());
        Ok(Switch { socket, ports, links, random, waiting, frames: 0, connections })
    }

    fn run(mut self) {
        // It stands for wires: a busy machine should slow members down, and not these.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), -15);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let now = stamp::now();
            while self.waiting.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
                if let Some(Reverse((_, _, to, frame))) = self.waiting.pop() {
                    self.send(to, &frame);
                }
            }
            self.reset_connections();
            let notice = stamp::nanos(NOTICE);
            let nanos = self.waiting.peek().map_or(notice, |Reverse((due, ..))| due.saturating_sub(now).min(notice));
            let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(nanos).unwrap_or(0) };
            let ready = poll(&mut [PollFd::new(&self.socket.as_fd(), PollFlags::IN)], Some(&timeout));
            if matches!(ready, Ok(0)) {
                continue;
            }
            // Not more at once than keeps what waits in time.
            for _ in 0..64 {
                match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                    Ok((length, Some(from))) => self.take(from.ifindex(), &mut buffer[..length]),
                    Ok((_, None)) => {}
                    Err(_) => break,
                }
            }
        }
    }

    fn take(&mut self, port: usize, frame: &mut [u8]) {
        let Some((from, to)) = frame::route(frame) else { return };
        // What this socket sends is shown to it, too: that came from another port than its sender's.
        let own = self.ports.get(usize::from(from).wrapping_sub(1)).is_some_and(|own| own.ifindex() == port);
        let Some(link) = self.links.get(from, to).filter(|_| own) else { return };
        if link.cut || self.random.random_range(0..100) < link.loss {
            return;
        }
        if link.reset {
            if let Some([back, on]) = frame::resets(frame) {
                self.send(from, &back);
                self.send(to, &on);
            }
            return;
        }
        frame::finish(frame);
        if self.connections.len() > KNOWN {
            self.connections.clear();
        }
        match frame::connection(frame) {
            Some((ports, Some(reset))) => drop(self.connections.insert((from, to, ports), reset)),
            Some((ports, None)) => drop(self.connections.remove(&(from, to, ports))),
            None => {}
        }
        let copies = if self.random.random_range(0..100) < link.twice { 2 } else { 1 };
        for _ in 0..copies {
            if link.delay + link.jitter == Duration::ZERO {
                self.send(to, frame);
                continue;
            }
            let jitter = self.random.random_range(0..=stamp::nanos(link.jitter));
            self.frames += 1;
            let due = stamp::now() + stamp::nanos(link.delay) + jitter;
            self.waiting.push(Reverse((due, self.frames, to, frame.to_vec())));
        }
    }

    /// Also the idle ones, on which no packet would be answered.
    fn reset_connections(&mut self) {
        let resets = std::mem::take(&mut *self.links.resets.lock().unwrap_or_else(PoisonError::into_inner));
        for (from, to) in resets {
            let named: Vec<_> = self.connections.extract_if(|key, _| (key.0, key.1) == (from, to)).collect();
            named.iter().for_each(|(_, reset)| self.send(to, reset));
        }
    }

    /// What cannot be sent is lost.
    fn send(&self, to: u8, frame: &[u8]) {
        if let Some(port) = self.ports.get(usize::from(to).wrapping_sub(1)) {
            let _ = sendto(self.socket.as_raw_fd(), frame, port, MsgFlags::empty());
        }
    }
}
