//! The time from QEMU's start to the guest's first byte: with a saved state, less the time of QEMU's own start and end; and thawed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vmlab_lab::guest::session::{Freshness, Session};
use vmlab_protocol::message::ENTROPY_BYTES;
use vmlab_qemu::frozen::Frozen;
use vmlab_qemu::process::{Inherited, QemuProcess};
use vmlab_qemu::qmp::{self, QmpEvent};
use vmlab_qemu::template;

use crate::fork::{RESTORE, SCENARIO, THAW};
use crate::series::{Bar, Series, against, heading, line};
use crate::vmlab::{Outcome, Vmlab, failed};

/// The program, arguments and files of a fork.
#[derive(Debug)]
pub struct Recipe {
    qemu: PathBuf,
    arguments: Vec<OsString>,
    ram: PathBuf,
    /// The greeting of the frozen QEMU; None for a fork that loads the saved state.
    greeting: Option<String>,
}

/// A fork that the benchmark started, without vmlab's runner.
#[derive(Debug)]
pub struct Fork {
    /// The fork's QEMU.
    pub qemu: QemuProcess,
    /// The time in which the process was started.
    pub spawned: Duration,
    /// The time from the start to the message of the monitor that the guest runs.
    pub resumed: Duration,
    /// The time from the start to the first byte of the guest's first answer.
    pub first_byte: Duration,
}

impl Recipe {
    /// For forks that load a saved state; taken from a run of vmlab.
    pub fn restored(lab: &Vmlab) -> Outcome<Self> {
        Self::of(lab, &RESTORE, "fork")
    }

    /// For forks that thaw; taken from a run of vmlab.
    pub fn thawed(lab: &Vmlab) -> Outcome<Self> {
        let recipe = Self::of(lab, &THAW, "thaw")?;
        let about: serde_json::Value = serde_json::from_slice(&fs::read(recipe.ram.with_file_name("frozen.json"))?)?;
        let greeting = about["content"]["greeting"].as_str().ok_or_else(|| failed("no greeting in frozen.json"))?;
        Ok(Self { greeting: Some(greeting.to_owned()), ..recipe })
    }

    fn of(lab: &Vmlab, method: &[&'static str], way: &str) -> Outcome<Self> {
        let argv = lab.run([&[SCENARIO], method].concat())?.argv(way)?;
        let (qemu, arguments) = argv.split_first().ok_or_else(|| failed("an empty command line"))?;
        let memory = arguments.iter().find_map(|word| word.split_once(",mem-path=")).map(|(_, path)| path);
        let ram = memory.filter(|path| !path.contains(',')).ok_or_else(|| failed("no file of the guest's memory"))?;
        let arguments = arguments.iter().map(OsString::from).collect();
        Ok(Self { qemu: qemu.into(), arguments, ram: Path::new(ram).to_owned(), greeting: None })
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
        let mut qemu = QemuProcess::start(&self.qemu, &self.arguments, self.inherited()?)?;
        let spawned = began.elapsed();
        qemu.wake()?;
        let greeting = qemu.greeting.take();
        let (_pump, mut events) =
            qemu.qmp.take().map(|stream| qmp::pump(stream, greeting)).ok_or_else(|| failed("no monitor"))?;
        while events.recv().await.ok_or_else(|| failed("QEMU has ended"))?.event != QmpEvent::Resumed {}
        let resumed = began.elapsed();
        qemu.control.write_all(&order).await?;
        let mut byte = [0];
        qemu.control.read_exact(&mut byte).await?;
        Ok(Fork { qemu, spawned, resumed, first_byte: began.elapsed() })
    }

    fn inherited(&self) -> Outcome<Inherited> {
        let Some(greeting) = self.greeting.clone() else {
            let state = File::open(self.ram.with_file_name(template::STATE))?;
            return Ok(Inherited { state: Some(state), ..Inherited::default() });
        };
        let image = File::open(self.ram.with_file_name("frozen"))?;
        let frozen =
            Frozen::Thawed { image, ram: vec![File::open(&self.ram)?], title: "vmlab-guest-1".to_owned(), greeting };
        Ok(Inherited { frozen: Some(frozen), ..Inherited::default() })
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

/// Measures all alternately.
pub fn measure(lab: &Vmlab, rounds: u32) -> Outcome<()> {
    heading("a fork by itself, without vmlab's runner");
    let (recipe, thawed) = (Recipe::restored(lab)?, Recipe::thawed(lab)?);
    let (mut forks, mut alone) = (Series::default(), Series::default());
    let (mut spawns, mut resumes, mut answers) = (Series::default(), Series::default(), Series::default());
    let runtime = runtime()?;
    for _ in 0..rounds {
        let mut fork = runtime.block_on(recipe.start())?;
        forks.time(fork.first_byte);
        runtime.block_on(fork.qemu.end())?;
        alone.time(recipe.start_and_quit()?);
        let mut thaw = runtime.block_on(thawed.start())?;
        spawns.time(thaw.spawned);
        resumes.time(thaw.resumed);
        answers.time(thaw.first_byte);
        runtime.block_on(thaw.qemu.end())?;
    }
    line("thaw: to the start of the process", "ms", &spawns);
    line("thaw: to the monitor's message that the guest runs", "ms", &resumes);
    line("thaw: to the guest's first byte", "ms", &answers);
    against("thaw: the guest runs, after the start", "ms", resumes.median() - spawns.median(), Bar::AtMost(5.0));
    against("thaw: to the guest's first byte", "ms", answers.median(), Bar::AtMost(10.0));
    line("QEMU's start to the guest's first byte", "ms", &forks);
    line("QEMU's start and quit", "ms", &alone);
    against("difference", "ms", forks.median() - alone.median(), Bar::AtMost(30.0));
    Ok(())
}
