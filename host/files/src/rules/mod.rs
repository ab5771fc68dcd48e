//! Decides what of the host's files a guest sees, from paths alone. No IO.
//!
//! All paths are absolute and have no symbolic link in them but at their end: a guest resolves links itself, and asks for
//! what they lead to.

mod lists;
mod pattern;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use lists::{CREDENTIALS, EMPTY, ORDINARY, SYSTEM_SECRETS, TOOLCHAINS};
pub(crate) use pattern::matches_name;

/// Where other users' homes are.
pub(crate) const HOMES: &str = "/home";
/// The superuser's home.
const ROOT_HOME: &str = "/root";
/// Not a user's home but the place where Homebrew installs toolchains.
const HOMEBREW: &str = "/home/linuxbrew/.linuxbrew";

/// What a view is decided by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// The caller's home, if it has one. Never `/`.
    pub home: Option<PathBuf>,
    /// Whether all of the home is shown.
    pub whole_home: bool,
    /// What the user named, to be shown.
    pub shares: Vec<PathBuf>,
    /// The working directory.
    pub cwd: PathBuf,
    /// Where the toolchain directories of the home really are.
    pub toolchains: Vec<PathBuf>,
    /// Directories of homes beside those that are known by name.
    pub homes: Vec<PathBuf>,
    /// Symbolic links on the ways to all these.
    pub links: Vec<PathBuf>,
}

/// Why something is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// Guests mount file systems of their own there.
    Empty,
    SystemSecret,
    Credential,
    OwnHome,
    OtherHome,
}

/// What a guest sees at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// What the host has there.
    Whole,
    /// A directory or a symbolic link of the host's. A directory has only those entries that are seen themselves.
    Way,
    /// Nothing.
    Hidden(Reason),
}

/// Where a path is, as seen from some other paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// It is one of them, or below one of them.
    Inside,
    /// One of them is below it.
    Above,
    Apart,
}

/// The toolchain directories of a home, as they are called there.
pub(crate) fn toolchains_of(home: &Path) -> impl Iterator<Item = PathBuf> {
    TOOLCHAINS.iter().map(|name| home.join(name))
}

/// What is not to be seen by another path either: homes, and the known places of secrets. Patterns of absolute paths.
pub(crate) fn guarded(home: Option<&Path>) -> impl Iterator<Item = PathBuf> {
    let credentials = home.into_iter().flat_map(|home| CREDENTIALS.iter().map(|name| home.join(name)));
    let secrets = SYSTEM_SECRETS.iter().map(|name| Path::new("/").join(name));
    [HOMES, ROOT_HOME].map(PathBuf::from).into_iter().chain(home.map(Path::to_owned)).chain(credentials).chain(secrets)
}

/// Decides about paths.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    facts: Facts,
}

impl Rules {
    pub(crate) fn new(facts: Facts) -> Self {
        Self { facts }
    }

    pub(crate) fn decide(&self, path: &Path) -> Seen {
        let seen = self.decide_by_place(path);
        let leads_on = || relation(path, self.facts.links.iter()) == Relation::Above;
        let is_link = || self.facts.links.iter().any(|link| link == path);
        match seen {
            Seen::Hidden(_) if is_link() || leads_on() => Seen::Way,
            seen => seen,
        }
    }

    fn decide_by_place(&self, path: &Path) -> Seen {
        if let Some((secret, reason)) = self.secret_in(path) {
            let naming_it = self.shares().filter(|share| share.starts_with(&secret));
            return seen_by(relation(path, naming_it), reason);
        }
        if let Some(empty) = EMPTY.iter().find(|empty| path.starts_with(empty)) {
            let is_ordinary =
                |named: &&Path| ORDINARY.iter().any(|dir| named.starts_with(dir) && *named != Path::new(dir));
            return match relation(path, self.named().filter(is_ordinary)) {
                Relation::Apart if path == Path::new(empty) => Seen::Way,
                relation => seen_by(relation, Reason::Empty),
            };
        }
        if let Some(home) = self.own_home().filter(|home| path.starts_with(home)) {
            return self.decide_in_home(path, home);
        }
        if self.directory_of_homes(path).is_some() {
            // The working directory shows another user's home no more than one's own.
            let cwd = Some(self.facts.cwd.as_path()).filter(|cwd| self.is_in_a_home(cwd));
            let shown = self.shares().chain(cwd).chain([Path::new(HOMEBREW)]).chain(self.own_home());
            return match seen_by(relation(path, shown), Reason::OtherHome) {
                // They exist, with nothing in them.
                Seen::Hidden(_) if self.directories_of_homes().any(|homes| path == homes) => Seen::Way,
                seen => seen,
            };
        }
        Seen::Whole
    }

