//! `hintctl`: the operator's tool for a directory of hints, native or Cassandra's own.
//!
//! What was typed is in `args`; `input` says what a path holds and walks it, one hint at a time; `filter` says
//! which of them are meant; each verb is a file in `command`; `output` prints, for people or as JSON Lines; `exit` has the
//! codes. Reading verbs take no lock and change nothing.

#![forbid(unsafe_code)]

mod args;
mod chart;
mod command;
mod decode;
mod exit;
mod filter;
mod input;
mod interrupt;
mod output;
mod progress;
mod side_by_side;

use clap::FromArgMatches as _;

use crate::{
    args::{Args, Printing},
    exit::Exit,
    output::Output,
};

/// What asks for JSON Lines, also where the rest makes no sense.
const JSON: [&str; 3] = ["--json", "--format=jsonl", "jsonl"];

fn main() -> std::process::ExitCode {
    let parsed = args::command().try_get_matches();
    let args = match parsed.and_then(|matches| Args::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => {
            // Help goes to stdout and is no error; a usage error is 2.
            let usage = error.use_stderr();
            drop(error.print());
            if usage && std::env::args_os().any(|arg| JSON.iter().any(|json| arg == *json)) {
                let text = error.kind().as_str().unwrap_or("usage").to_owned();
                drop(Output::new(&Printing::jsonl(), false).finish(Err(exit::usage(text))));
            }
            return if usage {
                Exit::Usage.into()
            } else {
                Exit::Clean.into()
            };
        }
    };
    let mut output = Output::new(&args.printing, args.command.pages());
    let writes = args.command.writes();
    let result = interrupt::watch().and_then(|()| command::run(args.command, &mut output));
    let result = output.finish(result);
    exit::report(result, writes, output.deed()).into()
}
