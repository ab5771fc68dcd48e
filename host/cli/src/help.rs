//! `vmlab help`: the commands, and the pages of the guide.

use std::io::{self, IsTerminal as _};

use clap::{Command, CommandFactory as _};

use super::{Cli, Failure, output};
use vmlab_events::exit;

/// Show the help of a command, or a page of the guide
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vmlab help                 all commands and topics
  vmlab help kernel fetch    as `vmlab kernel fetch --help`
  vmlab help reports         the guide's page on reports and exit codes")]
pub(super) struct Args {
    /// A command, with its subcommand if it has one, or a topic; all of them are listed if none is given
    #[arg(value_name = "COMMAND|TOPIC")]
    names: Vec<String>,
}

/// A page of the guide.
struct Topic {
    name: &'static str,
    about: &'static str,
    /// Markdown, in lines of at most 80 columns, so that it also reads well as it is.
    text: &'static str,
}

const TOPICS: &[Topic] = &[
    Topic {
        name: "getting-started",
        about: "the first run, and what its table says",
        text: include_str!("../guide/getting-started.md"),
    },
    Topic {
        name: "kernels",
        about: "how to name a kernel, the cache, and kernels of your own",
        text: include_str!("../guide/kernels.md"),
    },
    Topic {
        name: "reports",
        about: "verdicts, exit codes, report formats, and run records",
        text: include_str!("../guide/reports.md"),
    },
    Topic {
        name: "ci",
        about: "vmlab in continuous integration: JUnit, retries, timeouts",
        text: include_str!("../guide/ci.md"),
    },
    Topic {
        name: "scenarios",
        about: "what a scenario proves, and how to write one",
        text: include_str!("../guide/scenarios.md"),
    },
    Topic {
        name: "troubleshooting",
        about: "no KVM, guests that do not boot, crashes, hangs, and a full disk",
        text: include_str!("../guide/troubleshooting.md"),
    },
];

const EXAMPLES: &str = "\
Examples:
  vmlab run                                        all scenarios on the default kernel
  vmlab run uts -k debian:bookworm -k debian:trixie
  vmlab run -k arch/x86/boot/bzImage               a kernel that you built
  vmlab report --format junit -o junit.xml         the latest run again, as a JUnit file
  vmlab doctor                                     what this machine lacks";

/// What follows the list of commands in vmlab's own help.
pub(super) fn examples_and_topics() -> String {
    let topics = TOPICS.iter().map(|topic| ["  ".to_owned() + topic.name, topic.about.to_owned()]);
    let topics = output::columns(&topics.collect::<Vec<_>>());
    format!("{EXAMPLES}\n\nGuide, one page for each topic (`vmlab help TOPIC`):\n{}", topics.trim_end())
}

/// Prints what was asked for. It needs neither a home directory nor anything else of the machine.
pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    if let [name] = args.names.as_slice()
        && let Some(topic) = TOPICS.iter().find(|topic| topic.name == *name)
    {
        output::print(topic.text)?;
        return Ok(exit::OK);
    }
    let mut root = Cli::command();
    // Gives each subcommand its full name for the usage line.
    root.build();
    let help = named(&root, &args.names)?.clone().render_long_help();
    let text = if io::stdout().is_terminal() { help.ansi().to_string() } else { help.to_string() };
    output::print(&text)?;
    Ok(exit::OK)
}

/// The command of these names; vmlab itself if there is none.
pub(super) fn named<'a>(root: &'a Command, names: &[String]) -> Result<&'a Command, Failure> {
    let mut command = root;
    for name in names {
        command = command.find_subcommand(name).ok_or_else(|| unknown(command, name))?;
    }
    Ok(command)
}

/// Names what there is.
fn unknown(command: &Command, name: &str) -> Failure {
    let subcommands: Vec<_> =
        command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(Command::get_name).collect();
    let subcommands = subcommands.join(", ");
    let within = command.get_bin_name().unwrap_or("vmlab");
    Failure::usage(if within == "vmlab" {
        let topics = TOPICS.iter().map(|topic| topic.name).collect::<Vec<_>>().join(", ");
        format!("there is no command or topic `{name}`; commands: {subcommands}; topics: {topics}")
    } else if subcommands.is_empty() {
        format!("`{within}` has no subcommands, so there is no help on `{name}`; see `vmlab help {}`", below(within))
    } else {
        format!("`{within}` has no subcommand `{name}`; it has {subcommands}")
    })
}

/// A command's name without the program's.
fn below(bin_name: &str) -> &str {
    bin_name.split_once(' ').map_or(bin_name, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_topic_has_the_name_of_a_command() {
        let root = Cli::command();
        for topic in TOPICS {
            assert!(root.find_subcommand(topic.name).is_none(), "{} is a command too", topic.name);
        }
    }

    #[test]
    fn pages_fit_a_terminal_and_begin_with_a_title() {
        for Topic { name, text, .. } in TOPICS {
            assert!(text.starts_with("# ") && text.ends_with('\n'), "{name}");
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{name}: {line}");
            }
        }
    }

    #[test]
    fn every_page_of_the_guide_is_a_topic() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/guide");
        let mut pages: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut topics: Vec<_> = TOPICS.iter().map(|topic| format!("{}.md", topic.name)).collect();
        pages.sort();
        topics.sort();
        assert_eq!(pages, topics);
    }
}
