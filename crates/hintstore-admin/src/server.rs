//! Serves the socket: a thread that accepts, and one for each connection, a few at most.

use std::{
    fmt, fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, TryLockError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use hintstore::{Config, HintStore, WeakHintStore};
use rustix::{
    net::{Shutdown, shutdown, sockopt::socket_peercred},
    process::geteuid,
};

use crate::{
    message::{Answer, LINE_MAX, Request},
    perform::{Reload, perform},
};

/// Clients at once: for one more, the one that came first is let go.
const CLIENTS_MAX: usize = 8;
/// A second, in which a look that goes on may end.
const LOOK_TRIES: u32 = 100;
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// A client that says nothing for this long is let go.
const IDLE_MAX: Duration = Duration::from_mins(5);
/// A client that does not read what it asked for is let go.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// What is to be served: see [`Admin::of`].
pub struct AdminBuilder {
    store: WeakHintStore,
    reload: Option<Arc<Reload>>,
}

impl AdminBuilder {
    /// What `reload` does: reads the settings of the node again, and gives what it did in words, or why it did not.
    #[must_use]
    pub fn reload(
        mut self,
        reload: impl Fn(&HintStore) -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        self.reload = Some(Arc::new(reload));
        self
    }

    /// What `reload` does where the settings are a file as [`Config::from_toml`] reads it.
    #[must_use]
    pub fn reload_from(self, file: impl Into<PathBuf>) -> Self {
        let file = file.into();
        self.reload(move |store| {
            let name = file.display();
            let text = fs::read_to_string(&file).map_err(|error| format!("{name}: {error}"))?;
            let config = Config::from_toml(&text).map_err(|error| format!("{name}: {error}"))?;
            let set = store.reconfigure(|now| *now = config);
            set.map_err(|error| format!("{name}: {error}"))?;
            Ok(format!("the settings are those of {name}"))
        })
    }

    /// Serves a socket at this path, until what it gives is dropped. A socket that a process left behind, which is gone, is
    /// replaced.
    ///
    /// # Errors
    /// Where another process serves it, something else is there, or the system refuses.
    pub fn serve(self, path: &Path) -> io::Result<Admin> {
        clear(path)?;
        let listener = Arc::new(UnixListener::bind(path)?);
        // Until then the kernel's word for who the other side is keeps others out.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let inode = fs::symlink_metadata(path)?.ino();
        let shared = Arc::new(Shared {
            store: self.store,
            reload: self.reload,
            is_over: AtomicBool::new(false),
            looking: Mutex::new(()),
        });
        let (serving, accepting) = (shared.clone(), listener.clone());
        let accepting = thread::Builder::new()
            .name("hint admin".to_owned())
            .spawn(move || accept(&accepting, &serving))?;
        Ok(Admin {
            path: path.to_owned(),
            inode,
            listener,
            shared,
            accepting: Some(accepting),
        })
    }
}

impl fmt::Debug for AdminBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminBuilder")
    }
}

/// Makes way for a socket: what a process left behind goes.
fn clear(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let name = path.display();
    if !kind.is_socket() {
        let text = format!("{name} is there and no socket: name another path");
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => {
            let text = format!("another process serves {name}");
            Err(io::Error::new(io::ErrorKind::AddrInUse, text))
        }
    }
}

/// A socket that is served. Dropped, it is gone, and so are its clients; the store goes on, and it does not keep the store
/// open.
#[must_use = "dropped, the socket is gone"]
pub struct Admin {
    path: PathBuf,
    /// Of the socket, so that no other is removed.
    inode: u64,
    listener: Arc<UnixListener>,
    shared: Arc<Shared>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Admin {
    /// Begins to say what is to be served.
    pub fn of(store: &HintStore) -> AdminBuilder {
        AdminBuilder {
            store: store.downgrade(),
            reload: None,
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admin({})", self.path.display())
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.shared.is_over.store(true, SeqCst);
        // First: who connects from here on finds nobody. Somebody else may have removed it.
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|of| of.ino() == self.inode);
        if is_ours {
            drop(fs::remove_file(&self.path));
        }
        // Wakes who accepts.
        let is_woken = shutdown(&*self.listener, Shutdown::Both).is_ok();
        if let Some(accepting) = self.accepting.take().filter(|_| is_woken) {
            drop(accepting.join());
        }
    }
}

struct Shared {
    store: WeakHintStore,
    reload: Option<Arc<Reload>>,
    is_over: AtomicBool,
    /// Held while somebody looks at all targets, which waits for a disk that hangs: no more than one does.
    looking: Mutex<()>,
}

impl Shared {
    /// A turn to look; nothing where the look before takes long.
    fn look(&self) -> Option<MutexGuard<'_, ()>> {
        for _ in 0..LOOK_TRIES {
            match self.looking.try_lock() {
                Ok(turn) => return Some(turn),
                Err(TryLockError::Poisoned(turn)) => return Some(turn.into_inner()),
                Err(TryLockError::WouldBlock) => thread::park_timeout(LOOK_PAUSE),
            }
        }
        None
    }
}

