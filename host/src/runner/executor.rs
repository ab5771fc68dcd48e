//! One guest's life: start, hello, scenarios one after the other, goodbye, end.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::Instant;
use vmlab_protocol::catalogue::ScenarioSpec;
use vmlab_protocol::message::Hello;

use super::console_log::ConsoleLog;
use super::inputs::{Input, Inputs};
use super::lab::{Lab, Prepared};
use super::ledger::Ledger;
use super::limits::FAREWELL;
use crate::event::LabEvent;
use crate::guest::inventory;
use crate::guest::session::{Heard, Session};
use crate::verdict::Verdict;
use crate::verdict::judge::{self, GuestLoss};
use crate::vm::argv::{self, Boot};
use crate::vm::process::{QemuEnd, QemuProcess};
use crate::vm::qmp::QmpEvent;

/// How a guest's run ended for those who wait for its scenarios.
#[derive(Debug)]
pub(super) enum GuestRun {
    /// Every scenario has its report but these, which were never announced; they need another guest.
    Served(Vec<ScenarioSpec>),
    /// The guest never said hello: this is the verdict on all that it was to run.
    NeverReady(Verdict, Vec<ScenarioSpec>),
}

/// Boots a guest and runs the scenarios in it.
pub(super) async fn run_guest(lab: &Lab, prepared: &Prepared, queue: Vec<ScenarioSpec>) -> GuestRun {
    let number = lab.next_guest();
    let boot = Boot {
        kernel: &prepared.kernel.path,
        initrd: &prepared.image.path,
        port_timeout_ms: milliseconds(prepared.limits.port()),
        append: lab.options.append.as_deref(),
    };
    let arguments = argv::arguments(&prepared.machine, &boot, argv::DESCRIPTORS);
    let console_name = format!("console-{number}.log");
    let words = std::iter::once(lab.qemu.path.as_os_str()).chain(arguments.iter().map(AsRef::as_ref));
    lab.emitter.emit(LabEvent::GuestStarting {
        guest: number,
        kernel: prepared.kernel.label.clone(),
        accelerator: prepared.machine.accelerator.name().to_owned(),
        argv: words.map(|word| word.to_string_lossy().into_owned()).collect(),
        console: console_name.clone(),
    });
    let console = ConsoleLog::create(lab.record_dir.as_deref().map(|dir| dir.join(console_name)).as_deref());
    let began = Instant::now();
    let qemu = match QemuProcess::start(&lab.qemu.path, &arguments) {
        Ok(qemu) => qemu,
        Err(error) => {
            let detail = crate::error::chain(&error);
            lab.emitter.emit(LabEvent::GuestEnded { guest: number, how: detail.clone(), console_bytes: 0 });
            return GuestRun::NeverReady(Verdict::LaunchFailed { detail }, queue);
        }
    };
    let mut drive = Drive {
        lab,
        prepared,
        number,
        began,
        session: Session::default(),
        ledger: Ledger::new(lab, prepared, number, console),
        queue: queue.into(),
        booted: false,
        spoiled: false,
        qemu_says: Vec::new(),
        wait: Wait::new("boot", prepared.limits.boot),
    };
    let mut inputs = Inputs::new(qemu);
    let loss = drive.serve(&mut inputs).await;
    drive.end(inputs, loss).await
}

/// What is waited for, and until when.
struct Wait {
    what: &'static str,
    limit: Duration,
    deadline: Instant,
}

impl Wait {
    fn new(what: &'static str, limit: Duration) -> Self {
        Self { what, limit, deadline: Instant::now() + limit }
    }
}

struct Drive<'a> {
    lab: &'a Lab,
    prepared: &'a Prepared,
    number: u32,
    began: Instant,
    session: Session,
    ledger: Ledger<'a>,
    queue: VecDeque<ScenarioSpec>,
    booted: bool,
    /// A scenario did not end as it should, so that what it changed may still be there: the others get another guest.
    spoiled: bool,
    /// What QMP said and how QEMU ended, for whoever asks why the guest vanished.
    qemu_says: Vec<String>,
    wait: Wait,
}

