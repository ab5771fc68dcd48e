//! `vmlab man`: manual pages, made of what `--help` says.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _, ValueHint};
use clap_mangen::Man;

use super::{Cli, Failure, help, output};
use vmlab_events::exit;

/// Print a manual page, or write all of them into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vmlab man | man -l -                         read vmlab(1)
  vmlab man kernel fetch | man -l -            read vmlab-kernel-fetch(1)
  vmlab man --dir ~/.local/share/man/man1      install them all")]
pub(super) struct Args {
    /// The command whose page to print; vmlab(1) if none is given
    #[arg(value_name = "COMMAND")]
    names: Vec<String>,

    /// Write a page for vmlab and each of its commands into this directory, and make it if it is not there
    #[arg(long, value_name = "DIR", conflicts_with = "names", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let mut root = Cli::command().disable_help_subcommand(true);
    // Gives each subcommand its full name, `vmlab-kernel-fetch`.
    root.build();
    if let Some(dir) = &args.dir {
        let failed =
            |error| format!("cannot write the manual pages to {}: {error}; name another directory", dir.display());
        fs::create_dir_all(dir).and_then(|()| write_all(&root, dir)).map_err(|error| Failure::usage(failed(error)))?;
    } else {
        let failed = |error| Failure::lab(format!("cannot render the manual page: {error}"));
        let text = page(help::named(&root, &args.names)?).map_err(failed)?;
        output::print(&String::from_utf8_lossy(&text))?;
    }
    Ok(exit::OK)
}

/// Writes the pages of a command and of all below it.
fn write_all(command: &Command, dir: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(dir.join(format!("{name}.1")), page(command)?)?;
    shown(command).try_for_each(|sub| write_all(sub, dir))
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set())
}

/// A page in roff. `Man::render` would fill the lines of the examples into one paragraph.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).source(concat!("vmlab ", env!("CARGO_PKG_VERSION"))).manual("vmlab manual");
    let mut roff = Vec::new();
    man.render_title(&mut roff)?;
    man.render_name_section(&mut roff)?;
    man.render_synopsis_section(&mut roff)?;
    man.render_description_section(&mut roff)?;
    man.render_options_section(&mut roff)?;
    if shown(command).next().is_some() {
        man.render_subcommands_section(&mut roff)?;
    }
    if let Some(notes) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        write!(roff, ".SH NOTES\n.nf\n{}.fi\n", verbatim(&notes.to_string()))?;
    }
    man.render_version_section(&mut roff)?;
    Ok(roff)
}

/// Text that roff prints as it is: groff_char(7) for the hyphen and the backslash, groff(7) for a control line's point.
fn verbatim(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    escaped
        .lines()
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}\n") } else { format!("{line}\n") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("share/man1");
        run(&Args { names: Vec::new(), dir: Some(to.clone()) }).unwrap();
        for name in ["vmlab", "vmlab-run", "vmlab-kernel", "vmlab-kernel-fetch", "vmlab-cache-prune", "vmlab-help"] {
            let text = fs::read_to_string(to.join(format!("{name}.1"))).unwrap();
            assert!(text.contains(".SH SYNOPSIS") && text.contains(&name.replace('-', "\\-")), "{text}");
        }
        let refused = run(&Args { names: Vec::new(), dir: Some(to.join("vmlab.1")) }).unwrap_err();
        assert_eq!(refused.code, exit::USAGE);
    }

    #[test]
    fn examples_are_printed_line_by_line() {
        assert_eq!(verbatim("a\\b --c\n.x\n"), "a\\eb \\-\\-c\n\\&.x\n");
        let text = String::from_utf8(page(&Cli::command()).unwrap()).unwrap();
        assert!(text.contains("\n.nf\nExamples:\n  vmlab run "), "{text}");
    }
}
