//! The host's end of the link: what a guest may say and when.

pub mod inventory;
pub mod session;
