//! A line as words, each of which knows its column.

use std::time::Duration;

use super::{ParseError, Parsed};

/// The words of a line, and which are read.
#[derive(Debug)]
pub(super) struct Words<'a> {
    file: &'a str,
    line: usize,
    /// Where the line ends.
    end: usize,
    words: Vec<Word<'a>>,
    at: usize,
}

#[derive(Debug)]
struct Word<'a> {
    text: &'a str,
    column: usize,
    quoted: bool,
}

impl<'a> Words<'a> {
    /// Splits a line at its spaces; what is between two `"` is one word, and `#` ends the line.
    pub(super) fn of(file: &'a str, line: usize, text: &'a str) -> Parsed<Words<'a>> {
        let mut words = Words { file, line, end: text.trim_end().chars().count() + 1, words: Vec::new(), at: 0 };
        let (mut rest, mut column) = (text, 1);
        loop {
            let start = rest.trim_start();
            column += rest[..rest.len() - start.len()].chars().count();
            rest = start;
            if rest.is_empty() || rest.starts_with('#') {
                return Ok(words);
            }
            let (word, quoted, after) = match rest.strip_prefix('"') {
                Some(inner) => match inner.split_once('"') {
                    Some((word, after)) => (word, true, after),
                    None => return Err(words.error(words.end, "a closing quotation mark", "the end of the line")),
                },
                None => {
                    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                    (&rest[..end], false, &rest[end..])
                }
            };
            words.words.push(Word { text: word, column, quoted });
            column += rest[..rest.len() - after.len()].chars().count();
            rest = after;
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.at >= self.words.len()
    }

    /// How many words are read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// What was read since then, as one text.
    pub(super) fn text_from(&self, position: usize) -> String {
        let words = &self.words[position..self.at];
        let shown = words.iter().map(|word| if word.quoted { format!("\"{}\"", word.text) } else { word.text.into() });
        shown.collect::<Vec<_>>().join(" ")
    }

    /// Whether the next word is this one.
    pub(super) fn is(&self, word: &str) -> bool {
        self.words.get(self.at).is_some_and(|next| next.text == word && !next.quoted)
    }

    /// Whether the next word begins like this.
    pub(super) fn next_begins(&self, text: &str) -> bool {
        self.words.get(self.at).is_some_and(|next| next.text.starts_with(text) && !next.quoted)
    }

    /// Whether the next word contains this.
    pub(super) fn next_contains(&self, text: &str) -> bool {
        self.words.get(self.at).is_some_and(|next| next.text.contains(text) && !next.quoted)
    }

    /// Reads the next word if it is this one.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let taken = self.is(word);
        self.at += usize::from(taken);
        taken
    }

    pub(super) fn keyword(&mut self, word: &str) -> Parsed<()> {
        if self.take(word) { Ok(()) } else { Err(self.expected(word)) }
    }

    pub(super) fn word(&mut self, expected: &str) -> Parsed<&'a str> {
        match self.words.get(self.at) {
            Some(word) if !word.quoted => {
                self.at += 1;
                Ok(word.text)
            }
            _ => Err(self.expected(expected)),
        }
    }

    pub(super) fn quoted(&mut self) -> Parsed<&'a str> {
        match self.words.get(self.at) {
            Some(word) if word.quoted => {
                self.at += 1;
                Ok(word.text)
            }
            _ => Err(self.expected("a text in quotation marks")),
        }
    }

    /// `key=value`.
    pub(super) fn pair(&mut self, expected: &str) -> Parsed<(&'a str, &'a str)> {
        let word = self.word(expected)?;
        word.split_once('=').ok_or_else(|| self.unread(expected))
    }

    pub(super) fn number(&mut self, expected: &str) -> Parsed<u64> {
        let word = self.word(expected)?;
        word.parse().map_err(|_| self.unread(expected))
    }

    pub(super) fn duration(&mut self) -> Parsed<Duration> {
        const EXPECTED: &str = "a duration such as 50ms, 1.5s or 200us";
        let word = self.word(EXPECTED)?;
        duration(word).ok_or_else(|| self.unread(EXPECTED))
    }

    pub(super) fn probability(&mut self) -> Parsed<f64> {
        const EXPECTED: &str = "a probability, 0 to 1";
        let word = self.word(EXPECTED)?;
        word.parse().ok().filter(|number| (0.0..=1.0).contains(number)).ok_or_else(|| self.unread(EXPECTED))
    }

    pub(super) fn ppm(&mut self) -> Parsed<i32> {
        const EXPECTED: &str = "a clock rate such as 9000ppm or -9000ppm";
        let word = self.word(EXPECTED)?;
        ppm(word).ok_or_else(|| self.unread(EXPECTED))
    }

    /// # Errors
    /// There is more on the line.
    pub(super) fn end(&self) -> Parsed<()> {
        if self.is_over() { Ok(()) } else { Err(self.expected("the end of the line")) }
    }

    /// The next word is not what was expected.
    pub(super) fn expected(&self, expected: &str) -> ParseError {
        match self.words.get(self.at) {
            Some(word) if word.quoted => self.error(word.column, expected, &format!("\"{}\"", word.text)),
            Some(word) => self.error(word.column, expected, word.text),
            None => self.error(self.end, expected, "the end of the line"),
        }
    }

    /// The word that was just read is not what was expected.
    pub(super) fn unread(&mut self, expected: &str) -> ParseError {
        self.at = self.at.saturating_sub(1);
        self.expected(expected)
    }

    fn error(&self, column: usize, expected: &str, found: &str) -> ParseError {
        let (file, line) = (self.file.to_owned(), self.line);
        ParseError { file, line, column, expected: expected.to_owned(), found: found.to_owned() }
    }
}

/// A rate: parts per million, less than a half.
pub(super) fn ppm(text: &str) -> Option<i32> {
    let number = text.strip_suffix("ppm").and_then(|number| number.parse().ok());
    number.filter(|number: &i32| number.abs() < 500_000)
}

/// A number with a unit. At most a year, so that sums of virtual time stay far from their end.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..digits].parse().ok()?;
    let seconds = match &text[digits..] {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "min" => number * 60.0,
        _ => return None,
    };
    // Floats may be a nanosecond off: whole microseconds are fine enough.
    let micros = (seconds * 1e6).round();
    (0.0..=31_536_000e6).contains(&micros).then(|| Duration::from_micros(micros as u64))
}
