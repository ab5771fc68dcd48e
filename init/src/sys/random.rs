//! The ioctls of the random number generator (random(4)) and getrandom(2).

use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::Result;
use nix::errno::Errno;
use nix::libc;
use vmlab_protocol::message::ENTROPY_BYTES;

/// The generator's device. The ioctls need it open for writing.
pub(crate) const DEVICE: &str = "/dev/urandom";

/// `struct rand_pool_info` of <linux/random.h> with a buffer of [`ENTROPY_BYTES`].
#[repr(C)]
struct PoolInfo {
    /// In bits.
    entropy_count: libc::c_int,
    /// In bytes.
    buf_size: libc::c_int,
    buf: [u8; ENTROPY_BYTES],
}

const SIZE: libc::c_int = 64;
const _: () = assert!(ENTROPY_BYTES == 64, "SIZE must equal ENTROPY_BYTES");

// The numbers are from <linux/random.h>; the size in RNDADDENTROPY's number is that of the struct without its buffer.
nix::ioctl_write_ptr_bad!(
    rndaddentropy,
    nix::request_code_write!(b'R', 3, std::mem::size_of::<[libc::c_int; 2]>()),
    PoolInfo
);
nix::ioctl_none_bad!(rndreseedcrng, nix::request_code_none!(b'R', 7));

/// The bits of [`ENTROPY_BYTES`] bytes.
pub(crate) const ALL_BITS: i32 = SIZE * 8;

/// Adds entropy to the pool and credits `bits` of it. Linux 2.6; needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// As random(4): `EPERM`.
pub(crate) fn add_entropy(device: &File, bytes: &[u8; ENTROPY_BYTES], bits: i32) -> Result<()> {
    let info = PoolInfo { entropy_count: bits, buf_size: SIZE, buf: *bytes };
    // SAFETY: the kernel reads a rand_pool_info whose buf_size is the size of the buffer that follows it.
    unsafe { rndaddentropy(device.as_raw_fd(), &raw const info) }.map(drop)
}

/// Reseeds the generator from the pool immediately, on all CPUs. Linux 4.17; needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// As random(4): `EPERM`; `ENODATA` if the generator was never seeded.
pub(crate) fn reseed(device: &File) -> Result<()> {
    // SAFETY: the ioctl takes no argument.
    unsafe { rndreseedcrng(device.as_raw_fd()) }.map(drop)
}

/// Draws random bytes with getrandom(2), Linux 3.17.
///
/// # Errors
/// As getrandom(2): `ENOSYS`.
pub(crate) fn draw<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the kernel writes at most N bytes to a buffer of N bytes.
    let drawn = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    // Requests of up to 256 bytes are never short (getrandom(2)).
    if Errno::result(drawn)?.cast_unsigned() == N { Ok(bytes) } else { Err(Errno::EIO) }
}
