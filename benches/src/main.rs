//! Berth's figures, each beside a peer that is measured in the same run. Run by `make bench`.

mod bare;
mod call;
mod create;
mod disk;
mod engines;
mod grpc;
mod host;
mod hostile;
mod idle;
mod listing;
mod load;
mod peer;
mod proxy;
mod requests;
mod seed;
mod stats;
mod swap;
mod table;
mod users;

use std::path::Path;

use mimalloc::MiMalloc;

/// As in `berth`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        // What the figures start as processes of their own.
        ["grpc-server", socket] => grpc::serve(Path::new(socket)).await,
        ["bare-http"] => bare::serve().await,
        ["seed", data, count] => {
            seed::seed(Path::new(data), count.parse().expect("a number")).await
        }
        [] => {
            figures(&[
                "call", "swap", "hostile", "requests", "create", "listing", "idle", "proxy",
                "users", "engines",
            ])
            .await
        }
        names => figures(names).await,
    }
}

async fn figures(names: &[&str]) {
    for name in names {
        match *name {
            "create" => create::run().await,
            "call" => call::run().await,
            "swap" => swap::run().await,
            "hostile" => hostile::run().await,
            "requests" => requests::run().await,
            "listing" => listing::run().await,
            "idle" => idle::run().await,
            "proxy" => proxy::run().await,
            "users" => on_one_thread(users::run).await,
            "engines" => engines::run().await,
            other => {
                eprintln!(
                    "no figure is called {other}: create, call, swap, hostile, requests, listing, idle, proxy, users, engines"
                );
                std::process::exit(2);
            }
        }
    }
}

/// With a client that asks and waits on the same thread, as the peer's does: one that hands its requests to another thread and
/// is handed the answers adds what waking these takes.
async fn on_one_thread<F: Future<Output = ()>>(run: impl FnOnce() -> F + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let done = tokio::task::spawn_blocking(move || runtime.block_on(run()));
    done.await.expect("the figure");
}
