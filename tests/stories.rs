//! Runs every story in `tests/stories` and compares what it tells with what the file says.
//!
//! `HUSTINGS_REWRITE=1 cargo test --test stories` writes what is told into the files instead; `HUSTINGS_STORY=07` runs only
//! those with `07` in their name.

use std::fs;
use std::path::{Path, PathBuf};

use hustings::sim::story::Story;

#[test]
fn every_story_goes_as_it_is_told() {
    let wanted = std::env::var("HUSTINGS_STORY").unwrap_or_default();
    let rewrite = std::env::var_os("HUSTINGS_REWRITE").is_some_and(|value| value == "1");
    let files: Vec<PathBuf> = files().into_iter().filter(|file| name(file).contains(&wanted)).collect();
    let failed: Vec<String> = files.iter().filter_map(|file| run(file, rewrite).err()).collect();
    #[expect(clippy::print_stdout, reason = "says how many ran")]
    {
        println!("{} stories ran, {} failed", files.len(), failed.len());
    }
    assert!(!files.is_empty(), "no stories were found");
    assert!(failed.is_empty(), "{} of {} stories failed\n\n{}", failed.len(), files.len(), failed.join("\n"));
}

fn files() -> Vec<PathBuf> {
    // Also for the package that tells them to a machine with faults.
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|above| above.join("tests/stories"));
    let directory = above.into_iter().find(|directory| directory.is_dir()).expect("tests/stories");
    let entries = fs::read_dir(directory).expect("tests/stories");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

fn name(file: &Path) -> String {
    file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn run(file: &Path, rewrite: bool) -> Result<(), String> {
    let shown = format!("tests/stories/{}", name(file));
    let text = fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    let told = Story::parse(&shown, &text).map_err(|error| error.to_string())?.tell();
    if rewrite && told.text != text {
        fs::write(file, &told.text).map_err(|error| format!("{shown}: {error}"))?;
    }
    let mut said: Vec<String> = told.failures.iter().map(|failure| format!("{shown}: {failure}")).collect();
    if !rewrite && told.text != text {
        said.push(format!("{shown} is told otherwise (- file, + now; HUSTINGS_REWRITE=1 rewrites):"));
        said.extend(diff(&text, &told.text));
    }
    if said.is_empty() { Ok(()) } else { Err(said.join("\n") + "\n") }
}

/// The lines that differ, with the line of the file at which they do: at most forty.
fn diff(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // The length of the longest common subsequence of what begins at each pair of lines.
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            common[a][b] =
                if old[a] == new[b] { common[a + 1][b + 1] + 1 } else { common[a + 1][b].max(common[a][b + 1]) };
        }
    }
    let (mut a, mut b, mut lines) = (0, 0, Vec::new());
    while (a < old.len() || b < new.len()) && lines.len() < 40 {
        if a < old.len() && b < new.len() && old[a] == new[b] {
            (a, b) = (a + 1, b + 1);
        } else if b == new.len() || (a < old.len() && common[a + 1][b] >= common[a][b + 1]) {
            lines.push(format!("{:>5} - {}", a + 1, old[a]));
            a += 1;
        } else {
            lines.push(format!("{:>5} + {}", a + 1, new[b]));
            b += 1;
        }
    }
    lines
}

#[test]
fn a_difference_is_shown_with_its_line() {
    assert_eq!(diff("a\nb\nc\n", "a\nx\nc\nd\n"), ["    2 - b", "    3 + x", "    4 + d"]);
}

/// SCENARIOS: each has a story, or a test where it concerns a real disk, socket or user, named after its number.
#[test]
fn every_scenario_is_told_or_tested_under_its_number() {
    const SCENARIOS: u32 = 48;
    let stories: String = files().iter().map(|file| name(file) + "\n").collect();
    let tests = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios.rs")).expect("a file");
    let is_covered = |number: &u32| {
        let begin = format!("scenario_{number:02}_");
        stories.lines().any(|name| name.starts_with(&begin)) || tests.contains(&format!("fn {begin}"))
    };
    let missing: Vec<u32> = (1..=SCENARIOS).filter(|number| !is_covered(number)).collect();
    assert!(missing.is_empty(), "without a story and without a test: {missing:?}");
}
