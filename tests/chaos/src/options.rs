//! Arguments as pairs of a name and a value; a flag has the value `yes`.

use std::collections::BTreeMap;
use std::str::FromStr;

/// Arguments that may be given without a value.
const FLAGS: &[&str] = &["--control", "--strict", "--keep", "--help"];

/// What was given.
#[derive(Debug, Default)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// Reads arguments; only those names are known.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn parse(arguments: impl IntoIterator<Item = String>, known: &[&str]) -> Result<Options, String> {
        let mut options = Options::default();
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            if !known.contains(&name.as_str()) {
                return Err(format!("{name} is not known"));
            }
            let value = match FLAGS.contains(&name.as_str()) {
                true => "yes".to_owned(),
                false => arguments.next().ok_or(format!("{name} needs a value"))?,
            };
            options.0.insert(name, value);
        }
        Ok(options)
    }

    /// Whether a flag, or a value, was given.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A value that must be there.
    ///
    /// # Errors
    /// It is missing, or not what it should be.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<T, String> {
        let value = self.0.get(name).ok_or(format!("{name} is missing"))?;
        value.parse().map_err(|_| format!("{name} {value}: that cannot be read"))
    }

    /// A value, or what it is without.
    ///
    /// # Errors
    /// It is not what it should be.
    pub fn or<T: FromStr>(&self, name: &str, otherwise: T) -> Result<T, String> {
        if self.has(name) { self.get(name) } else { Ok(otherwise) }
    }
}

/// Reads `a=10.97.0.1:7300,b=10.97.0.2:7300`.
pub fn peers(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, address)| (name.to_owned(), address.to_owned())).collect()
}
