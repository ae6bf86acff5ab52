//! A script without one of its nodes.

use crate::node::Input;
use crate::sim::story::command::{Command, Inject, Setting, Stray, Way};

/// The same setting and commands without the machine at `at`; the others keep their order. `None` if none would be left.
pub(super) fn without_node(setting: &Setting, commands: &[Command], at: usize) -> Option<(Setting, Vec<Command>)> {
    let mut setting = setting.clone();
    let name = setting.names().get(at)?.to_string();
    let founders = setting.founders() - usize::from(at < setting.founders());
    setting.nodes.remove(at);
    if founders == 0 {
        return None;
    }
    setting.founders = (founders < setting.nodes.len()).then_some(founders);
    let cut = Cut { at, name };
    setting.priorities = setting.priorities.iter().filter_map(|(node, p)| Some((cut.node(*node)?, *p))).collect();
    let strays = setting.strays.iter().filter_map(|stray| Some(Stray { node: cut.node(stray.node)?, ..stray.clone() }));
    setting.strays = strays.collect();
    Some((setting, commands.iter().filter_map(|command| cut.command(command)).collect()))
}

struct Cut {
    at: usize,
    name: String,
}

impl Cut {
    /// `None` if nothing of it is left.
    // tidy: a table, one arm for each command
    fn command(&self, command: &Command) -> Option<Command> {
        Some(match command {
            Command::Start(nodes) => Command::Start(self.nodes(nodes)?),
            Command::Kill(nodes, death) => Command::Kill(self.nodes(nodes)?, *death),
            Command::Wipe(at) => Command::Wipe(self.node(*at)?),
            Command::Lose(at) => Command::Lose(self.node(*at)?),
            Command::Pause(at, length) => Command::Pause(self.node(*at)?, *length),
            Command::Tell(at, input) => Command::Tell(self.node(*at)?, self.input(input)?),
            Command::Links(ways, change) => Command::Links(self.ways(ways)?, change.clone()),
            Command::Reset(ways) => Command::Reset(self.ways(ways)?),
            Command::Refuse(ways) => Command::Refuse(self.ways(ways)?),
            Command::Disk(nodes, change) => Command::Disk(self.nodes(nodes)?, change.clone()),
            Command::Clock(at, ppm) => Command::Clock(self.node(*at)?, *ppm),
            Command::Boot(at, reading, ppm) => Command::Boot(self.node(*at)?, *reading, *ppm),
            Command::Work(nodes, manners) => Command::Work(self.nodes(nodes)?, manners.clone()),
            Command::Version(at, version) => Command::Version(self.node(*at)?, *version),
            Command::Inject(inject) => {
                let way = (self.node(inject.way.0)?, self.node(inject.way.1)?);
                Command::Inject(Inject { way, ..inject.clone() })
            }
            // Conditions name nodes by number in many ways, and no seed makes one.
            Command::RunUntil(..) | Command::Expect(_) => return None,
            Command::Set
            | Command::Retime(_)
            | Command::Faults(_)
            | Command::Calm
            | Command::Require(_)
            | Command::Run(_)
            | Command::Mark
            | Command::Show(_) => command.clone(),
        })
    }

    fn node(&self, node: usize) -> Option<usize> {
        match node.cmp(&self.at) {
            std::cmp::Ordering::Less => Some(node),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(node - 1),
        }
    }

    fn nodes(&self, nodes: &[usize]) -> Option<Vec<usize>> {
        let left: Vec<usize> = nodes.iter().filter_map(|node| self.node(*node)).collect();
        (!left.is_empty()).then_some(left)
    }

    fn ways(&self, ways: &[Way]) -> Option<Vec<Way>> {
        let left: Vec<Way> = ways.iter().filter_map(|(from, to)| Some((self.node(*from)?, self.node(*to)?))).collect();
        (!left.is_empty()).then_some(left)
    }

    fn input(&self, input: &Input) -> Option<Input> {
        let to_it = match input {
            Input::Transfer(Some(to)) | Input::AddMember(to) | Input::RemoveMember(to) => to.as_str() == self.name,
            _ => false,
        };
        (!to_it).then(|| input.clone())
    }
}
