//! What is taken from a guest that was lost while its QEMU still lives: the processors' registers, and its memory where
//! that is wanted. Once, and only on the way of a guest that is lost anyway.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use super::inputs::Inputs;
use super::lab::Lab;
use crate::event::Vmcore;
use crate::vm::qmp::QmpError;

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
            Ok(bytes) => self.vmcore = Some(Vmcore { path: path.display().to_string(), bytes }),
            Err(why) => self.no_dump(lab, guest, &why),
        }
    }

    fn no_dump(&mut self, lab: &Lab, guest: u32, why: &str) {
        if lab.options.dump_dir.is_some() {
            self.notices.push(format!("the memory of guest {guest} is not kept: {why}"));
        }
    }
}

/// Writes the guest's memory into a new file, and gives its size. Nothing is left of a file that is not whole.
async fn dump(path: &Path, limit: Duration, inputs: &mut Inputs) -> Result<u64, String> {
    let named = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let file = File::create_new(path).map_err(named)?;
    let dumped = async { inputs.monitor().await?.dump(&file, limit).await };
    let dumped: Result<(), QmpError> = dumped.await;
    let size = dumped.map_err(|error| error.to_string()).and_then(|()| Ok(file.metadata().map_err(named)?.len()));
    if size.is_err() {
        // Whatever is wrong with the file was just told.
        let _ = fs::remove_file(path);
    }
    size
}
