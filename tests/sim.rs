//! Thousands of seeds of the simulator. A failing seed prints how to replay it.

use std::path::Path;
use std::time::Instant;

use hustings::sim::Detail;
use hustings::sim::story::Story;
use hustings::sim::swarm::{self, Bias};

/// How many seeds run; split among tests so that they run side by side.
const SEEDS: u64 = 2000;
const PARTS: u64 = 4;

fn part(part: u64) {
    let (mut elections, mut exclusive, mut commits, mut wipes) = (0, 0, 0, 0);
    for seed in (part..SEEDS).step_by(usize::try_from(PARTS).expect("a small number")) {
        let report = swarm::run(seed, Bias::None, Detail::Hash);
        assert!(
            report.violation.is_none(),
            "{report}\nreplay: HUSTINGS_SEED={seed} cargo test --test sim replay -- --nocapture"
        );
        elections += report.elections;
        exclusive += report.exclusive;
        commits += report.commits;
        wipes += report.wipes;
    }
    // A simulator in which nothing happens proves nothing.
    let runs = usize::try_from(SEEDS / PARTS).expect("a small number");
    assert!(elections > 3 * runs && exclusive > 2 * runs && commits > 4 * runs && wipes > runs / 4);
}

#[test]
fn seeds_of_the_first_part_hold() {
    part(0);
}

#[test]
fn seeds_of_the_second_part_hold() {
    part(1);
}

#[test]
fn seeds_of_the_third_part_hold() {
    part(2);
}

#[test]
fn seeds_of_the_fourth_part_hold() {
    part(3);
}

/// The same seed gives the same run, to the last event.
#[test]
fn a_seed_is_a_run() {
    for seed in [1, 2, 3] {
        let first = swarm::run(seed, Bias::None, Detail::Hash);
        let second = swarm::run(seed, Bias::None, Detail::All);
        assert_eq!(first.fingerprint, second.fingerprint);
    }
    assert_ne!(
        swarm::run(1, Bias::None, Detail::Hash).fingerprint,
        swarm::run(2, Bias::None, Detail::Hash).fingerprint
    );
}

/// Byte for byte: these seeds give these runs, on every machine. When the machine's behaviour changes on purpose,
/// `HUSTINGS_REWRITE=1 cargo test --test sim pinned` writes what they give now.
#[test]
fn pinned_seeds_replay_to_the_last_event() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/pinned.txt");
    let mut now = String::from("# bias seed steps hash; HUSTINGS_REWRITE=1 cargo test --test sim pinned\n");
    for bias in Bias::ALL {
        for seed in 0..8 {
            let report = swarm::run(seed, bias, Detail::Hash);
            now += &format!("{} {seed} {} {:016x}\n", bias.code(), report.steps, report.fingerprint);
        }
    }
    if std::env::var_os("HUSTINGS_REWRITE").is_some_and(|value| value == "1") {
        std::fs::write(&file, &now).expect("tests/sim/pinned.txt can be written");
    }
    let pinned = std::fs::read_to_string(&file).expect("tests/sim/pinned.txt");
    for (pinned, now) in pinned.lines().zip(now.lines()) {
        assert_eq!(pinned, now, "a seed gives another run; is that meant? See tests/sim/pinned.txt");
    }
    assert_eq!(pinned.lines().count(), now.lines().count());
}

/// Whatever a seed does can be told: the story gives the same events as the seed.
#[test]
fn a_seed_is_a_story() {
    for bias in Bias::ALL {
        for seed in 0..20 {
            let story = swarm::story(seed, bias);
            let told = Story::parse("seed", &story).unwrap_or_else(|error| panic!("{error}\n{story}"));
            let ran = swarm::run(seed, bias, Detail::Hash);
            assert_eq!(told.run().fingerprint, ran.fingerprint, "seed {seed}, bias {bias:?}\n{story}");
        }
    }
}

/// Stores that forget keep what their documentation promises.
#[test]
fn seeds_of_volatile_stores_hold() {
    for seed in 0..100 {
        let report = swarm::run(seed, Bias::Volatile, Detail::Hash);
        assert!(report.violation.is_none(), "{report}\nreplay: HUSTINGS_BIAS=volatile HUSTINGS_SEED={seed} ...");
    }
}

