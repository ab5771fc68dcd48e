//! What one guest knows of the tree, and the answers to its questions.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuse_backend_rs::api::filesystem::{DirEntry, Entry};
use libc::stat64;
use nix::errno::Errno;

use crate::attributes;
use crate::caches::{Caches, Entries};
use crate::host::{HostEntry, Reached};
use crate::inodes::Inodes;
use crate::nodes::{Identity, Met, Nodes};
use crate::view::{Found, TIMEOUT, View};

/// The device of directories that only the guest has. No device of the host's has this number.
const MADE_DEVICE: u64 = u64::MAX;

/// One guest's state.
#[derive(Debug)]
pub(crate) struct Session {
    view: View,
    nodes: Nodes,
    inodes: Inodes,
    caches: Caches,
}

impl Session {
    pub(crate) fn new(view: &View) -> Self {
        let root = view.root_identity();
        Self {
            view: view.clone(),
            nodes: Nodes::new(root, view.node_limit()),
            inodes: Inodes::new(root.device),
            caches: Caches::default(),
        }
    }

    /// Looks a name up. For a missing or hidden file the answer is an entry with node 0, which the guest may remember.
    pub(crate) fn look_up(&mut self, parent: u64, name: &OsStr) -> Result<Entry, Errno> {
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.contains(&b'/') || bytes == b"." || bytes == b".." {
            return Err(Errno::EINVAL);
        }
        let path = self.nodes.path(parent)?.join(name);
        let found = self.view.reach(&path);
        self.enter(parent, name, found)
    }

    pub(crate) fn forget(&mut self, node: u64, count: u64) {
        let Self { nodes, caches, .. } = self;
        nodes.forget(node, count, |gone| caches.drop_node(gone));
    }

    pub(crate) fn attributes(&mut self, node: u64) -> Result<stat64, Errno> {
        let found = self.reach(node)?;
        Ok(self.shown(&found))
    }

    pub(crate) fn read_link(&mut self, node: u64) -> Result<Vec<u8>, Errno> {
        match self.reach(node)? {
            Found::Host { reached, .. } => Ok(reached.read_link()?.into_vec()),
            Found::Made(_) => Err(Errno::EINVAL),
        }
    }

    /// The open file of a node.
    pub(crate) fn file(&mut self, node: u64) -> io::Result<&mut File> {
        let Self { view, nodes, caches, .. } = self;
        caches.file(node, || match reach(view, nodes, node)?.0.1 {
            Found::Host { reached, .. } => reached.open(),
            Found::Made(_) => Err(Errno::EISDIR.into()),
        })
    }

