//! The host's end of the link: what a guest may say and when.

#[cfg(test)]
pub mod fixture;
pub mod inventory;
pub mod session;
