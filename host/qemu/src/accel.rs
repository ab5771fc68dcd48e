//! Which accelerator a guest runs under, and why.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::accelerator::Accelerator;
use super::probe::{self, Answer};
use super::qemu::{Qemu, QemuIdentity};
use vmlab_events::error::chain;
use vmlab_store::stat_cache::Fact;
use vmlab_store::{CacheError, host_boot_id};

/// The probe's limit where nobody asked for KVM. A stock kernel takes 0.6 s to its panic under a KVM that is one; with
/// the time to end QEMU, no run loses more than 2 s.
const AUTO_LIMIT: Duration = Duration::from_millis(1_800);
/// The probe's limit where the user asked for KVM, and rather waits than goes without.
const ASKED_LIMIT: Duration = Duration::from_secs(20);

/// What the user asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wanted {
    /// KVM where it works, TCG elsewhere.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// TCG, wherever it is.
    Tcg,
}

/// Not one of `auto`, `kvm`, `tcg`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no accelerator: auto, kvm and tcg are")]
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

/// The choice. Its display is the short line that every run prints; [`Self::explanation`] has the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccelChoice {
    /// What was chosen.
    pub accelerator: Accelerator,
    /// Whether the user asked for it, so that nothing was tried.
    pub asked: bool,
    /// Why, in one line, which quotes QEMU and the kernel where they said something.
    pub why: String,
    /// Whether a probe's answer is remembered until the host is booted again or QEMU changes.
    pub remembered: bool,
}

impl AccelChoice {
    /// The choice with all that led to it, as `tcg: there is no /dev/kvm`. It can have several hundred characters.
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

/// KVM was asked for and cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("KVM cannot be used here: {why}; leave --accel away or give --accel tcg, which runs everywhere, only slower")]
pub struct KvmUnusable {
    /// The evidence.
    why: String,
}

/// The parts of the host that the choice depends on.
#[derive(Debug, Clone)]
struct Host {
    device: PathBuf,
    /// `None` where it cannot be read; nothing is remembered then.
    boot_id: Option<String>,
}

impl Host {
    fn this() -> Self {
        Self { device: PathBuf::from("/dev/kvm"), boot_id: host_boot_id().ok() }
    }

    /// Why KVM cannot be used, as far as that shows without starting anything.
    fn obstacle(&self) -> Option<String> {
        let device = self.device.display();
        match OpenOptions::new().read(true).write(true).open(&self.device) {
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(format!("there is no {device}")),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(format!(
                "{device} may not be opened ({error}; `sudo usermod -aG kvm $USER` and a new login allow it)"
            )),
            Err(error) => Some(format!("{device} does not open ({error})")),
        }
    }
}

/// Chooses the accelerator for guests that `qemu` runs; `kernel`, a bzImage or vmlinux, is what a probe boots. Takes up
/// to 2 s where a probe is needed for [`Wanted::Auto`], up to 21 s for [`Wanted::Kvm`].
///
/// # Errors
/// [`KvmUnusable`] for [`Wanted::Kvm`] alone.
pub async fn choose(wanted: Wanted, qemu: &Qemu, kernel: &Path, cache: &Path) -> Result<AccelChoice, KvmUnusable> {
    choose_on(&Host::this(), wanted, qemu, kernel, cache).await
}

/// What [`choose`] would say for [`Wanted::Auto`] without a probe; none where it needs one.
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
    // Whoever asks for KVM gets a new probe in place of a remembered refusal, and with more time.
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

/// What is remembered of a build of QEMU on this boot of the host.
fn known_answer(host: &Host, qemu: &Qemu, cache: &Path) -> Option<Answer> {
    Fact::new(cache, &kind(&qemu.identity), &[]).on_boot(host.boot_id.clone()?).get()
}

/// Remembers an answer; false where it may be another next time, or the host does not say which boot this is.
fn remember(host: &Host, qemu: &Qemu, cache: &Path, answer: &Answer) -> Result<bool, CacheError> {
    let Some(boot_id) = host.boot_id.clone().filter(|_| answer.is_worth_remembering()) else { return Ok(false) };
    Fact::new(cache, &kind(&qemu.identity), &[]).on_boot(boot_id).put(answer)?;
    Ok(true)
}

/// The fact follows from the program and not from the path it was found by, so the identity is in its name.
fn kind(QemuIdentity { path, version_line, size_bytes, modified_ns }: &QemuIdentity) -> String {
    format!("KVM with {} of {size_bytes} bytes, changed at {modified_ns} ns, {version_line}", path.display())
}

#[cfg(test)]
mod tests;
