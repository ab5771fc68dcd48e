//! placeholder
/// x
pub fn die_with_parent(_cmd: &mut tokio::process::Command) {}
