//! The sandbox that every call runs in: the engine's settings, what a fresh store holds, and the limits.
//!
//! Denied unless given: no environment, no arguments, no files, no name lookup, no datagrams, no listening, no
//! address but the instance's virtual ones. Random numbers are allowed; for clocks see `clocks`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use berth_bindings::engine::berth::plugin::{hashing as hashing_interface, log as log_interface};
use berth_bindings::sockets::wasi::sockets::{tcp, tcp_create_socket};
use berth_bindings::target::berth::plugin::{
    files as files_interface, process as process_interface,
};
use bytes::Bytes;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::capability::files::Files;
use super::capability::hashing::Hashing;
use super::capability::log::Log;
use super::capability::process::Process;
use super::clocks::Clocks;
use super::limiter::{Budget, Limiter, Refused};
use super::manifest::Capability;
use super::on_call::OnCall;
use super::pool::Engines;
use super::scope::CallScope;
use super::sessions::Sessions;
use super::sockets::{HasSockets, Sockets, SocketsView};
use super::weigh::Shape;

/// What one call may use. Past any of them the call ends with an error and its sandbox is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory.
    pub memory_bytes: usize,
    /// Time for a call that computes.
    pub compute: Duration,
    /// Time for a call that talks to servers or starts them.
    pub talk: Duration,
    /// Calls into one build at the same time; more wait.
    pub concurrent: usize,
    /// Sessions that are kept between calls, over all instances; none when it is 0.
    pub kept: usize,
    /// A session that no call went on with for so long ends.
    pub idle: Duration,
}

/// So many sandboxes of a build may be as large as one may be, at the same time.
const LARGE_ONES: usize = 4;

impl Limits {
    /// What all sandboxes of a build together may have of memory: each bounded by itself, they could take the machine's.
    pub(super) fn budget(&self) -> Budget {
        let kept = self.kept.saturating_mul(KEPT_BYTES);
        Budget::new(
            self.memory_bytes
                .saturating_mul(LARGE_ONES)
                .saturating_add(kept),
        )
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            compute: Duration::from_secs(5),
            talk: Duration::from_secs(30),
            concurrent: 32,
            kept: 64,
            idle: Duration::from_secs(60),
        }
    }
}

/// Ticks before a call is interrupted for the first time: two, so that a short one never is.
const SHORT: u64 = 2;
/// Bytes that a component may hand over in one call of the host, or in one answer.
const HOSTCALL_BYTES: usize = 8 << 20;
/// Sockets, streams and the like that a call may hold at once.
const RESOURCES: usize = 512;
/// Bytes of standard output and error that are kept for the log.
const TAIL_BYTES: usize = 4 << 10;
/// What a sandbox may hold from call to call. A driver's connection needs a fraction of it.
const KEPT_BYTES: usize = 8 << 20;
const KEPT_SOCKETS: u32 = 4;
const KEPT_SECRETS: usize = 64;

/// What a call gets by its kind, beside the operator's limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    pub clocks: Clocks,
    /// Calls of the host, whichever.
    pub calls: u32,
}

/// Makes sandboxes. One per process.
pub struct Sandbox {
    pub(super) engines: Engines,
    pub(super) sessions: Arc<Sessions>,
    pub(super) on_call: OnCall,
}

/// What a store holds besides the component.
pub(super) struct State {
    /// Made when it is first asked for, which many calls never do.
    wasi: Option<Box<WasiCtx>>,
    clocks: Clocks,
    table: ResourceTable,
    limiter: Limiter,
    tail: Tail,
    sockets: Sockets,
    pub(super) log: Log,
    hashing: Hashing,
    files: Files,
    process: Process,
}

impl Sandbox {
    pub fn new(on_call: OnCall, limits: &Limits) -> wasmtime::Result<Self> {
        let sessions = Sessions::new(limits.kept, limits.idle);
        Ok(Self {
            engines: Engines::new(limits.concurrent, sessions.most())?,
            sessions: Arc::new(sessions),
            on_call,
        })
    }

