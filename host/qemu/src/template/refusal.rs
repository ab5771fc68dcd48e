//! Remembers that QEMU cannot save or restore a guest. Otherwise every run would boot one more guest to try it again.
//!
//! A refusal is remembered only if QEMU itself refused a template of the same run: a command of its monitor failed, or
//! QEMU exited with an error after its monitor was ready. Other failures may be temporary: QEMU was killed or had no
//! memory for its guest, or the guest did not answer in time. A template from the cache may be damaged; it is removed,
//! and the next run makes a new one. A refusal is valid until the host reboots, QEMU changes, or `vmlab cache clear
//! facts`.

use std::path::Path;

use super::key::Key;
use crate::qemu::{self, Qemu};
use vmlab_store::stat_cache::Fact;
use vmlab_store::{CacheError, host_boot_id};

/// Remembers why QEMU cannot save or restore the guest with this key. Returns false if the next attempt may succeed:
/// the program is a script, which may run another QEMU, or it was changed recently.
///
/// # Errors
/// [`CacheError`] if the cache cannot be written to.
pub fn remember(cache: &Path, key: &Key, qemu: &Qemu, why: &str) -> Result<bool, CacheError> {
    if !qemu::is_elf(&qemu.path) {
        return Ok(false);
    }
    let boot = host_boot_id().map_err(CacheError::on("identify the boot of", Path::new("this machine")))?;
    Fact::new(cache, &kind(key), &[&qemu.path]).on_boot(boot).put(&why)?;
    Ok(known(cache, key, qemu).is_some())
}

/// The remembered reason why QEMU cannot save or restore the guest with this key. `None` if the host's boot id is
/// unknown, so that vmlab tries again.
#[must_use]
pub fn known(cache: &Path, key: &Key, qemu: &Qemu) -> Option<String> {
    Fact::new(cache, &kind(key), &[&qemu.path]).on_boot(host_boot_id().ok()?).get()
}

/// As [`remember`], for a QEMU that cannot be frozen or thawed: it is forked then.
///
/// # Errors
/// [`CacheError`] if the cache cannot be written to.
pub fn remember_thaw(cache: &Path, key: &Key, qemu: &Qemu, why: &str) -> Result<(), CacheError> {
    let boot = host_boot_id().map_err(CacheError::on("identify the boot of", Path::new("this machine")))?;
    Fact::new(cache, &thaw_kind(key), &[&qemu.path]).on_boot(boot).put(&why)
}

/// The remembered reason why this QEMU cannot be frozen or thawed by the programs of this vmlab.
#[must_use]
pub fn known_thaw(cache: &Path, key: &Key, qemu: &Qemu) -> Option<String> {
    Fact::new(cache, &thaw_kind(key), &[&qemu.path]).on_boot(host_boot_id().ok()?).get()
}

fn thaw_kind(key: &Key) -> String {
    format!("refusal to thaw {} by {}", key.name(), vmlab_thaw::programs::IDENTITY)
}

fn kind(key: &Key) -> String {
    format!("refusal to fork {}", key.name())
}
