//! What is taken from a guest that was lost while its QEMU still lives: the processors' registers, and its memory where
//! that is wanted. Once, and only on the way of a guest that is lost anyway.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::inputs::Inputs;
use super::lab::Lab;
use vmlab_events::loss::Vmcore;
use vmlab_qemu::qmp::QmpError;

/// How long QEMU may take to tell the registers.
const REGISTERS_LIMIT: Duration = Duration::from_secs(2);
/// How long it may take to write the memory, and how much of it in a second at the least, in MiB.
const DUMP_LIMIT: Duration = Duration::from_secs(30);
const DUMP_MIB_PER_SECOND: u32 = 8;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Autopsy {
    done: bool,
    pub(super) registers: Option<String>,
    pub(super) vmcore: Option<Vmcore>,
    /// What could not be had, for the user.
    pub(super) notices: Vec<String>,
}

impl Autopsy {
    /// Takes what there is, unless that was done before.
    pub(super) async fn perform(&mut self, lab: &Lab, guest: u32, memory_mib: u32, inputs: &mut Inputs) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let asked = async { inputs.monitor().await?.registers().await };
        match tokio::time::timeout(REGISTERS_LIMIT, asked).await {
            Ok(Ok(text)) => self.registers = Some(text.replace("\r\n", "\n")),
            // A monitor that does not answer, or not this, is in the verdict where it matters.
            Ok(Err(_)) | Err(_) => return self.no_dump(lab, guest, "QEMU's monitor does not answer"),
        }
        let Some(dir) = lab.take_dump() else { return };
        let path = dir.join(format!("vmcore-{}-{guest}", lab.options.run_id));
        let limit = DUMP_LIMIT + Duration::from_secs(u64::from(memory_mib / DUMP_MIB_PER_SECOND));
        match dump(&path, limit, inputs).await {
            Ok((bytes, vmcoreinfo)) => {
                let vmcoreinfo = Some(vmcoreinfo);
                self.vmcore = Some(Vmcore { path: path.display().to_string(), bytes, vmcoreinfo });
            }
            Err(why) => self.no_dump(lab, guest, &why),
        }
    }

    fn no_dump(&mut self, lab: &Lab, guest: u32, why: &str) {
        if lab.options.dump_dir.is_some() {
            self.notices.push(format!("the memory of guest {guest} is not kept: {why}"));
        }
    }
}

/// Writes the guest's memory into a new file, and gives its size and whether it has VMCOREINFO. Nothing is left of a file that is not whole.
async fn dump(path: &Path, limit: Duration, inputs: &mut Inputs) -> Result<(u64, bool), String> {
    let named = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let file = File::create_new(path).map_err(named)?;
    let dumped = async { inputs.monitor().await?.dump(&file, limit).await };
    let dumped: Result<(), QmpError> = dumped.await;
    let size = dumped.map_err(|error| error.to_string()).and_then(|()| {
        let size = file.metadata().map_err(named)?.len();
        Ok((size, has_vmcoreinfo(&file).map_err(named)?))
    });
    if size.is_err() {
        // Whatever is wrong with the file was just told.
        let _ = fs::remove_file(path);
    }
    size
}

/// Whether an ELF core has a note of the name `VMCOREINFO`, which QEMU writes where the guest's kernel has told it what is in
/// there (docs/specs/vmcoreinfo.rst of QEMU; kernel/crash_core.c). Notes come before the memory.
fn has_vmcoreinfo(file: &File) -> std::io::Result<bool> {
    /// More than the notes of all processors take.
    const HEAD: u64 = 1 << 20;
    let mut head = vec![0; usize::try_from(file.metadata()?.len().min(HEAD)).unwrap_or_default()];
    file.read_exact_at(&mut head, 0)?;
    Ok(head.windows(NOTE.len()).any(|bytes| bytes == NOTE))
}

/// A note's name, with the NUL and the padding that it has as one.
const NOTE: &[u8] = b"VMCOREINFO\0\0";

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_note_is_found_where_it_is() {
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
