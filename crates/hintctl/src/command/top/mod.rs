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

use self::model::{Effect, Model};
use crate::{args::Top, exit, interrupt::Guard};

/// However rarely the node is asked, a key is answered to at once; and it is asked no more often.
const LEAST: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &Top) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let socket = args.socket.display();
        return Err(exit::usage(format!(
            "top needs a terminal; where there is none: hintctl ctl status {socket}"
        )));
    }
    let mut client = Client::connect(&args.socket)?;
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
        if event::poll(left)? {
            // What else comes, as another size, is drawn again.
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                match model.press(key) {
                    Some(Effect::End) => return Ok(()),
                    Some(Effect::Ask(request)) => {
                        let asked = client.ask(&request);
                        model.say(asked.map_err(|error| error.to_string()));
                        ask_at = SystemClock.boot();
                    }
                    None => {}
                }
            }
            continue;
        }
        look(args, client, model);
        ask_at = SystemClock.boot() + every;
    }
}

/// Asks the node once more. One that restarts is found again.
fn look(args: &Top, client: &mut Client, model: &mut Model) {
    match client.status() {
        Ok(status) => model.update(status),
        Err(error) => {
            model.lost(&error.to_string());
            if matches!(error, ClientError::Io { .. })
                && let Ok(again) = Client::connect(&args.socket)
            {
                *client = again;
            }
        }
    }
}
