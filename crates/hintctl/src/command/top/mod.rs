//! `top`: a node that runs, on the whole terminal, looked at again and again.
//!
//! `model` is what is shown and what a key does to it, `view` draws it; here is the loop that asks the node, waits
//! for a key, and gives the terminal back however it ends.

mod model;
mod view;

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use hintstore::{Clock as _, SystemClock};
use hintstore_admin::{Client, ClientError};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use self::model::{Effect, Model};
use crate::{args::Top, exit, interrupt::Guard};

/// However rarely the node is asked, a key is answered to at once; and it is asked no more often.
const LEAST: Duration = Duration::from_millis(100);
/// A new size is seen within this time.
const LOOK: Duration = Duration::from_millis(250);
/// A key waits no longer than this for a node that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &Top) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let socket = args.socket.display();
        return Err(exit::usage(format!(
            "top needs a terminal; where there is none: hintctl ctl status {socket}"
        )));
    }
    let mut client = connect(args)?;
    let mut model = Model::new(client.status()?);
    let _given_back = Guard::terminal();
    let terminal = ratatui::try_init();
    let watched = terminal
        .map_err(anyhow::Error::from)
        .and_then(|mut terminal| watch(&mut terminal, args, &mut client, &mut model));
    // Whatever came: the terminal is as it was.
    ratatui::restore();
    watched
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    args: &Top,
    client: &mut Client,
    model: &mut Model,
) -> anyhow::Result<()> {
    let every = args.every.max(LEAST);
    let mut ask_at = SystemClock.boot() + every;
    loop {
        terminal.draw(|frame| view::draw(frame, model))?;
        let left = ask_at.since(SystemClock.boot());
        if !event::poll(Duration::ZERO)? && !is_there(left.min(LOOK))? {
            // The terminal is gone: nobody looks.
            return Ok(());
        }
        if event::poll(Duration::ZERO)? {
            // What else comes, as another size, is drawn again.
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                match model.press(key) {
                    Some(Effect::End) => return Ok(()),
                    Some(Effect::Ask(request)) => {
                        match client.ask(&request) {
                            Ok(reply) => model.say(Ok(reply)),
                            Err(error) => {
                                failed(args, client, model, &error);
                                // Done twice is as done once; of one that comes late nobody would know.
                                if let Ok(reply) = client.ask(&request) {
                                    model.is_lost = false;
                                    model.say(Ok(reply));
                                }
                            }
                        }
                        ask_at = SystemClock.boot();
                    }
                    None => {}
                }
            }
            continue;
        }
        if ask_at <= SystemClock.boot() {
            look(args, client, model);
            ask_at = SystemClock.boot() + every;
        }
    }
}

/// Waits for a key, for this time; false where the terminal is gone, which would read as if there were keys without end.
fn is_there(within: Duration) -> anyhow::Result<bool> {
    let stdin = io::stdin();
    let mut waits = [PollFd::new(&stdin, PollFlags::IN)];
    let within = Timespec::try_from(within)?;
    match poll(&mut waits, Some(&within)) {
        // A signal, such as that of a new size.
        Err(Errno::INTR) => return Ok(true),
        done => done?,
    };
    let [of] = waits;
    Ok(!of
        .revents()
        .intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL))
}

/// Asks the node once more.
fn look(args: &Top, client: &mut Client, model: &mut Model) {
    match client.status() {
        Ok(status) => model.update(status),
        Err(error) => {
            failed(args, client, model, &error);
            // The node may have ended a connection that was idle.
            if let Ok(status) = client.status() {
                model.update(status);
            }
        }
    }
}

/// A node that does not answer is asked again, and one that restarts is found again.
fn failed(args: &Top, client: &mut Client, model: &mut Model, error: &ClientError) {
    if !matches!(error, ClientError::Io { .. }) {
        model.say(Err(error.to_string()));
        return;
    }
    model.lost(&error.to_string());
    // On the old connection a late answer would be taken for the next.
    if let Ok(again) = connect(args) {
        *client = again;
    }
}

fn connect(args: &Top) -> Result<Client, ClientError> {
    let mut client = Client::connect(&args.socket)?;
    client.set_patience(PATIENCE)?;
    Ok(client)
}
