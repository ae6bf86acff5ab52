//! From commands to text: the reverse of parsing, so that whatever a machine did can be told.

use std::fmt::Write;
use std::time::Duration;

use super::command::{Change, Command, DiskChange, Inject, Require, Setting, Show, Stray, Way};
use crate::config::Timing;
use crate::message::RequestBody;
use crate::node::Input;
use crate::record::RecordId;
use crate::sim::{Death, DiskManners, Faults, Link, Manners, StartWhen};
use crate::types::Term;

/// A script: its setting and its commands, a line each.
pub(crate) fn script(setting: &Setting, commands: &[Command]) -> String {
    let mut lines = self::setting(setting);
    let printer = Printer { names: setting.names() };
    lines.extend(commands.iter().flat_map(|command| printer.command(command)));
    lines.join("\n") + "\n"
}

fn setting(setting: &Setting) -> Vec<String> {
    let mut lines = vec![format!("nodes {}", setting.nodes.join(" "))];
    if setting.founders.is_some() {
        lines.push(format!("founders {}", setting.nodes[..setting.founders()].join(" ")));
    }
    lines.push(format!("seed {}", setting.seed));
    lines.push(format!("timing {}", timing(&setting.timing)));
    let names = setting.names();
    lines.extend(setting.priorities.iter().map(|(at, priority)| format!("priority {} {priority}", names[*at])));
    if setting.trust_refused {
        lines.push("trust refused".to_owned());
    }
    if setting.volatile {
        lines.push("volatile".to_owned());
    }
    lines.extend(setting.strays.iter().map(|stray| self::stray(names[stray.node], stray)));
    lines
}

fn stray(name: &str, stray: &Stray) -> String {
    let cluster = stray.cluster.as_ref().map(|cluster| format!(" cluster={cluster}")).unwrap_or_default();
    let timing = stray.timing.as_ref().map(|times| format!(" {}", timing(times))).unwrap_or_default();
    format!("stray {name}{cluster}{timing}")
}

/// The heartbeat, and what does not follow from it.
fn timing(timing: &Timing) -> String {
    let plain = Timing::of(timing.heartbeat);
    let mut text = format!("heartbeat={}", duration(timing.heartbeat));
    let (min, max) = (timing.election_timeout_min, timing.election_timeout_max);
    if (min, max) != (plain.election_timeout_min, plain.election_timeout_max) {
        let _ = write!(text, " election={}", range((min, max)));
    }
    for (key, value, usual) in [
        ("promise", timing.promise, plain.promise),
        ("promise_max", timing.promise_max, plain.promise_max),
        ("round_trip_max", timing.round_trip_max, plain.round_trip_max),
        ("slot", timing.succession_slot, plain.succession_slot),
    ] {
        if value != usual {
            let _ = write!(text, " {key}={}", duration(value));
        }
    }
    if timing.drift_ppm != plain.drift_ppm {
        let _ = write!(text, " drift={}ppm", timing.drift_ppm);
    }
    text
}

struct Printer<'a> {
    names: Vec<&'a str>,
}

