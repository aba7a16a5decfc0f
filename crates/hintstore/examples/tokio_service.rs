//! A service on tokio: writes are tasks, hints go to a peer over TCP, and a signal ends it in good order.
//!
//! The peer speaks a line a hint: `written payload`, and answers `ok` or `later`. It is not there at first.
//!
//! `cargo run -p hintstore --features tokio --example tokio_service`
#![expect(clippy::print_stdout, reason = "an example talks to who runs it")]

use std::{io, net::SocketAddr, time::Duration};

use hintstore::{
    Config, Durability, Event, Hint, HintStore, Page, TargetId, UnixMillis, Verdict, tokio as hints,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    time::timeout,
};
use tokio_stream::StreamExt as _;

const GC_GRACE: Duration = Duration::from_hours(240);
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends pages to the peer.
struct ToPeer(SocketAddr);

impl ToPeer {
    /// Sends a page in one go, and books what the peer says as it says it: what it took before the connection broke is
    /// not sent again.
    async fn send(&self, page: &mut Page) -> io::Result<()> {
        let mut peer = BufReader::new(TcpStream::connect(self.0).await?);
        let mut lines = Vec::new();
        for hint in page.hints() {
            lines.extend(format!("{} ", hint.body.created.get()).into_bytes());
            lines.extend_from_slice(hint.body.payload);
            lines.push(b'\n');
        }
        peer.write_all(&lines).await?;
        let mut answer = String::new();
        while !page.is_empty() {
            answer.clear();
            peer.read_line(&mut answer).await?;
            if answer.trim_end() != "ok" {
                break;
            }
            page.accept(1).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

impl hints::Delivery for ToPeer {
    async fn deliver(&self, page: &mut Page) -> Vec<Verdict> {
        match timeout(PATIENCE, self.send(page)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => println!("the peer: {error}"),
            Err(_) => println!("the peer does not answer"),
        }
        // All that it did not say `ok` to.
        vec![Verdict::Retry; page.len()]
    }
}

/// The peer: takes all that comes, and says so.
async fn peer(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            stream.write_all(b"ok\n").await?;
            line.clear();
        }
    }
}

async fn serve(folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let config = Config::new(folder).with(|config| config.start_jitter = Duration::ZERO);
    let store = tokio::task::spawn_blocking(|| HintStore::open(config)).await??;
    let delivering = hints::deliver_by(&store, &Handle::current(), ToPeer(address))?;
    let mut events = store.events();
    let replica = TargetId::from_u128(1);
    // Few may hold hints for it: delivery begins at a rate to match.
    store.set_members([replica]);

    // Writes of many users, whose replica is down: each task waits for its own hint, and no thread does.
    let writes = (0..1000).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let payload = format!("put key-{number}");
            let hint = Hint::new(replica, UnixMillis::now(), GC_GRACE, payload.as_bytes());
            store.submit(hint, Durability::Durable)?.await?;
            hintstore::Result::Ok(())
        })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await??;
    }
    println!("{} writes wait for the replica", store.ledger().pending());

    // It is back.
    let peer = tokio::spawn(peer(listener));
    store.target(replica).up();
    let drained = async { while events.next().await != Some(Event::Drained(replica)) {} };
    timeout(Duration::from_mins(1), drained).await?;
    println!(
        "{} delivered",
        store.ledger().ended(hintstore::End::Delivered)
    );

    // What a handler of SIGTERM does.
    let stopped = delivering.shutdown(Duration::from_secs(10)).await?;
    assert_eq!(stopped.pages_out, 0);
    peer.abort();
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("tokio-service-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(serve(&folder))?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
