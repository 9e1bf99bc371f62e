//! A gateway in operation: start, reload, stop, hand-over, the first hour.

mod derived;
mod event_files;
pub mod first_hour;
pub mod handover;
mod one_machine;
mod reload;
mod service_unit;
mod shutdown;
mod startup;
mod state_dir;
mod system_calls;
mod terminal;
