//! What a guest sees of the host's files: the rules, with what the host says about the paths in them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::SFlag;
use nix::unistd::{getegid, geteuid};

use crate::nodes::Identity;
use crate::resolve::{Resolved, resolve};
use crate::rules::{self, Facts, HOMES, Rules, Seen, toolchains_of};
use crate::visibility::Visibility;
use crate::{guarded, host};

/// How long a guest caches names and attributes. A change on the host shows after that time.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);
/// The largest number of nodes that a guest may know, which takes some 100 MB.
const NODES: usize = 1 << 19;
/// A directory that contains one of these does not count as a home, because hiding it would hide the system.
const NOT_IN_A_HOME: [&str; 4] = ["/etc/passwd", "/usr/bin", "/usr/lib", "/lib"];

/// What the caller wants a guest to see. All paths are absolute.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The caller's home directory.
    pub home: Option<&'a Path>,
    /// Whether all of the home is shown, but credentials.
    pub whole_home: bool,
    /// Files and directories that are shown wherever they are.
    pub shares: &'a [PathBuf],
    /// The working directory.
    pub cwd: &'a Path,
    /// Directories and files of the host's that the guest sees in another place: the place, and the directory or file. No
    /// rule hides them, or anything in them. Of several directories in one place the guest sees the entries of all; of entries
    /// with the same name, the first.
    pub extra: &'a [(PathBuf, PathBuf)],
}

/// A view that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// A path of the request is relative.
    #[error("cannot share `{}` with a guest: the path is relative. Name it from `/` on", .path.display())]
    Relative {
        /// The path.
        path: PathBuf,
    },
    /// A directory cannot be opened.
    #[error("cannot open the directory `{}` to share it with a guest: {source}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// What the guest is to see in another place does not exist or cannot be read.
    #[error("cannot show `{}` to a guest: {source}", .path.display())]
    Extra {
        /// The directory or file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// A share does not exist or cannot be read.
    #[error("cannot share `{}` with a guest: {source}", .path.display())]
    Share {
        /// The share.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel refuses openat2(2).
    #[error(
        "cannot share files with a guest: the host's kernel refuses openat2: {source}. Linux 5.6 or later has it; \
             in a container, the seccomp profile must permit it"
    )]
    Openat2 {
        /// The kernel's error.
        source: io::Error,
    },
}

/// What a guest sees of the host's files. A clone is the same view.
#[derive(Debug, Clone)]
pub struct View {
    shared: Arc<Shared>,
    node_limit: usize,
}

#[derive(Debug)]
struct Shared {
    root: OwnedFd,
    root_identity: Identity,
    rules: Rules,
    /// Files that are seen in their own places only.
    guarded: HashMap<Identity, PathBuf>,
    extra: Vec<Extra>,
    /// The directories above the extra ones, which exist even if the host has none there.
    above_extra: Vec<PathBuf>,
    caller: (u32, u32),
}

#[derive(Debug)]
struct Extra {
    at: PathBuf,
    directory: OwnedFd,
    /// The file in `directory` that is shown; None for the directory itself.
    file: Option<OsString>,
}

/// What is at a path of the guest's tree.
#[derive(Debug)]
pub(crate) enum Found {
    Host {
        reached: host::Reached,
        is_way: bool,
    },
    /// A directory that only the guest has, by its number.
    Made(u64),
}

/// Where a path of the guest's tree is on the host.
enum Location<'a> {
    Host { directory: &'a OwnedFd, path: Cow<'a, Path>, is_way: bool },
    Hidden,
}

impl View {
    /// Reads the directories and links that the request names. Later changes of these links have no effect on the rules.
    ///
    /// # Errors
    /// If a share or an extra directory does not exist, or the host's kernel lacks openat2.
    pub fn new(request: &Request<'_>) -> Result<Self, ViewError> {
        Self::below(Path::new("/"), request)
    }

    /// The same with another directory as root of all paths, but the extra directories.
    ///
    /// # Errors
    /// As [`View::new`].
    pub fn below(root: &Path, request: &Request<'_>) -> Result<Self, ViewError> {
        let named = request.shares.iter().chain(request.extra.iter().flat_map(|(at, from)| [at, from]));
        if let Some(path) = named.map(PathBuf::as_path).chain([request.cwd]).find(|path| path.is_relative()) {
            return Err(ViewError::Relative { path: path.to_owned() });
        }
        let root_fd = open_directory(root)?;
        let reached = host::reach(&root_fd, Path::new("")).map_err(|e| ViewError::Openat2 { source: e.into() })?;
        let mut extra = Vec::new();
        for (at, from) in request.extra {
            extra.push(Extra::open(resolve(root, at).path, from)?);
        }
        let above: BTreeSet<&Path> = extra.iter().flat_map(|extra| extra.at.ancestors().skip(1)).collect();
        let facts = facts(root, request)?;
        let shared = Shared {
            guarded: guarded::identities(&root_fd, rules::guarded(facts.home.as_deref())),
            root_identity: reached.identity(),
            rules: Rules::new(facts),
            above_extra: above.into_iter().map(Path::to_owned).collect(),
            extra,
            caller: (geteuid().as_raw(), getegid().as_raw()),
            root: root_fd,
        };
        Ok(Self { shared: Arc::new(shared), node_limit: NODES })
    }

