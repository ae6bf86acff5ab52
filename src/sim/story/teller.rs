//! Runs the commands of a story, and writes what happened below each.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use super::command::{Change, Command, DiskChange, Expectation, Inject, Setting, Show};
use super::expect::{Texts, judge};
use super::{Failure, OUTPUT, Story, Told};
use crate::event::notation::{self, is_routine};
use crate::event::{Event, EventKind};
use crate::message::{Identity, Request, RequestBody, RequestId};
use crate::node::Input;
use crate::record::{HardState, RecordId};
use crate::sim::host::{Caller, Life};
use crate::sim::{Cluster, Detail, Link, Manners};
use crate::types::{ClusterId, DiskId, Incarnation, NameError, NodeId, Time, TraceContext};

/// How many lines of output a command may have before its middle is left out, and how many stay before and after.
const LINES_MAX: usize = 50;
const HEAD: usize = 34;
const TAIL: usize = 12;

pub(super) fn tell(story: &Story) -> Told {
    let mut text = String::new();
    let mut failures = Vec::new();
    match Teller::new(&story.setting) {
        Ok(mut teller) => {
            for line in &story.lines {
                let _ = writeln!(text, "{}", line.text);
                let Some(command) = &line.command else { continue };
                if teller.over {
                    continue;
                }
                for failure in teller.obey(command) {
                    failures.push(Failure { line: line.number, text: failure });
                }
                teller.write(&mut text);
            }
        }
        // A story without a command has no nodes.
        Err(error) => failures.push(Failure { line: 1, text: error.to_string() }),
    }
    Told { text, failures }
}

struct Teller {
    cluster: Cluster,
    width: usize,
    show: Show,
    texts: Texts,
    mark: usize,
    /// How many events are written.
    written: usize,
    /// Lines for the current command, after its events.
    extra: Vec<String>,
    injected: u64,
    /// Whether nothing that follows can be meant any more.
    over: bool,
}

impl Teller {
    fn new(setting: &Setting) -> Result<Teller, NameError> {
        let names: Vec<&str> = setting.nodes.iter().map(String::as_str).collect();
        let founders = setting.founders.unwrap_or(names.len());
        let mut cluster = Cluster::with_founders(setting.seed, &names, founders, &setting.timing, Detail::Events)?;
        for (node, priority) in &setting.priorities {
            cluster.config(*node).priority = *priority;
        }
        for at in 0..names.len() {
            cluster.config(at).trust_connection_refused = setting.trust_refused;
        }
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
        Ok(Teller {
            cluster,
            width,
            show: Show::Brief,
            texts: Texts::default(),
            mark: 0,
            written: 0,
            extra: Vec::new(),
            injected: 0,
            over: false,
        })
    }

    /// Carries out one command. Returns what was not as expected.
    fn obey(&mut self, command: &Command) -> Vec<String> {
        let mut failures = Vec::new();
        match command {
            Command::Mark => self.mark = self.cluster.events().len(),
            Command::Show(Show::Nodes) => self.show_nodes(),
            Command::Show(show) => self.show = *show,
            Command::Run(duration) => self.cluster.run_for(*duration),
            Command::RunUntil(expectation, limit) => failures.extend(self.run_until(expectation, *limit)),
            Command::Expect(expectation) => {
                self.texts.catch_up(self.cluster.events());
                let from = if expectation.since_mark { self.mark } else { 0 };
                let judged = judge(expectation, &self.cluster, &self.texts, from);
                failures.extend(judged.err().map(|seen| format!("expected {}, seen: {seen}", expectation.text)));
            }
            command => self.change(command),
        }
        if let Some(violation) = self.cluster.violation() {
            failures.push(violation.to_string());
            self.over = true;
        }
        failures
    }

    fn run_until(&mut self, expectation: &Expectation, limit: Duration) -> Option<String> {
        let from = if expectation.since_mark { self.mark } else { self.cluster.events().len() };
        let texts = &mut self.texts;
        let mut seen = String::new();
        let reached = self.cluster.run_until(limit, |cluster| {
            texts.catch_up(cluster.events());
            judge(expectation, cluster, texts, from).map_err(|text| seen = text).is_ok()
        });
        self.over |= !reached;
        (!reached).then(|| format!("not reached within {limit:?}: {}, seen: {seen}", expectation.text))
    }

    fn change(&mut self, command: &Command) {
        let cluster = &mut self.cluster;
        match command {
            Command::Start(nodes) => nodes.iter().for_each(|at| cluster.start(*at)),
            Command::Kill(nodes, death) => nodes.iter().for_each(|at| cluster.crash(*at, *death)),
            Command::Wipe(at) => cluster.wipe(*at),
            Command::Retime(timing) => {
                for at in 0..cluster.len() {
                    cluster.config(at).timing = timing.clone();
                }
            }
            Command::Pause(at, duration) => cluster.pause(*at, *duration),
            Command::Tell(at, input) => cluster.input(*at, input.clone()),
            Command::Links(ways, change) => {
                for (from, to) in ways {
                    change_link(cluster.link(*from, *to), *change);
                }
            }
            Command::Reset(ways) => ways.iter().for_each(|(from, to)| cluster.reset(*from, *to)),
            Command::Disk(at, DiskChange::Write(duration)) => cluster.disk(*at).write = (*duration, *duration),
            Command::Disk(at, DiskChange::Fail) => cluster.disk(*at).fail = 1.0,
            Command::Disk(at, DiskChange::Heal) => cluster.disk(*at).fail = 0.0,
            Command::Clock(at, ppm) => cluster.set_rate(*at, *ppm),
            Command::Work(at, Some((when, hold))) => {
                *cluster.user(*at) = Manners { start: Some(*when), ..Manners::eager(*hold) };
            }
            Command::Work(at, None) => *cluster.user(*at) = Manners::idle(),
            Command::Version(at, version) => cluster.set_version(*at, Some(*version)),
            Command::Inject(inject) => self.inject(inject),
            Command::Set
            | Command::Mark
            | Command::Show(_)
            | Command::Run(_)
            | Command::RunUntil(..)
            | Command::Expect(_) => {}
        }
    }

