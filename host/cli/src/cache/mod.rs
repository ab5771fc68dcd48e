//! `vmlab cache list|prune|clear`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use super::{Context, Failure, output};
use vmlab_events::exit;
use vmlab_events::text;
use vmlab_lab::cache::KINDS;
use vmlab_store::CacheError;
use vmlab_store::cache::size::human;
use vmlab_store::cache::{self, Entry, Goal, Kind, Limit, Outcome};

mod show;

const ABOUT: &str = "\
The cache is $XDG_CACHE_HOME/vmlab, or ~/.cache/vmlab. All of it can be had again: templates, unpacked kernels and images \
by the next run, kernels over the network. After something was put into it, what was not used for longest goes until the limit \
is met: templates first, then unpacked kernels, then images, then kernels that no source means any more, never a pinned \
kernel, and never what a vmlab uses. The limit is 10 GiB; VMLAB_CACHE_LIMIT sets another, as 500M, 5G or none. What the \
cache cannot hold is told of once and had again by each run; it ends none.

Examples:
  vmlab cache list
  vmlab cache prune --max-size 2G        down to 2 GiB
  vmlab cache clear templates            asks before it removes all templates
  vmlab cache clear memos --yes          does not ask
  vmlab cache clear --yes                everything that nobody uses, in a script";

const LIST_HELP: &str = "\
Examples:
  vmlab cache list
  vmlab cache list --json | jq '.entries[] | select(.kind == \"template\")'";

const PRUNE_HELP: &str = "\
What nobody can use any more goes in any case: leftovers of a vmlab that was killed, damaged templates, kernels without \
their description, memos about files that have changed. A pinned kernel is what a source such as debian:trixie means \
here; once it is gone, the next fetch takes what the archive has then.

Examples:
  vmlab cache prune                    down to the limit
  vmlab cache prune --max-size 2G      down to 2 GiB
  vmlab cache prune --older-than 30    and what was not used for 30 days
  vmlab cache prune --max-size 0 --dry-run";

const CLEAR_HELP: &str = "\
Examples:
  vmlab cache clear templates images   asks; the next runs make them again
  vmlab cache clear memos --yes        does not ask; QEMU is tried anew
  vmlab cache clear --yes              everything, in a script";

/// The cache: what is in it, and making room
#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what the cache holds, what that takes on the disk, and when it was last used
    #[command(after_help = LIST_HELP)]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take away what was not used for longest, until the limit is met
    #[command(after_help = PRUNE_HELP)]
    Prune {
        /// How much may stay, as 500M, 5G or none [default: $VMLAB_CACHE_LIMIT, or 10 GiB]
        #[arg(long, value_name = "SIZE")]
        max_size: Option<Limit>,
        /// Take away what was not used for so many days, too
        #[arg(long, value_name = "DAYS")]
        older_than: Option<u16>,
        /// Pinned kernels may go, too: last of the kernels
        #[arg(long)]
        pinned: bool,
        /// Show what would go, and take nothing away
        #[arg(long)]
        dry_run: bool,
    },
    /// Take everything away, pinned kernels too, but what another vmlab uses
    #[command(after_help = CLEAR_HELP)]
    Clear {
        /// Only these
        #[arg(value_name = "KIND")]
        kinds: Vec<KindArg>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// A kind of entries, as users name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KindArg {
    /// Booted guests
    #[value(alias = "template")]
    Templates,
    /// Kernels out of their bzImages
    Unpacked,
    /// Initramfs images
    #[value(alias = "image")]
    Images,
    /// Fetched kernels
    #[value(alias = "kernel")]
    Kernels,
    /// What was found out about files
    #[value(alias = "memo")]
    Memos,
    /// What vmlabs that were killed left behind
    #[value(alias = "leftover")]
    Leftovers,
}

