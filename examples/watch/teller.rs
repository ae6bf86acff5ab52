//! Prints what happens in the one notation, in the order in which it happened.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use hustings::clock;
use hustings::event::Event;
use hustings::event::notation::{Line, is_routine};
use hustings::types::Time;

/// The members run on threads of their own: their events arrive a little out of order, and are held this long.
const HELD: Duration = Duration::from_millis(25);

enum Told {
    Event(Box<Event>),
    Text(Time, String),
    Stop,
}

impl Told {
    fn at(&self) -> Time {
        match self {
            Told::Event(event) => event.at,
            Told::Text(at, _) => *at,
            Told::Stop => Time::NEVER,
        }
    }
}

pub(crate) struct Teller {
    sender: Sender<Told>,
    printer: Option<JoinHandle<()>>,
}

impl Teller {
    pub(crate) fn start(all: bool) -> Teller {
        let (sender, receiver) = mpsc::channel();
        let origin = clock::now();
        let printer = std::thread::spawn(move || print(&receiver, origin, all));
        Teller { sender, printer: Some(printer) }
    }

    /// An observer for one life of one member.
    pub(crate) fn observer(&self) -> impl FnMut(&Event) + Send + use<> {
        let sender = self.sender.clone();
        move |event: &Event| {
            let _ = sender.send(Told::Event(Box::new(event.clone())));
        }
    }

    pub(crate) fn chapter(&self, text: &str) {
        self.note(&format!("\n== {text}"));
    }

    pub(crate) fn note(&self, text: &str) {
        let _ = self.sender.send(Told::Text(clock::now(), text.to_owned()));
    }

    /// Prints what is left.
    pub(crate) fn stop(mut self) {
        let _ = self.sender.send(Told::Stop);
        if let Some(printer) = self.printer.take() {
            let _ = printer.join();
        }
    }
}

fn print(receiver: &Receiver<Told>, origin: Time, all: bool) {
    let mut held: Vec<Told> = Vec::new();
    loop {
        let stopped = match receiver.recv_timeout(HELD) {
            Ok(Told::Stop) | Err(RecvTimeoutError::Disconnected) => true,
            Ok(told) => {
                held.push(told);
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
        };
        held.sort_by_key(Told::at);
        let ripe = clock::now().before(HELD);
        let due = held.iter().take_while(|told| stopped || told.at() <= ripe).count();
        for told in held.drain(..due) {
            // A reader that has gone away (`| head`) ends the telling, and nothing else.
            if write(&told, origin, all).is_err() {
                return;
            }
        }
        if stopped {
            return;
        }
    }
}

fn write(told: &Told, origin: Time, all: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match told {
        Told::Event(event) if all || !is_routine(&event.kind) => writeln!(out, "{}", Line { event, origin, width: 2 }),
        Told::Event(_) | Told::Stop => Ok(()),
        Told::Text(_, text) => writeln!(out, "{text}"),
    }
}
