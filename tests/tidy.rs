//! The rules of the house that a machine can see. Each says what it found and where; each is shown to be able to fail.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Code lines of a file, without comments and blank lines, tests left out.
const FILE_LINES_MAX: usize = 500;
/// Code lines of a function.
const FUNCTION_LINES_MAX: usize = 70;
/// Above a function that is one long table: its length is its content. Says why after a colon.
const TABLE: &str = "// tidy: a table";
/// In the first lines of a file that a tool wrote.
const GENERATED: &str = "@generated";

/// The floors. A module imports from lower floors, and from its own where siblings may know each other.
const FLOORS: &[(&str, u32)] = &[
    ("mutant", 0),
    ("types", 1),
    ("config", 1),
    ("quorum", 1),
    ("message", 1),
    ("event", 1),
    ("record", 1),
    ("promise", 1),
    ("node", 2),
    ("clock", 3),
    ("wire", 3),
    ("storage", 3),
    ("transport", 3),
    ("observer", 3),
    ("driver", 4),
    ("telemetry", 4),
    ("trace", 4),
    ("check", 4),
    ("report", 5),
    ("elector", 5),
    ("sim", 6),
    ("bin", 7),
];
/// Floors whose modules may know each other: the words, and the contracts.
const KNOW_EACH_OTHER: &[u32] = &[1, 3];
const PURITY_LINE: u32 = 2;

#[test]
fn nothing_below_the_purity_line_touches_the_world() {
    none(sources("src").iter().flat_map(impurities));
}

#[test]
fn nothing_below_the_purity_line_panics_by_design() {
    none(sources("src").iter().flat_map(panics));
}

#[test]
fn imports_go_downward() {
    none(sources("src").iter().flat_map(upward_imports));
}

/// A checker that shared code with the accused would prove nothing.
#[test]
fn the_checker_shares_no_code_with_the_machine() {
    none(sources("src").iter().flat_map(partial_checkers));
}

#[test]
fn only_telemetry_names_opentelemetry() {
    none(sources("src").iter().flat_map(stray_telemetry));
}

#[test]
fn files_are_short_enough_to_read() {
    none(sources("src").iter().flat_map(long_files));
}

#[test]
fn functions_are_short_enough_to_see() {
    none(sources("src").iter().flat_map(long_functions));
}

#[test]
fn modules_are_named_by_their_files() {
    let paths = ["src", "tests", "examples", "benches"].iter().flat_map(|dir| files(dir, "rs"));
    none(paths.filter_map(|path| mod_rs(&shown(&path))));
}

#[test]
fn nothing_names_a_machine_or_a_registry() {
    let dirs = ["src", "tests", "examples", "benches", ".ci"];
    let everywhere = dirs.iter().flat_map(|dir| files(dir, ""));
    let top = ["Cargo.toml", "README.md", ".rustfmt.toml"].iter().map(|name| root().join(name));
    let texts = everywhere.chain(top).filter_map(|path| Some((shown(&path), std::fs::read_to_string(path).ok()?)));
    none(texts.flat_map(|(path, text)| machine_names(&path, &text)));
}

// The rules.

fn impurities(source: &Source) -> Vec<String> {
    const WORDS: &[(&str, &str)] = &[
        ("Instant", "time is an argument"),
        ("SystemTime", "time is an argument"),
        ("tokio", "the machine runs under any runtime, or none"),
        ("async", "a step returns at once"),
        ("await", "a step returns at once"),
        ("tracing", "events are the only output"),
        ("HashMap", "its order is chance: BTreeMap"),
        ("HashSet", "its order is chance: BTreeSet"),
        ("RandomState", "chance is an argument"),
        ("thread_rng", "chance is an argument"),
        ("ThreadRng", "chance is an argument"),
        ("println", "events are the only output"),
        ("eprintln", "events are the only output"),
    ];
    const PATHS: &[(&str, &str)] = &[
        ("std::fs", "no I/O"),
        ("std::net", "no I/O"),
        ("std::io", "no I/O"),
        ("std::env", "no I/O"),
        ("std::thread", "no threads"),
        ("rand::random", "chance is an argument"),
        ("rand::rng", "chance is an argument"),
        ("thread::sleep", "no waiting"),
    ];
    if source.floor().is_none_or(|floor| floor > PURITY_LINE) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (line, code) in source.production() {
        let words = WORDS.iter().filter(|(word, _)| has_word(code, word));
        let paths = PATHS.iter().filter(|(path, _)| has_word(code, path));
        found.extend(
            words.chain(paths).map(|(what, why)| source.at(line, &format!("`{what}` below the purity line: {why}"))),
        );
    }
    found
}

