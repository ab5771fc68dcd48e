//! Handles a guest's messages on the control port.

use vmlab_console::Finding;
use vmlab_events::event::LabEvent;
use vmlab_events::job::{Job, JobSpec};
use vmlab_events::loss::Deadline;
use vmlab_protocol::message::Hello;

use super::{Action, Deadlines, Ending, GuestMachine, Moment, Now, SAVE_LIMIT, Stage, Start};
use crate::command::CommandOutput;
use crate::guest::hardware;
use crate::guest::session::{Findings, Freshness, SessionEvent};
use crate::verdict::evidence::GuestLoss;
use vmlab_events::verdict::Violation;

impl GuestMachine {
    /// Handles all messages that count now.
    pub(super) fn process_messages(&mut self, now: Now) {
        while !matches!(self.stage, Stage::Ending(_) | Stage::Saving(_)) {
            match self.next_message(now) {
                Ok(Some(event)) => self.handle_message(now, event),
                Ok(None) => return self.handled_all(now),
                Err(loss) => return self.lose(now, loss),
            }
        }
    }

    /// The next message that counts now. A message that the guest sent after a marker counts once the console has
    /// reached that marker: a report of its kernel may still be on its way.
    fn next_message(&mut self, now: Now) -> Result<Option<SessionEvent>, GuestLoss> {
        let next = match self.held.take() {
            Some(held) => Some(held),
            None => self.session.next_event().map_err(GuestLoss::Violation)?,
        };
        let Some(event) = next else { return Ok(None) };
        if matches!(event, SessionEvent::Finished(_) | SessionEvent::Goodbye) && self.qemu.monitor.contradicts_guest() {
            return Err(GuestLoss::Ended);
        }
        let divided = matches!(event, SessionEvent::Hello(_) | SessionEvent::Started | SessionEvent::Goodbye);
        if !divided || !self.console.awaits_marker() {
            return Ok(Some(event));
        }
        if !self.qemu.console_open {
            return Err(GuestLoss::ConsoleCut);
        }
        if let SessionEvent::Hello(hello) = &event
            && self.hello_until.is_none()
        {
            // The marker of a kernel that does not print on this console would never come.
            hardware::prints_on_console(hello).map_err(GuestLoss::WrongMachine)?;
            self.hello_until = Some(now.at + self.deadlines.left(now.at));
        }
        self.held = Some(event);
        self.await_console(now);
        Ok(None)
    }

    /// Called when no further message is pending.
    fn handled_all(&mut self, now: Now) {
        // A held-back message may still count.
        if self.qemu.is_paused_for_good() && self.held.is_none() {
            return self.lose(now, GuestLoss::Ended);
        }
        // The last message may have started another deadline.
        if self.qemu.monitor.shutdown.is_some() || self.console.reader.has_panicked() {
            self.expect_end(now);
        }
    }

    fn handle_message(&mut self, now: Now, event: SessionEvent) {
        match event {
            // A broken kernel cannot be trusted, even if it continues.
            SessionEvent::Hello(_) if self.console.reader.crash().is_some() => self.lose(now, GuestLoss::Broken),
            SessionEvent::Hello(hello) => self.said_hello(now, hello),
            SessionEvent::Prepared { boot_id } => {
                self.timings.moment(Moment::Prepared, now.at);
                self.booted = true;
                self.deadlines = Deadlines::new(Deadline::Start, self.target.limits.answer(), now.at);
                self.ready(now, Some(boot_id));
            }
            // The guest cannot run the job, which gets another guest.
            SessionEvent::Started if self.console.before().is_some_and(|before| before.crashed) => {
                self.lose(now, GuestLoss::Broken);
            }
            SessionEvent::Started => self.job_started(now),
            SessionEvent::Output { stream, data } => {
                self.actions.push(Action::ToUser(CommandOutput::Data { stream, data }));
            }
            SessionEvent::InputTaken(bytes) => self.actions.push(Action::ToUser(CommandOutput::InputTaken(bytes))),
            SessionEvent::Finished(findings) => self.job_finished(now, findings),
            SessionEvent::Goodbye => {
                self.timings.end_of("goodbye", now.at);
                self.end(Ending::Done, false, false);
            }
        }
    }

    fn said_hello(&mut self, now: Now, hello: Box<Hello>) {
        if let Err(why) = hardware::check(&hello, &self.target.kernel.release, &self.target.machine) {
            return self.lose(now, GuestLoss::WrongMachine(why));
        }
        self.timings.moment(Moment::Hello, now.at);
        self.booted = true;
        let problems = hello.problems.clone();
        self.hello = Some(hello);
        problems.into_iter().for_each(|problem| self.note_boot(problem));
        let before = self.console.take_before().map(|before| before.warnings).unwrap_or_default();
        self.note_boot_warnings(&before);
        self.jobs.warned_at_boot(before);
        if self.timings.how() == Start::Template {
            self.ready(now, None);
            self.stage = Stage::Saving(now.at + SAVE_LIMIT);
            self.actions.push(Action::Save);
        } else {
            self.prepare(now);
        }
    }

