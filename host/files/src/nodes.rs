//! The nodes that a guest knows, by the numbers that it uses for them.
//!
//! A node is a place, a name in a parent node, and a type of file. It holds no descriptor. A number is never used twice.
//!
//! A file that replaces another one of its type has the same node, as if the old one had been rewritten: an overlay on top
//! keeps the node that it has found, and gives ESTALE for ever where a lookup finds another one (fs/overlayfs/super.c,
//! `ovl_revalidate_real`).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;

/// The root directory's number in FUSE.
pub(crate) const ROOT: u64 = 1;

/// Which file of the host's it was when the guest looked it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub device: u64,
    pub inode: u64,
    /// The type, as in `st_mode`.
    pub kind: u32,
}

/// What is in a node's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// The file that was there before.
    Same,
    /// Another file of its type, which has the node from now on.
    Replaced,
}

#[derive(Debug)]
struct Node {
    place: Place,
    identity: Identity,
    /// The guest's lookups that it has not taken back.
    lookups: u64,
    /// The nodes whose parent this is.
    children: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    parent: u64,
    name: Arc<OsStr>,
}

/// The table of nodes of one guest.
#[derive(Debug)]
pub(crate) struct Nodes {
    by_id: HashMap<u64, Node>,
    by_place: HashMap<Place, u64>,
    last: u64,
    limit: usize,
}

impl Nodes {
    pub(crate) fn new(root: Identity, limit: usize) -> Self {
        let place = Place { parent: 0, name: OsStr::new("").into() };
        let by_id = HashMap::from([(ROOT, Node { place, identity: root, lookups: 1, children: 0 })]);
        Self { by_id, by_place: HashMap::new(), last: ROOT, limit }
    }

    /// The absolute path of a node in the guest's tree.
    ///
    /// # Errors
    /// `ESTALE` if there is no such node.
    pub(crate) fn path(&self, mut id: u64) -> Result<PathBuf, Errno> {
        let mut names = Vec::new();
        while id != ROOT {
            let place = &self.by_id.get(&id).ok_or(Errno::ESTALE)?.place;
            names.push(&place.name);
            id = place.parent;
        }
        let mut path = PathBuf::from("/");
        path.extend(names.iter().rev().map(|name| name.as_ref()));
        Ok(path)
    }

    /// Notes which file is in a node's place.
    ///
    /// # Errors
    /// `ESTALE` if there is no such node, or the file is of another type.
    pub(crate) fn meet(&mut self, id: u64, identity: Identity) -> Result<Met, Errno> {
        let node = self.by_id.get_mut(&id).ok_or(Errno::ESTALE)?;
        if node.identity == identity {
            return Ok(Met::Same);
        }
        if node.identity.kind != identity.kind {
            return Err(Errno::ESTALE);
        }
        node.identity = identity;
        Ok(Met::Replaced)
    }

    pub(crate) fn identity(&self, id: u64) -> Result<Identity, Errno> {
        Ok(self.by_id.get(&id).ok_or(Errno::ESTALE)?.identity)
    }

    /// Counts a lookup of a name, and gives the node's number. A file of another type in the same place is another node.
    ///
    /// # Errors
    /// `ENFILE` if the guest knows as many nodes as it may, `ESTALE` if there is no such parent.
    pub(crate) fn look_up(&mut self, parent: u64, name: &OsStr, identity: Identity) -> Result<(u64, Met), Errno> {
        let place = Place { parent, name: name.into() };
        if let Some(id) = self.by_place.get(&place).copied()
            && let Ok(met) = self.meet(id, identity)
            && let Some(node) = self.by_id.get_mut(&id)
        {
            node.lookups = node.lookups.saturating_add(1);
            return Ok((id, met));
        }
        if self.by_id.len() >= self.limit {
            return Err(Errno::ENFILE);
        }
        self.by_id.get_mut(&parent).ok_or(Errno::ESTALE)?.children += 1;
        self.last += 1;
        self.by_id.insert(self.last, Node { place: place.clone(), identity, lookups: 1, children: 0 });
        self.by_place.insert(place, self.last);
        Ok((self.last, Met::Same))
    }

