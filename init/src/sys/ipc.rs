//! System V IPC objects (svipc(7)).

use nix::Result;
use nix::errno::Errno;
use nix::libc;

/// A kind of System V IPC object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A shared memory segment; `create` makes one page.
    Shm,
    Msg,
    /// A semaphore set; `create` makes one semaphore.
    Sem,
}

impl Kind {
    /// Creates an object with this key and mode 0600; returns its id.
    ///
    /// # Errors
    /// `EEXIST` if the key is taken, `ENOSYS` on a kernel without CONFIG_SYSVIPC, `ENOSPC` beyond the limits.
    pub(crate) fn create(self, key: i32) -> Result<i32> {
        self.get(key, 1, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)
    }

    /// The id of the object with this key in the calling process's IPC namespace.
    ///
    /// # Errors
    /// `ENOENT` if no object has this key, `ENOSYS` on a kernel without CONFIG_SYSVIPC.
    pub(crate) fn find(self, key: i32) -> Result<i32> {
        self.get(key, 0, 0)
    }

    fn get(self, key: i32, size: u16, flags: i32) -> Result<i32> {
        // SAFETY: these calls take no pointers.
        Errno::result(unsafe {
            match self {
                Self::Shm => libc::shmget(key, usize::from(size), flags),
                Self::Msg => libc::msgget(key, flags),
                Self::Sem => libc::semget(key, i32::from(size), flags),
            }
        })
    }

    /// Removes the object with this id.
    ///
    /// # Errors
    /// `EINVAL` if no object has this id.
    pub(crate) fn remove(self, id: i32) -> Result<()> {
        // SAFETY: IPC_RMID ignores the third argument of all three calls: shmctl(2), msgctl(2), semctl(2).
        Errno::result(unsafe {
            match self {
                Self::Shm => libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()),
                Self::Msg => libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()),
                Self::Sem => libc::semctl(id, 0, libc::IPC_RMID),
            }
        })
        .map(drop)
    }
}

/// Attaches the shared memory with this id, and detaches it again.
///
/// # Errors
/// As shmat(2): `EINVAL` if the calling process's IPC namespace has no such id.
pub(crate) fn attach(id: i32) -> Result<()> {
    // SAFETY: the kernel chooses an address that is free.
    let address = unsafe { libc::shmat(id, std::ptr::null(), libc::SHM_RDONLY) };
    if address.addr() == usize::MAX {
        return Err(Errno::last());
    }
    // SAFETY: the memory was attached above, and nothing refers to it.
    Errno::result(unsafe { libc::shmdt(address) }).map(drop)
}
