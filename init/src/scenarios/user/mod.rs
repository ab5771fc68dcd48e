//! User namespaces: ids, capabilities, and limits.

mod capability;
mod ids;
mod limit;
mod map;

use super::Scenario;

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[
    &capability::CAPABILITIES,
    &ids::CHOWN_UNMAPPED,
    &capability::FILE_CAPABILITY,
    &ids::FILE_OWNER,
    &limit::KEYRING,
    &map::MAP_ONCE,
    &map::MAP_ROOT,
    &map::MAP_TWO_IDS,
    &map::VIEW,
    &limit::NPROC,
    &limit::NPROC_OUTER,
    &ids::OVERFLOW_UID,
    &limit::PRIORITY,
    &capability::SECURE_BITS,
    &map::SETGROUPS,
    &map::SETGROUPS_DENY,
    &ids::SIGNAL,
    &capability::TRUSTED_ATTRIBUTE,
    &ids::UNMAPPED_EUID,
    &capability::USERFAULTFD,
];
