//! The host's files: a FUSE file system (fuse(4)) at [`HOST`], whose messages PID 1 moves between the kernel and a virtio-serial
//! port. The host answers the requests.
//!
//! PID 1 does this and no process of its own, because the agent ends what a leg has left behind with kill(-1), which spares nobody
//! but PID 1 and the agent, and because the kernel kills no PID 1 when memory runs out. PID 1 never touches a file below
//! [`HOST`], so it never waits for itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::poll::PollFd;
use vmlab_protocol::message::LegOutcome;

use crate::console;
use crate::sandbox::{During as _, Trouble};
use pump::Pump;

mod pump;
mod replies;

/// The mount point.
pub(crate) const HOST: &str = "/host";

const FUSE: &str = "/dev/fuse";

/// Read-ahead in KiB. Each request costs a way to the host and back, so the kernel's usual 128 KiB are too small.
const READ_AHEAD_KIB: u32 = 1024;

/// A connected pair: the end of PID 1 and the end of the agent.
pub(crate) fn connect() -> Result<(Report, Files), String> {
    let (answer, report) = io::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
    Ok((Report(report), Files { answer }))
}

/// The agent's end.
#[derive(Debug)]
pub(crate) struct Files {
    answer: PipeReader,
}

impl Files {
    /// Waits until the host's files are mounted and the host has answered the kernel's first request. The outcome is that of a
    /// probe.
    pub(crate) fn wait(self) -> Result<LegOutcome, Trouble> {
        let mut line = Vec::new();
        BufReader::new(self.answer).read_until(b'\n', &mut line).during("waiting for the host's files")?;
        serde_json::from_slice(&line).during("unreadable answer of PID 1")
    }
}

/// PID 1's end, until it has told the agent.
#[derive(Debug)]
pub(crate) struct Report(PipeWriter);

/// What PID 1 does for the host's files.
#[derive(Debug)]
pub(crate) struct Server {
    /// None once the agent knows.
    report: Option<Report>,
    state: State,
}

#[derive(Debug)]
enum State {
    Mounted(Box<Pump>),
    Over(LegOutcome),
}

impl Server {
    /// Mounts the host's files. This is before a template is saved, so that forks find them mounted: until a command runs the
    /// kernel knows only the root, whose number is the same in each fork, and what the host has answered so far does not depend
    /// on the fork.
    ///
    /// `port` is the device of the port. The agent must have been forked before, so that PID 1 is the only one that has
    /// /dev/fuse open.
    pub(crate) fn start(port: &Path, report: Report) -> Self {
        let state = match start(port) {
            Ok(pump) => State::Mounted(Box::new(pump)),
            Err(outcome) => State::Over(outcome),
        };
        let mut server = Self { report: Some(report), state };
        server.tell();
        server
    }

    /// What [`Self::work`] waits for.
    pub(crate) fn fds(&self) -> Vec<PollFd<'_>> {
        match &self.state {
            State::Mounted(pump) => pump.fds().into(),
            State::Over(_) => Vec::new(),
        }
    }

    /// Does what can be done without waiting.
    pub(crate) fn work(&mut self) {
        if let State::Mounted(pump) = &mut self.state {
            let was_answered = pump.is_answered();
            if let Err(error) = pump.work() {
                // Without the pump, and so without its /dev/fuse, the kernel fails all requests instead of waiting for answers.
                let detail = format!("the host's files are gone: {error}");
                console::say(&detail);
                self.state = State::Over(LegOutcome::Failed { detail });
            } else if !was_answered && pump.is_answered() {
                read_ahead();
            }
        }
        self.tell();
    }

    /// Tells the agent, once.
    fn tell(&mut self) {
        let outcome = match &self.state {
            State::Mounted(pump) if pump.is_answered() => &LegOutcome::Available,
            State::Over(outcome) => outcome,
            State::Mounted(_) => return,
        };
        if let Some(Report(mut pipe)) = self.report.take() {
            let mut line = serde_json::to_vec(outcome).unwrap_or_default();
            line.push(b'\n');
            if let Err(error) = pipe.write_all(&line) {
                console::say(&format!("cannot tell the agent of the host's files: {error}"));
            }
        }
    }
}

/// Mounts FUSE. The kernel's first request waits for the pump.
fn start(port: &Path) -> Result<Pump, LegOutcome> {
    let failed = |detail: String| LegOutcome::Failed { detail };
    let open = |path: &Path| OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
    let fuse = match open(Path::new(FUSE)) {
        Ok(fuse) => fuse,
        Err(error) => {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
            let call = format!("open({FUSE}): {errno:?}");
            // The device is there with the driver.
            return Err(match errno {
                Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => LegOutcome::Missing { evidence: call },
                _ => failed(call),
            });
        }
    };
    let port = open(port).map_err(|error| failed(format!("cannot open {}: {error}", port.display())))?;
    fs::create_dir_all(HOST).map_err(|error| failed(format!("cannot create {HOST}: {error}")))?;
    mount_fuse(&fuse, Path::new(HOST)).map_err(|errno| match errno {
        Errno::ENODEV => LegOutcome::Missing { evidence: format!("mount(fuse): {errno:?}") },
        _ => failed(format!("mount(fuse) on {HOST}: {errno}")),
    })?;
    Ok(Pump::new(fuse, port))
}

fn mount_fuse(fuse: &File, at: &Path) -> Result<(), Errno> {
    let fd = fuse.as_raw_fd();
    let options = format!("fd={fd},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other");
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOATIME | MsFlags::MS_NODEV;
    mount(Some("host"), at, Some("fuse"), flags, Some(options.as_str()))
}

/// Raises the read-ahead. The answer to the first request lowers it again (`process_init_reply` in fs/fuse/inode.c), so this comes
/// after that. Without it reading is slower, so that a failure is not worth an error.
fn read_ahead() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if let Some(device) = device_of(&mounts, HOST) {
        let _ = fs::write(format!("/sys/class/bdi/{device}/read_ahead_kb"), READ_AHEAD_KIB.to_string());
    }
}

/// The device, as `MAJOR:MINOR`, of the file system at a mount point, from `/proc/self/mountinfo` (proc(5)). A stat(2) of the mount
/// point would be a request to this process.
fn device_of<'a>(mounts: &'a str, mount_point: &str) -> Option<&'a str> {
    mounts.lines().rev().find_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let device = fields.next()?;
        (fields.nth(1)? == mount_point).then_some(device)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_of_a_mount_point_is_that_of_its_last_mount() {
        let mounts = "22 1 0:21 / /proc rw - proc proc rw\n40 1 0:33 / /host ro - fuse old ro\n41 40 0:34 / /host ro,noatime - fuse host ro\n\
                      42 1 0:35 / /hosts rw - tmpfs none rw\n";
        assert_eq!(device_of(mounts, HOST), Some("0:34"));
        assert_eq!(device_of(mounts, "/proc"), Some("0:21"));
        assert_eq!(device_of(mounts, "/none"), None);
        assert_eq!(device_of("garbage", HOST), None);
    }
}
