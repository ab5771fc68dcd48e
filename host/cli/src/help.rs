//! `vmlab help`: the commands, and the pages of the guide.

use std::io::{self, IsTerminal as _};

use clap::builder::{PossibleValue, StringValueParser};
use clap::{Command, CommandFactory as _};

use super::suggest::suggest;
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
    #[arg(value_name = "COMMAND|TOPIC", hide_possible_values = true)]
    #[arg(value_parser = suggest(StringValueParser::new(), commands_and_topics))]
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
        name: "builds",
        about: "kernels built from source, and config fragments",
        text: include_str!("../guide/builds.md"),
    },
    Topic {
        name: "programs",
        about: "programs of your own on any kernel: exec and shell",
        text: include_str!("../guide/programs.md"),
    },
    Topic {
        name: "runners",
        about: "test runners: cargo, nextest, go, pytest, git bisect, kselftest, LTP, bpf",
        text: include_str!("../guide/runners.md"),
    },
    Topic { name: "kunit", about: "the KUnit suites of a kernel as jobs", text: include_str!("../guide/kunit.md") },
    Topic {
        name: "measuring",
        about: "what namespaces and cgroups cost: the figures of run --measure",
        text: include_str!("../guide/measuring.md"),
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
        name: "features",
        about: "the features of 2006 on each kernel, and one scenario explained",
        text: include_str!("../guide/features.md"),
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
  vmlab run -k tree:.+namespaces                   this source tree, built small
  vmlab run --kunit kunit. -k tree:.+kunit         its KUnit suites
  vmlab exec -k debian:bookworm -- ./mytest        a program of yours, in a kernel of its own
  vmlab report --format junit -o junit.xml         the latest run again, as a JUnit file
  vmlab report --features                          which features work on the kernels of that run
  vmlab diff                                       what the latest run changed: broken, fixed, skipped
  vmlab explain uts.hostname                       what a scenario shows, and how
  vmlab doctor                                     what this machine lacks";

fn commands_and_topics() -> Vec<PossibleValue> {
    let cli = Cli::command();
    let commands = cli.get_subcommands().map(|command| PossibleValue::new(command.get_name().to_owned()));
    commands.chain(TOPICS.iter().map(|topic| PossibleValue::new(topic.name).help(topic.about))).collect()
}

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
    let help = named(&root, &args.names).map_err(Unknown::or_topic)?.clone().render_long_help();
    let text = if io::stdout().is_terminal() { help.ansi().to_string() } else { help.to_string() };
    output::print(&text)?;
    Ok(exit::OK)
}

/// The subcommand with this path of names; vmlab itself if `names` is empty.
pub(super) fn named<'a>(root: &'a Command, names: &[String]) -> Result<&'a Command, Unknown> {
    let mut command = root;
    for name in names {
        command = command.find_subcommand(name).ok_or_else(|| Unknown::within(command, name))?;
    }
    Ok(command)
}

/// There is no command of the name that was given.
pub(super) struct Unknown {
    name: String,
    /// The command that has no such subcommand, as `vmlab kernel`.
    within: String,
    subcommands: String,
}

impl Unknown {
    fn within(command: &Command, name: &str) -> Self {
        let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        Self {
            name: name.to_owned(),
            within: command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned(),
            subcommands: shown.map(Command::get_name).collect::<Vec<_>>().join(", "),
        }
    }

    /// The error where a topic was possible as well.
    fn or_topic(self) -> Failure {
        let Self { name, within, subcommands } = &self;
        if within.contains(' ') {
            return self.into();
        }
        if TOPICS.iter().any(|topic| topic.name == *name) {
            return Failure::usage(format!("`{name}` is a topic, and nothing follows a topic: `vmlab help {name}`"));
        }
        let topics = TOPICS.iter().map(|topic| topic.name).collect::<Vec<_>>().join(", ");
        Failure::usage(format!("there is no command or topic `{name}`; commands: {subcommands}; topics: {topics}"))
    }
}

impl From<Unknown> for Failure {
    fn from(Unknown { name, within, subcommands }: Unknown) -> Self {
        Self::usage(if subcommands.is_empty() {
            format!("`{within}` has no subcommand `{name}`; see `{within} --help` for its arguments")
        } else {
            format!("`{within}` has no subcommand `{name}`; it has {subcommands}")
        })
    }
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
            let mut limit_columns = 80;
            for line in text.lines() {
                if line.starts_with("```") {
                    // What vmlab prints is quoted as it is.
                    limit_columns = 180 - limit_columns;
                }
                assert!(line.chars().count() <= limit_columns, "{name}: {line}");
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