    #[cfg(test)]
    pub(crate) fn with_node_limit(self, node_limit: usize) -> Self {
        Self { node_limit, ..self }
    }

    /// Whether a guest sees what is at an absolute path of the host's, and if not, why. Symbolic links are followed, and
    /// the path that is hidden may be one that they lead to.
    #[must_use]
    pub fn shows(&self, path: &Path) -> Visibility {
        let resolved = resolve(Path::new("/"), path);
        for place in resolved.links.iter().chain([&resolved.path]) {
            if self.is_extra(place) {
                continue;
            }
            if let Seen::Hidden(reason) = self.shared.rules.decide(place) {
                return Visibility::hidden(place, reason);
            }
        }
        // A directory on the way to something is there, but what it holds may be missed.
        match self.shared.rules.decide(&resolved.path) {
            Seen::Way if resolved.path.is_dir() && !self.is_extra(&resolved.path) => Visibility::Partly,
            _ => Visibility::Visible,
        }
    }
    pub(crate) fn node_limit(&self) -> usize {
        self.node_limit
    }

    pub(crate) fn root_identity(&self) -> Identity {
        self.shared.root_identity
    }

    /// The user and group who are the guest's root.
    pub(crate) fn caller(&self) -> (u32, u32) {
        self.shared.caller
    }

    fn is_extra(&self, path: &Path) -> bool {
        self.shared.extra.iter().any(|extra| path.starts_with(&extra.at))
    }

    /// Whether a guest may see an entry of this name, were it there. `kind` is its `d_type`.
    pub(crate) fn lists(&self, path: &Path, kind: u32) -> bool {
        match self.locate(path) {
            Location::Host { is_way: true, .. } => can_be_way(kind),
            Location::Host { .. } => true,
            Location::Hidden => false,
        }
    }

    /// A directory's entries that only the guest has: their names, and their types, as in `d_type` of readdir(3).
    pub(crate) fn made_entries(&self, directory: &Path) -> BTreeMap<OsString, u8> {
        let below = |extra: &Extra| {
            let mut names = extra.at.strip_prefix(directory).ok()?.iter();
            let name = names.next()?.to_owned();
            let is_file = extra.file.is_some() && names.next().is_none();
            Some((name, if is_file { libc::DT_REG } else { libc::DT_DIR }))
        };
        self.shared.extra.iter().filter_map(below).collect()
    }

    /// The other directories at a path: those that lie below the one that [`Self::reach`] gives.
    pub(crate) fn lower(&self, path: &Path, upper: &host::Reached) -> Vec<host::Reached> {
        let layers = self.layers(path).filter_map(|(directory, path)| host::reach(directory, &path).ok());
        layers.filter(|lower| lower.kind() == SFlag::S_IFDIR && lower.identity() != upper.identity()).collect()
    }

    /// Where a path is in the extra directories of its deepest place, in order.
    fn layers<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a OwnedFd, Cow<'a, Path>)> {
        let extra = self.shared.extra.iter().filter_map(|extra| Some((extra, path.strip_prefix(&extra.at).ok()?)));
        // The deeper the place, the less is left of the path.
        let rest = extra.clone().map(|(_, rest)| rest.as_os_str().len()).min();
        extra.filter(move |(_, own)| Some(own.as_os_str().len()) == rest).map(|(extra, rest)| extra.locate(rest))
    }

    /// Reaches what a guest sees at an absolute path of its tree.
    ///
    /// # Errors
    /// `ENOENT` also for what is hidden.
    pub(crate) fn reach(&self, path: &Path) -> Result<Found, Errno> {
        self.found_at(path, |directory, path| host::reach(directory, path))
    }

    /// The same for an entry of a directory that has been reached.
    pub(crate) fn reach_in(&self, parent: &host::Reached, path: &Path) -> Result<Found, Errno> {
        if self.is_extra(path) {
            return self.reach(path);
        }
        let name = Path::new(path.file_name().ok_or(Errno::EINVAL)?);
        self.found_at(path, |_, _| parent.reach(name))
    }

    fn found_at(
        &self,
        path: &Path,
        reach: impl Fn(&OwnedFd, &Path) -> Result<host::Reached, Errno>,
    ) -> Result<Found, Errno> {
        let or_below = |reached, (directory, path): (&OwnedFd, Cow<'_, Path>)| match reached {
            Err(Errno::ENOENT | Errno::ENOTDIR) => reach(directory, &path),
            reached => reached,
        };
        let found = match self.locate(path) {
            Location::Hidden => Err(Errno::ENOENT),
            Location::Host { directory, path: on_host, is_way } => {
                let reached = self.layers(path).skip(1).fold(reach(directory, &on_host), or_below);
                reached.and_then(|reached| {
                    let kind = reached.kind();
                    if self.is_guarded_elsewhere(&reached, path) {
                        return Err(Errno::ENOENT);
                    }
                    if is_way && kind != SFlag::S_IFDIR && kind != SFlag::S_IFLNK {
                        return Err(Errno::ENOENT);
                    }
                    Ok(Found::Host { reached, is_way })
                })
            }
        };
        let made = || self.shared.above_extra.iter().position(|above| above == path);
        match found {
            Err(Errno::ENOENT | Errno::ENOTDIR) => made().map(|number| Found::Made(number as u64)).ok_or(Errno::ENOENT),
            // Somewhere on the way there is now something else than a directory.
            Err(Errno::ELOOP | Errno::EXDEV) => Err(Errno::ESTALE),
            found => found,
        }
    }

    /// Whether a file is seen in another place only: bind mounts and hard links give it several paths. A directory that
    /// leads to what the user named is seen by that path, too.
    fn is_guarded_elsewhere(&self, reached: &host::Reached, path: &Path) -> bool {
        let own = self.shared.guarded.get(&reached.identity());
        own.is_some_and(|own| own != path && !self.is_extra(path) && !self.shared.rules.leads_to_named(path))
    }

    fn locate<'a>(&'a self, path: &'a Path) -> Location<'a> {
        if let Some((directory, path)) = self.layers(path).next() {
            return Location::Host { directory, path, is_way: false };
        }
        let seen = self.shared.rules.decide(path);
        if matches!(seen, Seen::Hidden(_)) {
            return Location::Hidden;
        }
        let path = path.strip_prefix("/").unwrap_or(path);
        Location::Host { directory: &self.shared.root, path: Cow::Borrowed(path), is_way: seen == Seen::Way }
    }
}

