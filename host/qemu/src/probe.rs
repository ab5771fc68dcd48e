//! Tests an accelerator by booting a kernel without a root file system.
//!
//! An open /dev/kvm, or a machine created with it, is no proof that KVM works: if KVM is nested without VMX or SVM,
//! QEMU aborts on a register that it cannot set, or runs so slowly that the firmware never ends. A kernel that panics
//! because it finds no root file system has completed its start-up, including drivers.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::accelerator::Accelerator;
use super::quote;
use crate::qemu::offspring;
use crate::spawn::Family;

/// The beginning of a panic message; the reason follows (kernel/panic.c).
const PANIC: &[u8] = b"Kernel panic - not syncing: ";
/// The reasons that mean a missing root file system: mount_root_generic() in init/do_mounts.c, kernel_init() in
/// init/main.c. The text is the same from 5.10 to 7.3.
const ROOTLESS: &[&[u8]] = &[b"VFS: Unable to mount root fs", b"No working init found"];

/// The time limit for QEMU to end after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// The amount of QEMU's messages and of the console's end that is kept, in bytes.
const KEPT_BYTES: usize = 16 << 10;

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The kernel booted as far as possible without a root file system.
    Works,
    /// A signal ended QEMU, for example by abort(3).
    Aborted {
        /// The signal and QEMU's messages.
        how: String,
    },
    /// QEMU or the kernel ended in another way.
    Ended {
        /// How it ended, with its messages.
        how: String,
    },
    /// The boot did not end within the time limit.
    Slow {
        /// The time limit, in ms.
        limit_ms: u64,
        /// The end of the console.
        console: String,
    },
}

/// Boots `kernel` under `accelerator` without a root file system, for at most `limit`. QEMU has ended when this
/// returns, unless the host's kernel cannot kill it.
pub(crate) async fn run(qemu: &Path, kernel: &Path, accelerator: Accelerator, limit: Duration) -> Answer {
    let deadline = Instant::now() + limit;
    let mut command = Command::new(qemu);
    command.args(argv(kernel, accelerator)).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut family = match Family::spawn(&mut command, offspring(qemu)) {
        Ok(family) => family,
        Err(error) => return Answer::Ended { how: format!("cannot start QEMU ({error})") },
    };
    let mut console = Console::default();
    let answer = match timeout_at(deadline, watch(&mut family.child, &mut console)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Answer::Ended { how: format!("cannot read QEMU's output ({error})") },
        Err(_) => {
            let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            Answer::Slow { limit_ms, console: quote::end_of(&console.kept) }
        }
    };
    // Kill QEMU in any case. If even SIGKILL takes longer than the limit (a vCPU does not leave the host's kernel), the
    // answer is still valid, and tokio reaps the process later.
    let killed = family.kill();
    match timeout(KILL_LIMIT, family.child.wait()).await.map(|reaped| reaped.and(killed)) {
        Ok(Ok(())) | Err(_) => answer,
        Ok(Err(error)) => Answer::Ended { how: format!("cannot end QEMU ({error})") },
    }
}

/// QEMU's arguments. `quiet`: each byte on the serial line costs an exit to QEMU, and panics are printed nevertheless.
/// `earlyprintk`: panics before the console is up are printed, too. `rdinit`: an init inside the kernel is not started.
fn argv(kernel: &Path, accelerator: Accelerator) -> Vec<OsString> {
    let cpu = match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg => "max",
    };
    let mut argv: Vec<OsString> = [
        "-accel",
        accelerator.name(),
        "-cpu",
        cpu,
        "-M",
        "q35",
        "-m",
        "256",
        "-smp",
        "1",
        "-no-user-config",
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-serial",
        "stdio",
        "-append",
        "console=ttyS0 earlyprintk=serial,ttyS0 quiet panic=-1 reboot=t rdinit=/none",
        "-kernel",
    ]
    .map(OsString::from)
    .into();
    argv.push(kernel.into());
    argv
}

/// Reads until the console or the end of QEMU determines the answer.
async fn watch(child: &mut Child, console: &mut Console) -> io::Result<Answer> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // QEMU's messages are read together with the console, so that QEMU never blocks on a full pipe.
    let messages = tokio::spawn(read_end(stderr));
    if let Some(mut stdout) = stdout {
        let mut buffer = [0; 4096];
        loop {
            let count = stdout.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            if let Some(answer) = console.push(&buffer[..count]) {
                return Ok(answer);
            }
        }
    }
    let status = child.wait().await?;
    let messages = messages.await.map_err(io::Error::other)??;
    let (said, console) = (quote::end_of(&messages), quote::end_of(&console.kept));
    let how = format!("QEMU ended with {status}, its messages: {said}; on the console: {console}");
    Ok(if status.signal().is_some() { Answer::Aborted { how } } else { Answer::Ended { how } })
}

/// The last [`KEPT_BYTES`] of a stream.
async fn read_end(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return Ok(kept) };
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(kept);
        }
        keep_end(&mut kept, &buffer[..count]);
    }
}

