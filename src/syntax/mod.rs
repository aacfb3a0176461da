//! Names, hosts and paths as HTTP spells them, for requests and for the patterns that they are
//! compared with: both must be read in the same way. Pure.

pub mod authority;
pub mod name;
pub mod path;