impl Printer<'_> {
    // tidy: a table, one arm for each command
    fn command(&self, command: &Command) -> Vec<String> {
        let name = |at: &usize| self.names[*at];
        vec![match command {
            Command::Set => return Vec::new(),
            Command::Start(nodes) => format!("start {}", self.nodes(nodes)),
            Command::Kill(nodes, Death::Killed) => format!("crash {}", self.nodes(nodes)),
            Command::Kill(nodes, Death::Vanished) => format!("vanish {}", self.nodes(nodes)),
            Command::Wipe(at) => format!("wipe {}", name(at)),
            Command::Lose(at) => format!("lose {}", name(at)),
            Command::Retime(times) => format!("retime {}", timing(times)),
            Command::Pause(at, length) => format!("pause {} {}", name(at), duration(*length)),
            Command::Tell(at, input) => return order(name(at), input).into_iter().collect(),
            Command::Links(ways, change) => {
                let (verb, how) = link(change);
                return self.ways(ways).iter().map(|ways| format!("{verb} {ways}{how}")).collect();
            }
            Command::Reset(ways) => return self.ways(ways).iter().map(|ways| format!("reset {ways}")).collect(),
            Command::Refuse(ways) => return self.ways(ways).iter().map(|ways| format!("refuse {ways}")).collect(),
            Command::Disk(nodes, change) => match change {
                DiskChange::Write(time) => format!("disk {} {}", self.nodes(nodes), duration(*time)),
                DiskChange::Fail => format!("fail disk {}", self.nodes(nodes)),
                DiskChange::Heal => format!("heal disk {}", self.nodes(nodes)),
                DiskChange::Manners(manners) => format!("disk {} {}", self.nodes(nodes), disk(manners)),
            },
            Command::Clock(at, ppm) => format!("clock {} {ppm}ppm", name(at)),
            Command::Boot(at, reading, ppm) => {
                format!("boot {} {} {ppm}ppm", name(at), duration(Duration::from_nanos(reading.0)))
            }
            Command::Work(nodes, manners) => work(&self.nodes(nodes), manners),
            Command::Faults(faults) => format!("faults{}", self::faults(faults)),
            Command::Version(at, version) => format!("version {} {version}", name(at)),
            Command::Inject(inject) => self.inject(inject),
            Command::Calm => "calm".to_owned(),
            Command::Require(require) => self::require(*require),
            Command::Run(length) => format!("run {}", duration(*length)),
            Command::RunUntil(condition, limit) => {
                format!("run until {} within {}", condition.text, duration(*limit))
            }
            Command::Mark => "mark".to_owned(),
            Command::Show(show) => format!("show {}", shown(*show)),
            Command::Expect(expectation) => format!("expect {}", expectation.text),
        }]
    }

    fn nodes(&self, nodes: &[usize]) -> String {
        nodes.iter().map(|at| self.names[*at]).collect::<Vec<_>>().join(" ")
    }

    /// In the shortest form there is; one way a line where there is none.
    fn ways(&self, ways: &[Way]) -> Vec<String> {
        let Some((a, b)) = ways.first().copied() else { return Vec::new() };
        if ways.len() == self.names.len() * (self.names.len() - 1) {
            return vec!["all".to_owned()];
        }
        if ways.iter().all(|(from, _)| *from == a) {
            let to: Vec<usize> = ways.iter().map(|(_, to)| *to).collect();
            return vec![format!("{} -> {}", self.names[a], self.nodes(&to))];
        }
        if ways.iter().all(|(_, to)| *to == b) {
            let from: Vec<usize> = ways.iter().map(|(from, _)| *from).collect();
            return vec![format!("{} -> {}", self.nodes(&from), self.names[b])];
        }
        let others: Vec<usize> = (0..self.names.len()).filter(|at| ways.contains(&(a, *at))).collect();
        let both = |at: &usize| ways.contains(&(*at, a));
        if ways.contains(&(b, a)) && ways.len() == 2 * others.len() && others.iter().all(both) {
            return vec![format!("{} - {}", self.names[a], self.nodes(&others))];
        }
        ways.iter().map(|(from, to)| format!("{} -> {}", self.names[*from], self.names[*to])).collect()
    }

    fn inject(&self, inject: &Inject) -> String {
        let (from, to) = (self.names[inject.way.0], self.names[inject.way.1]);
        let body = match &inject.body {
            RequestBody::AppendEntries { .. } => "heartbeat",
            RequestBody::PreVote { .. } => "prevote",
            RequestBody::RequestVote { .. } => "vote",
            RequestBody::Resign => "resign",
            RequestBody::TimeoutNow => "timeout_now",
        };
        let mut text = format!("inject {from} -> {to} {body} term={}", inject.term.0);
        if inject.term == Term(u64::MAX) {
            text = format!("inject {from} -> {to} {body} term=max");
        }
        if let Some(name) = &inject.from {
            let _ = write!(text, " from={name}");
        }
        if let Some(cluster) = &inject.cluster {
            let _ = write!(text, " cluster={cluster}");
        }
        if let Some(incarnation) = inject.incarnation {
            let _ = write!(text, " incarnation={incarnation}");
        }
        if let Some(RecordId { term, index }) = inject.last {
            let _ = write!(text, " last={}.{index}", term.0);
        }
        for (at, member) in inject.members.iter().enumerate() {
            let _ = write!(text, "{}{member}", if at == 0 { " members=" } else { "," });
        }
        text
    }
}

/// `None` for what no story can order.
fn order(name: &str, input: &Input) -> Option<String> {
    Some(match input {
        Input::Shutdown => format!("shutdown {name}"),
        Input::Campaign => format!("campaign {name}"),
        Input::Resign => format!("resign {name}"),
        Input::Transfer(None) => format!("transfer {name}"),
        Input::Transfer(Some(to)) => format!("transfer {name} {to}"),
        Input::AddMember(node) => format!("add {name} {node}"),
        Input::RemoveMember(node) => format!("remove {name} {node}"),
        Input::Proclaim(value) => format!("proclaim {name} \"{}\"", String::from_utf8_lossy(value)),
        Input::AskPromise(promise) => format!("ask {name} {}", duration(*promise)),
        _ => return None,
    })
}

