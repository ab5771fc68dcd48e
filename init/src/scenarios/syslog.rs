//! The kernel's log, which has no namespace.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc::O_NONBLOCK;
use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use super::support::{judge, write};
use super::{Finding, Scenario, Trouble};
use crate::sandbox::{During, Sandbox};

const KMSG: &str = "/dev/kmsg";

pub const KMSG_WRITE: Scenario =
    Scenario::new("syslog.kmsg", "The kernel's log has no namespace: a line written inside is read outside", kmsg)
        .shows("2h", "Documentation/ABI/testing/dev-kmsg")
        .inside(&[
            Namespace::Cgroup,
            Namespace::Ipc,
            Namespace::Uts,
            Namespace::Mount,
            Namespace::Net,
            Namespace::Time,
            Namespace::Pid,
        ])
        .needs(
            &[
                "CONFIG_PRINTK",
                "CONFIG_CGROUPS",
                "CONFIG_IPC_NS",
                "CONFIG_UTS_NS",
                "CONFIG_NET_NS",
                "CONFIG_TIME_NS",
                "CONFIG_PID_NS",
            ],
            5,
            6,
            0,
        )
        .leaks_by_design();

fn kmsg(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let mut log = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(KMSG).during("opening /dev/kmsg")?;
    log.seek(SeekFrom::End(0)).during("lseek(2) of /dev/kmsg")?;
    let line = format!("vmlab: written in a sandbox of process {}", getpid());
    // Level 7: the console shows it only where it shows everything.
    sandbox.run(|| write(KMSG, &format!("<7>{line}\n")))?;
    judge("whether the line is in the log outside", &in_log(&mut log, &line)?, &false, &true)
}

/// Whether one of the records that have come since holds this text.
fn in_log(log: &mut File, text: &str) -> Result<bool, Trouble> {
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            // One read gives one record.
            Ok(len) => {
                if record.get(..len).is_some_and(|record| String::from_utf8_lossy(record).contains(text)) {
                    return Ok(true);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            // The log has wrapped around meanwhile; the next read goes on with the oldest record.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error).during("reading /dev/kmsg"),
        }
    }
}
