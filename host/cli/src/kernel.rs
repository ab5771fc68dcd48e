//! `vmlab kernel list|fetch|build|config|fragments|info|remove`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueHint};
use serde::Serialize;

use super::interrupt::Interrupts;
use super::{Context, Failure, kernel_arg, output};
use vmlab_build::store::{self, BUILDS};
use vmlab_kernel::catalogue::Catalogue;
use vmlab_kernel::fetched::Lookup;
use vmlab_kernel::order::FragmentName;
use vmlab_kernel::source::DebianSource;
use vmlab_kernel::{self, FetchPolicy, KernelError, KernelSource, debian, installed};
use vmlab_store::cache;
use vmlab_store::dirs::Dirs;

mod info;
mod order;
mod remove;

const NAMES: &str = "\
KERNEL is one of
  debian:SUITE[/FLAVOUR]  a stock Debian kernel; the flavour is cloud-amd64 if none
                          is given; amd64 and rt-amd64 are others
  installed[:RELEASE]     a kernel of this machine; the newest if no release is given
  source:SUITE[+FRAGMENT]...
                          the source of a suite's kernel, built
  tree:PATH[+FRAGMENT]... a source tree of this machine, built; never written to
  PATH                    a bzImage, a vmlinux or a unified kernel image; write
                          path:PATH if PATH itself begins with such a word
FRAGMENT is a name that `vmlab kernel fragments` lists, a file (with a slash, as in
+./my.config), or a symbol (+CONFIG_KASAN=y). `base` is always the first. A + or @
in a path is written twice: tree:/src/c++++/linux.
`vmlab help kernels` and `vmlab help builds` have more.";

const LIST_HELP: &str = "\
Examples:
  vmlab kernel list
  vmlab kernel list --json | jq '.[] | select(.cached)'";

const FETCH_HELP: &str = "\
Examples:
  vmlab kernel fetch                                   the default kernel
  vmlab kernel fetch debian:bullseye debian:bookworm   two kernels
  vmlab kernel fetch debian:bookworm/6.12-cloud-amd64  another flavour
  vmlab kernel fetch --all --refresh                   the whole catalogue, each at its newest

A fetched kernel stays the same until --refresh. A damaged one is fetched again. Packages come through apt, with a private \
root and apt's signature checks, from the mirrors that this machine's apt uses; VMLAB_DEBIAN_MIRROR and \
VMLAB_DEBIAN_SECURITY_MIRROR name others.";

const BUILD_HELP: &str = "\
Examples:
  vmlab kernel build tree:.+namespaces                 this tree, small, with namespaces
  vmlab kernel build source:trixie+namespaces+debug-kasan
  vmlab kernel build tree:../linux --config ./my.config -j 8
  LLVM=1 vmlab kernel build tree:.                     with clang

The tree is never written to. A kernel that is built already is answered at once; after a change only what depends on it is \
compiled. ccache is used where it is installed. Every symbol that a fragment asks for is checked in the kernel's config.";

const CONFIG_HELP: &str = "\
Examples:
  vmlab kernel config tree:.+namespaces
  vmlab kernel config tree:.+namespaces --diff tree:.+namespaces+debug-kasan
  vmlab kernel config source:trixie --diff debian:trixie";

const INFO_HELP: &str = "\
Examples:
  vmlab kernel info debian:trixie
  vmlab kernel info ./arch/x86/boot/bzImage
  vmlab kernel info installed --json | jq .symbols.CONFIG_TIME_NS";

const REMOVE_HELP: &str = "\
Examples:
  vmlab kernel remove debian:bullseye
  vmlab kernel remove tree:/src/linux+namespaces       all builds of that name, and their object files

The next fetch takes the version that the archive has then. Images and templates of the kernel stay until `vmlab cache \
prune` makes room.";

