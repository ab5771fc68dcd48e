//! Compares a cold run of one scenario with QEMU alone, which boots the same kernel with a busybox that only powers off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vmlab_image::newc::{Archive, Node};

use crate::fork::SCENARIO;
use crate::series::{Bar, Series, against, heading, line};
use crate::vmlab::{Outcome, Vmlab, failed};

/// QEMU without vmlab.
#[derive(Debug)]
struct Bare {
    qemu: PathBuf,
    /// The machine of vmlab's guests, without the link.
    words: Vec<String>,
}

/// Measures both alternately.
pub fn measure(lab: &Vmlab, rounds: u32, busybox: &Path) -> Outcome<()> {
    heading("cold: vmlab run of one scenario, and QEMU alone");
    let program = fs::read(busybox).ok().filter(|program| program.starts_with(b"\x7fELF"));
    let Some(program) = program else {
        println!("  left out: {} is no program; Debian's package busybox-static brings one", busybox.display());
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let image = dir.path().join("busybox.cpio");
    fs::write(&image, initramfs(program)?)?;
    let argv = lab.run([SCENARIO, "--isolation", "boot"])?.argv("boot")?;
    let bare = Bare::new(&argv, &image, &dir.path().join("console"))?;
    let (mut runs, mut alone, mut forks) = (Series::default(), Series::default(), Series::default());
    for _ in 0..rounds {
        runs.time(lab.run([SCENARIO, "--isolation", "boot"])?.taken);
        alone.time(bare.boot(&dir.path().join("console"))?);
        forks.time(lab.run([SCENARIO])?.taken);
    }
    line("vmlab run --isolation boot", "ms", &runs);
    line("QEMU alone, busybox, power off", "ms", &alone);
    line("vmlab run (a fork)", "ms", &forks);
    against("cold run to QEMU alone", "times", runs.median() / alone.median(), Bar::AtMost(1.3));
    println!("  QEMU alone takes {:.1} times as long as a run in a fork", alone.median() / forks.median());
    Ok(())
}

fn initramfs(busybox: Vec<u8>) -> Outcome<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["bin", "dev"] {
        archive.add(directory, Node::Directory { permissions: 0o755 })?;
    }
    archive.add("dev/console", Node::CharDevice { permissions: 0o600, major: 5, minor: 1 })?;
    archive.add("bin/busybox", Node::File { permissions: 0o755, content: busybox })?;
    let init = b"#!/bin/busybox sh\necho up\nexec /bin/busybox poweroff -f\n".to_vec();
    archive.add("init", Node::File { permissions: 0o755, content: init })?;
    Ok(archive.to_bytes()?)
}

impl Bare {
    fn new(argv: &[String], image: &Path, console: &Path) -> Outcome<Self> {
        let of = |name: &str| {
            let at = argv.iter().position(|word| word == name).and_then(|at| argv.get(at + 1));
            at.cloned().ok_or_else(|| failed(format!("vmlab's QEMU has no {name}")))
        };
        let mut words: Vec<String> = Vec::new();
        for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
            words.push(flag.to_owned());
        }
        for option in ["-machine", "-accel", "-cpu", "-m", "-smp", "-display", "-kernel"] {
            words.extend([option.to_owned(), of(option)?]);
        }
        words.extend(["-initrd".to_owned(), image.display().to_string()]);
        words.extend(["-append".to_owned(), "console=ttyS0 earlyprintk=ttyS0 loglevel=5 panic=-1".to_owned()]);
        words.extend(["-serial".to_owned(), format!("file:{}", console.display())]);
        Ok(Self { qemu: argv.first().map(PathBuf::from).unwrap_or_default(), words })
    }

    /// The time from QEMU's start to its end. The guest must have reached its init.
    fn boot(&self, console: &Path) -> Outcome<Duration> {
        let began = Instant::now();
        let status = Command::new(&self.qemu).args(&self.words).stdin(Stdio::null()).status()?;
        let taken = began.elapsed();
        let said = fs::read(console)?;
        let up = said.split(|&byte| byte == b'\n').any(|line| line.trim_ascii() == b"up");
        if status.success() && up { Ok(taken) } else { Err(failed(format!("QEMU alone did not boot: {status}"))) }
    }
}
