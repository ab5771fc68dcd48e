//! Chooses the accelerator of guests.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::accelerator::Accelerator;
use super::probe::{self, Answer};
use super::qemu::{Qemu, QemuIdentity};
use vmlab_events::error::chain;
use vmlab_store::stat_cache::Fact;
use vmlab_store::{CacheError, host_boot_id};

/// The probe's first limit for [`Wanted::Auto`] on a machine of usual speed. A stock kernel takes 0.6 s to its panic if KVM
/// works; with the time to end QEMU, a run loses at most 2 s.
const AUTO_LIMIT: Duration = Duration::from_millis(1_800);
/// The probe's limit for [`Wanted::Kvm`] on a machine of usual speed: the user prefers to wait. No limit for [`Wanted::Auto`]
/// is longer.
const ASKED_LIMIT: Duration = Duration::from_secs(20);
/// The CPU time of `qemu --version` on a machine of usual speed, in microseconds. It was 15 ms on the cloud machine (2 CPUs,
/// QEMU 7.2.22) on which a kernel takes 2 s to the same panic under TCG. On a machine that is itself emulated, both take about
/// ten times as long.
const USUAL_CPU_US: u64 = 20_000;
/// By how much a limit is longer on a slow machine, at most.
const SLOWEST: u32 = 10;
/// After a timeout, the next probe gets a longer limit by this factor.
const LONGER: u32 = 4;
/// How long a timeout is remembered, as a multiple of its limit: an hour after 1.8 s. So probes that time out take at most
/// one part in 2000 of a machine's time.
const REMEMBERED_LIMITS: u32 = 2_000;

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
    /// How long the result of the probe is remembered. A change of QEMU ends that as well.
    pub remembered: Remembered,
}

/// How long a result is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remembered {
    /// It is not.
    No,
    /// Until the host reboots.
    UntilReboot,
    /// For this many minutes in all: the machine may only have been busy.
    Minutes(u64),
}

/// A remembered result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    answer: Answer,
    /// The time of the probe, in seconds since 1970 UTC.
    at_unix_s: u64,
}

impl AccelChoice {
    /// The choice and its reason, for example `tcg: there is no /dev/kvm`. It can have several hundred characters.
    #[must_use]
    pub fn explanation(&self) -> String {
        let remembered = match self.remembered {
            Remembered::No => String::new(),
            Remembered::UntilReboot => "; remembered until reboot".to_owned(),
            Remembered::Minutes(minutes) => format!("; tried again after {minutes} min"),
        };
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
    /// The wall clock, in seconds since 1970 UTC.
    now_unix_s: u64,
}

impl Host {
    fn this() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { device: PathBuf::from("/dev/kvm"), boot_id: host_boot_id().ok(), now_unix_s: since_1970.as_secs() }
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
/// takes up to 2 s for [`Wanted::Auto`], up to 21 s for that on a slow machine, and up to 21 s for [`Wanted::Kvm`], which a
/// slow machine multiplies by up to 10.
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
        return Some(AccelChoice { accelerator: Accelerator::Tcg, asked: false, why, remembered: Remembered::No });
    }
    let known = known_answer(host, qemu, cache).filter(|known| !is_over(known, host.now_unix_s))?;
    let remembered = remembered(&known.answer);
    Some(from_answer(&known.answer, remembered))
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
            remembered: Remembered::No,
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
    let limit = match wanted {
        Wanted::Kvm => ASKED_LIMIT * slowness(qemu.version_cpu_us),
        Wanted::Auto | Wanted::Tcg => {
            auto_limit(qemu.version_cpu_us, known_answer(host, qemu, cache).map(|known| known.answer).as_ref())
        }
    };
    let answer = probe::run(&qemu.path, kernel, Accelerator::Kvm, limit).await;
    let mut choice = from_answer(&answer, Remembered::No);
    match remember(host, qemu, cache, &answer) {
        Ok(remembered) => choice.remembered = remembered,
        Err(error) => choice.why.push_str(&format!(" (not remembered: {})", chain(&error))),
    }
    if wanted == Wanted::Kvm && choice.accelerator != Accelerator::Kvm {
        return Err(KvmUnusable { why: choice.why });
    }
    Ok(choice)
}

