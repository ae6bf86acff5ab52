//! Variables, and what is wrong with their values.

/// A setting that leaves no way to export. Nothing is guessed in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Unusable {
    /// The variable, or `endpoint` for an argument.
    pub(in super::super) name: String,
    pub(in super::super) value: String,
    /// What is wrong, and what works.
    pub(in super::super) reason: String,
}

/// The variables, and what there is to say about them.
pub(in super::super) struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    notes: Vec<String>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Environment<'a> {
        Environment { variable, notes: Vec::new() }
    }

    /// A value that says something: an empty one is as good as none.
    pub(super) fn set(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The value for one signal, with the variable that it is from: that of the signal goes before the general one.
    pub(super) fn of_signal(&self, signal: &str, what: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_{signal}_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find_map(|name| self.set(&name).map(|value| (name, value)))
    }

    /// Said once, though two signals may ask for the same.
    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// A number, where it is set and is one; else the default holds.
    pub(super) fn number(&mut self, name: &str, what: &str, default: u64) -> Option<u64> {
        let value = self.set(name)?;
        let number = value.parse().ok();
        if number.is_none() {
            self.note(format!("{name}={value} is not {what}: {default} is used"));
        }
        number
    }

    /// `true` or `false`, where it is set and is one.
    pub(super) fn truth(&mut self, name: &str) -> Option<bool> {
        let value = self.set(name)?;
        let truth = value.to_ascii_lowercase().parse().ok();
        if truth.is_none() {
            self.note(format!("{name}={value} is neither true nor false: it is left out"));
        }
        truth
    }

    /// One word of a few.
    pub(super) fn one_of(&mut self, name: &str, words: &[&str], default: &str) {
        let Some(value) = self.set(name) else { return };
        if !words.contains(&value.to_ascii_lowercase().as_str()) {
            let words = words.join(", ");
            self.note(format!("{name}={value} is not known ({words} are): {default} is used"));
        }
    }

    pub(super) fn into_notes(self) -> Vec<String> {
        self.notes
    }
}