fn panics(source: &Source) -> Vec<String> {
    if source.floor().is_none_or(|floor| floor > PURITY_LINE) {
        return Vec::new();
    }
    let forbidden = [".unwrap()", "panic!", "todo!", "unimplemented!"];
    let in_line = |(line, code): (usize, &str)| {
        let what = forbidden.iter().find(|what| code.contains(**what))?;
        Some(source.at(line, &format!("`{what}` below the purity line: no panic is reachable from input")))
    };
    source.production().filter_map(in_line).collect()
}

fn upward_imports(source: &Source) -> Vec<String> {
    let Some((own, floor)) = source.module().and_then(|own| Some((own, source.floor()?))) else {
        return match source.module() {
            Some(own) if own != "lib" => {
                vec![source.at(1, &format!("module `{own}` stands on no floor: give it one here"))]
            }
            _ => Vec::new(),
        };
    };
    let mut found = Vec::new();
    for (line, imported) in source.imports() {
        let Some(other) = floor_of(&imported) else { continue };
        if imported != own && !(other < floor || (other == floor && KNOW_EACH_OTHER.contains(&floor))) {
            found.push(source.at(line, &format!("`{own}` (floor {floor}) imports `{imported}` (floor {other})")));
        }
    }
    found
}

fn partial_checkers(source: &Source) -> Vec<String> {
    if source.module() != Some("check") {
        return Vec::new();
    }
    let accused =
        source.imports().into_iter().filter(|(_, name)| ["node", "quorum", "config"].contains(&name.as_str()));
    accused
        .map(|(line, name)| source.at(line, &format!("the checker imports `{name}`, whose work it judges")))
        .collect()
}

fn stray_telemetry(source: &Source) -> Vec<String> {
    if source.module() == Some("telemetry") {
        return Vec::new();
    }
    let named = source.production().filter(|(_, code)| code.contains("opentelemetry"));
    named.map(|(line, _)| source.at(line, "names opentelemetry outside of `telemetry`")).collect()
}

fn long_files(source: &Source) -> Option<String> {
    let lines = source.production().filter(|(_, code)| !code.trim().is_empty()).count();
    let text = format!("{lines} code lines, {FILE_LINES_MAX} are enough: split it");
    (lines > FILE_LINES_MAX && !source.is_generated()).then(|| source.at(1, &text))
}

fn long_functions(source: &Source) -> Vec<String> {
    if source.is_generated() {
        return Vec::new();
    }
    let lines: Vec<(usize, &str)> = source.production().collect();
    let mut found = Vec::new();
    for (at, (line, code)) in lines.iter().enumerate() {
        let Some(name) = function_name(code) else { continue };
        let len = body_lines(&lines[at..]);
        let above = source.raw.get(line.wrapping_sub(2)).is_some_and(|above| above.trim().starts_with(TABLE));
        if len > FUNCTION_LINES_MAX && !above {
            let text = format!("`fn {name}` has {len} code lines, {FUNCTION_LINES_MAX} are enough");
            found.push(source.at(*line, &text));
        }
    }
    found
}

fn mod_rs(path: &str) -> Option<String> {
    path.ends_with("/mod.rs").then(|| format!("{path}:1: `foo.rs` beside `foo/`, never mod.rs"))
}

fn machine_names(path: &str, text: &str) -> Vec<String> {
    // Written apart, so that this file does not find itself.
    let absolute = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];
    let hosts = [concat!("index.crates", ".io"), concat!("static.crates", ".io"), concat!("arti", "factory")];
    let mut found = Vec::new();
    for (line, text) in text.lines().enumerate() {
        let path_in = absolute.iter().find(|name| starts_a_path(text, name));
        let named = path_in.or_else(|| hosts.iter().find(|host| text.contains(**host)));
        found.extend(named.map(|name| format!("{path}:{}: names a machine's path or a registry: {name}", line + 1)));
    }
    found
}