impl From<KindArg> for Kind {
    fn from(arg: KindArg) -> Self {
        match arg {
            KindArg::Templates => Self::Template,
            KindArg::Unpacked => Self::Unpacked,
            KindArg::Images => Self::Image,
            KindArg::Kernels => Self::Kernel,
            KindArg::Memos => Self::Memo,
            KindArg::Leftovers => Self::Leftover,
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &Args, context: &Context) -> Result<u8, Failure> {
    let dir = &context.dirs.cache;
    let limit = Limit::from_env().map_err(Failure::usage)?;
    match &args.command {
        Command::List { json } => list(dir, limit, *json),
        Command::Prune { max_size, older_than, pinned, dry_run } => {
            let used_before = older_than.and_then(days_ago);
            prune(dir, Goal { limit: max_size.unwrap_or(limit), used_before, pinned: *pinned }, *dry_run)
        }
        Command::Clear { kinds, yes } => {
            let kinds: Vec<Kind> = kinds.iter().copied().map(Kind::from).collect();
            clear(dir, if kinds.is_empty() { &Kind::ALL } else { &kinds }, *yes)
        }
    }
}

fn days_ago(days: u16) -> Option<SystemTime> {
    SystemTime::now().checked_sub(Duration::from_secs(24 * 3600) * u32::from(days))
}

/// What `list --json` prints.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    cache: &'a Path,
    limit_bytes: Option<u64>,
    total_bytes: u64,
    entries: &'a [Entry],
}

fn list(dir: &Path, limit: Limit, json: bool) -> Result<u8, Failure> {
    let found = cache::scan(dir, KINDS);
    let total_bytes = found.entries.iter().map(|entry| entry.size_bytes).sum();
    if json {
        output::print_json(&Listed { cache: dir, limit_bytes: limit.bytes(), total_bytes, entries: &found.entries })?;
    } else {
        output::print(&show::table(dir, &found.entries, limit))?;
    }
    all_well(&found.errors)
}

fn prune(dir: &Path, goal: Goal, dry_run: bool) -> Result<u8, Failure> {
    let outcome = cache::prune(dir, KINDS, goal, dry_run);
    output::print(&show::outcome(&outcome, if dry_run { "would remove" } else { "removed" }))?;
    for hint in show::hints(&outcome, goal) {
        tell(&hint);
    }
    all_well(&outcome.errors)
}

fn clear(dir: &Path, kinds: &[Kind], yes: bool) -> Result<u8, Failure> {
    if !yes && !confirmed(dir, kinds)? {
        output::print("nothing was removed\n")?;
        return Ok(exit::OK);
    }
    let outcome = cache::clear(dir, KINDS, kinds);
    output::print(&show::outcome(&outcome, "removed"))?;
    all_well(&outcome.errors)?;
    kept(&outcome)
}

/// Who asked for everything to go is told, by the exit code too, where not everything went.
fn kept(outcome: &Outcome) -> Result<u8, Failure> {
    if outcome.in_use.is_empty() {
        return Ok(exit::OK);
    }
    let paths: Vec<_> = outcome.in_use.iter().map(|entry| entry.path.display().to_string()).collect();
    let (what, paths) = (text::count(paths.len(), "item"), paths.join(", "));
    let why = "stayed because another vmlab is at work there; try again when it has ended";
    Err(Failure::lab(format!("{what} {why}: {paths}")))
}

fn confirmed(dir: &Path, kinds: &[Kind]) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage("nobody can be asked whether to clear the cache: give --yes to do it unasked"));
    }
    let found = cache::scan(dir, KINDS);
    let doomed: Vec<_> = found.entries.iter().filter(|entry| kinds.contains(&entry.kind)).collect();
    if doomed.is_empty() {
        return Ok(true);
    }
    let bytes = doomed.iter().map(|entry| entry.size_bytes).sum();
    let pinned = doomed.iter().filter(|entry| !entry.pinned_by.is_empty()).count();
    let kernels =
        if pinned == 0 { String::new() } else { format!(", among them {}", text::count(pinned, "pinned kernel")) };
    let what = text::count(doomed.len(), "item");
    let asked = write!(io::stderr(), "Remove {what}{kernels}, {} in {}? [y/N] ", human(bytes), dir.display());
    asked.map_err(|error| Failure::lab(format!("cannot write to the terminal: {error}")))?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::lab(format!("cannot read the answer from the terminal: {error}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// A line for the user beside what the command prints.
fn tell(text: &str) {
    // Where standard error is closed nobody wants to know.
    writeln!(io::stderr(), "vmlab: note: {text}").unwrap_or_default();
}

fn all_well(errors: &[CacheError]) -> Result<u8, Failure> {
    match errors {
        [] => Ok(exit::OK),
        errors => Err(Failure::lab(CacheError::by_reason(errors).join("\nvmlab: "))),
    }
}

#[cfg(test)]
mod tests;
