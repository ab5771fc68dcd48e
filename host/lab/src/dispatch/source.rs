//! Decides how a target's guests start: as forks of its template, which is made if necessary, or as cold boots.

use std::time::Instant;

use vmlab_events::schedule::ForkMethod;
use vmlab_events::verdict::Verdict;
use vmlab_qemu::accelerator::Accelerator;
use vmlab_qemu::frozen::check_programs;
use vmlab_qemu::qemu::is_elf;
use vmlab_qemu::template::key::{Ingredients, Key};
use vmlab_qemu::template::{self, Draft, Found, Template, refusal};
use vmlab_store::cache::Room;
use vmlab_store::lock::Lock;
use vmlab_store::{CacheError, cache};

use crate::context::RunContext;
use crate::guest::{DeadFork, Guest, NotSaved, Origin, Outcome, boot_of, check_hardware, launch};
use crate::target::BootableTarget;

/// How a target's guests start.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Forks(Box<Template>),
    /// Forks are impossible; a notice has the reason.
    ColdBoots,
}

/// Finds or makes the target's template. The error is the verdict of a guest that never said hello.
pub(super) async fn source(run: &RunContext, bootable: &BootableTarget) -> Result<Source, Verdict> {
    if let Some(why) = refusal::known(&run.cache, &key(run, bootable), &run.qemu) {
        let reason =
            "QEMU refused to fork this guest in an earlier run; `vmlab cache clear facts` makes vmlab try again";
        return Ok(cold_with_cause(run, bootable, reason, &why));
    }
    match find_or_make(run, bootable).await {
        Ok(mut template) => {
            if !thaws(run, bootable) {
                template.frozen = None;
            }
            if run.options.fork_method == ForkMethod::Thaw
                && let Some(why) = obstacle(run, bootable)
            {
                run.emitter.notice(format!("{}: forks are restored, not thawed: {why}", bootable.target.id));
            }
            if !template.new {
                template
                    .boot
                    .boot_notes
                    .iter()
                    .for_each(|text| run.emitter.notice(format!("{}: {text}", bootable.target.id)));
            }
            Ok(Source::Forks(template))
        }
        Err(NotSaved::NeverReady(verdict)) => Err(verdict),
        Err(NotSaved::Failed(why)) => Ok(cold(run, bootable, &why)),
        Err(NotSaved::Refused(why)) => {
            let remembered = remember(run, bootable, &why);
            Ok(cold_with_cause(run, bootable, &format!("QEMU cannot save this guest{remembered}"), &why))
        }
    }
}

/// Whether forks of the target's template thaw, if it has a frozen QEMU.
fn thaws(run: &RunContext, bootable: &BootableTarget) -> bool {
    match run.options.fork_method {
        ForkMethod::Restore => false,
        ForkMethod::Thaw => obstacle(run, bootable).is_none(),
        ForkMethod::Auto => {
            obstacle(run, bootable).is_none()
                && refusal::known_thaw(&run.cache, &key(run, bootable), &run.qemu).is_none()
        }
    }
}

/// What is known to keep the target's guests from thawing.
fn obstacle(run: &RunContext, bootable: &BootableTarget) -> Option<&'static str> {
    let target = &bootable.target;
    let machine = &target.machine;
    let reasons = [
        (machine.accelerator != Accelerator::Tcg, "what a QEMU under KVM has is in this machine's kernel"),
        (machine.counts_instructions, "QEMU counts the guest's instructions"),
        (machine.network || !machine.disks.is_empty(), "networks and disks have descriptors that cannot be restored"),
        (target.debugger, "a debugger is connected to a QEMU that was started for it"),
        (!is_elf(&run.qemu.path), "QEMU is started by a script"),
    ];
    reasons.into_iter().find_map(|(holds, why)| holds.then_some(why))
}

/// Restores forks from now on, because a frozen QEMU did not thaw. This is remembered if it was frozen in this run: a template of
/// an earlier run may have become damaged, or the host may lack something now. Nor is it remembered if others killed QEMU.
pub(super) fn without_thaws(
    run: &RunContext,
    bootable: &BootableTarget,
    template: &Template,
    dead: &DeadFork,
) -> Source {
    let why = format!("a frozen QEMU did not become a guest: {}", dead.why);
    if dead.by_others || !template.new {
        say_no_thaws(run, bootable, "in this run", &why);
    } else {
        no_thaws(run, bootable, &why);
    }
    let mut template = Box::new(template.clone());
    template.frozen = None;
    Source::Forks(template)
}

/// Remembers that this QEMU cannot be frozen or thawed, and says so.
fn no_thaws(run: &RunContext, bootable: &BootableTarget, why: &str) {
    if run.stopped().is_some() {
        return;
    }
    let remembered = match refusal::remember_thaw(&run.cache, &key(run, bootable), &run.qemu, why) {
        Ok(()) => "remembered until a reboot, another QEMU, or `vmlab cache clear facts`".to_owned(),
        Err(error) => format!("this cannot be remembered: {}", error.cause()),
    };
    say_no_thaws(run, bootable, &remembered, why);
}