    /// Sends the orders to prepare and to start the first job together.
    pub(super) fn prepare(&mut self, now: Now) {
        self.timings.moment(Moment::Ordered, now.at);
        let fork = self.timings.how().is_fork();
        let fresh = Freshness { wall_clock_ns: now.unix_ns, entropy: self.secrets.entropy(), fork, side: self.side };
        let order = self.session.prepare(&fresh);
        if self.send(now, order) {
            self.ask_next(now);
        }
        if !matches!(self.stage, Stage::Ending(_)) {
            self.deadlines = Deadlines::new(Deadline::Handshake, self.target.limits.prepare(), now.at);
        }
    }

    /// Requests the next job, or the goodbye if no job is left.
    fn ask_next(&mut self, now: Now) {
        let limits = &self.target.limits;
        // The first job needs no marker: no earlier job could have caused a report.
        let divides = self.jobs.has_open_report();
        let order = match self.jobs.ask_next() {
            Some(job) => {
                self.deadlines = Deadlines::new(Deadline::Start, limits.answer(), now.at);
                let marker = divides.then(|| self.secrets.next_marker());
                if let Some(marker) = &marker {
                    self.console.await_marker(marker);
                }
                let command = matches!(job.spec, JobSpec::Command(_)).then_some(self.target.command.as_ref()).flatten();
                self.session.ask(&job.spec, crate::milliseconds(limits.leg(&job.spec)), marker, command)
            }
            None => {
                self.deadlines = Deadlines::new(Deadline::Goodbye, limits.answer(), now.at);
                let marker = self.secrets.next_marker();
                self.console.await_marker(&marker);
                self.session.dismiss(marker)
            }
        };
        self.send(now, order);
    }

    fn job_started(&mut self, now: Now) {
        self.timings.end_of("start", now.at);
        if let Some(before) = self.console.take_before() {
            self.jobs.warn(before.warnings);
            let crash = self.console.reader.crash().filter(|_| before.crashed);
            let reported = self.jobs.close(crash);
            self.report(reported);
        }
        let guest = self.number;
        let target = self.target.id.clone();
        let limits = &self.target.limits;
        let Some(job) = self.jobs.started(now.at) else { return };
        let sends_files = self.target.command.as_ref().is_some_and(|command| !command.out.is_empty());
        let whole = if sends_files { limits.job_with_files(&job.spec) } else { limits.job(&job.spec) };
        let is_command = matches!(job.spec, JobSpec::Command(_));
        self.deadlines = if is_command {
            Deadlines::command(whole, limits.ping(), now.at)
        } else {
            Deadlines::job(whole, limits.silence(&job.spec), now.at)
        };
        let event = LabEvent::JobStarted { guest, target, job: job.spec.job(), attempt: job.attempt };
        let attach = is_command.then_some(Action::Attach { attempt: job.attempt });
        self.emit(event);
        self.actions.extend(attach);
    }

    fn job_finished(&mut self, now: Now, findings: Box<Findings>) {
        self.timings.end_of_scenario(&findings.legs, now.at);
        if let Some(Job::Command(_)) = self.jobs.in_flight() {
            self.actions.push(Action::Detach);
        }
        let spoiled = findings.spoil_the_guest() || self.console.reader.crash().is_some();
        self.jobs.finished(findings, spoiled, now.at);
        self.ask_next(now);
    }

    /// Sends an order; false if it violates the protocol.
    pub(super) fn send(&mut self, now: Now, order: Result<Vec<u8>, Violation>) -> bool {
        match order {
            Ok(bytes) => {
                self.actions.push(Action::Send(bytes));
                true
            }
            Err(violation) => {
                self.violate(now, violation);
                false
            }
        }
    }

    fn ready(&mut self, now: Now, boot_id: Option<String>) {
        if let Some(hello) = self.hello.clone() {
            let boot_ms = crate::milliseconds(self.timings.elapsed(now.at));
            self.emit(LabEvent::GuestReady { guest: self.number, boot_ms, boot_id, hello });
        }
    }

    pub(super) fn note_boot_warnings(&mut self, warnings: &[Finding]) {
        warnings.iter().for_each(|warning| self.note_boot(format!("the kernel warned while it booted: {warning}")));
    }

    fn note_boot(&mut self, text: String) {
        self.notice(&text);
        self.boot_notes.push(text);
    }

    pub(super) fn report(&mut self, reported: Option<crate::guest::jobs::Reported>) {
        self.actions.extend(reported.map(|(report, end)| Action::Report(report, end)));
    }
}