    /// Lets a message made by hand arrive, as if the transport had authenticated its sender.
    fn inject(&mut self, inject: &Inject) {
        let (from, to) = inject.way;
        self.injected += 1;
        let mut identity = self.identity(from);
        let peer = inject.from.as_ref().and_then(|name| NodeId::new(name).ok());
        identity.node = peer.unwrap_or(identity.node);
        let cluster = inject.cluster.as_ref().and_then(|name| ClusterId::new(name).ok());
        identity.cluster = cluster.unwrap_or(identity.cluster);
        identity.incarnation = inject.incarnation.map_or(identity.incarnation, Incarnation);
        let newest = self.cluster.durable(from).and_then(|state| state.record.as_ref()).map(|record| record.id);
        let mut body = inject.body.clone();
        claim_record(&mut body, inject.last.or(newest));
        // Far above the numbers of the node's own requests, so that no reply is taken for an answer to one of them.
        let id = RequestId(1 << 40 | self.injected);
        let to_name = self.cluster.name(to).clone();
        let peer = Some(identity.node.clone());
        let request = Request { from: Arc::new(identity), to: to_name, id, term: inject.term, body };
        let caller = Caller { host: from, life: Life(0), id };
        let Some(process) = &mut self.cluster.hosts[to].process else { return };
        let call = process.receive_call(caller);
        self.cluster.input(to, Input::Request { call, request, context: TraceContext::NONE, peer });
    }

    fn identity(&mut self, at: usize) -> Identity {
        if let Some(node) = self.cluster.node(at) {
            return Identity::clone(node.identity());
        }
        let unknown = HardState::new(DiskId(1), Duration::ZERO);
        let state = self.cluster.durable(at).cloned().unwrap_or(unknown);
        let config = self.cluster.config(at);
        Identity {
            version: crate::message::PROTOCOL_VERSION,
            cluster: config.cluster.clone(),
            founding: state.founding,
            group: config.group.clone(),
            node: config.node.clone(),
            disk: state.disk,
            incarnation: state.incarnation,
            timing: config.timing.fingerprint(),
            priority: config.priority,
            amnesiac: state.named.is_none(),
        }
    }

    fn show_nodes(&mut self) {
        for at in 0..self.cluster.len() {
            let (name, width) = (self.cluster.name(at).as_str(), self.width);
            let mut line = format!("{name:<width$}  ");
            let _ = match self.cluster.node(at) {
                None => write!(line, "not running"),
                Some(node) => {
                    let leader = node.leader().map_or("none".to_owned(), |leader| leader.to_string());
                    let exclusive = if self.cluster.is_exclusive(at) { ", exclusive" } else { "" };
                    write!(line, "{} {}, leader {leader}{exclusive}", node.role(), node.term())
                }
            };
            self.extra.push(line);
        }
    }

    /// Writes what has happened since the last time, in the one notation.
    fn write(&mut self, text: &mut String) {
        let events = &self.cluster.events()[self.written..];
        self.written += events.len();
        let mut failed = BTreeSet::new();
        let shown = events.iter().filter(|event| match self.show {
            Show::All => true,
            Show::Nothing => false,
            Show::Brief | Show::Nodes => !is_routine(&event.kind) && !is_repeated(event, &mut failed),
        });
        let line = |event| notation::Line { event, origin: Time(1), width: self.width }.to_string();
        let lines: Vec<String> = shown.map(line).chain(self.extra.drain(..)).collect();
        let cut = lines.len() > LINES_MAX && self.show != Show::All;
        for (at, line) in lines.iter().enumerate() {
            if cut && at == HEAD {
                let _ = writeln!(text, "{OUTPUT}    ... {} lines ...", lines.len() - HEAD - TAIL);
            }
            if !cut || at < HEAD || at >= lines.len() - TAIL {
                let _ = writeln!(text, "{OUTPUT} {line}");
            }
        }
    }
}

/// In brief, calls to somebody who is away are told once for each command.
fn is_repeated(event: &Event, failed: &mut BTreeSet<(NodeId, NodeId, String)>) -> bool {
    let EventKind::CallFailed { to, kind, error, .. } = &event.kind else { return false };
    !failed.insert((event.who.node.clone(), to.clone(), format!("{kind} {error}")))
}

fn change_link(link: &mut Link, change: Change) {
    match change {
        Change::Cut => link.cut = true,
        Change::Heal => *link = Link::steady(Duration::from_millis(1)),
        Change::Delay(delay) => link.delay = (delay, delay),
        Change::Loss(loss) => link.loss = loss,
        Change::Duplicate(duplicate) => link.duplicate = duplicate,
    }
}

fn claim_record(body: &mut RequestBody, newest: Option<RecordId>) {
    match body {
        RequestBody::PreVote { last } | RequestBody::RequestVote { last, .. } => *last = newest,
        _ => {}
    }
}
