//! Handles QEMU's events and the state of its channels.

use vmlab_console::ConsoleReader;
use vmlab_events::loss::ShutdownLine;
use vmlab_qemu::qmp::{QmpEvent, TimedQmpEvent};

use super::{Action, Ending, GuestMachine, NotSaved, Now, Stage};
use crate::verdict::evidence::{GuestLoss, Monitor, refused};
use vmlab_events::verdict::HostFault;

/// The state of QEMU, as far as the host knows it.
#[derive(Debug)]
pub(super) struct QemuView {
    /// The evidence from QMP.
    pub(super) monitor: Monitor,
    pub(super) control_open: bool,
    pub(super) console_open: bool,
    pub(super) qmp_open: bool,
    /// Whether the process still runs.
    pub(super) running: bool,
    /// Whether the guest has ended and QEMU has paused it, so that no channel has more data.
    paused_for_good: bool,
}

impl Default for QemuView {
    fn default() -> Self {
        let monitor = Monitor::default();
        Self { monitor, control_open: true, console_open: true, qmp_open: true, running: true, paused_for_good: false }
    }
}

impl QemuView {
    /// Whether QEMU has ended and all its channels were read.
    pub(super) const fn is_gone(&self) -> bool {
        !(self.running || self.control_open || self.console_open || self.qmp_open)
    }

    pub(super) const fn is_paused_for_good(&self) -> bool {
        self.paused_for_good
    }
}

impl GuestMachine {
    pub(super) fn note_qmp(&mut self, event: &TimedQmpEvent) {
        self.timings.qmp(event);
        self.qemu.monitor.observe(&event.event);
    }

    pub(super) fn handle_qmp(&mut self, now: Now, event: &TimedQmpEvent) {
        self.note_qmp(event);
        if self.is_saving() {
            return self.handle_qmp_while_saving(now, &event.event);
        }
        match &event.event {
            QmpEvent::GuestPanicked => {
                // QEMU has paused the guest. After being resumed, its kernel prints its pending messages and resets.
                self.actions.push(Action::ExamineAndResume);
                self.expect_end(now);
            }
            // A fork gets its orders only when it runs, because they contain the time.
            QmpEvent::Resumed if matches!(self.stage, Stage::Waking) => {
                self.stage = Stage::Alive;
                self.prepare(now);
            }
            QmpEvent::Shutdown(_) => self.expect_end(now),
            // The driver has passed on all pending data of the sockets.
            QmpEvent::Stopped if self.qemu.monitor.shutdown.is_some() => {
                self.qemu.paused_for_good = true;
                self.process_messages(now);
            }
            QmpEvent::Reply { command, error: Some(error) } => {
                self.lose(now, GuestLoss::Host(HostFault::Refused(refused(command, error))));
            }
            _ => {}
        }
    }

    fn handle_qmp_while_saving(&mut self, now: Now, event: &QmpEvent) {
        match event {
            QmpEvent::Migration { status } if status == "completed" => {
                self.timings.end_of("save", now.at);
                self.end(Ending::Saved, false, false);
            }
            // The disk may be full.
            QmpEvent::Migration { status } if status == "failed" => {
                self.not_saved(
                    now,
                    NotSaved::Failed("QEMU reported that the migration failed; the disk may be full".to_owned()),
                );
            }
            QmpEvent::GuestPanicked | QmpEvent::Shutdown(_) | QmpEvent::Reset(_) => {
                let why = "the guest ended while it was saved".to_owned();
                self.not_saved(now, NotSaved::Failed(why));
            }
            QmpEvent::Reply { command, error: Some(error) } => {
                self.not_saved(now, NotSaved::Refused(format!("QEMU refused {command}: {error}")));
            }
            _ => {}
        }
    }

    /// QEMU is frozen, or cannot be.
    pub(crate) fn frozen(&mut self, at: std::time::Instant) {
        self.timings.end_of("freeze", at);
    }

    pub(super) fn qmp_closed(&mut self, now: Now) {
        self.qemu.qmp_open = false;
        // A guest does not need QMP: the host gives up only if all other channels have ended as well.
        if self.qemu.is_gone() {
            self.lose(now, GuestLoss::Ended);
        } else {
            self.qemu.monitor.closed = true;
        }
    }

    /// Called when a channel was closed or the process has ended; the other channels follow soon, or never.
    pub(super) fn channel_closed(&mut self, now: Now) {
        if self.is_saving() {
            // QEMU's end is reported as well, with its exit status.
        } else if self.held.is_some() && !self.qemu.console_open {
            self.lose(now, GuestLoss::ConsoleCut);
        } else if self.qemu.is_gone() {
            self.lose(now, GuestLoss::Ended);
        } else {
            self.expect_end(now);
        }
    }

    pub(crate) const fn is_fork(&self) -> bool {
        self.timings.how().is_fork()
    }
}

/// Whether a kernel has panicked or halted. A kernel that does not end by itself after that, as with `panic=0`, is not
/// waited for. A kernel that has oopsed will panic (`oops=panic`), and may print further oopses without end until then.
pub(super) fn says_that_it_ends(console: &ConsoleReader) -> bool {
    /// The number of lines is larger than that which a kernel prints after an orderly end's shutdown line.
    const LINES: usize = 4;
    let is_last = |line: &str| ShutdownLine::of_line(line).is_some();
    console.has_panicked() || console.has_oopsed() || console.last_lines().rev().take(LINES).any(is_last)
}
