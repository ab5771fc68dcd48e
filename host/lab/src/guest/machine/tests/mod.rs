mod any_order;
mod commands;
mod guest;
mod suites;
mod table;
