//! The host's own `wasi:sockets/tcp`.

/// Which virtual addresses a call may connect to, and what is dialled for each.
#[derive(Debug, Default)]
pub struct Network {}