/// Whether `name` begins a path here, and does not go on with one: `a/home/b` is somebody's relative path.
fn starts_a_path(text: &str, name: &str) -> bool {
    let goes_on = |at: usize| text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || "._-".contains(c));
    text.match_indices(name).any(|(at, _)| !goes_on(at))
}

// How sources are read.

struct Source {
    path: String,
    raw: Vec<String>,
    /// The lines without comments, and with the content of text blanked.
    code: Vec<String>,
    /// The first line of the tests, from 0.
    tests: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let raw: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut code: Vec<String> = bare(text).lines().map(str::to_owned).collect();
        code.resize(raw.len(), String::new());
        let is_tests = |at: &usize| {
            let next = code.get(at + 1).map_or("", |line| line.trim());
            match code[*at].trim() {
                // `mod tests;` names another file, and the rest of this one is production.
                "#[cfg(test)]" => next.contains("mod ") && !next.ends_with(';'),
                // Part of no build but that of the mutants.
                "#[cfg(hustings_mutants)]" => next.starts_with("mod "),
                _ => false,
            }
        };
        let tests = (0..code.len()).find(is_tests).unwrap_or(code.len());
        Source { path: path.to_owned(), raw, code, tests }
    }

    fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    /// The code lines before the tests, numbered from 1.
    fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code[..self.tests].iter().enumerate().map(|(at, code)| (at + 1, code.as_str()))
    }

    fn is_generated(&self) -> bool {
        self.raw.iter().take(5).any(|line| line.contains(GENERATED))
    }

    /// The module at the top of the crate that the file belongs to: `src/node/leader.rs` is of `node`.
    fn module(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        inner.split('/').next().map(|first| first.strip_suffix(".rs").unwrap_or(first))
    }

    fn floor(&self) -> Option<u32> {
        self.module().and_then(floor_of)
    }

    /// The modules of the crate that are named, with their lines: after `crate::`, or after enough `super::`.
    fn imports(&self) -> Vec<(usize, String)> {
        let depth = self.path.matches('/').count();
        let to_root = ["super::".repeat(depth), "crate::".to_owned()];
        let code: String = self.production().map(|(_, code)| format!("{code}\n")).collect();
        let mut found = Vec::new();
        for prefix in &to_root {
            for (at, _) in code.match_indices(prefix.as_str()) {
                let before = code[..at].chars().next_back().unwrap_or(' ');
                if before.is_alphanumeric() || before == '_' || before == ':' {
                    continue;
                }
                let line = code[..at].matches('\n').count() + 1;
                found.extend(heads(&code[at + prefix.len()..]).into_iter().map(|name| (line, name)));
            }
        }
        found
    }
}

fn floor_of(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// The first names of a path, or of each path in braces: `{a::b, c}` has `a` and `c`.
fn heads(path: &str) -> Vec<String> {
    let name =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let (mut depth, mut names, mut start) = (1, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            names.push(name(&group[start..at]));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn has_word(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].chars().next_back().is_some_and(part) && !code[at + word.len()..].chars().next().is_some_and(part)
    })
}

fn function_name(code: &str) -> Option<String> {
    let (before, after) = code.split_once("fn ")?;
    let starts = before.is_empty() || before.ends_with([' ', '(']);
    let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (starts && !name.is_empty()).then_some(name)
}

/// The lines with code from a function's head to its last brace; a head that ends in `;` has no body.
fn body_lines(lines: &[(usize, &str)]) -> usize {
    let (mut depth, mut braces, mut count) = (0, 0, 0);
    for (_, code) in lines {
        count += usize::from(!code.trim().is_empty());
        for c in code.chars() {
            match c {
                '(' | '[' => depth += 1,
                ')' | ']' => depth -= 1,
                '{' => braces += 1,
                '}' => braces -= 1,
                ';' if braces == 0 && depth == 0 => return 0,
                _ => {}
            }
            if c == '}' && braces == 0 {
                return count;
            }
        }
    }
    count
}

