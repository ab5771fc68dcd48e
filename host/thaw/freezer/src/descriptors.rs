//! The descriptors of the process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

use nix::unistd::Pid;
use vmlab_thaw_image::DESCRIPTORS_LIMIT;
use vmlab_thaw_image::descriptor::{Descriptor, Kind};
use vmlab_thaw_image::tables::Tables;

use crate::memory::ram_paths;
use crate::procfs;
use crate::raw;
use crate::refusal::Refusal;

/// Adds all descriptors but the standard streams to the tables.
pub(crate) fn read(process: Pid, passed: &[u32], ram: &[OsString], tables: &mut Tables) -> Result<(), Refusal> {
    let inherited = inherited(passed)?;
    let ram = ram_paths(ram)?;
    let targets = targets(process)?;
    if targets.len() > DESCRIPTORS_LIMIT {
        return Err(Refusal::Descriptors { count: targets.len(), limit: DESCRIPTORS_LIMIT });
    }
    for (number, target) in targets.range(3..) {
        let unknown = || Refusal::Descriptor { number: *number, target: target.clone() };
        let info = fs::read_to_string(format!("/proc/{process}/fdinfo/{number}"));
        let info = info.map_err(Refusal::on("read QEMU's descriptors"))?;
        let flags = procfs::number(&info, "flags", 8)?.and_then(|flags| u32::try_from(flags).ok());
        let flags = flags.ok_or_else(unknown)?;
        let kind = match target.as_str() {
            "anon_inode:[eventfd]" | "anon_inode:[signalfd]" => {
                match first_of_same_file(process, *number, target, &targets)? {
                    Some(of) => Kind::Duplicate { of },
                    None => made_by_a_call(&info).ok_or_else(unknown)?,
                }
            }
            _ => match ram.iter().position(|path| path == target) {
                Some(node) => Kind::Ram { node: u32::try_from(node).map_err(|_| unknown())? },
                None => Kind::Inherited { number: *inherited.get(target).ok_or_else(unknown)? },
            },
        };
        tables.descriptors.push(Descriptor { number: *number, flags, kind });
    }
    Ok(())
}

/// The target of each descriptor.
fn targets(process: Pid) -> Result<BTreeMap<u32, String>, Refusal> {
    let failed = "list QEMU's descriptors";
    let directory = format!("/proc/{process}/fd");
    let mut targets = BTreeMap::new();
    for entry in fs::read_dir(&directory).map_err(Refusal::on(failed))? {
        let entry = entry.map_err(Refusal::on(failed))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.parse().map_err(|_| procfs::unreadable("fd", &name))?;
        let target = fs::read_link(entry.path()).map_err(Refusal::on(failed))?;
        targets.insert(number, target.to_string_lossy().into_owned());
    }
    Ok(targets)
}

/// What this process has passed on: the target and the number that the process got it under. The descriptors are open here still, so
/// that nothing else can have got the same name.
fn inherited(passed: &[u32]) -> Result<BTreeMap<String, u32>, Refusal> {
    let own = targets(Pid::this())?.into_iter().filter(|(number, _)| passed.contains(number));
    Ok(own.map(|(number, target)| (target, number)).collect())
}

fn first_of_same_file(
    process: Pid,
    number: u32,
    target: &str,
    targets: &BTreeMap<u32, String>,
) -> Result<Option<u32>, Refusal> {
    for (first, _) in targets.range(3..number).filter(|(_, other)| *other == target) {
        if raw::is_same_file(process, *first, number).map_err(Refusal::on("compare QEMU's descriptors"))? {
            return Ok(Some(*first));
        }
    }
    Ok(None)
}

/// What an eventfd or a signalfd has, as `/proc/PID/fdinfo` shows it (proc_pid_fdinfo(5)).
fn made_by_a_call(info: &str) -> Option<Kind> {
    let mask = procfs::number(info, "sigmask", 16).ok()?;
    let count = procfs::number(info, "eventfd-count", 16).ok()?;
    match (mask, count) {
        (Some(mask), None) => Some(Kind::SignalFd { mask }),
        (None, Some(count)) => {
            // Linux 6.5 and later show this. Older kernels do not, and QEMU uses no semaphores.
            let semaphore = procfs::number(info, "eventfd-semaphore", 10).ok()?.unwrap_or(0) == 1;
            Some(Kind::EventFd { count, semaphore })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_masks_are_read_in_hexadecimal() {
        let eventfd =
            "pos:\t0\nflags:\t02004002\neventfd-count:               1f\neventfd-id: 3\neventfd-semaphore: 1\n";
        assert_eq!(made_by_a_call(eventfd), Some(Kind::EventFd { count: 31, semaphore: true }));
        let older = "flags:\t02004002\neventfd-count:               0\n";
        assert_eq!(made_by_a_call(older), Some(Kind::EventFd { count: 0, semaphore: false }));
        assert_eq!(made_by_a_call("sigmask:\t0000000010002040\n"), Some(Kind::SignalFd { mask: 0x1000_2040 }));
        assert_eq!(made_by_a_call("flags:\t02\n"), None);
        assert_eq!(made_by_a_call("eventfd-count: x\n"), None);
    }
}
