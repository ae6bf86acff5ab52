//! Checks the protocol within the bounds that the arguments give, and says how many states that took.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hustings_model::explore;
use hustings_model::properties::HARM;
use hustings_model::{Fault, Protocol, Setup};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

const USAGE: &str = "\
usage: hustings-model [--servers 3] [--spare] [--terms 3] [--crashes 0|any] [--wipes 0] [--changes 0] [--records 1]
                      [--lost MASK] [--prompt] [--symmetry] [--witness] [--candidates MASK,..] [--fault NAME] [--harm]
                      [--engine stateright|packed] [--threads 1]

  --servers     voters of the first record, 1 to 5; --spare is one more server, that waits to be added
  --terms       the last term, at most 4
  --crashes     how many restarts; any is as many as there may be
  --wipes       how many disks are lost
  --lost        whose disk may be lost, a bit for each server
  --changes     how many voters are added or removed
  --records     how many records a leader creates, its no-op included, at most 3
  --prompt      servers that neither stand nor lead write at once
  --symmetry    states that differ in the names of the servers are one
  --witness     remembers how a record was learned
  --candidates  who may stand in each term, a bit for each server
  --fault       a rule that is not kept; --harm goes on until users would see it
  --engine      packed needs less memory, and shows no path";

/// How often it says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Command::parse(&arguments) {
        Ok(command) if command.packed => command.search(),
        Ok(command) => command.check(),
        Err(what) => {
            eprintln!("{what}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

struct Command {
    setup: Setup,
    packed: bool,
    harm: bool,
    threads: usize,
}

impl Command {
    fn parse(arguments: &[String]) -> Result<Command, String> {
        let mut command = Command { setup: Setup::new(3), packed: false, harm: false, threads: 1 };
        let setup = &mut command.setup;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().map(String::as_str).ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--servers" => setup.voters = number(value()?, 1..=5)?,
                "--spare" => setup.spare = true,
                "--terms" => setup.terms = number(value()?, 1..=4)?,
                "--crashes" => {
                    let most = value()?;
                    setup.crashes = if most == "any" { None } else { Some(number(most, 0..=255)?) };
                }
                "--wipes" => setup.wipes = number(value()?, 0..=10)?,
                "--lost" => setup.lost = number(value()?, 0..=255)?,
                "--changes" => setup.changes = number(value()?, 0..=8)?,
                "--records" => setup.records = number(value()?, 1..=3)?,
                "--prompt" => setup.prompt = true,
                "--symmetry" => setup.symmetry = true,
                "--witness" => setup.witness = true,
                "--candidates" => {
                    for (mask, text) in setup.candidates.iter_mut().zip(value()?.split(',')) {
                        *mask = number(text, 0..=255)?;
                    }
                }
                "--fault" => {
                    let name = value()?;
                    let fault = Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name);
                    setup.fault = Some(fault.ok_or(format!("no such fault: {name}; there are {:?}", Fault::ALL))?);
                }
                "--harm" => command.harm = true,
                "--engine" => command.packed = value()? == "packed",
                "--threads" => command.threads = usize::from(number(value()?, 1..=64)?),
                _ => return Err(format!("unknown argument: {argument}")),
            }
        }
        match command.setup.servers() {
            6.. => Err("there are at most five servers, the spare one included".into()),
            _ => Ok(command),
        }
    }

    fn check(self) -> ExitCode {
        let began = Instant::now();
        let until = match self.harm {
            true => HasDiscoveries::AnyOf(HARM.into_iter().collect()),
            false => HasDiscoveries::AnyFailures,
        };
        println!("{:?}", self.setup);
        let model = Protocol::new(self.setup);
        let properties = model.properties();
        let checker = model.checker().threads(self.threads).finish_when(until).spawn_bfs();
        let mut tell_at = PROGRESS;
        while !checker.is_done() {
            std::thread::sleep(Duration::from_millis(20));
            if began.elapsed() < tell_at {
                continue;
            }
            tell_at += PROGRESS;
            eprintln!(
                "{:.0?}: {} states, depth {}",
                began.elapsed(),
                checker.unique_state_count(),
                checker.max_depth()
            );
        }
        let checker = checker.join();
        let (states, steps, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
        println!("{states} states, {steps} steps, depth {depth}, {:.1?}{}", began.elapsed(), memory());
        let found = checker.discoveries();
        let mut failed = false;
        for property in properties {
            let path = found.get(property.name);
            match (property.expectation, path) {
                (Expectation::Always, None) => println!("holds    {}", property.name),
                (Expectation::Always, Some(path)) => {
                    failed = true;
                    println!("BROKEN   {}, by {:#?}", property.name, path.clone().into_actions());
                }
                (_, Some(path)) => {
                    println!("reached  {}, in {} steps", property.name, path.clone().into_actions().len())
                }
                (_, None) => {
                    failed = true;
                    println!("MISSING  {}", property.name);
                }
            }
        }
        ExitCode::from(u8::from(failed))
    }

    fn search(self) -> ExitCode {
        let began = Instant::now();
        println!("{:?}", self.setup);
        let found = explore::search(&Protocol::new(self.setup), |found, next| {
            eprintln!("{:.0?}: {} states, depth {}, {next} ahead", began.elapsed(), found.states, found.depth);
        });
        let explore::Found { states, steps, depth, .. } = found;
        println!("{states} states, {steps} steps, depth {depth}, {:.1?}{}", began.elapsed(), memory());
        found.broken.iter().for_each(|name| println!("BROKEN   {name}"));
        found.reached.iter().for_each(|name| println!("reached  {name}"));
        found.missing.iter().for_each(|name| println!("MISSING  {name}"));
        ExitCode::from(u8::from(!found.broken.is_empty() || !found.missing.is_empty()))
    }
}

fn number(text: &str, permitted: std::ops::RangeInclusive<u8>) -> Result<u8, String> {
    let (least, most) = permitted.clone().into_inner();
    let number = text.parse().ok().filter(|number| permitted.contains(number));
    number.ok_or(format!("{text} is no number from {least} to {most}"))
}

/// The most memory that this process had, where the system says so.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or(String::new(), |peak| format!(", {} at most", peak.trim()))
}