impl Extra {
    fn open(at: PathBuf, from: &Path) -> Result<Self, ViewError> {
        let unreadable = |source| ViewError::Extra { path: from.to_owned(), source };
        let from = std::fs::canonicalize(from).map_err(unreadable)?;
        match (from.parent(), from.file_name()) {
            (Some(parent), Some(name)) if !from.is_dir() => {
                Ok(Self { at, directory: open_directory(parent)?, file: Some(name.to_owned()) })
            }
            _ => Ok(Self { at, directory: open_directory(&from)?, file: None }),
        }
    }

    /// Where a path below this place is on the host. Below a file there is nothing, and nothing beside it is seen.
    fn locate<'a>(&'a self, rest: &'a Path) -> (&'a OwnedFd, Cow<'a, Path>) {
        let path = match &self.file {
            None => Cow::Borrowed(rest),
            Some(file) if rest.as_os_str().is_empty() => Cow::Borrowed(Path::new(file)),
            Some(file) => Cow::Owned(Path::new(file).join(rest)),
        };
        (&self.directory, path)
    }
}

fn can_be_way(kind: u32) -> bool {
    [libc::DT_DIR, libc::DT_LNK, libc::DT_UNKNOWN].map(u32::from).contains(&kind)
}

fn open_directory(path: &Path) -> Result<OwnedFd, ViewError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let opened = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path);
    opened.map(OwnedFd::from).map_err(|source| ViewError::Directory { path: path.to_owned(), source })
}

/// What the rules need to know.
fn facts(root: &Path, request: &Request<'_>) -> Result<Facts, ViewError> {
    let mut links = Vec::new();
    let mut follow = |path: &Path| {
        let Resolved { path, links: followed } = resolve(root, path);
        links.extend(followed);
        path
    };
    let is_home = |home: &PathBuf| {
        home.is_absolute()
            && home != Path::new("/")
            && !NOT_IN_A_HOME.iter().any(|path| Path::new(path).starts_with(home))
    };
    let home = request.home.filter(|home| home.is_absolute()).map(&mut follow).filter(is_home);
    let mut shares = Vec::new();
    for share in request.shares {
        let path = follow(share);
        let on_host = root.join(path.strip_prefix("/").unwrap_or(&path));
        std::fs::symlink_metadata(on_host).map_err(|source| ViewError::Share { path: share.clone(), source })?;
        shares.push(path);
    }
    let cwd = follow(request.cwd);
    let toolchains = home.iter().flat_map(|home| toolchains_of(home)).map(|path| follow(&path));
    // A link to the home, or to what holds it, would show the home.
    let toolchains: Vec<_> =
        toolchains.filter(|path| home.as_ref().is_none_or(|home| !home.starts_with(path))).collect();
    let real_homes = follow(Path::new(HOMES));
    let beside_own = home.as_ref().and_then(|home| home.parent()).filter(|parent| parent.ends_with("home"));
    let homes = [Some(real_homes.as_path()), beside_own].into_iter().flatten().map(Path::to_owned).collect();
    links.sort();
    links.dedup();
    Ok(Facts { homes, home, whole_home: request.whole_home, shares, cwd, toolchains, links })
}
