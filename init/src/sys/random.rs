//! The random number generator's ioctls, random(4).

use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::Result;
use nix::errno::Errno;
use nix::libc;
use vmlab_protocol::message::ENTROPY_BYTES;

/// The generator's device, to be opened for writing.
pub const DEVICE: &str = "/dev/urandom";

/// `struct rand_pool_info` of <linux/random.h> with room for what a guest is given.
#[repr(C)]
struct PoolInfo {
    /// In bits.
    entropy_count: libc::c_int,
    /// In bytes.
    buf_size: libc::c_int,
    buf: [u8; ENTROPY_BYTES],
}

const SIZE: libc::c_int = 64;
const _: () = assert!(ENTROPY_BYTES == 64, "SIZE says the same");

// The numbers are those of <linux/random.h>; the size in the first one's is that of the head alone.
nix::ioctl_write_ptr_bad!(
    rndaddentropy,
    nix::request_code_write!(b'R', 3, std::mem::size_of::<[libc::c_int; 2]>()),
    PoolInfo
);
nix::ioctl_none_bad!(rndreseedcrng, nix::request_code_none!(b'R', 7));

/// Mixes bytes in and credits them in full. Linux 2.6; needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// As random(4): `EPERM`.
pub fn add_entropy(device: &File, bytes: &[u8; ENTROPY_BYTES]) -> Result<()> {
    let info = PoolInfo { entropy_count: SIZE * 8, buf_size: SIZE, buf: *bytes };
    // SAFETY: the kernel reads a rand_pool_info whose buf_size is the size of the buffer that follows it.
    unsafe { rndaddentropy(device.as_raw_fd(), &raw const info) }.map(drop)
}

/// Makes the generator draw a new key from the pool at once, on all processors. Linux 4.17; needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// As random(4): `EPERM`; `ENODATA` where the generator was never seeded.
pub fn reseed(device: &File) -> Result<()> {
    // SAFETY: takes no argument.
    unsafe { rndreseedcrng(device.as_raw_fd()) }.map(drop)
}

/// Draws bytes, getrandom(2), Linux 3.17.
///
/// # Errors
/// As getrandom(2): `ENOSYS`.
pub fn draw<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the kernel writes at most N bytes to a buffer of N bytes.
    let drawn = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    // Up to 256 bytes come whole (getrandom(2)).
    if Errno::result(drawn)?.cast_unsigned() == N { Ok(bytes) } else { Err(Errno::EIO) }
}
