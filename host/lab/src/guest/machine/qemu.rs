//! What QEMU and its channels say of a guest.

use vmlab_console::ConsoleReader;
use vmlab_events::loss::ShutdownLine;
use vmlab_qemu::qmp::{QmpEvent, TimedQmpEvent};

use super::{Action, Ending, GuestMachine, NotSaved, Now, Stage, Start};
use crate::verdict::evidence::{GuestLoss, Monitor, refused};
use vmlab_events::verdict::HostFault;

/// QEMU, as the host sees it.
#[derive(Debug)]
pub(super) struct QemuView {
    /// What QMP reported.
    pub(super) monitor: Monitor,
    pub(super) control_open: bool,
    pub(super) console_open: bool,
    pub(super) qmp_open: bool,
    /// The process has not been seen to end.
    pub(super) running: bool,
    /// The guest has ended, and QEMU has paused it: no channel will say more.
    paused_for_good: bool,
}

impl Default for QemuView {
    fn default() -> Self {
        let monitor = Monitor::default();
        Self { monitor, control_open: true, console_open: true, qmp_open: true, running: true, paused_for_good: false }
    }
}

impl QemuView {
    /// QEMU has ended, and all that it said was read.
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
                // QEMU has paused the guest. Let go on, its kernel prints what it still holds back, and resets itself.
                self.actions.push(Action::ExamineAndResume);
                self.expect_end(now);
            }
            // A fork gets its orders when it runs and not before, because the orders carry the time.
            QmpEvent::Resumed if matches!(self.stage, Stage::Waking) => {
                self.stage = Stage::Alive;
                self.prepare(now);
            }
            QmpEvent::Shutdown(_) => self.expect_end(now),
            // The driver has passed on all that was in the sockets.
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
                self.not_saved(now, NotSaved::Failed("QEMU says that the migration failed".to_owned()));
            }
            QmpEvent::GuestPanicked | QmpEvent::Shutdown(_) | QmpEvent::Reset(_) => {
                let why = "the guest came to its end while it was saved".to_owned();
                self.not_saved(now, NotSaved::Failed(why));
            }
            QmpEvent::Reply { command, error: Some(error) } => {
                self.not_saved(now, NotSaved::Refused(format!("QEMU refused {command}: {error}")));
            }
            _ => {}
        }
    }

    pub(super) fn qmp_closed(&mut self, now: Now) {
        self.qemu.qmp_open = false;
        // A guest needs no QMP: the host gives up only where all else has ended as well.
        if self.qemu.is_gone() {
            self.lose(now, GuestLoss::Ended);
        } else {
            self.qemu.monitor.closed = true;
        }
    }

    /// One of QEMU's channels was closed, or its process has ended; the others follow soon, or never.
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

    pub(super) const fn is_fork(&self) -> bool {
        matches!(self.timings.how(), Start::Fork)
    }
}

/// Whether a kernel has panicked or halted, so that it says no more: one that does not end by itself, as with `panic=0`,
/// need not be waited for. A kernel that has oopsed is to panic (`oops=panic`), and may oops on its way there without end.
pub(super) fn says_that_it_ends(console: &ConsoleReader) -> bool {
    /// More lines than a kernel prints after the shutdown line of an orderly end.
    const LINES: usize = 4;
    let is_last = |line: &str| ShutdownLine::of_line(line).is_some();
    console.has_panicked() || console.has_oopsed() || console.last_lines().rev().take(LINES).any(is_last)
}