fn say_no_thaws(run: &RunContext, bootable: &BootableTarget, how_long: &str, why: &str) {
    let text = format!("{}: forks load a saved state, which takes longer than to thaw; {how_long}", bootable.target.id);
    run.notice_with_logged_cause(&text, why);
}

/// Boots guests from now on, because a fork of the template failed before its first job.
pub(super) fn without_forks(
    run: &RunContext,
    bootable: &BootableTarget,
    template: &Template,
    dead: &DeadFork,
) -> Source {
    let DeadFork { why, refused, .. } = dead;
    let remembered = if *refused && template.new { remember(run, bootable, why) } else { String::new() };
    cold_with_cause(run, bootable, &format!("a fork failed before its first job{remembered}"), why)
}

/// Remembers for later runs that this QEMU cannot fork this guest. Returns a text about this for the notice.
fn remember(run: &RunContext, bootable: &BootableTarget, why: &str) -> String {
    match refusal::remember(&run.cache, &key(run, bootable), &run.qemu, why) {
        Ok(true) => "; remembered until a reboot, another QEMU, or `vmlab cache clear facts`".to_owned(),
        Ok(false) => String::new(),
        Err(error) => format!("; this cannot be remembered: {}", error.cause()),
    }
}

/// Boots guests from now on; a notice has the reason.
fn cold(run: &RunContext, bootable: &BootableTarget, reason: &str) -> Source {
    if run.stopped().is_none() {
        run.emitter.notice(boots_not_forks(bootable, reason));
    }
    Source::ColdBoots
}

/// As [`cold`], for a reason with a cause that can be long, such as QEMU's own text.
fn cold_with_cause(run: &RunContext, bootable: &BootableTarget, reason: &str, cause: &str) -> Source {
    if run.stopped().is_none() {
        run.notice_with_logged_cause(&boots_not_forks(bootable, reason), cause);
    }
    Source::ColdBoots
}

fn boots_not_forks(bootable: &BootableTarget, reason: &str) -> String {
    format!("{}: guests are booted, not forked: {reason}", bootable.target.id)
}

/// Removes a template whose fork failed, so that the next run makes a new one. It stays if another vmlab uses or makes
/// it. A worker thread removes the files, which can take long, so that other guests' messages are handled meanwhile.
pub(super) async fn remove_template(run: &RunContext, bootable: &BootableTarget) {
    let (cache, key) = (run.cache.clone(), key(run, bootable));
    match tokio::task::spawn_blocking(move || template::remove(&cache, &key)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => run.emitter.notice(error.to_string()),
        Err(error) => run.emitter.notice(format!("a fault in vmlab itself: {error}")),
    }
}

fn key(run: &RunContext, bootable: &BootableTarget) -> Key {
    Key::of(&Ingredients {
        kernel_sha256: &bootable.boot_file.sha256,
        image_sha256: &bootable.image.sha256,
        machine: &bootable.target.machine,
        port_timeout_ms: boot_of(bootable).port_timeout_ms,
        append: bootable.target.append.as_deref(),
        qemu: &run.qemu,
    })
}

/// As [`template::find`]. Also compares the template's hello with the requested machine, because forks send no hello.
fn find(run: &RunContext, bootable: &BootableTarget, key: &Key) -> Result<Found, CacheError> {
    Ok(match template::find(&run.cache, key)? {
        Found::Whole(template) => {
            match check_hardware(&template.boot.hello, &bootable.target.kernel.release, &bootable.target.machine) {
                Ok(()) => Found::Whole(template),
                Err(why) => Found::Damaged(format!("its description does not match: {why}")),
            }
        }
        other => other,
    })
}