    /// Takes lookups back. A node is removed when it has no lookups and no children; `gone` is called for each removed node.
    pub(crate) fn forget(&mut self, mut id: u64, count: u64, mut gone: impl FnMut(u64)) {
        if let Some(node) = self.by_id.get_mut(&id) {
            node.lookups = node.lookups.saturating_sub(count);
        }
        while id != ROOT && self.by_id.get(&id).is_some_and(|node| node.lookups == 0 && node.children == 0) {
            let Some(Node { place, .. }) = self.by_id.remove(&id) else { return };
            if self.by_place.get(&place) == Some(&id) {
                self.by_place.remove(&place);
            }
            gone(id);
            id = place.parent;
            if let Some(parent) = self.by_id.get_mut(&id) {
                parent.children = parent.children.saturating_sub(1);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FILE: Identity = Identity { device: 1, inode: 1, kind: libc::S_IFREG };
    const OTHER: Identity = Identity { device: 1, inode: 2, kind: libc::S_IFREG };
    const DIR: Identity = Identity { device: 1, inode: 2, kind: libc::S_IFDIR };

    fn look_up(nodes: &mut Nodes, parent: u64, name: &str, identity: Identity) -> u64 {
        nodes.look_up(parent, OsStr::new(name), identity).unwrap().0
    }

    #[test]
    fn a_parent_lives_as_long_as_its_children() {
        let mut nodes = Nodes::new(FILE, 10);
        let dir = look_up(&mut nodes, ROOT, "a", FILE);
        let file = look_up(&mut nodes, dir, "b", FILE);
        nodes.forget(dir, 1, |_| panic!("too early"));
        assert_eq!(nodes.path(file).unwrap(), Path::new("/a/b"));
        let mut gone = Vec::new();
        nodes.forget(file, 1, |id| gone.push(id));
        assert_eq!((gone, nodes.len()), (vec![file, dir], 1));
        assert_eq!(nodes.path(file), Err(Errno::ESTALE));
    }

    #[test]
    fn forgetting_more_than_was_looked_up_is_harmless() {
        let mut nodes = Nodes::new(FILE, 10);
        let dir = look_up(&mut nodes, ROOT, "a", FILE);
        let file = look_up(&mut nodes, dir, "b", FILE);
        for id in [dir, dir, ROOT, ROOT, 77] {
            nodes.forget(id, u64::MAX, |_| panic!("a child keeps it"));
        }
        assert_eq!(nodes.path(file).unwrap(), Path::new("/a/b"));
        nodes.forget(file, u64::MAX, drop);
        nodes.forget(file, 1, |_| panic!("it is gone already"));
        assert_eq!(nodes.len(), 1);
        assert_eq!(nodes.path(ROOT).unwrap(), Path::new("/"));
    }

    #[test]
    fn a_file_of_the_same_type_in_the_same_place_has_the_same_node() {
        let mut nodes = Nodes::new(FILE, 10);
        let old = look_up(&mut nodes, ROOT, "a", FILE);
        assert_eq!(nodes.meet(old, FILE), Ok(Met::Same));
        assert_eq!(nodes.look_up(ROOT, OsStr::new("a"), OTHER), Ok((old, Met::Replaced)));
        assert_eq!(nodes.look_up(ROOT, OsStr::new("a"), OTHER), Ok((old, Met::Same)));
        assert_eq!(nodes.meet(old, FILE), Ok(Met::Replaced));
    }

    #[test]
    fn a_file_of_another_type_in_the_same_place_is_another_node() {
        let mut nodes = Nodes::new(FILE, 10);
        let old = look_up(&mut nodes, ROOT, "a", FILE);
        assert_eq!(nodes.meet(old, DIR), Err(Errno::ESTALE));
        let new = look_up(&mut nodes, ROOT, "a", DIR);
        assert_ne!(old, new);
        assert_eq!(look_up(&mut nodes, ROOT, "a", DIR), new);
        nodes.forget(old, 1, drop);
        assert_eq!(look_up(&mut nodes, ROOT, "a", DIR), new);
        nodes.forget(new, 3, drop);
        assert!(look_up(&mut nodes, ROOT, "a", DIR) > new, "no number is used twice");
    }

    #[test]
    fn the_limit_of_nodes_is_an_error_and_ends_with_a_forget() {
        let mut nodes = Nodes::new(FILE, 3);
        let one = look_up(&mut nodes, ROOT, "1", FILE);
        look_up(&mut nodes, ROOT, "2", FILE);
        assert_eq!(nodes.look_up(ROOT, OsStr::new("3"), FILE), Err(Errno::ENFILE));
        assert_eq!(look_up(&mut nodes, ROOT, "1", FILE), one, "a known node needs no room");
        nodes.forget(one, 2, drop);
        look_up(&mut nodes, ROOT, "3", FILE);
    }

    #[test]
    fn a_child_of_no_node_is_stale() {
        let mut nodes = Nodes::new(FILE, 10);
        assert_eq!(nodes.look_up(77, OsStr::new("a"), FILE), Err(Errno::ESTALE));
        assert_eq!(nodes.len(), 1);
    }
}