fn link(change: &Change) -> (&'static str, String) {
    match change {
        Change::Cut => ("cut", String::new()),
        Change::Heal => ("heal", String::new()),
        Change::Open => ("open", String::new()),
        Change::Stall => ("stall", String::new()),
        Change::Delay(delay) => ("delay", format!(" {}", duration(*delay))),
        Change::Loss(loss) => ("loss", format!(" {loss}")),
        Change::Duplicate(duplicate) => ("duplicate", format!(" {duplicate}")),
        Change::Manners(link) => ("link", manners_of_link(link)),
    }
}

fn manners_of_link(link: &Link) -> String {
    let chances = [("loss", link.loss), ("duplicate", link.duplicate), ("tail", link.tail)];
    let tail = (link.tail > 0.0).then_some(("tail_max", link.tail_max));
    format!(" delay={}{}{}", range(link.delay), pairs(&chances), times(&[tail]))
}

fn disk(disk: &DiskManners) -> String {
    let chances = [("slow", disk.slow), ("fail", disk.fail), ("full", disk.full), ("rot", disk.rot)];
    let slow = (disk.slow > 0.0).then_some(("slow_max", disk.slow_max));
    format!("write={}{}{}", range(disk.write), pairs(&chances), times(&[slow]))
}

fn faults(faults: &Faults) -> String {
    let Faults { crash_in_step, absence, stray_reply, truncate, corrupt, replay, replay_max } = faults;
    let chances = [
        ("crash", *crash_in_step),
        ("stray", *stray_reply),
        ("truncate", *truncate),
        ("corrupt", *corrupt),
        ("replay", *replay),
    ];
    let absence = if *crash_in_step > 0.0 { format!(" absence={}", range(*absence)) } else { String::new() };
    let late = (*replay > 0.0).then_some(("replay_max", *replay_max));
    format!("{}{absence}{}", pairs(&chances), times(&[late]))
}

fn pairs(chances: &[(&str, f64)]) -> String {
    let drawn = chances.iter().filter(|(_, chance)| *chance > 0.0);
    drawn.map(|(key, chance)| format!(" {key}={chance}")).collect()
}

fn times(times: &[Option<(&str, Duration)>]) -> String {
    times.iter().flatten().map(|(key, time)| format!(" {key}={}", duration(*time))).collect()
}

fn work(nodes: &str, manners: &Manners) -> String {
    let Some(start) = manners.start else { return format!("idle {nodes}") };
    let when = if start == StartWhen::Elected { "elected " } else { "" };
    let mut text = format!("work {nodes} {when}hold {}", range(manners.linger));
    if manners.hesitation.1 > Duration::ZERO {
        let _ = write!(text, " after {}", range(manners.hesitation));
    }
    if let Some(length) = manners.length {
        let _ = write!(text, " for {}", range(length));
    }
    text
}

fn require(require: Require) -> String {
    match require {
        Require::Settled(property, limit) => format!("require {property} within {}", duration(limit)),
        Require::Kept(property, length) => format!("require {property} for {}", duration(length)),
        Require::Unmoved => "require V3 since mark".to_owned(),
        Require::Barren(length) => format!("require V4 for {}", duration(length)),
        Require::Silent => "require V5".to_owned(),
        Require::Known => "require V6".to_owned(),
        Require::HandedOver(limit) => format!("require V7 within {}", duration(limit)),
        Require::Resigned(limit) => format!("require V9 within {}", duration(limit)),
        Require::Bounded => "require V10".to_owned(),
        Require::Steady(length) => format!("require V12 for {}", duration(length)),
        Require::Named(limit) => format!("require D2 within {}", duration(limit)),
    }
}

fn shown(show: Show) -> &'static str {
    match show {
        Show::All => "all",
        Show::Brief => "brief",
        Show::Nothing => "nothing",
        Show::Nodes => "nodes",
    }
}

/// One duration where both ends are the same.
fn range((low, high): (Duration, Duration)) -> String {
    if low == high { duration(low) } else { format!("{}..{}", duration(low), duration(high)) }
}

/// Whole microseconds: a story knows nothing finer.
fn duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    if micros > 0 && micros.is_multiple_of(1_000_000) {
        return format!("{}s", micros / 1_000_000);
    }
    let (whole, rest) = (micros / 1000, micros % 1000);
    if rest == 0 { format!("{whole}ms") } else { format!("{whole}.{}ms", format!("{rest:03}").trim_end_matches('0')) }
}
