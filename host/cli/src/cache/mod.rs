//! `vmlab cache list|prune|clear`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use super::{Context, Failure, output};
use vmlab_events::exit;
use vmlab_events::text;
use vmlab_lab::cache::KINDS;
use vmlab_store::CacheError;
use vmlab_store::cache::size::human;
use vmlab_store::cache::{self, Entry, EntryKind, Goal, Limit, Outcome};

mod show;

const ABOUT: &str = "\
The cache is $XDG_CACHE_HOME/vmlab, or ~/.cache/vmlab. All of it can be made again: templates, unpacked kernels and images \
by the next run, kernels over the network, built ones from their source. After something was put into the cache, the least recently used entries are \
removed until the limit is met: templates first, then unpacked kernels, then images, then kernels that no source is pinned \
to. A pinned kernel and an entry that is in use are never removed. The limit is 10 GiB; VMLAB_CACHE_LIMIT sets another, \
as 500M, 5G or none. If the cache cannot be written to, each run says so once, makes the entries again, and goes on.

Kinds of entries:
  template     a guest that was booted and saved; the next guests are forked from it
  unpacked     the vmlinux of a kernel, which boots quicker than the bzImage
  image        the initramfs of guests, with vmlab's PID 1
  kernel       a kernel that was fetched; `pinned as debian:trixie`: it is what debian:trixie means
  build        a kernel that was built from source, which takes minutes to build again
  build-dir    the object files of such a kernel; without them the next build compiles everything
  source       a kernel's source code that was fetched
  module list  a modules.dep that vmlab made for a kernel without one
  fact         an answer that vmlab remembers about a file, QEMU or KVM
  leftover     part of an entry whose vmlab was killed; prune removes it

Examples:
  vmlab cache list
  vmlab cache prune --max-size 2G        down to 2 GiB
  vmlab cache clear templates            asks before it removes all templates
  vmlab cache clear facts --yes          does not ask
  vmlab cache clear --yes                everything that is not in use, in a script";

const LIST_HELP: &str = "\
Examples:
  vmlab cache list
  vmlab cache list --json | jq '.entries[] | select(.kind == \"template\")'";

const PRUNE_HELP: &str = "\
Useless entries are removed in any case: leftovers of killed and older versions of vmlab, damaged templates, kernels \
without their description, facts about files that have changed. A pinned kernel is what a source such as debian:trixie \
means here; once it is removed, the next fetch takes what the archive has then.

Examples:
  vmlab cache prune                    down to the limit
  vmlab cache prune --max-size 2G      down to 2 GiB
  vmlab cache prune --older-than 30    and what was not used for 30 days
  vmlab cache prune --max-size 0 --dry-run";

const CLEAR_HELP: &str = "\
Examples:
  vmlab cache clear templates images   asks; the next runs make them again
  vmlab cache clear facts --yes        does not ask; QEMU and KVM are tried anew
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
    /// Show the entries of the cache, their sizes on the disk, and when they were last used
    #[command(after_help = LIST_HELP)]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove the least recently used entries until the limit is met
    #[command(after_help = PRUNE_HELP)]
    Prune {
        /// The size that may stay, as 500M, 5G or none [default: $VMLAB_CACHE_LIMIT, or 10 GiB]
        #[arg(long, value_name = "SIZE")]
        max_size: Option<Limit>,
        /// Also remove what was not used for so many days
        #[arg(long, value_name = "DAYS")]
        older_than: Option<u16>,
        /// Also remove pinned kernels, last of all
        #[arg(long)]
        pinned: bool,
        /// Show what would be removed, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove everything, pinned kernels too, except what is in use
    #[command(after_help = CLEAR_HELP)]
    Clear {
        /// Only entries of these kinds
        #[arg(value_name = "KIND", value_parser = kind_parser())]
        kinds: Vec<&'static EntryKind>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Kinds of entries by their plurals; the singulars are understood, too.
fn kind_parser() -> impl TypedValueParser<Value = &'static EntryKind> {
    let value = |kind: &&EntryKind| PossibleValue::new(kind.plural).alias(kind.name).help(kind.help);
    let named = |name: String| KINDS.into_iter().find(|kind| [kind.name, kind.plural].contains(&name.as_str()));
    PossibleValuesParser::new(KINDS.iter().map(value)).try_map(move |name| named(name).ok_or("not a kind of entries"))
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
        Command::Clear { kinds, yes } => clear(dir, if kinds.is_empty() { &KINDS } else { kinds }, *yes),
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
    let listing = cache::scan(dir, &KINDS);
    let total_bytes = listing.entries.iter().map(|entry| entry.size_bytes).sum();
    if json {
        output::print_json(&Listed { cache: dir, limit_bytes: limit.bytes(), total_bytes, entries: &listing.entries })?;
    } else {
        output::print(&show::table(dir, &listing.entries, limit))?;
    }
    all_well(&listing.errors)
}

fn prune(dir: &Path, goal: Goal, dry_run: bool) -> Result<u8, Failure> {
    let outcome = cache::prune(dir, &KINDS, goal, dry_run);
    output::print(&show::outcome(&outcome, if dry_run { "would remove" } else { "removed" }))?;
    for hint in show::hints(&outcome, goal) {
        tell(&hint);
    }
    all_well(&outcome.errors)
}

fn clear(dir: &Path, kinds: &cache::Kinds, yes: bool) -> Result<u8, Failure> {
    if !yes && !confirmed(dir, kinds)? {
        output::print("nothing was removed\n")?;
        return Ok(exit::OK);
    }
    let outcome = cache::clear(dir, &KINDS, kinds);
    output::print(&show::outcome(&outcome, "removed"))?;
    all_well(&outcome.errors)?;
    in_use(&outcome)
}

/// Says what was asked to be removed and is in use, by the exit code too.
fn in_use(outcome: &Outcome) -> Result<u8, Failure> {
    if outcome.in_use.is_empty() {
        return Ok(exit::OK);
    }
    let paths: Vec<_> = outcome.in_use.iter().map(|entry| entry.path.display().to_string()).collect();
    let (what, paths) = (text::count(paths.len(), "item"), paths.join(", "));
    let why = "not removed, because another vmlab makes or uses them; try again when it has ended";
    Err(Failure::lab(format!("{what} {why}: {paths}")))
}

fn confirmed(dir: &Path, kinds: &cache::Kinds) -> Result<bool, Failure> {
    let terminals = [("standard input", io::stdin().is_terminal()), ("standard error", io::stderr().is_terminal())];
    if let Some((stream, _)) = terminals.iter().find(|(_, is_terminal)| !is_terminal) {
        let advice = "so vmlab cannot ask; give --yes to clear without asking";
        return Err(Failure::usage(format!("{stream} is not a terminal, {advice}")));
    }
    let listing = cache::scan(dir, &KINDS);
    let doomed: Vec<_> = listing.entries.iter().filter(|entry| kinds.contains(&entry.kind)).collect();
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
