//! Writes the image.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use vmlab_thaw_image::THREADS_LIMIT;
use vmlab_thaw_image::tables::Tables;

use crate::child::Child;
use crate::refusal::Refusal;
use crate::{descriptors, memory, process, threads, tracee};

/// How long to try again if the reason for a refusal may pass.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time between two attempts.
const PAUSE: Duration = Duration::from_millis(5);

/// What an image has, for the log.
#[derive(Debug)]
pub(crate) struct Figures {
    tables_bytes: usize,
    file_bytes: u64,
    written_bytes: u64,
    disk_bytes: u64,
    ranges: usize,
    files: usize,
    descriptors: usize,
    threads: usize,
    milliseconds: u128,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tables_bytes, file_bytes, written_bytes, disk_bytes, .. } = self;
        let Self { ranges, files, descriptors, threads, milliseconds, .. } = self;
        write!(f, "milliseconds={milliseconds} disk_bytes={disk_bytes} file_bytes={file_bytes} ")?;
        write!(f, "written_bytes={written_bytes} tables_bytes={tables_bytes} ranges={ranges} files={files} ")?;
        write!(f, "descriptors={descriptors} threads={threads}")
    }
}

/// Where to write, and what the process was started with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) image: &'a File,
    /// The numbers of the descriptors that the process has inherited.
    pub(crate) passed: &'a [u32],
    /// The files with the guest's memory.
    pub(crate) ram: &'a [OsString],
}

/// Writes the process to the image. The process goes on if this fails, and is to be killed if not: its descriptors and its
/// memory must not change any more.
pub(crate) fn freeze(child: &Child, target: &Target<'_>) -> Result<Figures, Refusal> {
    let began = Instant::now();
    loop {
        match attempt(child, target, began) {
            Err(refusal) if refusal.may_pass() && began.elapsed() < PATIENCE => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

fn attempt(child: &Child, target: &Target<'_>, began: Instant) -> Result<Figures, Refusal> {
    let Target { image, passed, ram } = *target;
    child.filter().map_err(Refusal::NoTracing)?;
    let mut tracees = tracee::stop_all(child.id(), THREADS_LIMIT)?;
    process::check(&tracees, child)?;
    has_no_children(child.id())?;
    let mut tables = Tables::default();
    descriptors::read(child.id(), passed, ram, &mut tables)?;
    threads::read(&mut tracees, &mut tables)?;
    let first = tracees.first_mut().ok_or(Refusal::Ended)?;
    process::read(first, child, &mut tables)?;
    let failed = "write the image";
    image.set_len(0).map_err(Refusal::on(failed))?;
    let (file_bytes, written_bytes) = memory::read(child.id(), image, ram, &mut tables)?;
    let bytes = tables.encode(file_bytes)?;
    let write = || -> io::Result<u64> {
        image.write_all_at(&bytes, 0)?;
        image.set_len(file_bytes)?;
        Ok(image.metadata()?.blocks() * 512)
    };
    let disk_bytes = write().map_err(Refusal::on(failed))?;
    Ok(Figures {
        tables_bytes: bytes.len(),
        file_bytes,
        written_bytes,
        disk_bytes,
        ranges: tables.ranges.len(),
        files: tables.files.len(),
        descriptors: tables.descriptors.len(),
        threads: tables.threads.len(),
        milliseconds: began.elapsed().as_millis(),
    })
}

/// CONFIG_PROC_CHILDREN may be missing; a QEMU in its sandbox cannot have children.
fn has_no_children(process: Pid) -> Result<(), Refusal> {
    match fs::read_to_string(format!("/proc/{process}/task/{process}/children")) {
        Ok(children) if !children.trim().is_empty() => Err(Refusal::Children),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Refusal::on("list QEMU's children")(error)),
        Ok(_) | Err(_) => Ok(()),
    }
}
