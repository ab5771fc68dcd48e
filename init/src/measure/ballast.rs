//! Mounts that fill the holes in the memory that the kernel allocates for each CPU.

use std::fs;

use nix::mount::{MsFlags, mount};
use vmlab_protocol::catalogue::Namespace;

use super::inside::Inside;
use crate::sandbox::{During, Sandbox};
use crate::scenarios::{Scratch, Trouble};

/// Several times as many as the first chunk of that memory has room for, which is some 32 KiB: a mount has 8 bytes for each CPU
/// (fs/namespace.c, `struct mnt_pcp`). With 4096 the chunk was full in two boots of three (6.12).
const MOUNTS: u32 = 16_384;

/// Mounts in a namespace of their own, for as long as this lives.
///
/// A new mount, network device or process needs a few bytes for each CPU. The kernel (mm/percpu.c) takes them from a hole if there is
/// one, and else from the largest free area, whose size it then determines anew, which costs thousands of instructions. Whether a
/// boot leaves holes differs from boot to boot (7.2: two values with a factor of three between them). Without holes all boots are
/// alike, and like a machine that has many mounts and processes.
pub(super) struct Ballast {
    _mounts: Inside,
    _dirs: Scratch,
}

impl Ballast {
    /// Makes the mounts.
    ///
    /// # Errors
    /// As mount(2), or [`Sandbox::hold`].
    pub(super) fn new() -> Result<Self, Trouble> {
        let dirs = Scratch::new()?;
        let sandbox = Sandbox::none().with_namespaces(&[Namespace::Mount]);
        let mounts = Inside::mounts(&sandbox, || more_mounts(&dirs, MOUNTS))?;
        Ok(Self { _mounts: mounts, _dirs: dirs })
    }
}

/// So many bind mounts.
///
/// # Errors
/// As mkdir(2) and mount(2).
pub(super) fn more_mounts(scratch: &Scratch, count: u32) -> Result<(), Trouble> {
    for number in 0..count {
        let dir = scratch.join(&format!("{count}-{number}"));
        fs::create_dir(&dir).during("mkdir(2)")?;
        mount(Some(&dir), &dir, None::<&str>, MsFlags::MS_BIND, None::<&str>).during("mount(MS_BIND)")?;
    }
    Ok(())
}
