mod any_order;
mod guest;
mod table;
