mod any_order;
mod guest;
mod suites;
mod table;
