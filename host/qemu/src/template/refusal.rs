//! Remembering that QEMU cannot save or restore a guest, so that not every run boots one more guest to find that out.
//!
//! What is remembered is only what QEMU itself refused of a template that this very run has made: a command of its
//! monitor that it answered with an error, or its own exit with an error after its monitor had come up. What is left out
//! may be different next time: a QEMU that was killed or that had no memory for its guest, a guest that did not answer in
//! time, and a template out of the cache, which may have been damaged since it was looked at; that one is taken away, and
//! the next run tells by a new one. As with the accelerator, the machine's next boot ends the memory in any case, and so
//! does another QEMU, or `vmlab cache clear memos`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::host_boot_id;
use super::key::Key;
use crate::qemu::{self, Qemu};
use vmlab_store::CacheError;
use vmlab_store::memo::Memo;

#[derive(Debug, Serialize, Deserialize)]
struct Refusal {
    host_boot_id: String,
    why: String,
}

/// Remembers why QEMU makes no forks of the guest with this key. False where that cannot be told to be so next time: the
/// program is a script, and may run another QEMU then, or it has just been written.
///
/// # Errors
/// The cache cannot be written.
pub fn remember(cache: &Path, key: &Key, qemu: &Qemu, why: &str) -> Result<bool, CacheError> {
    if !qemu::is_elf(&qemu.path) {
        return Ok(false);
    }
    let boot = host_boot_id().map_err(CacheError::on("identify the boot of", Path::new("this machine")))?;
    let kind = kind(key);
    Memo::new(cache, &kind, vec![&qemu.path]).keep(&Refusal { host_boot_id: boot, why: why.to_owned() })?;
    Ok(recall(cache, key, qemu).is_some())
}

/// What is remembered.
#[must_use]
pub fn recall(cache: &Path, key: &Key, qemu: &Qemu) -> Option<String> {
    let kind = kind(key);
    let refusal: Refusal = Memo::new(cache, &kind, vec![&qemu.path]).recall()?;
    // Where the boot cannot be told, it is tried again.
    (host_boot_id().ok()? == refusal.host_boot_id).then_some(refusal.why)
}

fn kind(key: &Key) -> String {
    format!("refusal to fork {}", key.name())
}
