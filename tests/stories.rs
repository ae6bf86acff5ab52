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

/// Also for the package that tells them to a machine with faults.
fn directory() -> PathBuf {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|above| above.join("tests/stories"));
    above.into_iter().find(|directory| directory.is_dir()).expect("tests/stories")
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(directory()).expect("tests/stories");
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
        said.extend(told.difference(&text));
    }
    if said.is_empty() { Ok(()) } else { Err(said.join("\n") + "\n") }
}

/// SCENARIOS: each has a story, or a test where it concerns a real disk, socket or user, named after its number.
#[test]
fn every_scenario_is_told_or_tested_under_its_number() {
    const SCENARIOS: u32 = 48;
    let stories: String = files().iter().map(|file| name(file) + "\n").collect();
    let tests = fs::read_to_string(directory().with_file_name("scenarios.rs")).expect("tests/scenarios.rs");
    let is_covered = |number: &u32| {
        let begin = format!("scenario_{number:02}_");
        stories.lines().any(|name| name.starts_with(&begin)) || tests.contains(&format!("fn {begin}"))
    };
    let missing: Vec<u32> = (1..=SCENARIOS).filter(|number| !is_covered(number)).collect();
    assert!(missing.is_empty(), "without a story and without a test: {missing:?}");
}
