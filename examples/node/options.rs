//! The command line of one member.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "usage: node --id ID --listen HOST:PORT --peer ID=HOST:PORT... --data DIR [options]

  --id ID              this member's name
  --listen HOST:PORT   where it listens
  --peer ID=HOST:PORT  another member; once for each
  --data DIR           where its vote and term live; created if missing
  --cluster NAME       the cluster's name (default: demo)
  --heartbeat MS       between two heartbeats (default: 50); timeouts follow, all members need the same
  --journal FILE       append every event as a JSON line
  --clock-ahead MS     the wall clock of its traces is that far ahead: shows what a viewer makes of it
  --insecure           plaintext beyond loopback
  --all                print writes and single requests too";

pub(crate) struct Options {
    pub(crate) id: String,
    pub(crate) listen: String,
    pub(crate) peers: Vec<(String, String)>,
    pub(crate) data: PathBuf,
    pub(crate) cluster: String,
    pub(crate) heartbeat_ms: u64,
    pub(crate) clock_ahead_ms: u64,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) insecure: bool,
    pub(crate) all: bool,
}

impl Options {
    /// Reads the command line; `None` if it asks for help.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mut arguments = arguments;
        let (mut id, mut listen, mut data) = (None, None, None);
        let mut options = Options {
            id: String::new(),
            listen: String::new(),
            peers: Vec::new(),
            data: PathBuf::new(),
            cluster: "demo".into(),
            heartbeat_ms: 50,
            clock_ahead_ms: 0,
            journal: None,
            insecure: false,
            all: false,
        };
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value\n\n{USAGE}"));
            match flag.as_str() {
                "--id" => id = Some(value()?),
                "--listen" => listen = Some(value()?),
                "--data" => data = Some(PathBuf::from(value()?)),
                "--cluster" => options.cluster = value()?,
                "--journal" => options.journal = Some(PathBuf::from(value()?)),
                "--peer" => options.peers.push(peer(&value()?)?),
                "--heartbeat" => options.heartbeat_ms = milliseconds(&flag, &value()?)?,
                "--clock-ahead" => options.clock_ahead_ms = milliseconds(&flag, &value()?)?,
                "--insecure" => options.insecure = true,
                "--all" => options.all = true,
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("{other:?} is not an option\n\n{USAGE}")),
            }
        }
        let missing = |flag| format!("{flag} is missing\n\n{USAGE}");
        options.id = id.ok_or_else(|| missing("--id"))?;
        options.listen = listen.ok_or_else(|| missing("--listen"))?;
        options.data = data.ok_or_else(|| missing("--data"))?;
        Ok(Some(options))
    }

    /// Every member with its address, this one included.
    pub(crate) fn members(&self) -> Vec<(String, String)> {
        let mut members = self.peers.clone();
        members.push((self.id.clone(), self.listen.clone()));
        members.sort();
        members
    }
}

fn peer(text: &str) -> Result<(String, String), String> {
    let (id, address) =
        text.split_once('=').ok_or_else(|| format!("--peer {text:?} is not of the form ID=HOST:PORT"))?;
    Ok((id.to_owned(), address.to_owned()))
}

fn milliseconds(flag: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{flag} {text:?} is not a number of milliseconds"))
}
