//! The table at the end.

use std::collections::BTreeMap;
use std::fmt;

use crate::judge::{Life, SLACK, Span, Verdict, Violation};
use crate::nemesis::{Fault, Round};
use crate::sizes::{self, Growth};
use crate::stamp::ms;

/// After healing, somebody's guard says yes within this. Four longest election timeouts and a promise are 1.35 s.
pub const LEADERLESS_MAX: u64 = 2_000_000_000;
/// In the name of each life of a twin.
const TWIN: &str = "-twin.";
/// A fault may be felt so long after its end, where sizes are compared.
const ECHO: u64 = 1_000_000_000;

/// All that a run has shown.
pub struct Report {
    rounds: Vec<Round>,
    /// For each round, from healing to the first moment at which a guard said yes; none if it never did again.
    leaderless: Vec<Option<u64>>,
    verdict: Verdict,
    growth: Growth,
    ended: Vec<String>,
    /// What was wrong, the earliest first.
    pub violations: Vec<Violation>,
    /// What was wrong between a member and its twin: two processes on copies of one disk are outside what is guaranteed (D4).
    pub twins: Vec<Violation>,
}

impl Report {
    /// Puts together what was judged. Twins are judged as members are if it is `strict`.
    pub fn new(rounds: Vec<Round>, lives: &[Life], verdict: Verdict, ended: Vec<String>, strict: bool) -> Report {
        let faults: Vec<Span> =
            rounds.iter().map(|round| Span { from: round.begun, to: round.healed + ECHO }).collect();
        let growth = sizes::compare(lives, &faults);
        let leaderless: Vec<Option<u64>> = rounds.iter().map(|round| leaderless(&verdict.sure, round.healed)).collect();
        let mut violations = verdict.violations.clone();
        violations.extend(growth.violations.clone());
        for (round, leaderless) in rounds.iter().zip(&leaderless) {
            let late = match (leaderless, &round.missed) {
                (_, Some(missed)) => missed.clone(),
                (Some(time), None) if *time > LEADERLESS_MAX => format!("nobody was exclusive for {:.0} ms", ms(*time)),
                _ => continue,
            };
            let text = format!("after {}: {late}", names(round));
            violations.push(Violation { rule: "leader", at: round.healed, text });
        }
        violations.sort_by_key(|violation| violation.at);
        let (twins, violations) =
            violations.into_iter().partition(|violation| !strict && violation.text.contains(TWIN));
        Report { rounds, leaderless, verdict, growth, ended, violations, twins }
    }

    /// Which faults were there at that moment, or had been healed less than a second before.
    pub fn faults_at(&self, at: u64) -> String {
        let there = self.rounds.iter().filter(|round| round.begun <= at && at <= round.healed + ECHO);
        there.map(names).collect::<Vec<_>>().join("; ")
    }

    /// Whether work was found to go on beside a newer leader: what the control must show.
    pub fn finds_overlaps(&self) -> bool {
        self.violations.iter().any(|violation| violation.rule == "E1")
    }
}

