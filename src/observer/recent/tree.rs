//! A summary as a tree of text.

use std::fmt;
use std::time::Duration;

use super::{Answered, Asked, Campaign, ElectionSummary, Establishing, Given, Part, Question, Round};
use crate::event::notation::Answer;
use crate::event::{Outcome, Trigger};
use crate::message::{RequestKind, Verdict};
use crate::types::{Millis, NodeId, Time};

/// A tree: what happened, how long it took, and the single answers below.
impl fmt::Display for ElectionSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "election {} of {}", self.term, self.candidate)?;
        let branches = match &self.part {
            Part::Candidate(campaign) => {
                self.head_of_campaign(f, campaign)?;
                branches_of_campaign(&self.node, campaign)
            }
            Part::Voter(asked) => {
                self.head_of_voter(f, asked)?;
                branches_of_voter(asked)
            }
        };
        draw(f, &branches)
    }
}

impl ElectionSummary {
    fn head_of_campaign(&self, f: &mut fmt::Formatter<'_>, campaign: &Campaign) -> fmt::Result {
        match campaign.outcome {
            Some((outcome, at)) => write!(f, ": {outcome} in {}", Millis(at.since(self.started)))?,
            None => f.write_str(": open")?,
        }
        f.write_str(" (")?;
        if campaign.attempt > 1 {
            write!(f, "attempt {}; ", campaign.attempt)?;
        }
        write!(f, "{}", campaign.trigger)?;
        match (&campaign.waited, campaign.trigger) {
            (Some(waited), Trigger::ElectionTimeout) => write!(f, " {waited}")?,
            (Some(waited), _) => write!(f, " after {waited}")?,
            (None, _) => {}
        }
        if let Some((leader, term)) = &campaign.previous {
            write!(f, "; leader {leader} of {term}")?;
            if let Some(contact) = campaign.last_contact {
                write!(f, " last heard {} before", Millis(self.started.since(contact)))?;
            }
        }
        if let Some(gap) = campaign.establishing.as_ref().and_then(|e| e.leaderless) {
            write!(f, "; leaderless {}", Millis(gap))?;
        }
        f.write_str(")")?;
        if let Some(wait) = campaign.retry_in {
            write!(f, ", retry in {}", Millis(wait))?;
        }
        match &campaign.leader {
            Some((leader, term, at)) if *leader != self.candidate => {
                write!(f, ", {leader} leads {term} after {}", Millis(at.since(self.started)))
            }
            _ => Ok(()),
        }
    }

    fn head_of_voter(&self, f: &mut fmt::Formatter<'_>, asked: &Asked) -> fmt::Result {
        write!(f, ", seen by {}: ", self.node)?;
        match &asked.leader {
            Some((leader, at)) => write!(f, "{leader} leads after {}", Millis(at.since(self.started))),
            None => write!(f, "no leader of {} heard", self.term),
        }
    }
}

/// A line of the tree in three columns, and the lines below it.
struct Branch {
    columns: [String; 3],
    leaves: Vec<[String; 3]>,
}

fn branches_of_campaign(node: &NodeId, campaign: &Campaign) -> Vec<Branch> {
    let mut branches: Vec<Branch> = campaign.rounds.iter().map(|round| of_round(node, round)).collect();
    if campaign.rounds_left_out > 0 {
        let text = format!("{} in between", campaign.rounds_left_out);
        let at = branches.len() / 2;
        branches.insert(at, Branch { columns: ["rounds left out".into(), String::new(), text], leaves: Vec::new() });
    }
    if let Some(establishing) = &campaign.establishing {
        branches.push(of_establishing(node, establishing, campaign));
        branches.extend(of_exclusivity(establishing));
        if let Some((cause, at)) = campaign.office_ended {
            branches.push(leafless("office over", Some(at.since(establishing.elected)), cause.to_string()));
        }
    }
    branches
}

fn of_round(node: &NodeId, round: &Round) -> Branch {
    let name = if round.pre_vote { "pre-vote" } else { "vote" };
    let needed = format!("{} of {} needed", round.quorum, round.voters);
    let text = match &round.decided {
        Some(decided) => {
            let how = if decided.won { "won" } else { "not won" };
            format!("{how}: {} granted, {} refused, {needed}", decided.granted, decided.denied)
        }
        None => format!("open: {needed}"),
    };
    let own = round.own_vote.map(|took| own(node, "own vote on disk", took));
    let asked = round.requests.iter().map(|question| of_question(question, "granted", round.decided.is_some()));
    let adopted =
        round.adopted.iter().map(|(record, from)| [from.to_string(), format!("gave record {record}"), String::new()]);
    Branch {
        columns: [format!("{name} {}", round.asked_term), millis(round.took()), text],
        leaves: own.into_iter().chain(asked).chain(adopted).collect(),
    }
}

