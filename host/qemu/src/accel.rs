//! Chooses the accelerator of guests.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::accelerator::Accelerator;
use super::probe::{self, Answer};
use super::qemu::{Qemu, QemuIdentity};
use vmlab_events::error::chain;
use vmlab_store::stat_cache::Fact;
use vmlab_store::{CacheError, host_boot_id};

/// The probe's limit for [`Wanted::Auto`]. A stock kernel takes 0.6 s to its panic if KVM works; with the time to end
/// QEMU, a run loses at most 2 s.
const AUTO_LIMIT: Duration = Duration::from_millis(1_800);
/// The probe's limit for [`Wanted::Kvm`]: the user prefers to wait.
const ASKED_LIMIT: Duration = Duration::from_secs(20);

/// The accelerator that the user asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wanted {
    /// KVM if it works, otherwise TCG.
    #[default]
    Auto,
    /// KVM; an error if it does not work.
    Kvm,
    /// TCG, even if KVM works.
    Tcg,
}

/// The text is not `auto`, `kvm` or `tcg`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an accelerator; expected auto, kvm or tcg")]
pub struct BadAccelerator(String);

impl FromStr for Wanted {
    type Err = BadAccelerator;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err(BadAccelerator(text.to_owned())),
        }
    }
}

/// The chosen accelerator. Its display is the line that every run prints; [`Self::explanation`] has the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccelChoice {
    /// The chosen accelerator.
    pub accelerator: Accelerator,
    /// Whether the user asked for TCG, so that KVM was not tried.
    pub asked: bool,
    /// The reason in one line, with quotes of QEMU's and the kernel's messages.
    pub why: String,
    /// Whether the result of the probe is remembered until the host reboots or QEMU changes.
    pub remembered: bool,
}

impl AccelChoice {
    /// The choice and its reason, for example `tcg: there is no /dev/kvm`. It can have several hundred characters.
    #[must_use]
    pub fn explanation(&self) -> String {
        let remembered = if self.remembered { "; remembered until reboot" } else { "" };
        format!("{}: {}{remembered}", self.accelerator, self.why)
    }
}

impl fmt::Display for AccelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.accelerator {
            Accelerator::Kvm => "using KVM",
            Accelerator::Tcg if self.asked => "using TCG, as asked",
            Accelerator::Tcg => "using TCG: KVM is not usable here (vmlab doctor says why)",
        })
    }
}

/// The user asked for KVM, and it does not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("KVM cannot be used here: {why}; omit --accel, or give --accel tcg, which works everywhere but is slower")]
pub struct KvmUnusable {
    /// The evidence.
    why: String,
}

/// The parts of the host that the choice depends on.
#[derive(Debug, Clone)]
struct Host {
    device: PathBuf,
    /// `None` if it cannot be read; results are then not remembered.
    boot_id: Option<String>,
}

impl Host {
    fn this() -> Self {
        Self { device: PathBuf::from("/dev/kvm"), boot_id: host_boot_id().ok() }
    }

    /// Why KVM cannot be used, if that is known without a probe.
    fn obstacle(&self) -> Option<String> {
        let device = self.device.display();
        match OpenOptions::new().read(true).write(true).open(&self.device) {
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(format!("there is no {device}")),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some(format!("{device} cannot be opened ({error}); run `sudo usermod -aG kvm $USER` and log in again"))
            }
            Err(error) => Some(format!("{device} cannot be opened ({error})")),
        }
    }
}

/// Chooses the accelerator for guests of `qemu`. If a probe is necessary, it boots `kernel`, a bzImage or vmlinux, and
/// takes up to 2 s for [`Wanted::Auto`] and up to 21 s for [`Wanted::Kvm`].
///
/// # Errors
/// [`KvmUnusable`], only for [`Wanted::Kvm`].
pub fn choose<'a>(
    wanted: Wanted,
    qemu: &'a Qemu,
    kernel: &'a Path,
    cache: &'a Path,
) -> LocalBoxFuture<'a, Result<AccelChoice, KvmUnusable>> {
    Box::pin(async move { choose_on(&Host::this(), wanted, qemu, kernel, cache).await })
}