fn names(round: &Round) -> String {
    round.faults.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// From `healed` to the first *yes* after it.
fn leaderless(sure: &[u64], healed: u64) -> Option<u64> {
    let next = sure.partition_point(|at| *at < healed);
    Some(sure.get(next)? - healed)
}

/// Percentiles in milliseconds: p50, p99, the largest.
fn percentiles(mut values: Vec<u64>) -> String {
    values.sort_unstable();
    let at = |percent: usize| values.get((values.len() * percent / 100).min(values.len().saturating_sub(1)));
    let [p50, p99, max] = [50, 99, 100].map(|percent| at(percent).map_or(0.0, |value| ms(*value)));
    format!("{p50:7.0} {p99:7.0} {max:7.0}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<Fault, Vec<Option<u64>>> = BTreeMap::new();
        for (round, leaderless) in self.rounds.iter().zip(&self.leaderless) {
            for fault in &round.faults {
                kinds.entry(*fault).or_default().push(*leaderless);
            }
        }
        writeln!(f, "{:<24}{:>6}   leaderless after healing, ms", "fault", "times")?;
        writeln!(f, "{:<24}{:>6} {:>7} {:>7} {:>7}", "", "", "p50", "p99", "max")?;
        for (fault, times) in &kinds {
            let count = times.len();
            writeln!(f, "{fault:<24}{count:>6} {}", percentiles(times.iter().flatten().copied().collect()))?;
        }
        let all: Vec<u64> = self.leaderless.iter().flatten().copied().collect();
        writeln!(f, "{:<24}{:>6} {}", "all rounds", self.rounds.len(), percentiles(all))?;
        let overruns = &self.verdict.overruns;
        let longest = overruns.iter().copied().max().unwrap_or(0);
        writeln!(f, "acts written            {:>9}", self.verdict.acts)?;
        writeln!(f, "guards that said yes    {:>9}", self.verdict.answers)?;
        writeln!(f, "leaderships             {:>9}", self.verdict.offices)?;
        let allowed = ms(SLACK);
        writeln!(
            f,
            "overruns after a stop   {:>9}   ran on for {:.1} ms at most, {allowed:.0} are allowed",
            overruns.len(),
            ms(longest)
        )?;
        let Growth { lives, rss_kib, descriptors, .. } = &self.growth;
        writeln!(
            f,
            "lives of 15 s or more   {lives:>9}   gained {rss_kib} KiB and {descriptors} descriptors at most, {} and {} are allowed",
            sizes::RSS_KIB_MAX,
            sizes::DESCRIPTORS_MAX
        )?;
        writeln!(f, "ended by themselves     {:>9}", self.ended.len())?;
        for ended in &self.ended {
            writeln!(f, "    {ended}")?;
        }
        for rule in ["E1", "F1", "leader", "size"] {
            let count = self.violations.iter().filter(|violation| violation.rule == rule).count();
            writeln!(f, "violations of {rule:<10}{count:>9}")?;
        }
        let twins = self.twins.len();
        writeln!(
            f,
            "beside a twin           {twins:>9}   a copied disk is outside what is guaranteed; --strict counts it"
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaderless_time_is_counted_from_healing() {
        assert_eq!(leaderless(&[10, 20, 30], 15), Some(5));
        assert_eq!(leaderless(&[10, 20, 30], 20), Some(0));
        assert_eq!(leaderless(&[10, 20, 30], 31), None);
    }

    #[test]
    fn a_leader_that_comes_too_late_is_found() {
        let round = |healed, missed| Round { faults: vec![Fault::Kill], begun: 0, healed, missed };
        let verdict = Verdict { sure: vec![5, LEADERLESS_MAX + 11], ..Verdict::default() };
        let rounds = vec![round(10, None), round(11, None), round(LEADERLESS_MAX + 11, Some("no vote".to_owned()))];
        let report = Report::new(rounds, &[], verdict, Vec::new(), false);
        let found: Vec<u64> = report.violations.iter().map(|violation| violation.at).collect();
        assert_eq!(found, [10, LEADERLESS_MAX + 11]);
    }

    #[test]
    fn twins_are_told_apart_unless_it_is_strict() {
        let wrong = |text: &str| Violation { rule: "E1", at: 1, text: text.to_owned() };
        let violations =
            vec![wrong("a.1 under fence 1, b.1 under fence 2"), wrong("a.1 under fence 1, a-twin.2 under fence 2")];
        let verdict = Verdict { violations, ..Verdict::default() };
        let found = |strict| {
            let report = Report::new(Vec::new(), &[], verdict.clone(), Vec::new(), strict);
            (report.violations.len(), report.twins.len())
        };
        assert_eq!((found(false), found(true)), ((1, 1), (2, 0)));
    }
}