    /// What a component that was granted these capabilities can import.
    pub(super) fn linker(
        &self,
        shape: Shape,
        granted: &BTreeSet<Capability>,
    ) -> wasmtime::Result<Linker<State>> {
        let mut linker = Linker::new(self.engines.of(shape));
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        linker.allow_shadowing(true);
        tcp::add_to_linker::<State, HasSockets>(&mut linker, State::sockets)?;
        tcp_create_socket::add_to_linker::<State, HasSockets>(&mut linker, State::sockets)?;
        linker.allow_shadowing(false);
        log_interface::add_to_linker::<State, HasSelf<Log>>(&mut linker, |state| {
            state.limiter.count_call();
            &mut state.log
        })?;
        hashing_interface::add_to_linker::<State, HasSelf<Hashing>>(&mut linker, |state| {
            state.limiter.count_call();
            &mut state.hashing
        })?;
        for capability in granted {
            match capability {
                Capability::Files => {
                    files_interface::add_to_linker::<State, HasSelf<Files>>(&mut linker, |s| {
                        s.limiter.count_call();
                        &mut s.files
                    })?;
                }
                Capability::Process => {
                    process_interface::add_to_linker::<State, HasSelf<Process>>(
                        &mut linker,
                        |s| {
                            s.limiter.count_call();
                            &mut s.process
                        },
                    )?;
                }
            }
        }
        Ok(linker)
    }

    /// A fresh store for one call.
    pub(super) fn store(
        &self,
        shape: Shape,
        (budget, memory_bytes): (Arc<Budget>, usize),
        allowance: Allowance,
        log: Log,
        scope: CallScope,
    ) -> Store<State> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        let state = State {
            wasi: None,
            clocks: allowance.clocks,
            table,
            limiter: Limiter::new(budget, memory_bytes, allowance.calls),
            tail: Tail::default(),
            sockets: Sockets::new(scope.network),
            log,
            hashing: Hashing,
            files: Files { scope: scope.files },
            process: Process {
                scope: scope.process,
            },
        };
        let mut store = Store::new(self.engines.of(shape), state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        store.set_epoch_deadline(SHORT);
        store.epoch_deadline_callback(|context| {
            if context.data().limiter.called_too_often() {
                return Err(wasmtime::Error::msg("too many calls of the host"));
            }
            // This yield, unlike the engine's own, lets the runtime look at sockets and timers before it comes back.
            let others = Box::pin(tokio::task::yield_now());
            Ok(UpdateDeadline::YieldCustom(1, others))
        });
        store
    }
}

/// Have the store of a kept session do another call: all that is the call's and not the component's is made anew.
/// Its clocks go on, as its timers rely on them, and its memory counts with what it was.
pub(super) fn go_on(store: &mut Store<State>, log: Log, scope: CallScope) {
    store.set_epoch_deadline(SHORT);
    let state = store.data_mut();
    state.limiter.next_call();
    state.tail.clear();
    state.sockets.go_on(scope.network);
    state.log = log;
    state.files = Files { scope: scope.files };
    state.process = Process {
        scope: scope.process,
    };
}

impl State {
    /// Whether it holds no more than may be kept between calls, and met none of its limits.
    pub(super) fn can_be_kept(&self) -> bool {
        self.limiter.refused().is_none()
            && self.limiter.used_bytes() <= KEPT_BYTES
            && self.sockets.open() <= KEPT_SOCKETS
            && self.log.redactor().secrets() <= KEPT_SECRETS
    }

    /// The limit that the component ran into, if it did.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.limiter.refused()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.limiter.used_bytes()
    }

    /// What it may call the host, and whether it did so more often.
    pub(super) fn calls(&self) -> (u32, bool) {
        (self.limiter.most_calls(), self.limiter.called_too_often())
    }

    /// The newest of what the component printed, such as the message of a panic.
    pub(super) fn printed(&self) -> String {
        self.tail.text()
    }

    fn sockets(&mut self) -> SocketsView<'_> {
        self.limiter.count_call();
        SocketsView {
            sockets: &mut self.sockets,
            table: &mut self.table,
        }
    }
}

impl WasiView for State {
    /// Asked once by every function of the stock WASI, which makes it the place to count them.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.limiter.count_call();
        let wasi = || Box::new(wasi(self.clocks, &self.tail));
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(wasi),
            table: &mut self.table,
        }
    }
}

fn wasi(clocks: Clocks, tail: &Tail) -> WasiCtx {
    WasiCtx::builder()
        .stdout(tail.clone())
        .stderr(tail.clone())
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(1 << 20)
        .wall_clock(clocks.wall())
        .monotonic_clock(clocks.monotonic())
        .build()
}

/// Standard output and error of a component: the newest bytes are kept, the others dropped.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    fn clear(&self) {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.clear();
    }
}

impl IsTerminal for Tail {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Tail {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl OutputStream for Tail {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&bytes);
        let excess = kept.len().saturating_sub(TAIL_BYTES);
        kept.drain(..excess);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[async_trait]
impl Pollable for Tail {
    async fn ready(&mut self) {}
}
