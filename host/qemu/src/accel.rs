//! Which accelerator a guest runs under, and why.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::probe::{self, Answer};
use super::qemu::{Qemu, QemuIdentity};
use vmlab_events::error::chain;
use vmlab_store::cache::entry::{Entry, Found, Kind};
use vmlab_store::json::{self, Json};
use vmlab_store::{CacheError, atomic};

/// The probe's limit where nobody asked for KVM. A stock kernel takes 0.6 s to its panic under a KVM that is one; with
/// the time to end QEMU, no run loses more than 2 s.
const AUTO_LIMIT: Duration = Duration::from_millis(1_800);
/// The probe's limit where the user asked for KVM, and rather waits than goes without.
const ASKED_LIMIT: Duration = Duration::from_secs(20);
/// The file of remembered answers within the cache.
const FILE: &str = "accel.json";
/// How many answers are remembered: one for each build of QEMU.
const ANSWERS_KEPT: usize = 16;

/// How QEMU executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// It translates them.
    Tcg,
    /// The host's processor does it.
    Kvm,
}

impl Accelerator {
    /// As `-accel` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
    /// Whether a probe's answer is kept for the next run, until the machine is booted again or QEMU is another.
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
    /// None where it cannot be read; nothing is remembered then.
    boot_id: Option<String>,
}

impl Host {
    fn this() -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Self { device: PathBuf::from("/dev/kvm"), boot_id: boot_id.map(|id| id.trim().to_owned()) }
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
    let answer = Memory::read(cache, host.boot_id.as_deref()?).answer(&qemu.identity)?;
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
    match remember(host, qemu, cache, answer) {
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

/// Answers of probes on this boot of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    boot_id: String,
    answers: Vec<Remembered>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    qemu: QemuIdentity,
    #[serde(flatten)]
    answer: Answer,
}

impl Memory {
    /// What is remembered; nothing where the file is not there, is damaged, or is from before the host was booted. In
    /// each of these cases a new probe is the remedy.
    fn read(cache: &Path, boot_id: &str) -> Self {
        match json::read::<Self>(&cache.join(FILE)) {
            Ok(Json::Read(memory)) if memory.boot_id == boot_id => memory,
            _ => Self { boot_id: boot_id.to_owned(), answers: Vec::new() },
        }
    }

    fn answer(&self, qemu: &QemuIdentity) -> Option<Answer> {
        self.answers.iter().find(|known| known.qemu == *qemu).map(|known| known.answer.clone())
    }

    /// Puts an answer first, in place of what was known of the same build.
    fn put(&mut self, qemu: QemuIdentity, answer: Answer) {
        self.answers.retain(|known| known.qemu != qemu);
        self.answers.insert(0, Remembered { qemu, answer });
        self.answers.truncate(ANSWERS_KEPT);
    }
}

/// Keeps an answer; false where it is not worth it, or the host does not say which boot this is. Of two vmlabs at once the later one's file
/// stands; what the other one learnt is probed again.
fn remember(host: &Host, qemu: &Qemu, cache: &Path, answer: Answer) -> Result<bool, CacheError> {
    let Some(boot_id) = host.boot_id.as_ref().filter(|_| answer.is_worth_remembering()) else { return Ok(false) };
    let mut memory = Memory::read(cache, boot_id);
    memory.put(qemu.identity.clone(), answer);
    let file = cache.join(FILE);
    atomic::create_dir(cache)?;
    json::write(&file, &memory)?;
    Ok(true)
}

/// The file of remembered answers, for whoever lists the cache or makes room.
#[must_use]
pub fn inventory(cache: &Path) -> Found {
    let path = cache.join(FILE);
    let (useless, unreadable) = match json::read::<Memory>(&path) {
        Ok(Json::Missing) => return Found::default(),
        Ok(Json::Malformed(why)) => (Some(why), None),
        Ok(Json::Read(_)) => (None, None),
        Err(error) => (None, Some(error.cause())),
    };
    let entry = Entry::at(Kind::Memo, "accelerators that were tried out".to_owned(), path);
    Found { entries: vec![Entry { useless, unreadable, ..entry }], errors: Vec::new() }
}

#[cfg(test)]
mod tests;