fn keep_end(kept: &mut Vec<u8>, bytes: &[u8]) {
    kept.extend_from_slice(bytes);
    let over = kept.len().saturating_sub(KEPT_BYTES);
    kept.drain(..over);
}

/// The end of the console.
#[derive(Debug, Default)]
struct Console {
    kept: Vec<u8>,
}

impl Console {
    /// Reads the next bytes; returns the answer as soon as the line with the panic is complete.
    fn push(&mut self, bytes: &[u8]) -> Option<Answer> {
        keep_end(&mut self.kept, bytes);
        let at = self.kept.windows(PANIC.len()).position(|window| window == PANIC)?;
        let rest = &self.kept[at..];
        let line = &rest[..rest.iter().position(|&byte| byte == b'\n')?];
        let why = &line[PANIC.len()..];
        if ROOTLESS.iter().any(|known| why.starts_with(known)) {
            return Some(Answer::Works);
        }
        Some(Answer::Ended { how: format!("the kernel panicked: {}", quote::end_of(line)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::script;

    const LIMIT: Duration = Duration::from_secs(600);

    async fn probe(body: &str, limit: Duration) -> Answer {
        let dir = tempfile::tempdir().unwrap();
        let qemu = script(dir.path(), "qemu", body);
        run(&qemu, Path::new("/boot/vmlinuz"), Accelerator::Kvm, limit).await
    }

    #[test]
    fn the_command_line() {
        let argv = argv(Path::new("/boot/vmlinuz"), Accelerator::Kvm);
        let words: Vec<_> = argv.iter().map(|word| word.to_str().unwrap()).collect();
        let expected = "-accel kvm -cpu host -M q35 -m 256 -smp 1 -no-user-config -nodefaults -display none -no-reboot \
             -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny -serial stdio \
             -append console=ttyS0 earlyprintk=serial,ttyS0 quiet panic=-1 reboot=t rdinit=/none -kernel /boot/vmlinuz";
        assert_eq!(words.join(" "), expected);
    }

    #[tokio::test]
    async fn the_panic_for_a_missing_root_is_success_and_ends_the_probe() {
        let panics = "echo '[    0.61] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)'";
        assert_eq!(probe(&format!("{panics}; exec sleep 1000"), LIMIT).await, Answer::Works);
        assert_eq!(probe(panics, LIMIT).await, Answer::Works);
    }

    #[tokio::test]
    async fn another_panic_is_a_failure() {
        let answer = probe("echo 'Kernel panic - not syncing: Fatal exception'; exec sleep 1000", LIMIT).await;
        assert!(matches!(&answer, Answer::Ended { how } if how.contains("Fatal exception")), "{answer:?}");
    }

    #[tokio::test]
    async fn an_abort_is_quoted() {
        let body = "echo SeaBIOS; echo 'error: failed to set MSR 0x10a to 0x0' >&2; kill -ABRT $$";
        let Answer::Aborted { how } = probe(body, LIMIT).await else { panic!("it was aborted") };
        assert!(how.contains("signal: 6") && how.contains("MSR 0x10a") && how.contains("SeaBIOS"), "{how}");
    }

    #[tokio::test]
    async fn a_qemu_that_refuses_the_kernel_has_ended() {
        let answer = probe("echo \"could not load kernel '/etc/passwd'\" >&2; exit 1", LIMIT).await;
        assert!(matches!(&answer, Answer::Ended { how } if how.contains("could not load kernel")), "{answer:?}");
    }

    #[tokio::test]
    async fn more_messages_than_a_pipe_holds_do_not_block_the_probe() {
        let body = "yes message | head -c 1000000 >&2; echo 'Kernel panic - not syncing: No working init found.'";
        assert_eq!(probe(body, LIMIT).await, Answer::Works);
    }

    #[tokio::test]
    async fn a_silent_qemu_is_ended_at_the_limit() {
        let answer = probe("exec sleep 1000", Duration::from_millis(100)).await;
        assert_eq!(answer, Answer::Slow { limit_ms: 100, console: "nothing".to_owned() });
    }

    #[tokio::test]
    async fn a_program_that_cannot_start_is_an_answer() {
        let answer = run(Path::new("/nonexistent"), Path::new("/k"), Accelerator::Kvm, LIMIT).await;
        assert!(matches!(&answer, Answer::Ended { how } if how.contains("cannot start QEMU")), "{answer:?}");
    }

    #[test]
    fn a_panic_is_found_however_the_stream_is_split() {
        let text = b"[    2.27] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n";
        for split in 0..=text.len() {
            let mut console = Console::default();
            let answers = [console.push(&text[..split]), console.push(&text[split..])];
            assert!(answers.contains(&Some(Answer::Works)), "split at {split}");
        }
        let mut long = Console::default();
        assert_eq!(long.push(&vec![b'x'; 100_000]), None);
        assert_eq!(long.kept.len(), KEPT_BYTES);
        assert_eq!(long.push(text), Some(Answer::Works));
    }
}
