//! Saves the state of a lost guest while its QEMU still runs: the registers, and the memory if the user asked for it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use vmlab_events::loss::Vmcore;
use vmlab_qemu::qmp::QmpError;

use super::channels::Channels;
use crate::context::RunContext;

/// The time limit for reading the registers.
const REGISTERS_LIMIT: Duration = Duration::from_secs(2);
/// The time limit for writing the memory, in addition to a second for each [`DUMP_MIB_PER_SECOND`].
const DUMP_LIMIT: Duration = Duration::from_secs(30);
const DUMP_MIB_PER_SECOND: u32 = 8;

/// The saved state of a lost guest.
#[derive(Debug, Default)]
pub(crate) struct Postmortem {
    guest: u32,
    memory_mib: u32,
    taken: bool,
    pub(crate) registers: Option<String>,
    pub(crate) vmcore: Option<Vmcore>,
    /// Notices about missing parts, one sentence each.
    pub(crate) notices: Vec<String>,
}

impl Postmortem {
    pub(crate) fn new(guest: u32, memory_mib: u32) -> Self {
        Self { guest, memory_mib, ..Self::default() }
    }

    /// Saves the state, unless that was done before.
    pub(crate) async fn take(&mut self, run: &RunContext, channels: &mut Channels) {
        if std::mem::replace(&mut self.taken, true) {
            return;
        }
        let asked = async { channels.monitor().await?.registers().await };
        match tokio::time::timeout(REGISTERS_LIMIT, asked).await {
            Ok(Ok(text)) => self.registers = Some(text.replace("\r\n", "\n")),
            // If it matters, the verdict mentions that the monitor does not answer.
            Ok(Err(_)) | Err(_) => return self.no_dump(run, "QEMU's monitor does not answer"),
        }
        let Some(dir) = run.take_dump() else { return };
        let path = dir.join(format!("vmcore-{}-{}", run.options.run_id, self.guest));
        let limit = DUMP_LIMIT + Duration::from_secs(u64::from(self.memory_mib / DUMP_MIB_PER_SECOND));
        match dump(&path, limit, channels).await {
            Ok((bytes, vmcoreinfo)) => {
                let vmcoreinfo = Some(vmcoreinfo);
                self.vmcore = Some(Vmcore { path: path.display().to_string(), bytes, vmcoreinfo });
            }
            Err(why) => self.no_dump(run, &why),
        }
    }

    fn no_dump(&mut self, run: &RunContext, why: &str) {
        if run.options.dump_dir.is_some() {
            self.notices.push(format!("the memory of guest {} is not saved: {why}", self.guest));
        }
    }
}

/// Writes the guest's memory to a new file; returns its size in bytes and whether it has VMCOREINFO. Removes an
/// incomplete file.
async fn dump(path: &Path, limit: Duration, channels: &mut Channels) -> Result<(u64, bool), String> {
    let named = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let file = File::create_new(path).map_err(named)?;
    let dumped = async { channels.monitor().await?.dump(&file, limit).await };
    let dumped: Result<(), QmpError> = dumped.await;
    let size = dumped.map_err(|error| error.to_string()).and_then(|()| {
        let size = file.metadata().map_err(named)?.len();
        Ok((size, has_vmcoreinfo(&file).map_err(named)?))
    });
    if size.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(path);
    }
    size
}

/// Whether an ELF core has a note with the name `VMCOREINFO`. QEMU writes it if the guest's kernel has provided its
/// content (docs/specs/vmcoreinfo.rst of QEMU; kernel/crash_core.c). Notes come before the memory.
fn has_vmcoreinfo(file: &File) -> std::io::Result<bool> {
    /// More than the size of all processors' notes, in bytes.
    const HEAD: u64 = 1 << 20;
    let mut head = vec![0; usize::try_from(file.metadata()?.len().min(HEAD)).unwrap_or_default()];
    file.read_exact_at(&mut head, 0)?;
    Ok(head.windows(NOTE.len()).any(|bytes| bytes == NOTE))
}

/// The name of the note, with its NUL and padding.
const NOTE: &[u8] = b"VMCOREINFO\0\0";

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_a_note_named_vmcoreinfo_is_found() {
        let has = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            has_vmcoreinfo(&file).unwrap()
        };
        assert!(has(b"\x7fELF...\x0b\0\0\0\x12\0\0\0\0\0\0\0VMCOREINFO\0\0OSRELEASE=6.1"));
        assert!(!has(b"\x7fELF... VMCOREINFO is not here"));
        assert!(!has(b""));
    }
}
