//! What the shell sees: the commands of `sessile`. Each prints to a writer that it is given and
//! answers with an exit code.

pub mod check;
pub mod demo;
pub mod run;
pub mod schema;