async fn find_or_make(run: &RunContext, bootable: &BootableTarget) -> Result<Box<Template>, NotSaved> {
    let failed = |error: CacheError| NotSaved::Failed(error.to_string());
    let key = key(run, bootable);
    let label = &bootable.target.id;
    // A template without a frozen QEMU, as after a reboot, is made again: forks are restored only where nothing thaws.
    let is_enough = |template: &Template| template.frozen.is_some() || !thaws(run, bootable);
    let mut restorable = None;
    match find(run, bootable, &key) {
        Ok(Found::Whole(template)) if is_enough(&template) => return Ok(template),
        Ok(Found::Whole(template)) => restorable = Some(template),
        Ok(Found::Nothing | Found::Damaged(_)) => {}
        // A template that this user may not read is replaced by one in memory.
        Err(error) if error.is_read_only() => {}
        Err(error) => return Err(failed(error)),
    }
    let lock_file = template::lock_path(&run.cache, key.name());
    let lock = Lock::take(&lock_file, || {
        run.emitter.notice(format!("{label}: waiting for another vmlab, which makes the same template"));
    });
    let lock = tokio::select! {
        lock = lock => lock,
        () = run.cancel.cancelled() => return Err(NotSaved::Failed("the run was stopped".to_owned())),
    };
    let lock = match lock {
        Ok(lock) => lock,
        Err(error) if error.is_read_only() => {
            if let Some(template) = restorable {
                return Ok(template);
            }
            let draft = draft_in_memory(run, &key, &error)?;
            return make(run, bootable, draft, &key).await.map(Box::new);
        }
        Err(error) => return Err(failed(error)),
    };
    // Look again: the process that had the lock may have made the template.
    match find(run, bootable, &key).map_err(failed)? {
        Found::Whole(template) if is_enough(&template) => return Ok(template),
        Found::Whole(template) => {
            if let Some(why) = template.frozen_damage {
                run.emitter
                    .notice(format!("{label}: the frozen QEMU was damaged, so vmlab makes a new template: {why}"));
            }
            drop(restorable);
        }
        Found::Damaged(why) => {
            run.emitter.notice(format!("{label}: the template was damaged, so vmlab makes a new one: {why}"));
        }
        Found::Nothing => {}
    }
    let draft = match Draft::new(&run.cache, &key) {
        Err(error) if error.is_read_only() => draft_in_memory(run, &key, &error)?,
        draft => draft.map_err(failed)?,
    };
    let saved = make(run, bootable, draft, &key).await;
    drop(lock);
    if saved.is_ok() {
        make_room(run).await;
    }
    saved.map(Box::new)
}

/// A draft in memory, because the cache cannot be written to. A notice says so, once in a run.
fn draft_in_memory(run: &RunContext, key: &Key, cache: &CacheError) -> Result<Draft, NotSaved> {
    if run.reports_read_only_cache() {
        let (cause, remedy) = (cache.cause(), cache.remedy());
        run.emitter.notice(format!("templates are kept in memory and end with this run: {cause}; {remedy}"));
    }
    Draft::in_memory(key)
        .map_err(|memory| NotSaved::Failed(format!("{cache}; a template cannot be kept in memory either: {memory}")))
}

/// Boots a guest, and makes it the template of the key.
async fn make(run: &RunContext, bootable: &BootableTarget, draft: Draft, key: &Key) -> Result<Template, NotSaved> {
    let image = match thaws(run, bootable).then(check_programs) {
        Some(Ok(())) => draft.create_image(),
        Some(Err(error)) => {
            let why = format!("no program can be executed from memory (see the sysctl vm.memfd_noexec): {error}");
            no_thaws(run, bootable, &why);
            Ok(None)
        }
        None => Ok(None),
    };
    let image = image.map_err(|error| NotSaved::Failed(error.to_string()))?;
    let origin = Origin::ToBeSaved(draft.ram(), image);
    let guest = launch(run, bootable, &origin).map_err(|why| NotSaved::Failed(why.to_string()))?;
    drop(origin);
    let template = save(run, guest, draft, key).await;
    template.map(|(template, not_frozen)| {
        if let Some(why) = not_frozen {
            no_thaws(run, bootable, &why);
        }
        template
    })
}

/// Boots a guest up to its hello, and saves it as the template of the key. Returns also why QEMU was not frozen, if that was tried.
async fn save(run: &RunContext, guest: Guest, draft: Draft, key: &Key) -> Result<(Template, Option<String>), NotSaved> {
    let (outcome, mut timings) = guest.save(run, &draft).await;
    let published = match outcome {
        Outcome::Saved(boot) => {
            let not_frozen = draft.not_frozen().map(str::to_owned);
            let published = draft.publish(&run.cache, key, *boot);
            timings.end_of("keep", Instant::now());
            published.map(|template| (template, not_frozen)).map_err(|error| NotSaved::Failed(error.to_string()))
        }
        Outcome::NotSaved(why) => Err(why),
        _ => Err(NotSaved::Failed("the guest ended before it was saved".to_owned())),
    };
    run.emitter.emit(timings.into_event());
    published
}

/// Keeps the cache within its limit. The entries that this run uses stay. A worker thread removes the files, which can
/// take long, so that other guests' messages are handled meanwhile.
async fn make_room(run: &RunContext) {
    let (dir, limit) = (run.cache.clone(), run.options.cache_limit);
    match tokio::task::spawn_blocking(move || cache::keep_within(&dir, &crate::cache::KINDS, limit)).await {
        Ok(Room { notices, over }) => {
            let over = over.filter(|_| run.reports_limit());
            notices.into_iter().chain(over).for_each(|text| run.emitter.notice(text));
        }
        Err(error) => run.emitter.notice(format!("a fault in vmlab itself: {error}")),
    }
}
