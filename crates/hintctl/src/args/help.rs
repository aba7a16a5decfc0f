//! The help: verbs in groups, and which formats are known.

use clap::{Command, CommandFactory as _};
use hintstore::raw::format::layout;

use super::Args;

/// The verbs, by what one wants.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Look",
        &["ls", "stat", "dump", "verify", "diff", "forecast"],
    ),
    (
        "Make something else of it",
        &["convert", "salvage", "replay"],
    ),
    (
        "Change it (plans, and acts only with --apply)",
        &["expire", "truncate", "compact", "aside"],
    ),
    ("A node that runs", &["top", "ctl", "sync-point"]),
    ("The tool itself", &["bench", "quickstart", "completions"]),
];

/// The whole command line.
pub(crate) fn command() -> Command {
    let command = Args::command().long_version(versions());
    let verbs = |verb: &&str| {
        let about = command.find_subcommand(verb).and_then(Command::get_about);
        let about = about.map(ToString::to_string).unwrap_or_default();
        let about = about
            .split(": plans, and acts only")
            .next()
            .unwrap_or_default();
        format!("  {verb:<12} {about}")
    };
    let group = |(head, of): &(&str, &[&str])| {
        let verbs: Vec<String> = of.iter().map(verbs).collect();
        format!("\n{head}:\n{}\n", verbs.join("\n"))
    };
    let groups: Vec<String> = GROUPS.iter().map(group).collect();
    let groups = groups.concat();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{groups}\nOptions, of every verb:\n{{options}}{{after-help}}"
    );
    command.help_template(template)
}

/// The version, and what it reads and writes.
fn versions() -> String {
    format!(
        "{}\n\
         native:    reads and writes format {} of hintstore\n\
         Cassandra: reads and writes hints 1 (3.0 to 3.11), 2 (4.0, 4.1, 5.0) and 3 (5.0 in mode NONE),\n           \
         plain, and packed by LZ4, Snappy, Deflate, Zstd, Noop\n\
         besides:   reads and writes JSON Lines, writes Parquet and CSV",
        env!("CARGO_PKG_VERSION"),
        layout::VERSION,
    )
}

#[cfg(test)]
mod tests {
    use super::{GROUPS, command};

    #[test]
    fn each_verb_is_in_a_group_and_has_examples() {
        let command = command();
        command.clone().debug_assert();
        let grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, verbs)| *verbs)
            .copied()
            .collect();
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = verb.get_name();
            assert!(grouped.contains(&name), "{name} is in no group");
            let examples = verb.get_after_help().map(ToString::to_string);
            let examples = examples.unwrap_or_default();
            assert!(
                examples.contains(&format!("  hintctl {name}")) || examples.contains(" hintctl "),
                "{name}"
            );
        }
        let known = |verb: &&str| command.find_subcommand(verb).is_some();
        assert!(grouped.iter().all(known));
    }
}
