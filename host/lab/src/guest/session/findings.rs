//! What a job's legs found and wrote.

use std::collections::VecDeque;

use vmlab_events::event::LegReport;
use vmlab_events::job::JobSpec;
use vmlab_protocol::message::{LegOutcome, RawChunk, Stream};

/// The size of the stored end of each output stream of a job, in bytes.
pub const OUTPUT_KEPT: usize = 16 * 1024;
/// The limit of output that a guest may send for one job, in bytes.
pub const OUTPUT_LIMIT: u64 = 4 << 20;

/// The results of a job's legs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The ended legs, in order.
    pub legs: Vec<LegReport>,
    /// The whole standard output of a KUnit suite: its results.
    pub results: Vec<u8>,
    /// The end of the standard output of other jobs.
    pub stdout: Tail,
    /// The end of the standard error.
    pub stderr: Tail,
    /// The number of bytes beyond the limit of output, which the guest did not send or the host did not keep.
    pub dropped: u64,
}

impl Findings {
    /// Whether a leg was cut short, so that it could not undo its changes.
    #[must_use]
    pub fn spoil_the_guest(&self) -> bool {
        self.legs.iter().any(|leg| {
            matches!(leg.outcome, LegOutcome::Failed { .. } | LegOutcome::Died { .. } | LegOutcome::TimedOut { .. })
        })
    }

    /// Adds output. A suite's results are kept whole, up to the guest's limit.
    pub(super) fn output(&mut self, spec: &JobSpec, chunk: &RawChunk<'_>) {
        match (spec, chunk.stream) {
            (JobSpec::Kunit(_), Stream::Stdout) => {
                let room = usize::try_from(OUTPUT_LIMIT).unwrap_or(usize::MAX).saturating_sub(self.results.len());
                let (kept, dropped) = chunk.data.split_at(chunk.data.len().min(room));
                self.results.extend_from_slice(kept);
                self.dropped += dropped.len() as u64;
            }
            (_, Stream::Stdout) => self.stdout.push(chunk.data),
            (_, Stream::Stderr) => self.stderr.push(chunk.data),
            // The host writes the files as they come. The caller has refused input.
            (_, Stream::Archive | Stream::Stdin) => {}
        }
    }
}

/// The end of an output stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    bytes: VecDeque<u8>,
    /// The number of earlier bytes, which were discarded.
    pub dropped: u64,
}

impl Tail {
    pub(super) fn push(&mut self, data: &[u8]) {
        let keep = &data[data.len().saturating_sub(OUTPUT_KEPT)..];
        let excess = (self.bytes.len() + keep.len()).saturating_sub(OUTPUT_KEPT);
        self.bytes.drain(..excess);
        self.bytes.extend(keep);
        self.dropped += (excess + data.len() - keep.len()) as u64;
    }

    /// The output as text; invalid UTF-8 becomes replacement characters.
    #[must_use]
    pub fn text(&self) -> String {
        let (a, b) = self.bytes.as_slices();
        String::from_utf8_lossy(&[a, b].concat()).into_owned()
    }
}