/// The choice for [`Wanted::Auto`] if it is known without a probe.
#[must_use]
pub fn known(qemu: &Qemu, cache: &Path) -> Option<AccelChoice> {
    known_on(&Host::this(), qemu, cache)
}

fn known_on(host: &Host, qemu: &Qemu, cache: &Path) -> Option<AccelChoice> {
    if let Some(why) = host.obstacle() {
        return Some(AccelChoice { accelerator: Accelerator::Tcg, asked: false, why, remembered: false });
    }
    let answer = known_answer(host, qemu, cache)?;
    Some(from_answer(&answer, true))
}

async fn choose_on(
    host: &Host,
    wanted: Wanted,
    qemu: &Qemu,
    kernel: &Path,
    cache: &Path,
) -> Result<AccelChoice, KvmUnusable> {
    if wanted == Wanted::Tcg {
        return Ok(AccelChoice {
            accelerator: Accelerator::Tcg,
            asked: true,
            why: "asked for".to_owned(),
            remembered: false,
        });
    }
    let known = known_on(host, qemu, cache);
    if wanted == Wanted::Kvm
        && let Some(why) = host.obstacle()
    {
        return Err(KvmUnusable { why });
    }
    // For a user who asks for KVM, a remembered failure is probed again, with more time.
    if let Some(choice) = known.filter(|known| wanted == Wanted::Auto || known.accelerator == Accelerator::Kvm) {
        return Ok(choice);
    }
    let limit = if wanted == Wanted::Kvm { ASKED_LIMIT } else { AUTO_LIMIT };
    let answer = probe::run(&qemu.path, kernel, Accelerator::Kvm, limit).await;
    let mut choice = from_answer(&answer, false);
    match remember(host, qemu, cache, &answer) {
        Ok(remembered) => choice.remembered = remembered,
        Err(error) => choice.why.push_str(&format!(" (not remembered: {})", chain(&error))),
    }
    if wanted == Wanted::Kvm && choice.accelerator != Accelerator::Kvm {
        return Err(KvmUnusable { why: choice.why });
    }
    Ok(choice)
}

fn from_answer(answer: &Answer, remembered: bool) -> AccelChoice {
    let (accelerator, why) = match answer {
        Answer::Works => (Accelerator::Kvm, "a kernel booted under it".to_owned()),
        Answer::Aborted { how } | Answer::Ended { how } => {
            (Accelerator::Tcg, format!("/dev/kvm opens, but no kernel boots under KVM: {how}"))
        }
        Answer::Slow { limit_ms, console } => {
            let why = format!(
                "/dev/kvm opens, but a kernel had not booted under KVM after {limit_ms} ms (on its console: {console})"
            );
            let more = u128::from(*limit_ms) < ASKED_LIMIT.as_millis();
            let hint = if more { format!("; --accel kvm gives it {} s", ASKED_LIMIT.as_secs()) } else { String::new() };
            (Accelerator::Tcg, why + &hint)
        }
    };
    AccelChoice { accelerator, asked: false, why, remembered }
}

/// The remembered result for this build of QEMU and this boot of the host.
fn known_answer(host: &Host, qemu: &Qemu, cache: &Path) -> Option<Answer> {
    Fact::new(cache, &kind(&qemu.identity), &[]).on_boot(host.boot_id.clone()?).get()
}

/// Remembers a result. Returns false if the next probe may have another result, or the host's boot id is unknown.
fn remember(host: &Host, qemu: &Qemu, cache: &Path, answer: &Answer) -> Result<bool, CacheError> {
    let Some(boot_id) = host.boot_id.clone().filter(|_| answer.is_worth_remembering()) else { return Ok(false) };
    Fact::new(cache, &kind(&qemu.identity), &[]).on_boot(boot_id).put(answer)?;
    Ok(true)
}

/// The kind of the fact. It contains the identity of the program, because the result does not depend on its path.
fn kind(QemuIdentity { path, version_line, size_bytes, modified_ns }: &QemuIdentity) -> String {
    format!("KVM with {} of {size_bytes} bytes, changed at {modified_ns} ns, {version_line}", path.display())
}

#[cfg(test)]
mod tests;