/// What stories require is able to fail: with every third message lost, leaders change.
#[test]
fn what_must_come_right_can_go_wrong() {
    let script = "nodes a b\nstart a b\nrun until leader\nlink all delay=1ms loss=0.3\nrequire V12 for 30s\n";
    let told = Story::parse("s", script).expect("parses").tell();
    assert!(told.failures.iter().any(|failure| failure.text.contains("V12 violated")), "{:?}", told.failures);
    let dark = "nodes a b c\nstart a b c\ncalm\nrun 2s\nrequire V1 within 1s\nrequire V6\nrequire V8 for 1s\n\
                cut all\nrun 3s\nrequire V5\nrequire V4 for 1s\nrequire V10\nopen all\nrequire V11 within 1s\n";
    assert_eq!(Story::parse("s", dark).expect("parses").tell().failures, []);
}

/// `HUSTINGS_SEED=7 cargo test --test sim replay -- --nocapture` tells the story of seed 7.
#[test]
#[expect(clippy::print_stdout, reason = "the story is what was asked for")]
fn replay() {
    let Ok(seed) = std::env::var("HUSTINGS_SEED") else { return };
    let seed = seed.parse().expect("HUSTINGS_SEED is a number");
    let report = swarm::run(seed, bias(), Detail::All);
    for line in &report.log {
        println!("{line}");
    }
    println!("{}", swarm::story(seed, bias()));
    println!("{report}");
    assert!(report.violation.is_none(), "seed {seed} breaks a property");
}

/// `HUSTINGS_SEEDS=0..50000 HUSTINGS_BIAS=none cargo test --release --test sim hunt -- --nocapture` runs those seeds, and
/// says what the liveness properties measured.
#[test]
#[expect(clippy::print_stdout, reason = "the figures are what was asked for")]
fn hunt() {
    let Ok(seeds) = std::env::var("HUSTINGS_SEEDS") else { return };
    let (from, to) = seeds.split_once("..").expect("HUSTINGS_SEEDS is FROM..TO");
    let (from, to): (u64, u64) = (from.parse().expect("a number"), to.parse().expect("a number"));
    let (began, mut broken, mut steps) = (Instant::now(), Vec::new(), 0);
    let (mut settled, mut healed, mut handed, mut resigned, mut kept) = (vec![], vec![], vec![], vec![], 0);
    let mut changes = Vec::new();
    for seed in from..to {
        let report = swarm::run(seed, bias(), Detail::Hash);
        steps += report.steps;
        settled.extend(report.figures.settled.map(|figure| (figure, seed)));
        healed.extend(report.figures.healed.map(|figure| (figure, seed)));
        handed.extend(report.figures.handed_over.map(|figure| (figure, seed)));
        resigned.extend(report.figures.resigned.map(|figure| (figure, seed)));
        changes.extend(report.figures.changes.map(|figure| (figure as f64, seed)));
        kept = kept.max(report.figures.kept_max);
        if report.violation.is_some() {
            println!("{report}");
            broken.push(seed);
        }
    }
    println!("{} seeds, {steps} steps in {:?}, {} broken: {broken:?}", to - from, began.elapsed(), broken.len());
    let figures = [
        ("V1 settled", settled),
        ("V11 healed", healed),
        ("V7 handed over", handed),
        ("V9 resigned", resigned),
        ("V12 changes", changes),
    ];
    for (what, mut figures) in figures {
        figures.sort_by(|a, b| a.0.total_cmp(&b.0));
        let Some((max, seed)) = figures.last() else { continue };
        let at = |part: f64| figures[(figures.len() as f64 * part) as usize].0;
        println!(
            "{what}: {} seeds, p50 {:.2}, p99 {:.2}, max {max:.2} (seed {seed})",
            figures.len(),
            at(0.5),
            at(0.99)
        );
    }
    println!("V10 kept: {kept} characters at most");
    assert!(broken.is_empty(), "{broken:?} break a property");
}

fn bias() -> Bias {
    let code = std::env::var("HUSTINGS_BIAS").unwrap_or_else(|_| "none".to_owned());
    Bias::ALL.into_iter().find(|bias| bias.code() == code).expect("HUSTINGS_BIAS is a bias")
}

/// `HUSTINGS_SHRINK=7 HUSTINGS_BIAS=none cargo test --release --test sim shrinks -- --nocapture` prints the short story of a
/// failing seed.
#[test]
#[expect(clippy::print_stdout, reason = "the story is what was asked for")]
fn shrinks() {
    let Ok(seed) = std::env::var("HUSTINGS_SHRINK") else { return };
    let seed = seed.parse().expect("HUSTINGS_SHRINK is a number");
    match hustings::sim::shrink::shrink(seed, bias(), 2000) {
        Some(shrunk) => println!(
            "{}\n{} commands of {}, {} runs",
            shrunk.story, shrunk.commands, shrunk.commands_before, shrunk.runs
        ),
        None => println!("seed {seed} holds"),
    }
}
