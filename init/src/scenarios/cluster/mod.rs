//! What a cluster of machines shares: scenarios in two guests whose network cards are linked to each other. The same trial runs in
//! both at the same time.

mod link;
mod migration;
mod pids;

use super::Scenario;

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&migration::MIGRATION, &pids::PIDS];
