//! What is kept of a guest's last accesses: open files and lists of directories. Both are bounded.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

use crate::host::HostEntry;

/// The largest number of open files of one guest.
const FILES: usize = 64;
/// The largest number of lists of one guest.
const LISTS: usize = 16;
/// The largest number of entries in all lists but the newest.
const ENTRIES: usize = 1 << 18;

/// A directory's entries, as they are shown.
pub(crate) type Entries = Arc<Vec<HostEntry>>;

/// The caches of one guest, by node. The last element was used last.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    files: VecDeque<(u64, File)>,
    lists: VecDeque<(u64, Entries)>,
}

impl Caches {
    /// The file of a node. It stays the same file when another one takes its name on the host.
    pub(crate) fn file<E>(&mut self, node: u64, open: impl FnOnce() -> Result<File, E>) -> Result<&mut File, E> {
        let file = match self.files.iter().position(|(of, _)| *of == node).and_then(|at| self.files.remove(at)) {
            Some((_, file)) => file,
            None => open()?,
        };
        if self.files.len() >= FILES {
            self.files.pop_front();
        }
        self.files.push_back((node, file));
        let newest = self.files.len() - 1;
        Ok(&mut self.files[newest].1)
    }

    pub(crate) fn entries(&mut self, node: u64) -> Option<Entries> {
        let at = self.lists.iter().position(|(of, _)| *of == node)?;
        let found = self.lists.remove(at)?;
        self.lists.push_back(found);
        self.lists.back().map(|(_, entries)| entries.clone())
    }

    pub(crate) fn keep_entries(&mut self, node: u64, entries: Entries) {
        self.lists.retain(|(of, _)| *of != node);
        let kept = |lists: &VecDeque<(u64, Entries)>| lists.iter().map(|(_, entries)| entries.len()).sum::<usize>();
        while self.lists.len() >= LISTS || kept(&self.lists) > ENTRIES {
            self.lists.pop_front();
        }
        self.lists.push_back((node, entries));
    }

    pub(crate) fn drop_node(&mut self, node: u64) {
        self.files.retain(|(of, _)| *of != node);
        self.lists.retain(|(of, _)| *of != node);
    }

    #[cfg(test)]
    pub(crate) fn open_files(&self) -> usize {
        self.files.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_bounded_and_the_oldest_is_closed() {
        let mut caches = Caches::default();
        let open = || File::open("/dev/null");
        for node in 0..200 {
            caches.file(node, open).unwrap();
            caches.file(0, open).unwrap();
        }
        assert_eq!(caches.open_files(), FILES);
        let must_be_open = || Err::<File, _>(());
        assert!(caches.file(0, must_be_open).is_ok());
        assert!(caches.file(1, must_be_open).is_err());
        caches.drop_node(0);
        assert!(caches.file(0, must_be_open).is_err());
    }

    #[test]
    fn lists_are_bounded_in_number_and_in_size() {
        let entry = HostEntry { name: "x".into(), inode: 1, kind: 8 };
        let (small, large) = (Arc::new(vec![entry.clone()]), Arc::new(vec![entry; ENTRIES]));
        let mut caches = Caches::default();
        for node in 0..100 {
            caches.keep_entries(node, small.clone());
        }
        assert_eq!(caches.lists.len(), LISTS);
        caches.keep_entries(100, large.clone());
        caches.keep_entries(101, large);
        caches.keep_entries(102, small);
        assert!(caches.entries(100).is_none() && caches.entries(99).is_none());
        assert!(caches.entries(102).is_some());
    }
}