    /// Gives a directory's entries to `add`, until it takes none. An offset is the number of entries before.
    pub(crate) fn list(
        &mut self,
        node: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> io::Result<usize>,
    ) -> io::Result<()> {
        let (_, entries) = self.entries(node, offset)?;
        for (at, entry) in from_offset(&entries, offset) {
            if add(dir_entry(at, entry))? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The same, and looks each entry up.
    pub(crate) fn list_and_look_up(
        &mut self,
        node: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Entry) -> io::Result<usize>,
    ) -> io::Result<()> {
        let (path, entries) = self.entries(node, offset)?;
        let directory = self.reach(node)?;
        for (at, entry) in from_offset(&entries, offset) {
            let found = self.look_up_entry(node, &path, &directory, entry);
            let looked_up = found.inode;
            let added = add(dir_entry(at, entry), found);
            if !matches!(added, Ok(1..)) {
                if looked_up != 0 {
                    self.forget(looked_up, 1);
                }
                added?;
                break;
            }
        }
        Ok(())
    }

    /// If the lookup fails, the entry is listed without a node, and the guest looks it up when a program uses it.
    fn look_up_entry(&mut self, parent: u64, path: &Path, directory: &Found, entry: &HostEntry) -> Entry {
        if entry.name == "." || entry.name == ".." {
            return Entry::default();
        }
        let path = path.join(&entry.name);
        let found = match directory {
            Found::Host { reached, .. } => self.view.reach_in(reached, &path),
            Found::Made(_) => self.view.reach(&path),
        };
        self.enter(parent, &entry.name, found).unwrap_or_default()
    }

    /// Makes a node of what was found at a name.
    fn enter(&mut self, parent: u64, name: &OsStr, found: Result<Found, Errno>) -> Result<Entry, Errno> {
        let found = match found {
            Ok(found) => found,
            Err(Errno::ENOENT) => return Ok(attributes::entry(0, attributes::blank(), TIMEOUT)),
            Err(e) => return Err(e),
        };
        let identity = identity_of(&found);
        if let Found::Host { reached, is_way: false } = &found
            && self.nodes.identity(parent)?.device != identity.device
            && reached.is_kernel_interface()?
        {
            return Err(Errno::EACCES);
        }
        let (node, met) = self.nodes.look_up(parent, name, identity)?;
        self.note(node, met);
        Ok(attributes::entry(node, self.shown(&found), TIMEOUT))
    }

    fn entries(&mut self, node: u64, offset: u64) -> io::Result<(PathBuf, Entries)> {
        let path = self.nodes.path(node)?;
        // From the beginning, a directory is read anew.
        if let Some(entries) = self.caches.entries(node).filter(|_| offset > 0) {
            return Ok((path, entries));
        }
        let ((path, found), met) = reach(&self.view, &mut self.nodes, node)?;
        self.note(node, met);
        let mut entries = match &found {
            Found::Host { reached, .. } => self.host_entries(&path, reached)?,
            Found::Made(_) => Vec::new(),
        };
        if let Found::Host { reached, .. } = &found {
            for lower in self.view.lower(&path, reached) {
                let more = self.host_entries(&path, &lower)?;
                let more = more.into_iter().filter(|entry| !entries.iter().any(|upper| upper.name == entry.name));
                entries.extend(more.collect::<Vec<_>>());
            }
        }
        for (name, kind) in self.view.made_entries(&path) {
            if !entries.iter().any(|entry| entry.name == name) {
                entries.push(HostEntry { name, inode: Inodes::made(0), kind: kind.into() });
            }
        }
        // The order is the same if the list is dropped from the cache and read again.
        entries.sort();
        let this = self.shown(&found).st_ino;
        let dots = [(".", this), ("..", Inodes::made(0))];
        let dots = dots.map(|(name, inode)| HostEntry { name: name.into(), inode, kind: libc::DT_DIR.into() });
        entries.splice(0..0, dots);
        let entries = Arc::new(entries);
        self.caches.keep_entries(node, entries.clone());
        Ok((path, entries))
    }

    fn host_entries(&mut self, path: &Path, directory: &Reached) -> io::Result<Vec<HostEntry>> {
        let mut entries = directory.entries()?;
        entries.retain(|entry| self.view.lists(&path.join(&entry.name), entry.kind));
        for entry in &mut entries {
            entry.inode = self.inodes.shown(directory.stat.st_dev, entry.inode);
        }
        Ok(entries)
    }

    /// Reaches a node's file.
    fn reach(&mut self, node: u64) -> Result<Found, Errno> {
        let ((_, found), met) = reach(&self.view, &mut self.nodes, node)?;
        self.note(node, met);
        Ok(found)
    }

    /// What is kept of a file that was replaced is of no use any more.
    fn note(&mut self, node: u64, met: Met) {
        if met == Met::Replaced {
            self.caches.drop_node(node);
        }
    }

    fn shown(&mut self, found: &Found) -> stat64 {
        match found {
            Found::Host { reached, .. } => attributes::of_host(&reached.stat, self.view.caller(), &mut self.inodes),
            Found::Made(number) => attributes::of_made(*number),
        }
    }

    #[cfg(test)]
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }
}

fn reach(view: &View, nodes: &mut Nodes, node: u64) -> Result<((PathBuf, Found), Met), Errno> {
    let path = nodes.path(node)?;
    let found = view.reach(&path)?;
    let met = nodes.meet(node, identity_of(&found))?;
    Ok(((path, found), met))
}

fn identity_of(found: &Found) -> Identity {
    match found {
        Found::Host { reached, .. } => reached.identity(),
        Found::Made(number) => Identity { device: MADE_DEVICE, inode: *number, kind: libc::S_IFDIR },
    }
}

fn from_offset(entries: &[HostEntry], offset: u64) -> impl Iterator<Item = (u64, &HostEntry)> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(entries.len());
    entries.iter().enumerate().skip(start).map(|(at, entry)| (at as u64, entry))
}

/// An entry as it is listed; the offset is that of the next one.
fn dir_entry(at: u64, entry: &HostEntry) -> DirEntry<'_> {
    DirEntry { ino: entry.inode, offset: at + 1, type_: entry.kind, name: entry.name.as_bytes() }
}
