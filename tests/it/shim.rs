//! The shim and the process capability, with the real binary and small scripts as servers: whatever is killed and
//! whenever, the server comes back, there is never a second one, and nothing stays behind.

mod ends;
mod keeps;
pub mod stand;
mod storm;