/// What an input leads to.
enum Step {
    GoOn,
    /// The guest has said goodbye.
    Done,
    Lost(GuestLoss),
}

impl Drive<'_> {
    /// Serves the guest until its goodbye (None) or its loss.
    async fn serve(&mut self, inputs: &mut Inputs) -> Option<GuestLoss> {
        loop {
            let step = match inputs.next(self.wait.deadline, &self.lab.cancel).await {
                Ok(input) => self.step(input, inputs).await,
                Err(error) => Step::Lost(GuestLoss::Vanished(format!("the host cannot read from QEMU: {error}"))),
            };
            match step {
                Step::GoOn => {}
                Step::Done => return None,
                Step::Lost(loss) => return Some(loss),
            }
        }
    }

    async fn step(&mut self, input: Input, inputs: &mut Inputs) -> Step {
        match input {
            Input::Control(bytes) => return self.hear(&bytes, inputs).await,
            Input::Console(bytes) => self.ledger.console.push(&bytes),
            Input::ControlClosed => {
                if let Err(cut) = self.session.closed() {
                    self.qemu_says.push(cut.to_string());
                }
                return self.closing(inputs);
            }
            Input::ConsoleClosed => return self.closing(inputs),
            Input::Exited(status) => {
                self.qemu_says.push(format!("QEMU {}", describe(status)));
                return self.closing(inputs);
            }
            Input::Qmp(QmpEvent::Shutdown { reason }) => self.qemu_says.push(format!("QEMU shut down ({reason})")),
            Input::Qmp(QmpEvent::GuestPanicked) => self.qemu_says.push("the guest told QEMU of a panic".to_owned()),
            Input::Qmp(QmpEvent::Stopped) => self.qemu_says.push("QEMU stopped the guest".to_owned()),
            Input::Qmp(QmpEvent::Other(_)) => {}
            // The guest needs no QMP; only where all else has ended as well, nothing more is to be waited for.
            Input::QmpClosed if inputs.is_over() => return Step::Lost(GuestLoss::Vanished(String::new())),
            Input::QmpClosed => {}
            Input::Cancelled => {
                return Step::Lost(self.lab.stopped().map_or(GuestLoss::Interrupted, super::lab::Stop::loss));
            }
            Input::Deadline => {
                let state = inputs.state_by_qmp().await;
                let Wait { what, limit, .. } = self.wait;
                return Step::Lost(GuestLoss::Watchdog { which: what, limit_ms: milliseconds(limit), state });
            }
        }
        Step::GoOn
    }

    /// One of QEMU's signs of life has ended; the others follow soon, or never.
    fn closing(&mut self, inputs: &Inputs) -> Step {
        if inputs.is_over() {
            return Step::Lost(GuestLoss::Vanished(String::new()));
        }
        let left = self.wait.deadline.saturating_duration_since(Instant::now());
        self.wait = Wait::new("farewell", FAREWELL.min(left));
        Step::GoOn
    }

    async fn hear(&mut self, bytes: &[u8], inputs: &mut Inputs) -> Step {
        self.session.push(bytes);
        loop {
            let heard = match self.session.next_heard() {
                Ok(Some(heard)) => heard,
                Ok(None) => return Step::GoOn,
                Err(violation) => return Step::Lost(GuestLoss::Violation(violation.0)),
            };
            // What the kernel printed before this was said belongs to what was before. What it printed right after it is
            // among these bytes as well, where the host was slow.
            let had_crashed = self.ledger.has_crashed();
            self.ledger.console.push(&inputs.console_now());
            match heard {
                // A kernel that broke is not to be trusted with anything, even if it goes on.
                Heard::Hello(_) if self.ledger.has_crashed() => {
                    return Step::Lost(GuestLoss::Vanished("the kernel broke while it booted".to_owned()));
                }
                Heard::Hello(hello) => {
                    if let Err(what) = inventory::check(&hello, &self.prepared.kernel, &self.prepared.machine) {
                        return Step::Lost(GuestLoss::WrongMachine(what));
                    }
                    self.welcome(hello);
                }
                Heard::Started => {
                    if let Some(spec) = self.ledger.started(had_crashed) {
                        self.wait = Wait::new("scenario", self.prepared.limits.scenario(spec));
                    }
                    continue;
                }
                Heard::Finished(findings) => {
                    self.spoiled |= findings.spoil_the_guest() || self.ledger.has_crashed();
                    self.ledger.finished(findings);
                }
                Heard::Goodbye => return Step::Done,
            }
            if let Err(loss) = self.ask_next(inputs).await {
                return Step::Lost(loss);
            }
        }
    }

    fn welcome(&mut self, hello: Box<Hello>) {
        self.booted = true;
        for problem in &hello.problems {
            self.notice(problem);
        }
        for warning in self.ledger.console.reader.take_warnings() {
            self.notice(&format!("the kernel warned while it booted: {warning}"));
        }
        let boot_ms = milliseconds(self.began.elapsed());
        self.lab.emitter.emit(LabEvent::GuestReady { guest: self.number, boot_ms, hello });
    }

    /// Asks for the next scenario, or asks the guest to leave.
    async fn ask_next(&mut self, inputs: &mut Inputs) -> Result<(), GuestLoss> {
        let limits = &self.prepared.limits;
        let next = if self.spoiled { None } else { self.queue.pop_front() };
        let order = match next {
            Some(spec) => {
                self.wait = Wait::new("scenario start", FAREWELL * limits.scale);
                let order = self.session.ask(&spec, milliseconds(limits.leg(&spec)));
                self.ledger.asked(spec);
                order
            }
            None => {
                self.wait = Wait::new("goodbye", FAREWELL * limits.scale);
                self.session.dismiss()
            }
        };
        let bytes = order.map_err(|violation| GuestLoss::Violation(violation.0))?;
        // A peer that has gone is seen by the reads, together with the reason.
        match inputs.send(&bytes).await {
            Err(error) if !super::inputs::is_end(&error) => {
                Err(GuestLoss::Vanished(format!("the host cannot write to the guest: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn notice(&self, text: &str) {
        self.lab.emitter.notice(format!("{}: {text}", self.prepared.kernel.label));
    }

    /// Ends QEMU, reads what is left of the console, and settles what the guest's scenarios came to.
    async fn end(mut self, inputs: Inputs, loss: Option<GuestLoss>) -> GuestRun {
        let (rest_of_console, qemu) = inputs.end().await;
        self.ledger.console.push(&rest_of_console);
        self.ledger.console.reader.end();
        if let Some(failure) = self.ledger.console.take_failure() {
            self.notice(&failure);
        }
        let loss = loss.map(|loss| self.with_reasons(loss, qemu));
        match &loss {
            None => self.ledger.goodbye(),
            Some(loss) if self.booted => {
                let findings = self.session.findings_so_far().cloned().unwrap_or_default();
                self.ledger.lost(loss, findings);
            }
            Some(_) => {}
        }
        let how = loss.as_ref().map_or_else(|| "done".to_owned(), GuestLoss::to_string);
        let console_bytes = self.ledger.console.bytes();
        self.lab.emitter.emit(LabEvent::GuestEnded { guest: self.number, how, console_bytes });
        let rest = self.ledger.take_unannounced().into_iter().chain(self.queue).collect();
        match loss {
            Some(loss) if !self.booted => {
                let memory_mib = self.prepared.machine.memory_mib;
                GuestRun::NeverReady(judge::lost_at_boot(&loss, &self.ledger.console.reader, memory_mib), rest)
            }
            _ => GuestRun::Served(rest),
        }
    }

    /// Where the guest vanished, everything that QEMU said of it is the reason.
    fn with_reasons(&mut self, loss: GuestLoss, qemu: std::io::Result<QemuEnd>) -> GuestLoss {
        let GuestLoss::Vanished(detail) = loss else { return loss };
        let mut words = vec![detail];
        words.append(&mut self.qemu_says);
        words.push(match qemu {
            Ok(end) => end.stderr,
            Err(error) => format!("cannot reap QEMU: {error}"),
        });
        words.retain(|text| !text.is_empty());
        GuestLoss::Vanished(words.join("; "))
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// In words.
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended as {status}"),
    }
}
