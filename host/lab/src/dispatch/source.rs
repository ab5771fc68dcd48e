//! Where a target's guests come from: forks of its template, which is made where there is none, or cold boots.

use std::time::Instant;

use vmlab_events::verdict::Verdict;
use vmlab_qemu::template::key::{Ingredients, Key};
use vmlab_qemu::template::{self, Draft, Found, Template, refusal};
use vmlab_store::cache::Room;
use vmlab_store::lock::Lock;
use vmlab_store::{CacheError, cache};

use crate::context::RunContext;
use crate::guest::{DeadFork, Guest, NotSaved, Origin, Outcome, boot_of, check_hardware, launch};
use crate::target::BootableTarget;

/// Where a kernel's guests come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Forks(Box<Template>),
    /// Forks cannot be had; the reason was told.
    ColdBoots,
}

/// Finds the kernel's template or makes it. The error is what came of a guest that never said hello.
pub(super) async fn source(run: &RunContext, bootable: &BootableTarget) -> Result<Source, Verdict> {
    if let Some(why) = refusal::known(&run.cache, &key(run, bootable), &run.qemu) {
        let why = format!("this QEMU has refused it before, which is {REMEMBERED}: {why}");
        return Ok(cold(run, bootable, &why));
    }
    match find_or_make(run, bootable).await {
        Ok(template) => {
            if !template.new {
                template
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
            Ok(cold(run, bootable, &(why + &remembered)))
        }
    }
}

/// No forks from now on, as one of the template did not come to life.
pub(super) fn without_forks(
    run: &RunContext,
    bootable: &BootableTarget,
    template: &Template,
    dead: &DeadFork,
) -> Source {
    let DeadFork { why, refused, .. } = dead;
    let why = format!("a fork did not come to life: {why}");
    let remembered = if *refused && template.new { remember(run, bootable, &why) } else { String::new() };
    cold(run, bootable, &(why + &remembered))
}

/// How long a refusal of QEMU's is remembered, and what ends that.
const REMEMBERED: &str =
    "remembered until this machine is booted again or QEMU changes (`vmlab cache clear memos` forgets it)";

/// Remembers that this QEMU makes no forks of this guest, for the next run. Gives what is to be said of that.
fn remember(run: &RunContext, bootable: &BootableTarget, why: &str) -> String {
    match refusal::remember(&run.cache, &key(run, bootable), &run.qemu, why) {
        Ok(true) => format!("; {REMEMBERED}"),
        Ok(false) => String::new(),
        Err(error) => format!("; not remembered: {error}"),
    }
}

/// No forks from now on. Says why, in one line.
fn cold(run: &RunContext, bootable: &BootableTarget, why: &str) -> Source {
    if run.stopped().is_none() {
        let label = &bootable.target.id;
        run.emitter.notice(format!("{label}: each guest is booted, none is forked: {why}"));
    }
    Source::ColdBoots
}

/// Takes a template away whose fork did not come to life; the next run makes a new one. Where another vmlab uses it, or
/// has made a new one meanwhile, it stays. Removing files can take a while, in which other guests are to be heard.
pub(super) async fn take_away(run: &RunContext, bootable: &BootableTarget) {
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
        port_timeout_ms: boot_of(run, bootable).port_timeout_ms,
        append: run.options.append.as_deref(),
        qemu: &run.qemu,
    })
}

/// As [`template::find`]. The hello, which forks do not say again, is held against what was asked for as that of a guest
/// that boots is.
fn find(run: &RunContext, bootable: &BootableTarget, key: &Key) -> Result<Found, CacheError> {
    Ok(match template::find(&run.cache, key)? {
        Found::Whole(template) => {
            match check_hardware(&template.hello, &bootable.target.kernel.release, &bootable.target.machine) {
                Ok(()) => Found::Whole(template),
                Err(why) => Found::Damaged(format!("by what it says of itself {why}")),
            }
        }
        other => other,
    })
}

async fn find_or_make(run: &RunContext, bootable: &BootableTarget) -> Result<Box<Template>, NotSaved> {
    let failed = |error: CacheError| NotSaved::Failed(error.to_string());
    let key = key(run, bootable);
    let label = &bootable.target.id;
    if let Found::Whole(template) = find(run, bootable, &key).map_err(failed)? {
        return Ok(template);
    }
    let lock_file = template::lock_path(&run.cache, key.name());
    let lock = Lock::take(&lock_file, || {
        run.emitter.notice(format!("{label}: waiting for another vmlab that makes the same template"));
    });
    let lock = tokio::select! {
        lock = lock => lock.map_err(failed)?,
        () = run.cancel.cancelled() => return Err(NotSaved::Failed("the run was stopped".to_owned())),
    };
    // Whoever held the lock has made it, or what is there is damaged.
    match find(run, bootable, &key).map_err(failed)? {
        Found::Whole(template) => return Ok(template),
        Found::Damaged(why) => run.emitter.notice(format!("{label}: the template is made anew: {why}")),
        Found::Nothing => {}
    }
    let memory_bytes = u64::from(bootable.target.machine.memory_mib) << 20;
    let draft = Draft::new(&run.cache, &key, memory_bytes).map_err(failed)?;
    let guest =
        launch(run, bootable, &Origin::ToBeSaved(draft.ram())).map_err(|why| NotSaved::Failed(why.to_string()))?;
    let saved = save(run, guest, draft, &key).await;
    drop(lock);
    if saved.is_ok() {
        make_room(run).await;
    }
    saved.map(Box::new)
}

/// Boots a guest up to its hello, saves it, and keeps it as the template of the key.
async fn save(run: &RunContext, guest: Guest, draft: Draft, key: &Key) -> Result<Template, NotSaved> {
    let (outcome, mut timings) = guest.save(run, &draft).await;
    let kept = match outcome {
        Outcome::Saved { hello, boot_notes } => {
            let kept = draft.publish(&run.cache, key, *hello, boot_notes);
            timings.end_of("keep", Instant::now());
            kept.map_err(|error| NotSaved::Failed(error.to_string()))
        }
        Outcome::NotSaved(why) => Err(why),
        _ => Err(NotSaved::Failed("it ended before it was saved".to_owned())),
    };
    run.emitter.emit(timings.into_event());
    kept
}

/// Keeps the cache within its limit. All that this run uses is held, and stays. Removing files can take a while, in which
/// other guests are to be heard.
async fn make_room(run: &RunContext) {
    let (dir, limit) = (run.cache.clone(), run.options.cache_limit);
    match tokio::task::spawn_blocking(move || cache::keep_within(&dir, &crate::cache::KINDS, limit)).await {
        Ok(Room { notices, over }) => {
            let over = over.filter(|_| run.tells_of_limit());
            notices.into_iter().chain(over).for_each(|text| run.emitter.notice(text));
        }
        Err(error) => run.emitter.notice(format!("a fault in vmlab itself: {error}")),
    }
}
