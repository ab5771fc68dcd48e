//! Remembering that QEMU cannot save or restore a guest, so that not every run boots one more guest to find that out.
//!
//! A refusal is remembered only if QEMU itself refused a template that the same run has made: it answered a command of
//! its monitor with an error, or exited with an error after its monitor had come up. Other failures may not happen again:
//! a QEMU that was killed or had no memory for its guest, a guest that did not answer in time, and a template out of the
//! cache, which may have been damaged since it was looked at; that template is removed, and the next run tries a new one.
//! A refusal holds until the host is booted again, QEMU changes, or `vmlab cache clear facts`.

use std::path::Path;

use super::key::Key;
use crate::qemu::{self, Qemu};
use vmlab_store::stat_cache::Fact;
use vmlab_store::{CacheError, host_boot_id};

/// Remembers why QEMU makes no forks of the guest with this key. False where the answer may be another next time: the
/// program is a script, which may run another QEMU then, or it has just been written.
///
/// # Errors
/// The cache cannot be written.
pub fn remember(cache: &Path, key: &Key, qemu: &Qemu, why: &str) -> Result<bool, CacheError> {
    if !qemu::is_elf(&qemu.path) {
        return Ok(false);
    }
    let boot = host_boot_id().map_err(CacheError::on("identify the boot of", Path::new("this machine")))?;
    Fact::new(cache, &kind(key), &[&qemu.path]).on_boot(boot).put(&why)?;
    Ok(known(cache, key, qemu).is_some())
}

/// Why QEMU makes no forks of the guest with this key, if that is remembered. Where the boot cannot be told, it is tried
/// again.
#[must_use]
pub fn known(cache: &Path, key: &Key, qemu: &Qemu) -> Option<String> {
    Fact::new(cache, &kind(key), &[&qemu.path]).on_boot(host_boot_id().ok()?).get()
}

fn kind(key: &Key) -> String {
    format!("refusal to fork {}", key.name())
}
