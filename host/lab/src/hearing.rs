//! What a guest says on the link, and what follows from it.

use super::executor::{Drive, Step};
use super::inputs::Inputs;
use super::milliseconds;
use super::phases::{Kind, Moment};
use super::watch::Watch;
use crate::guest::inventory;
use crate::guest::session::Heard;
use crate::verdict::evidence::GuestLoss;
use vmlab_console::Finding;
use vmlab_events::event::LabEvent;
use vmlab_events::loss::Deadline;

impl Drive<'_> {
    /// Takes in bytes of the control port, and does what is due after what they say.
    pub(super) async fn hear(&mut self, bytes: &[u8], inputs: &mut Inputs) -> Step {
        self.session.push(bytes);
        loop {
            let heard = match self.next_heard(inputs) {
                Ok(Some(heard)) => heard,
                Ok(None) => return self.all_was_heard(),
                Err(loss) => return Step::Lost(loss),
            };
            let is_last = matches!(heard, Heard::Goodbye);
            match self.heed(heard, inputs).await {
                Err(loss) => return Step::Lost(loss),
                // One that is to be a template has done all that it is to do.
                Ok(()) if is_last || (self.booted && self.recorder.kind() == Kind::Template) => return Step::Done,
                Ok(()) => {}
            }
        }
    }

    /// What is due when the guest has said nothing more.
    fn all_was_heard(&mut self) -> Step {
        // Whoever stands between QEMU and its console may still hold back what is owed.
        if self.is_over && self.owed.is_none() {
            return Step::Lost(GuestLoss::Ended);
        }
        let ends = self.monitor.shutdown.is_some() || self.ledger.console.reader.has_panicked();
        // What was heard last may have had a limit of its own.
        if ends && self.watch.which() != Deadline::Exit {
            self.shorten();
        }
        Step::GoOn
    }

    /// What was said next and counts now.
    fn next_heard(&mut self, inputs: &mut Inputs) -> Result<Option<Heard>, GuestLoss> {
        let next = match self.owed.take() {
            Some(owed) => Some(owed),
            None => self.session.next_heard().map_err(GuestLoss::Violation)?,
        };
        let Some(heard) = next else { return Ok(None) };
        if matches!(heard, Heard::Finished(_) | Heard::Goodbye) && self.monitor.contradicts_guest() {
            return Err(GuestLoss::Ended);
        }
        // All that the kernel printed before this was said belongs to what was before. A word on the console says where
        // that ends; without it something may be missing that the kernel said.
        self.ledger.console.push(&inputs.console_now());
        let must_wait =
            matches!(heard, Heard::Hello(_) | Heard::Started | Heard::Goodbye) && self.ledger.console.awaits_word();
        // Nothing that a guest sends meanwhile is to pile up here.
        inputs.hold_control(must_wait);
        if must_wait && !inputs.has_console() {
            return Err(GuestLoss::ConsoleCut);
        }
        if must_wait {
            self.owed = Some(heard);
            return Ok(None);
        }
        Ok(Some(heard))
    }

    async fn heed(&mut self, heard: Heard, inputs: &mut Inputs) -> Result<(), GuestLoss> {
        match heard {
            // A kernel that broke is not to be trusted with anything, even if it goes on.
            Heard::Hello(_) if self.ledger.has_crashed() => return Err(GuestLoss::Broken),
            Heard::Hello(hello) => {
                inventory::check(&hello, &self.prepared.kernel, &self.prepared.machine)
                    .map_err(GuestLoss::WrongMachine)?;
                self.recorder.moment(Moment::Hello);
                self.booted = true;
                self.hello = Some(hello);
                self.report_boot();
                if self.recorder.kind() != Kind::Template {
                    self.prepare(inputs).await?;
                }
            }
            Heard::Prepared { boot_id } => {
                self.recorder.moment(Moment::Prepared);
                self.booted = true;
                self.watch = Watch::new(Deadline::Start, self.prepared.limits.answer());
                self.ready(Some(boot_id));
            }
            // What was announced has come to the wrong guest, and gets another one.
            Heard::Started if self.ledger.had_crashed_before() => return Err(GuestLoss::Broken),
            Heard::Started => {
                self.recorder.end_of("start");
                let limits = &self.prepared.limits;
                if let Some(spec) = self.ledger.started() {
                    self.watch = Watch::scenario(limits.scenario(spec), limits.silence(spec));
                }
            }
            Heard::Finished(findings) => {
                self.recorder.end_of_scenario(&findings.legs);
                self.spoiled |= findings.spoil_the_guest() || self.ledger.has_crashed();
                self.ledger.finished(findings);
                self.ask_next(inputs).await?;
            }
            Heard::Goodbye => self.recorder.end_of("goodbye"),
        }
        Ok(())
    }

    /// Whether the console has come to where the guest was when it said what is owed.
    pub(super) const fn has_caught_up(&self) -> bool {
        self.owed.is_some() && !self.ledger.console.awaits_word()
    }

    /// What the boot left to be said.
    fn report_boot(&mut self) {
        let problems = self.hello.as_ref().map(|hello| hello.problems.clone()).unwrap_or_default();
        problems.into_iter().for_each(|problem| self.note(problem));
        let before = self.ledger.console.take_before();
        self.note_warnings(&before.map(|before| before.warnings).unwrap_or_default());
        if self.recorder.kind() == Kind::Template {
            self.ready(None);
        }
    }

    /// Notes what a guest's kernel warned of since its hello, where it gets no work: that belongs to its boot as well.
    /// `console` is the rest of what it said, whose last line may be half a one.
    pub(super) fn note_late(&mut self, console: &[u8]) {
        self.ledger.console.push(console);
        self.ledger.console.reader.end();
        let warnings = self.ledger.console.reader.take_warnings();
        self.note_warnings(&warnings);
    }

    fn note_warnings(&mut self, warnings: &[Finding]) {
        warnings.iter().for_each(|warning| self.note(format!("the kernel warned while it booted: {warning}")));
    }

    fn note(&mut self, text: String) {
        self.notice(&text);
        self.boot_notes.push(text);
    }

    fn ready(&self, boot_id: Option<String>) {
        if let Some(hello) = self.hello.clone() {
            let boot_ms = milliseconds(self.recorder.elapsed());
            self.lab.emitter.emit(LabEvent::GuestReady { guest: self.number, boot_ms, boot_id, hello });
        }
    }
}
