//! `hustings sim run`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use hustings::sim::story::{ParseError, Story};

use super::Verdict;

const EXAMPLES: &str = "\
A story is a script, one command a line, for a seeded cluster; what the nodes did follows each command on lines that begin \
with `|`. Every property that the simulator knows is checked after every step. The commands are described in the \
documentation of `hustings::sim::story`.

Exit status: 0 every expectation is met and the output is the file's, if the file has any; 1 it is not; 2 a story cannot be \
read.

Examples:
  hustings sim run tests/stories/scenario_24_chain.txt
  hustings sim run --quiet tests/stories/*.txt
  hustings sim run --rewrite my_story.txt";

/// Which stories.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The scripts.
    #[arg(required = true, value_name = "STORY")]
    stories: Vec<PathBuf>,
    /// Write what is told into the files, in place of the output there.
    #[arg(long)]
    rewrite: bool,
    /// Say only what is not as expected.
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<Verdict> {
    let mut worst = Verdict::Held;
    for file in &arguments.stories {
        let verdict = tell(file, arguments, out)?;
        worst = worst.max(verdict);
    }
    Ok(worst)
}

fn tell(file: &Path, arguments: &Arguments, out: &mut dyn Write) -> io::Result<Verdict> {
    let shown = file.display().to_string();
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return refuse(&format!("{shown}: {error}")),
    };
    let told = match Story::parse(&shown, &text) {
        Ok(story) => story.tell(),
        Err(error) => return refuse(&pointed_out(&error, &text)),
    };
    if !arguments.quiet {
        if arguments.stories.len() > 1 {
            writeln!(out, "==> {shown}")?;
        }
        write!(out, "{}", told.text)?;
        out.flush()?;
    }
    let mut said: Vec<String> = told.failures.iter().map(|failure| format!("{shown}: {failure}")).collect();
    let has_output = text.lines().any(|line| line.starts_with('|'));
    if arguments.rewrite {
        if told.text != text
            && let Err(error) = fs::write(file, &told.text)
        {
            return refuse(&format!("{shown}: {error}"));
        }
    } else if has_output && told.text != text {
        said.push(format!("{shown}: told otherwise (- in the file, + now; --rewrite writes it into the file):"));
        said.extend(told.difference(&text));
    }
    for line in &said {
        writeln!(io::stderr(), "{line}")?;
    }
    Ok(if said.is_empty() { Verdict::Held } else { Verdict::Failed })
}

/// What was told before has left already: the two streams stay in order.
fn refuse(text: &str) -> io::Result<Verdict> {
    writeln!(io::stderr(), "{text}")?;
    Ok(Verdict::Unreadable)
}

/// The error, the line in question, and a caret below the word in question.
fn pointed_out(error: &ParseError, text: &str) -> String {
    let line = text.lines().nth(error.line.saturating_sub(1)).unwrap_or_default();
    let number = error.line.to_string();
    let margin = " ".repeat(number.len());
    // Tabs stay tabs, so that the caret stands where the word does.
    let before = line.chars().take(error.column.saturating_sub(1));
    let before: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let rest: String = line.chars().skip(error.column.saturating_sub(1)).collect();
    let width = if rest.starts_with(&error.found) { error.found.chars().count() } else { 1 };
    format!("{error}\n{margin} |\n{number} | {line}\n{margin} | {before}{}", "^".repeat(width.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        pointed_out(&Story::parse("s.txt", text).expect_err("refused"), text)
    }

    #[test]
    fn the_caret_stands_below_the_word() {
        let said = refused("nodes a b\n\ncut a ->\tzoë # why");
        let expected = "s.txt:3:10: expected a node of a b, found zoë\n  |\n3 | cut a ->\tzoë # why\n  |         \t^^^";
        assert_eq!(said, expected);
    }

    #[test]
    fn the_end_of_a_line_has_a_place_too() {
        let said = refused("nodes a b\nrun");
        assert!(said.ends_with("2 | run\n  |    ^"), "{said}");
    }
}
