//! The file system that a guest mounts: what fuse-backend-rs asks when it has decoded a request.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuse_backend_rs::abi::fuse_abi::FsOptions;
use fuse_backend_rs::api::filesystem::{Context, DirEntry, Entry, FileSystem, ZeroCopyWriter};
use libc::stat64;

use crate::session::Session;
use crate::view::{TIMEOUT, View};

/// The options of the protocol that this file system wants. Each is used if the guest's kernel has it.
const OPTIONS: FsOptions = FsOptions::ASYNC_READ
    // Pages and lists are dropped when a file's time of modification or size changes.
    .union(FsOptions::AUTO_INVAL_DATA)
    .union(FsOptions::PARALLEL_DIROPS)
    // Both for reads of up to 1 MiB.
    .union(FsOptions::BIG_WRITES)
    .union(FsOptions::MAX_PAGES)
    .union(FsOptions::DO_READDIRPLUS)
    .union(FsOptions::READDIRPLUS_AUTO)
    .union(FsOptions::ZERO_MESSAGE_OPEN)
    .union(FsOptions::ZERO_MESSAGE_OPENDIR)
    .union(FsOptions::INIT_EXT);

/// The file system of one guest. One thread serves a guest, so the lock is always free.
#[derive(Debug)]
pub(crate) struct Tree {
    view: View,
    session: Mutex<Session>,
}

impl Tree {
    pub(crate) fn new(view: &View) -> Self {
        Self { view: view.clone(), session: Mutex::new(Session::new(view)) }
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileSystem for Tree {
    type Inode = u64;
    type Handle = u64;

    /// A guest that mounts anew knows no node any more.
    fn init(&self, _capable: FsOptions) -> io::Result<FsOptions> {
        *self.session() = Session::new(&self.view);
        Ok(OPTIONS)
    }

    fn lookup(&self, _: &Context, parent: u64, name: &CStr) -> io::Result<Entry> {
        Ok(self.session().look_up(parent, OsStr::from_bytes(name.to_bytes()))?)
    }

    fn forget(&self, _: &Context, inode: u64, count: u64) {
        self.session().forget(inode, count);
    }

    fn getattr(&self, _: &Context, inode: u64, _: Option<u64>) -> io::Result<(stat64, Duration)> {
        Ok((self.session().attributes(inode)?, TIMEOUT))
    }

    fn readlink(&self, _: &Context, inode: u64) -> io::Result<Vec<u8>> {
        Ok(self.session().read_link(inode)?)
    }

    fn read(
        &self,
        _: &Context,
        inode: u64,
        _: u64,
        out: &mut dyn ZeroCopyWriter,
        size: u32,
        offset: u64,
        _: Option<u64>,
        _: u32,
    ) -> io::Result<usize> {
        let mut session = self.session();
        let file = session.file(inode)?;
        let size = (size as usize).min(out.available_bytes());
        let mut done = 0;
        // The guest's kernel takes less than it asked for as the end of the file.
        while done < size {
            let at = offset.checked_add(done as u64).ok_or(io::Error::from_raw_os_error(libc::EINVAL))?;
            match out.write_from(file, size - done, at) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn readdir(
        &self,
        _: &Context,
        inode: u64,
        _: u64,
        _: u32,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> io::Result<usize>,
    ) -> io::Result<()> {
        self.session().list(inode, offset, &mut |entry| add(entry))
    }

    fn readdirplus(
        &self,
        _: &Context,
        inode: u64,
        _: u64,
        _: u32,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Entry) -> io::Result<usize>,
    ) -> io::Result<()> {
        self.session().list_and_look_up(inode, offset, &mut |entry, found| add(entry, found))
    }
}
