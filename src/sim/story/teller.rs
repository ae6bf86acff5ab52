//! Runs the commands of a story, and writes what happened below each.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use super::command::{Command, Expectation, Setting, Show};
use super::expect::{Texts, judge};
use super::stage::Stage;
use super::{Failure, OUTPUT, Outcome, Story, Told};
use crate::event::notation::{self, is_routine};
use crate::event::{Event, EventKind};
use crate::sim::{Cluster, Detail};
use crate::types::{NameError, NodeId, Time};

/// How many lines of output a command may have before its middle is left out, and how many stay before and after.
const LINES_MAX: usize = 50;
const HEAD: usize = 34;
const TAIL: usize = 12;

pub(super) fn tell(story: &Story) -> Told {
    let mut text = String::new();
    let mut failures = Vec::new();
    match Teller::new(&story.setting, Detail::Events) {
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

/// Runs a story. Only conditions and expectations need its events.
pub(super) fn run(story: &Story) -> Outcome {
    let commands = || story.lines.iter().filter_map(|line| line.command.as_ref());
    let judged = commands().any(|command| matches!(command, Command::RunUntil(..) | Command::Expect(_)));
    let detail = if judged { Detail::Events } else { Detail::Hash };
    let Ok(mut teller) = Teller::new(&story.setting, detail) else {
        return Outcome { violation: None, fingerprint: 0 };
    };
    for command in commands() {
        if teller.over {
            break;
        }
        teller.obey(command);
    }
    let cluster = teller.cluster();
    Outcome { violation: cluster.violation().cloned(), fingerprint: cluster.fingerprint() }
}

struct Teller {
    stage: Stage,
    width: usize,
    show: Show,
    texts: Texts,
    mark: usize,
    /// How many events are written.
    written: usize,
    /// Lines for the current command, after its events.
    extra: Vec<String>,
    /// Whether nothing that follows can be meant any more.
    over: bool,
}

impl Teller {
    fn new(setting: &Setting, detail: Detail) -> Result<Teller, NameError> {
        let stage = Stage::new(setting, detail)?;
        let width = setting.names().iter().map(|name| name.chars().count()).max().unwrap_or_default();
        Ok(Teller {
            stage,
            width,
            show: Show::Brief,
            texts: Texts::default(),
            mark: 0,
            written: 0,
            extra: Vec::new(),
            over: false,
        })
    }

    /// Carries out one command. Returns what was not as expected.
    fn obey(&mut self, command: &Command) -> Vec<String> {
        let mut failures = Vec::new();
        match command {
            Command::Mark => {
                self.mark = self.cluster().events().len();
                self.stage.obey(command);
            }
            Command::Show(Show::Nodes) => self.show_nodes(),
            Command::Show(show) => self.show = *show,
            Command::RunUntil(expectation, limit) => failures.extend(self.run_until(expectation, *limit)),
            Command::Expect(expectation) => {
                let cluster = &self.stage.cluster;
                self.texts.catch_up(cluster.events());
                let from = if expectation.since_mark { self.mark } else { 0 };
                let judged = judge(expectation, cluster, &self.texts, from);
                failures.extend(judged.err().map(|seen| format!("expected {}, seen: {seen}", expectation.text)));
            }
            command => self.stage.obey(command),
        }
        if let Some(violation) = self.cluster().violation() {
            failures.push(violation.to_string());
            self.over = true;
        }
        failures
    }

    fn cluster(&self) -> &Cluster {
        &self.stage.cluster
    }

    fn run_until(&mut self, expectation: &Expectation, limit: Duration) -> Option<String> {
        let from = if expectation.since_mark { self.mark } else { self.cluster().events().len() };
        let texts = &mut self.texts;
        let mut seen = String::new();
        let reached = self.stage.cluster.run_until(limit, |cluster| {
            texts.catch_up(cluster.events());
            judge(expectation, cluster, texts, from).map_err(|text| seen = text).is_ok()
        });
        self.over |= !reached;
        (!reached).then(|| format!("not reached within {limit:?}: {}, seen: {seen}", expectation.text))
    }

    fn show_nodes(&mut self) {
        let cluster = &self.stage.cluster;
        for at in 0..cluster.len() {
            let (name, width) = (cluster.name(at).as_str(), self.width);
            let mut line = format!("{name:<width$}  ");
            let _ = match cluster.node(at) {
                None => write!(line, "not running"),
                Some(node) => {
                    let leader = node.leader().map_or("none".to_owned(), |leader| leader.to_string());
                    let exclusive = if cluster.is_exclusive(at) { ", exclusive" } else { "" };
                    write!(line, "{} {}, leader {leader}{exclusive}", node.role(), node.term())
                }
            };
            self.extra.push(line);
        }
    }

    /// Writes what has happened since the last time, in the one notation.
    fn write(&mut self, text: &mut String) {
        let events = &self.stage.cluster.events()[self.written..];
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