/// A client that is served.
struct Serving {
    stream: UnixStream,
    thread: thread::JoinHandle<()>,
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    let mut clients: Vec<Serving> = Vec::new();
    loop {
        let accepted = listener.accept();
        if shared.is_over.load(SeqCst) {
            break;
        }
        clients.retain(|client| !client.thread.is_finished());
        let Ok((stream, _)) = accepted else {
            // No descriptor is left, or so: it may be over in a moment.
            thread::park_timeout(Duration::from_millis(100));
            continue;
        };
        if clients.len() >= CLIENTS_MAX {
            // Who came first goes: an operator who comes now is not locked out by those who say nothing. Its thread
            // ends with its connection.
            drop(clients.remove(0).stream.shutdown(std::net::Shutdown::Both));
        }
        if let Some(why) = refused(&stream) {
            // Who is not answered may not read either.
            drop(answer(&stream, &Answer::Error(why)));
            continue;
        }
        // Without descriptor or thread the client sees its connection end.
        clients.extend(serve(stream, shared).ok());
    }
    for client in clients {
        // It may have gone by itself.
        drop(client.stream.shutdown(std::net::Shutdown::Both));
        drop(client.thread.join());
    }
}

fn serve(stream: UnixStream, shared: &Arc<Shared>) -> io::Result<Serving> {
    let (client, shared) = (stream.try_clone()?, shared.clone());
    let thread = thread::Builder::new().name("hint admin".to_owned());
    let thread = thread.spawn(move || {
        // What it ends by, the client sees as the end of its connection.
        drop(talk(&client, &shared));
        drop(client.shutdown(std::net::Shutdown::Both));
    })?;
    Ok(Serving { stream, thread })
}

/// Why the other side is not answered, if it is not.
fn refused(stream: &UnixStream) -> Option<String> {
    // At once, whatever the other side does: who is refused holds nobody up.
    let bounds = stream.set_write_timeout(Some(WRITE_MAX));
    let bounds = bounds.and_then(|()| stream.set_read_timeout(Some(IDLE_MAX)));
    if let Err(error) = bounds {
        return Some(error.to_string());
    }
    match socket_peercred(stream) {
        Ok(peer) if peer.uid == geteuid() || peer.uid.is_root() => None,
        Ok(peer) => Some(format!(
            "user {} may not: only the user that the node runs as, or root",
            peer.uid.as_raw()
        )),
        Err(error) => Some(format!("the system does not say who asks: {error}")),
    }
}

fn talk(stream: &UnixStream, shared: &Shared) -> io::Result<()> {
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let room = LINE_MAX as u64 + 1;
        let read = (&mut lines).take(room).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if line.len() > LINE_MAX {
            let why = format!("a request is a line of {LINE_MAX} bytes at most");
            return answer(stream, &Answer::Error(why));
        }
        answer(stream, &respond(&line, shared))?;
    }
}

fn respond(line: &[u8], shared: &Shared) -> Answer {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return Answer::Error(format!("not a request: {error}")),
    };
    let Some(store) = shared.store.upgrade() else {
        return Answer::Error("the store is closed".to_owned());
    };
    let looking = matches!(request, Request::Status).then(|| shared.look());
    if matches!(looking, Some(None)) {
        return Answer::Error("another look does not come back: the disk may hang".to_owned());
    }
    match perform(&store, &request, shared.reload.as_deref()) {
        Ok(reply) => Answer::Ok(Box::new(reply)),
        Err(why) => Answer::Error(why),
    }
}

fn answer(stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut stream = stream;
    stream.write_all(&line)
}
