//! System V objects found by key: svipc(7).

use nix::Result;
use nix::errno::Errno;
use nix::libc;

/// A kind of System V object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A shared memory segment, of one page where one is made.
    Shm,
    /// A message queue.
    Msg,
    /// A semaphore set, of one semaphore where one is made.
    Sem,
}

impl Kind {
    /// Makes an object with this key and mode 0600; gives its id.
    ///
    /// # Errors
    /// `EEXIST` where there is one, `ENOSYS` in a kernel without CONFIG_SYSVIPC, `ENOSPC` beyond the limits.
    pub fn create(self, key: i32) -> Result<i32> {
        self.get(key, 1, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)
    }

    /// The id of the object with this key in the calling process's IPC namespace.
    ///
    /// # Errors
    /// `ENOENT` where there is none, `ENOSYS` in a kernel without CONFIG_SYSVIPC.
    pub fn find(self, key: i32) -> Result<i32> {
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
    /// `EINVAL` where there is none.
    pub fn remove(self, id: i32) -> Result<()> {
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