/// How many times slower than usual this machine is, from 1 to [`SLOWEST`].
fn slowness(version_cpu_us: u64) -> u32 {
    u32::try_from(version_cpu_us / USUAL_CPU_US).unwrap_or(u32::MAX).clamp(1, SLOWEST)
}

/// The limit of a probe that nobody asked for. `before` is the result of the one before, however old.
fn auto_limit(version_cpu_us: u64, before: Option<&Answer>) -> Duration {
    let limit = AUTO_LIMIT * slowness(version_cpu_us);
    let longer = match before {
        Some(Answer::Slow { limit_ms, .. }) => Duration::from_millis(*limit_ms).saturating_mul(LONGER),
        Some(Answer::Works | Answer::Aborted { .. } | Answer::Ended { .. }) | None => Duration::ZERO,
    };
    limit.max(longer).min(ASKED_LIMIT)
}

/// How long an answer is remembered. The answers for a crashed kernel and for a QEMU that refused to start depend on more
/// than the host and its QEMU; such probes end quickly, so repeating them costs little.
fn remembered(answer: &Answer) -> Remembered {
    match answer {
        Answer::Works | Answer::Aborted { .. } => Remembered::UntilReboot,
        Answer::Ended { .. } => Remembered::No,
        // No probe that nobody asked for is longer.
        Answer::Slow { limit_ms, .. } => {
            let limit_ms = u128::from(*limit_ms).min(ASKED_LIMIT.as_millis());
            let minutes = limit_ms * u128::from(REMEMBERED_LIMITS) / 60_000;
            Remembered::Minutes(u64::try_from(minutes).unwrap_or(u64::MAX))
        }
    }
}

/// Whether a remembered answer no longer counts. One from the future does not: the clock was set.
fn is_over(known: &Known, now_unix_s: u64) -> bool {
    match remembered(&known.answer) {
        Remembered::No => true,
        Remembered::UntilReboot => false,
        Remembered::Minutes(minutes) => {
            now_unix_s.checked_sub(known.at_unix_s).is_none_or(|age_s| age_s >= minutes.saturating_mul(60))
        }
    }
}

fn from_answer(answer: &Answer, remembered: Remembered) -> AccelChoice {
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
            let hint = if more {
                format!("; --accel kvm gives it {} s or more", ASKED_LIMIT.as_secs())
            } else {
                String::new()
            };
            (Accelerator::Tcg, why + &hint)
        }
    };
    AccelChoice { accelerator, asked: false, why, remembered }
}

/// The remembered result for this build of QEMU and this boot of the host.
fn known_answer(host: &Host, qemu: &Qemu, cache: &Path) -> Option<Known> {
    Fact::new(cache, &kind(&qemu.identity), &[]).on_boot(host.boot_id.clone()?).get()
}

/// Remembers a result, if it may be remembered and the host's boot id is known.
fn remember(host: &Host, qemu: &Qemu, cache: &Path, answer: &Answer) -> Result<Remembered, CacheError> {
    let Some(boot_id) = host.boot_id.clone() else { return Ok(Remembered::No) };
    let remembered = remembered(answer);
    if remembered != Remembered::No {
        let known = Known { answer: answer.clone(), at_unix_s: host.now_unix_s };
        Fact::new(cache, &kind(&qemu.identity), &[]).on_boot(boot_id).put(&known)?;
    }
    Ok(remembered)
}

/// The kind of the fact. It contains the identity of the program, because the result does not depend on its path.
fn kind(QemuIdentity { path, version_line, size_bytes, modified_ns }: &QemuIdentity) -> String {
    format!("KVM with {} of {size_bytes} bytes, changed at {modified_ns} ns, {version_line}", path.display())
}

#[cfg(test)]
mod tests;