    fn decide_in_home(&self, path: &Path, home: &Path) -> Seen {
        if self.facts.whole_home {
            return Seen::Whole;
        }
        // A working directory that is the home itself, or above it, shows no more of the home.
        let cwd = Some(self.facts.cwd.as_path()).filter(|cwd| cwd.starts_with(home) && *cwd != home);
        let toolchains = self.facts.toolchains.iter().map(PathBuf::as_path);
        match seen_by(relation(path, self.shares().chain(cwd).chain(toolchains)), Reason::OwnHome) {
            Seen::Hidden(_) if path == home => Seen::Way,
            seen => seen,
        }
    }

    /// The secret that a path is or is in.
    fn secret_in(&self, path: &Path) -> Option<(PathBuf, Reason)> {
        let names = names_of(path);
        let beginning = |count: usize| Path::new("/").join(names[..count].iter().collect::<PathBuf>());
        if let Some(count) = SYSTEM_SECRETS.iter().find_map(|secret| pattern::matches_beginning(secret, &names)) {
            return Some((beginning(count), Reason::SystemSecret));
        }
        let depth = self.depth_of_home(path)?;
        (depth..names.len())
            .filter(|start| names[*start].as_encoded_bytes().starts_with(b"."))
            .find_map(|start| {
                let here = |credential: &&str| pattern::matches_beginning(credential, &names[start..]);
                CREDENTIALS.iter().find_map(here).map(|count| start + count)
            })
            .map(|count| (beginning(count), Reason::Credential))
    }

    /// The number of names of the home that a path is in.
    fn depth_of_home(&self, path: &Path) -> Option<usize> {
        let depth = |home: &Path| names_of(home).len();
        if let Some(home) = self.own_home().filter(|home| path.starts_with(home)) {
            return Some(depth(home));
        }
        self.directory_of_homes(path).map(depth)
    }

    /// The directories that hold users' homes. The superuser's home counts as one, because all of it is hidden.
    fn directories_of_homes(&self) -> impl Iterator<Item = &Path> {
        [HOMES, ROOT_HOME].into_iter().map(Path::new).chain(self.facts.homes.iter().map(PathBuf::as_path))
    }

    fn directory_of_homes(&self, path: &Path) -> Option<&Path> {
        self.directories_of_homes().find(|homes| path.starts_with(homes))
    }

    /// Whether a path is below some user's home.
    fn is_in_a_home(&self, path: &Path) -> bool {
        let depth = |homes: &Path| path.strip_prefix(homes).map_or(0, |rest| rest.components().count());
        self.directories_of_homes().any(|homes| depth(homes) > usize::from(homes != Path::new(ROOT_HOME)))
    }

    /// Whether the user named a path, or what is below it.
    pub(crate) fn leads_to_named(&self, path: &Path) -> bool {
        self.named().any(|named| named.starts_with(path))
    }

    fn own_home(&self) -> Option<&Path> {
        self.facts.home.as_deref()
    }

    fn shares(&self) -> impl Iterator<Item = &Path> {
        self.facts.shares.iter().map(PathBuf::as_path)
    }

    /// What the user named, and the working directory.
    fn named(&self) -> impl Iterator<Item = &Path> {
        self.shares().chain([self.facts.cwd.as_path()])
    }
}

fn names_of(path: &Path) -> Vec<&OsStr> {
    let name = |component| if let Component::Normal(name) = component { Some(name) } else { None };
    path.components().filter_map(name).collect()
}

fn relation(path: &Path, others: impl Iterator<Item = impl AsRef<Path>>) -> Relation {
    let mut found = Relation::Apart;
    for other in others {
        let other = other.as_ref();
        if path.starts_with(other) {
            return Relation::Inside;
        }
        if other.starts_with(path) {
            found = Relation::Above;
        }
    }
    found
}

fn seen_by(relation: Relation, reason: Reason) -> Seen {
    match relation {
        Relation::Inside => Seen::Whole,
        Relation::Above => Seen::Way,
        Relation::Apart => Seen::Hidden(reason),
    }
}