fn of_establishing(node: &NodeId, establishing: &Establishing, campaign: &Campaign) -> Branch {
    let lost = campaign.outcome.is_some_and(|(outcome, _)| outcome != Outcome::Won) || campaign.office_ended.is_some();
    let text = match (establishing.established, lost) {
        (Some(_), _) => "no-op committed",
        (None, true) => "no-op not committed",
        (None, false) => "open",
    };
    let own = establishing.own_record.map(|took| own(node, "own record on disk", took));
    let over = establishing.established.is_some() || lost;
    let asked = establishing.requests.iter().map(|question| of_question(question, "accepted", over));
    let took = establishing.established.map(|at| at.since(establishing.elected));
    Branch { columns: ["establish".into(), millis(took), text.into()], leaves: own.into_iter().chain(asked).collect() }
}

fn of_exclusivity(establishing: &Establishing) -> Option<Branch> {
    let since = |at: Time| at.since(establishing.elected);
    match (establishing.exclusive, establishing.barrier) {
        (Some(at), barrier) if barrier.is_zero() => {
            Some(leafless("exclusive", Some(since(at)), "nothing was owed to former leaders".into()))
        }
        (Some(at), barrier) => {
            let text = format!("since the election; {} were owed to former leaders", Millis(barrier));
            Some(leafless("exclusive", Some(since(at)), text))
        }
        (None, barrier) if barrier.is_zero() => None,
        (None, barrier) => {
            let text = format!("not yet: {} were owed to former leaders at the election", Millis(barrier));
            Some(leafless("exclusive", None, text))
        }
    }
}

fn branches_of_voter(asked: &Asked) -> Vec<Branch> {
    let left_out = (asked.answers_left_out > 0)
        .then(|| leafless("left out", None, format!("{} earlier answers", asked.answers_left_out)));
    left_out.into_iter().chain(asked.answers.iter().map(of_answer)).collect()
}

fn of_answer(given: &Given) -> Branch {
    let name = match given.kind {
        RequestKind::PreVote => "pre-vote",
        RequestKind::RequestVote => "vote",
        RequestKind::AppendEntries | RequestKind::TimeoutNow | RequestKind::Resign => "request",
    };
    let answer = Answer { verdict: &given.verdict, remainder: given.remainder };
    let disk = given.disk.map(|took| format!(" (disk {})", Millis(took))).unwrap_or_default();
    leafless(name, Some(given.worked), format!("{answer}{disk}"))
}

fn leafless(name: &str, took: Option<Duration>, text: String) -> Branch {
    Branch { columns: [name.into(), millis(took), text], leaves: Vec::new() }
}

fn own(node: &NodeId, what: &str, took: Duration) -> [String; 3] {
    [node.to_string(), what.into(), Millis(took).to_string()]
}

fn of_question(question: &Question, yes: &str, decided: bool) -> [String; 3] {
    let to = question.to.to_string();
    match &question.answer {
        Answered::Open if decided => [to, "silent".into(), String::new()],
        Answered::Open => [to, "open".into(), String::new()],
        Answered::Reply { verdict, remainder, round_trip, worked, late } => {
            let mut words = Answer { verdict, remainder: *remainder }.to_string();
            if *verdict == Verdict::Granted {
                words = words.replacen("granted", yes, 1);
            }
            if *late {
                words.push_str(", late");
            }
            [to, words, format!("{} (worked {})", Millis(*round_trip), Millis(*worked))]
        }
        Answered::Failed { error, after } => [to, format!("no answer: {error}"), Millis(*after).to_string()],
    }
}

fn millis(took: Option<Duration>) -> String {
    took.map(|took| Millis(took).to_string()).unwrap_or_default()
}

fn draw(f: &mut fmt::Formatter<'_>, branches: &[Branch]) -> fmt::Result {
    let widths = widths(branches.iter().map(|branch| &branch.columns));
    for (at, branch) in branches.iter().enumerate() {
        let last = at + 1 == branches.len();
        row(f, if last { "└─ " } else { "├─ " }, &branch.columns, widths)?;
        let leaf_widths = self::widths(branch.leaves.iter());
        for (at, leaf) in branch.leaves.iter().enumerate() {
            let trunk = if last { "   " } else { "│  " };
            let fork = if at + 1 == branch.leaves.len() { "└─ " } else { "├─ " };
            row(f, &format!("{trunk}{fork}"), leaf, leaf_widths)?;
        }
    }
    Ok(())
}

/// The widths of the first two columns; the third ends the line.
fn widths<'a>(rows: impl Iterator<Item = &'a [String; 3]>) -> [usize; 2] {
    rows.fold([0, 0], |[first, second], row| [first.max(row[0].chars().count()), second.max(row[1].chars().count())])
}

fn row(f: &mut fmt::Formatter<'_>, trunk: &str, columns: &[String; 3], [first, second]: [usize; 2]) -> fmt::Result {
    let [name, middle, end] = columns;
    let line = format!("{trunk}{name:<first$}  {middle:<second$}  {end}");
    // A caller's text may hold line breaks (the message of an error): the tree stays a tree.
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    write!(f, "\n{}", line.trim_end())
}