/// The text with comments removed and the content of strings and characters blanked; line breaks stay.
fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after_name = out.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(len) = raw_string(rest).filter(|_| !after_name) {
            len
        } else if c == '"' {
            string(rest)
        } else if c == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
        out.push(' ');
        rest = &rest[skipped..];
    }
    out
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let start = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = start.chars().take_while(|c| *c == '#').count();
    let content = start[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let opening = text.len() - content.len();
    Some(content.find(&end).map_or(text.len(), |at| opening + at + end.len()))
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            text[3..].find('\'').map_or(0, |at| at + 4)
        }
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string().replace('\\', "/")
}

/// The files below a directory whose names end so, sorted; what was built is left out.
fn files(dir: &str, ext: &str) -> Vec<PathBuf> {
    let (mut found, mut open) = (BTreeSet::new(), vec![root().join(dir)]);
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                open.push(path);
            } else if path.is_file() && path.to_string_lossy().ends_with(ext) {
                found.insert(path);
            }
        }
    }
    found.into_iter().collect()
}

/// The sources below a directory, without modules that are compiled for tests only.
fn sources(dir: &str) -> Vec<Source> {
    let read = |path: &PathBuf| Source::new(&shown(path), &std::fs::read_to_string(path).expect("a source"));
    let all: Vec<Source> = files(dir, ".rs").iter().map(read).collect();
    assert!(!all.is_empty(), "no sources in {dir}: the rules would hold for nothing");
    let test_only: Vec<String> = all.iter().flat_map(test_modules).collect();
    let is_test = |path: &str| {
        let module = path.strip_suffix(".rs").unwrap_or(path);
        test_only
            .iter()
            .any(|test| module == test || module.strip_prefix(test.as_str()).is_some_and(|r| r.starts_with('/')))
    };
    all.into_iter().filter(|source| !is_test(&source.path)).collect()
}

/// The paths, without `.rs`, of the modules that a file declares below `#[cfg(test)]`.
fn test_modules(source: &Source) -> Vec<String> {
    let parent = source.path.strip_suffix("lib.rs").map(|dir| dir.trim_end_matches('/').to_owned());
    let parent = parent.unwrap_or_else(|| source.path.trim_end_matches(".rs").to_owned());
    let pairs = source.code.windows(2).filter(|pair| pair[0].trim() == "#[cfg(test)]");
    let name = |pair: &[String]| Some(pair[1].trim().rsplit_once("mod ")?.1.strip_suffix(';')?.to_owned());
    pairs.filter_map(name).map(|name| format!("{parent}/{name}")).collect()
}