/// List, fetch, build, inspect and remove kernels; configs and their fragments
#[derive(Debug, clap::Args)]
#[command(after_help = NAMES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the catalogue, the cache, the kernels built from source, and those installed on this machine
    #[command(after_help = LIST_HELP)]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch kernels into the cache
    #[command(after_help = FETCH_HELP, after_long_help = format!("{NAMES}\n\n{FETCH_HELP}"))]
    Fetch {
        /// Kernels to fetch [default: debian:trixie]
        #[arg(value_name = "KERNEL", value_parser = kernel_arg::parse, value_hint = ValueHint::FilePath)]
        sources: Vec<KernelSource>,
        /// Fetch the whole catalogue
        #[arg(long, conflicts_with = "sources")]
        all: bool,
        /// Ask the archive for the newest version, even if one is in the cache
        #[arg(long)]
        refresh: bool,
    },
    /// Build kernels from source, and check each requested config symbol
    #[command(after_help = BUILD_HELP, after_long_help = format!("{NAMES}\n\n{BUILD_HELP}"))]
    Build {
        /// Kernels to build: source:SUITE[+FRAGMENT]... or tree:PATH[+FRAGMENT]...
        #[arg(value_name = "KERNEL", required = true, value_parser = kernel_arg::parse)]
        sources: Vec<KernelSource>,
        /// A fragment for all these kernels; may be given several times
        #[arg(long, value_name = "FRAGMENT", value_parser = kernel_arg::parse_fragment, value_hint = ValueHint::FilePath)]
        config: Vec<FragmentName>,
        /// Parallel jobs of a build [default: this machine's processors]
        #[arg(short, long, value_name = "N")]
        jobs: Option<NonZeroUsize>,
    },
    /// Show a kernel's config and where each symbol comes from, or compare two
    #[command(after_help = CONFIG_HELP, after_long_help = format!("{NAMES}\n\n{CONFIG_HELP}"))]
    Config {
        /// Kernel whose config is shown
        #[arg(value_name = "KERNEL", value_parser = kernel_arg::parse, value_hint = ValueHint::FilePath)]
        source: KernelSource,
        /// Show only what differs from this kernel's config
        #[arg(long, value_name = "KERNEL", value_parser = kernel_arg::parse, value_hint = ValueHint::FilePath)]
        diff: Option<KernelSource>,
        /// A fragment for these kernels; may be given several times
        #[arg(long, value_name = "FRAGMENT", value_parser = kernel_arg::parse_fragment, value_hint = ValueHint::FilePath)]
        config: Vec<FragmentName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the config fragments that come with vmlab, or print one
    Fragments {
        /// Fragment to print
        #[arg(value_name = "FRAGMENT")]
        name: Option<String>,
        /// Print JSON
        #[arg(long, conflicts_with = "name")]
        json: bool,
    },
    /// Show a kernel's release, files and config symbols; fetches it if it is not in the cache
    #[command(after_help = INFO_HELP, after_long_help = format!("{NAMES}\n\n{INFO_HELP}"))]
    Info {
        /// Kernel to inspect
        #[arg(value_name = "KERNEL", value_parser = kernel_arg::parse, value_hint = ValueHint::FilePath)]
        source: KernelSource,
        /// Use no network
        #[arg(long)]
        offline: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove fetched and built kernels from the cache
    #[command(after_help = REMOVE_HELP)]
    Remove {
        /// Kernels to remove
        #[arg(value_name = "KERNEL", required = true, value_parser = kernel_arg::parse)]
        sources: Vec<KernelSource>,
    },
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    match args.command {
        Command::List { json } => list(&context.dirs, json)?,
        Command::Fetch { sources, all, refresh } => {
            let policy = if refresh { FetchPolicy::Refresh } else { FetchPolicy::Verify };
            let sources = chosen(sources, all)?;
            Interrupts::listen()?.or_interrupt(fetch(&sources, &context.dirs, policy)).await?;
        }
        Command::Build { sources, config, jobs } => {
            let sources = kernel_arg::with_fragments(&sources, &config).map_err(Failure::usage)?;
            Interrupts::listen()?.or_interrupt(order::build(&sources, &context.dirs, jobs)).await?;
        }
        Command::Config { source, diff, config, json } => {
            let sources: Vec<_> = std::iter::once(source).chain(diff).collect();
            let sources = kernel_arg::with_fragments(&sources, &config).map_err(Failure::usage)?;
            let mut interrupts = Interrupts::listen()?;
            match sources.as_slice() {
                [source, other] => interrupts.or_interrupt(order::diff(source, other, &context.dirs, json)).await?,
                _ => interrupts.or_interrupt(order::config(&sources[0], &context.dirs, json)).await?,
            }
        }
        Command::Fragments { name: Some(name), .. } => order::fragment(&name)?,
        Command::Fragments { name: None, json } => order::fragments(json)?,
        Command::Info { source, offline, json } => {
            let policy = if offline { FetchPolicy::Offline } else { FetchPolicy::CacheFirst };
            Interrupts::listen()?.or_interrupt(info::info(&source, &context.dirs, policy, json)).await?;
        }
        Command::Remove { sources } => remove::remove(&sources, &context.dirs)?,
    }
    Ok(vmlab_events::exit::OK)
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Self {
        if error.is_usage() { Self::usage(error) } else { Self::lab(error) }
    }
}

fn chosen(sources: Vec<KernelSource>, all: bool) -> Result<Vec<KernelSource>, Failure> {
    if all {
        let catalogue = Catalogue::embedded().map_err(Failure::lab)?;
        Ok(catalogue.kernels.into_iter().map(|kernel| kernel.source).collect())
    } else if sources.is_empty() {
        Ok(vec![Catalogue::default_source().map_err(Failure::lab)?])
    } else {
        Ok(sources)
    }
}

async fn fetch(sources: &[KernelSource], dirs: &Dirs, policy: FetchPolicy) -> Result<(), Failure> {
    let progress = super::progress();
    for source in sources {
        let kernel = vmlab_kernel::obtain(source, dirs, policy.into(), &progress).await?;
        output::notes(&kernel.notices);
        output::print(&format!("{}  {}  {}\n", kernel.label, kernel.release, kernel.path.display()))?;
    }
    Ok(())
}

/// A row of `kernel list`.
#[derive(Debug, Serialize)]
struct Listed {
    source: String,
    /// Where the row comes from: `catalogue`, `cache`, `build` or `installed`.
    listed_by: &'static str,
    default: bool,
    series: Option<String>,
    cached: bool,
    release: Option<String>,
    version: Option<String>,
    sha256: Option<String>,
    damage: Option<String>,
    path: Option<PathBuf>,
    description: String,
}

impl Listed {
    fn debian(source: &DebianSource, listed_by: &'static str, dirs: &Dirs) -> Result<Self, Failure> {
        let mut listed = Self {
            source: source.to_string(),
            listed_by,
            default: false,
            series: None,
            cached: false,
            release: None,
            version: None,
            sha256: None,
            damage: None,
            path: None,
            description: String::new(),
        };
        match debian::cached(source, dirs).map_err(Failure::lab)? {
            Lookup::Missing => {}
            Lookup::Damaged(damage) => listed.damage = Some(damage),
            Lookup::Found(entry) => {
                listed.cached = true;
                listed.path = Some(entry.kernel());
                listed.sha256 = Some(entry.kernel_sha256().to_owned());
                listed.release = Some(entry.record.release);
                listed.version = Some(entry.record.version);
            }
        }
        Ok(listed)
    }

    fn row(&self) -> [String; 6] {
        let short = |sha256: &String| sha256.chars().take(12).collect();
        let or_dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let state = match (&self.damage, self.cached) {
            (Some(_), _) => "damaged",
            (None, true) => "cached",
            (None, false) if self.listed_by == "build" => "built",
            (None, false) if self.path.is_some() => "installed",
            (None, false) => "-",
        };
        [
            if self.default { format!("{} *", self.source) } else { self.source.clone() },
            state.to_owned(),
            self.release.clone().or_else(|| self.series.clone()).unwrap_or_else(|| "-".to_owned()),
            or_dash(&self.version),
            self.sha256.as_ref().map_or_else(|| "-".to_owned(), short),
            self.description.clone(),
        ]
    }
}

/// The kernels that were built, each with its newest build.
fn built(dirs: &Dirs) -> Vec<Listed> {
    let mut entries = cache::scan(&dirs.cache, &[&BUILDS]).entries;
    entries.sort_by_key(|entry| Reverse(entry.last_used));
    let mut newest = BTreeMap::new();
    for entry in entries {
        // `vmlab cache list` shows entries that cannot be read.
        if let Some((label, Some(release))) = store::label(&entry.path) {
            newest.entry(label).or_insert((release, entry.path));
        }
    }
    let row = |(source, (release, path)): (String, (String, PathBuf))| Listed {
        source,
        listed_by: "build",
        default: false,
        series: None,
        cached: false,
        release: Some(release),
        version: None,
        sha256: None,
        damage: None,
        path: Some(path),
        description: "built from source".to_owned(),
    };
    newest.into_iter().map(row).collect()
}

fn list(dirs: &Dirs, json: bool) -> Result<(), Failure> {
    let mut listed = Vec::new();
    for known in Catalogue::embedded().map_err(Failure::lab)?.kernels {
        let KernelSource::Debian(source) = &known.source else { continue };
        let mut kernel = Listed::debian(source, "catalogue", dirs)?;
        (kernel.default, kernel.series, kernel.description) = (known.default, Some(known.series), known.description);
        listed.push(kernel);
    }
    for source in debian::all_cached(dirs).map_err(Failure::lab)? {
        if !listed.iter().any(|kernel| kernel.source == source.to_string()) {
            listed.push(Listed::debian(&source, "cache", dirs)?);
        }
    }
    listed.extend(built(dirs));
    for installed in installed::find(Path::new("/")).map_err(|error| Failure::from(KernelError::from(error)))? {
        listed.push(Listed {
            source: format!("installed:{}", installed.release),
            listed_by: "installed",
            default: false,
            series: None,
            cached: false,
            release: Some(installed.release),
            version: None,
            sha256: None,
            damage: None,
            path: Some(installed.path),
            description: "installed on this machine".to_owned(),
        });
    }
    if json {
        return output::print_json(&listed);
    }
    let mut rows = vec![["KERNEL", "STATE", "RELEASE", "VERSION", "SHA256", "WHAT"].map(str::to_owned)];
    rows.extend(listed.iter().map(Listed::row));
    output::print(&format!("{}\n* the default, if no kernel is named\n", output::columns(&rows)))
}
