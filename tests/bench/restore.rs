//! The time from QEMU's start with a saved state to the guest's first byte, less the time of QEMU's own start and end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vmlab_lab::guest::session::{Freshness, Session};
use vmlab_protocol::message::ENTROPY_BYTES;
use vmlab_qemu::process::{Inherited, QemuProcess};
use vmlab_qemu::qmp::{self, QmpEvent};
use vmlab_qemu::template;

use crate::fork::{RESTORE, SCENARIO};
use crate::series::{Bar, Series, against, heading, line};
use crate::vmlab::{Outcome, Vmlab, failed};

/// The program, arguments and state file of a fork.
#[derive(Debug)]
pub struct Recipe {
    qemu: PathBuf,
    arguments: Vec<OsString>,
    state: PathBuf,
}

/// A fork that the benchmark started, without vmlab's runner.
#[derive(Debug)]
pub struct Fork {
    /// The fork's QEMU.
    pub qemu: QemuProcess,
    /// The time from the start to the first byte.
    pub first_byte: Duration,
}

impl Recipe {
    /// Taken from a run of vmlab.
    pub fn of(lab: &Vmlab) -> Outcome<Self> {
        let argv = lab.run([&[SCENARIO], &RESTORE[..]].concat())?.argv("fork")?;
        let (qemu, arguments) = argv.split_first().ok_or_else(|| failed("an empty command line"))?;
        let memory = arguments.iter().find_map(|word| word.split_once(",mem-path=")).map(|(_, path)| path);
        let ram = memory.filter(|path| !path.contains(',')).ok_or_else(|| failed("no file of the guest's memory"))?;
        let state = Path::new(ram).with_file_name(template::STATE);
        Ok(Self { qemu: qemu.into(), arguments: arguments.iter().map(OsString::from).collect(), state })
    }

    /// Starts a fork as vmlab does, and waits for the first byte of its answer to `prepare`.
    pub async fn start(&self) -> Outcome<Fork> {
        let fresh = Freshness {
            wall_clock_ns: u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?,
            // No verdict depends on the entropy here.
            entropy: "5a".repeat(ENTROPY_BYTES),
            fork: true,
            side: None,
        };
        let order = Session::of_fork().prepare(&fresh)?;
        let began = Instant::now();
        let inherited = Inherited { state: Some(std::fs::File::open(&self.state)?), ..Inherited::default() };
        let mut qemu = QemuProcess::start(&self.qemu, &self.arguments, inherited)?;
        qemu.wake()?;
        let (_pump, mut events) =
            qemu.qmp.take().map(|stream| qmp::pump(stream, None)).ok_or_else(|| failed("no monitor"))?;
        while events.recv().await.ok_or_else(|| failed("QEMU has ended"))?.event != QmpEvent::Resumed {}
        qemu.control.write_all(&order).await?;
        let mut byte = [0];
        qemu.control.read_exact(&mut byte).await?;
        Ok(Fork { qemu, first_byte: began.elapsed() })
    }

    /// The time of QEMU's own start and end: the same machine quits before it restores anything.
    fn start_and_quit(&self) -> Outcome<Duration> {
        let mut words: Vec<_> = self.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        // The sockets and the pipe of vmlab do not exist here.
        if let Some(at) = words.iter().position(|word| word == "-add-fd") {
            words.drain(at..at + 2);
        }
        for word in &mut words {
            if let Some(("socket" | "file", rest)) = word.split_once(',')
                && let Some(id) = rest.split(',').find(|part| part.starts_with("id="))
            {
                *word = if id == "id=qmp" { format!("stdio,{id}") } else { format!("null,{id}") };
            }
        }
        let began = Instant::now();
        let mut command = Command::new(&self.qemu);
        let mut qemu = command.args(words).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut stdin = qemu.stdin.take().ok_or_else(|| failed("no pipe to QEMU"))?;
        std::io::Write::write_all(&mut stdin, b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"quit\"}\n")?;
        let status = qemu.wait()?;
        if status.success() { Ok(began.elapsed()) } else { Err(failed(format!("QEMU ended with {status}"))) }
    }
}

/// A runtime of the same kind as vmlab's.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Measures both alternately.
pub fn measure(lab: &Vmlab, rounds: u32) -> Outcome<()> {
    heading("a fork by itself, without vmlab's runner");
    let recipe = Recipe::of(lab)?;
    let (mut forks, mut alone) = (Series::default(), Series::default());
    let runtime = runtime()?;
    for _ in 0..rounds {
        let mut fork = runtime.block_on(recipe.start())?;
        forks.time(fork.first_byte);
        runtime.block_on(fork.qemu.end())?;
        alone.time(recipe.start_and_quit()?);
    }
    line("QEMU's start to the guest's first byte", "ms", &forks);
    line("QEMU's start and quit", "ms", &alone);
    against("difference", "ms", forks.median() - alone.median(), Bar::AtMost(30.0));
    Ok(())
}
