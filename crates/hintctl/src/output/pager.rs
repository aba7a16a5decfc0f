//! Long output goes through a pager, as git does it: on a terminal only, and where it does not fit.

use std::{
    env,
    ffi::OsString,
    process::{Child, Command, Stdio},
};

/// Starts the pager: `$HINTCTL_PAGER`, `$PAGER`, or less. Nothing where none is wanted, or there is none.
pub(super) fn start() -> Option<Child> {
    let asked = env::var_os("HINTCTL_PAGER").or_else(|| env::var_os("PAGER"));
    let asked = asked.unwrap_or_else(|| OsString::from("less"));
    if asked.is_empty() || asked == "cat" {
        return None;
    }
    let mut command = if asked.to_str().is_some_and(|asked| asked.contains(' ')) {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(asked);
        shell
    } else {
        Command::new(asked)
    };
    if env::var_os("LESS").is_none() {
        // It ends at once where all fits, shows colours, and leaves the text on the screen.
        command.env("LESS", "FRX");
    }
    command.stdin(Stdio::piped()).spawn().ok()
}