fn none(found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

// The rules can fail.

fn only(found: impl IntoIterator<Item = String>) -> String {
    let mut found: Vec<String> = found.into_iter().collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn impurities_are_found() {
    let found = |text| impurities(&Source::new("src/node/leader.rs", text));
    assert_eq!(
        only(found("// fine: tokio\nuse std::time::{Duration, Instant};\n")),
        "src/node/leader.rs:2: `Instant` below the purity line: time is an argument"
    );
    for bad in ["std::fs::read(x)", "tracing::info!(1)", "async fn f() {}", "HashSet::new()", "rand::rng()"] {
        only(found(bad));
    }
    assert!(found("let s = \"tokio\"; let async_ish = 'x'; /* HashMap */").is_empty());
    assert!(found("fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::thread;\n}").is_empty());
    assert_eq!(found("#[cfg(test)]\nmod tests;\nuse std::thread;").len(), 1, "a file goes on behind its tests' name");
    assert!(found("#[cfg(hustings_mutants)]\nmod chosen {\n    use std::env;\n}").is_empty());
    assert!(impurities(&Source::new("src/driver/run.rs", "use tokio::time;")).is_empty());
}

#[test]
fn panics_are_found() {
    let found = |text| panics(&Source::new("src/event.rs", text));
    assert!(only(found("fn f() {\n    x.unwrap();\n}")).starts_with("src/event.rs:2: `.unwrap()`"));
    only(found("panic!(\"no\")"));
    assert!(found("x.unwrap_or(1);\n#[cfg(test)]\nmod tests {\n    fn g() { x.unwrap(); }\n}").is_empty());
}

#[test]
fn upward_imports_are_found() {
    let found = |path, text| upward_imports(&Source::new(path, text));
    assert_eq!(
        only(found("src/node.rs", "\nuse crate::driver::Driver;")),
        "src/node.rs:2: `node` (floor 2) imports `driver` (floor 4)"
    );
    only(found("src/node.rs", "use crate::{\n    config::{Config, Timing},\n    storage,\n};"));
    only(found("src/node/leader.rs", "fn f(x: super::super::transport::X) {}"));
    only(found("src/telemetry.rs", "let x = crate::driver::Y;"));
    only(found("src/novelty.rs", ""));
    assert!(found("src/node/leader.rs", "use super::Node; use crate::node::Input; use crate::types::Time;").is_empty());
    assert!(found("src/transport/grpc.rs", "use crate::wire;").is_empty());
    assert!(found("src/node.rs", "/// [`driver`](crate::driver)\nfn f() {}").is_empty());
}

#[test]
fn a_partial_checker_is_found() {
    let found = |text| partial_checkers(&Source::new("src/check/votes.rs", text));
    only(found("use crate::{event::Event, quorum};"));
    assert!(found("use crate::event::Event;").is_empty());
}

#[test]
fn stray_telemetry_is_found() {
    only(stray_telemetry(&Source::new("src/driver.rs", "use tracing_opentelemetry::X;")));
    assert!(stray_telemetry(&Source::new("src/telemetry/init.rs", "use opentelemetry::X;")).is_empty());
    assert!(stray_telemetry(&Source::new("src/driver.rs", "// opentelemetry")).is_empty());
}

#[test]
fn long_files_are_found() {
    let text = |lines: usize, head: &str| format!("{head}\n{}", "let x = 1;\n/// words\n\n".repeat(lines));
    let found = |text: String| long_files(&Source::new("src/node.rs", &text));
    assert!(found(text(FILE_LINES_MAX, "")).is_none());
    assert!(found(text(FILE_LINES_MAX + 1, "")).is_some_and(|found| found.contains("501 code lines")));
    assert!(found(text(FILE_LINES_MAX + 1, "// @generated")).is_none());
}

#[test]
fn long_functions_are_found() {
    let text = |lines: usize, above: &str| {
        let body = "        f(\"}\", '{', [1; 2]); // }\n".repeat(lines);
        format!(
            "trait T {{\n    fn g(x: [u8; 4]);\n{above}\n    pub async fn long(\n        x: u8,\n    ) {{\n{body}    }}\n}}\n"
        )
    };
    let found = |text: String| long_functions(&Source::new("src/node.rs", &text));
    assert!(found(text(FUNCTION_LINES_MAX - 4, "")).is_empty());
    let expected =
        format!("src/node.rs:4: `fn long` has {} code lines, {FUNCTION_LINES_MAX} are enough", FUNCTION_LINES_MAX + 1);
    assert_eq!(only(found(text(FUNCTION_LINES_MAX - 3, ""))), expected);
    assert!(found(text(FUNCTION_LINES_MAX, "    // tidy: a table, one arm each")).is_empty());
}

#[test]
fn a_mod_rs_is_found() {
    assert!(mod_rs("src/node/mod.rs").is_some() && mod_rs("src/node.rs").is_none());
}

#[test]
fn machine_names_are_found() {
    let found = |text: &str| machine_names("README.md", text);
    assert_eq!(
        found(&format!("fine\nsee {}me/x", "/ho")),
        [format!("README.md:2: names a machine's path or a registry: {}me/", "/ho")]
    );
    only(found(&format!("https://static.crates{}", ".io/x")));
    assert!(found("a relative src/home/x, https://crates.io/crates/hustings, /var/lib/planner").is_empty());
}

#[test]
fn test_only_modules_are_left_out() {
    let source = Source::new("src/storage/file.rs", "mod slot;\n#[cfg(test)]\nmod faults;\n#[cfg(test)]\nmod tests;\n");
    assert_eq!(test_modules(&source), ["src/storage/file/faults", "src/storage/file/tests"]);
    assert_eq!(test_modules(&Source::new("src/lib.rs", "#[cfg(test)]\npub(crate) mod faults;")), ["src/faults"]);
}

#[test]
fn code_is_told_from_text() {
    let text = "a /* b /* c */ d */ e \"f \\\" g\" r#\"h \" i\"# 'j' '\\'' 'k: &'l m // n\no";
    let words: Vec<String> = bare(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "e", "'k:", "&'l", "m", "o"]);
    assert_eq!(bare("\"two\nlines\"\nx").lines().count(), 3);
}
