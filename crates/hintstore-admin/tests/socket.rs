//! The socket as clients see it: right ones, wrong ones, and those who may not.
#![expect(clippy::unwrap_used, reason = "tests say what went wrong by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    time::Duration,
};

use hintstore::{Bytes, Config, Durability, Hint, HintStore, TargetId, TargetState, UnixMillis};
use hintstore_admin::{
    Admin, Client, ClientError,
    message::{LINE_MAX, Reply, Request},
};

/// A folder that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "hintstore-admin-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, SeqCst)
        );
        let path = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> HintStore {
        HintStore::open(Config::new(self.0.join("hints"))).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.0.join("hints.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

const TARGET: TargetId = TargetId::from_u128(7);

fn keep(store: &HintStore) {
    let hint = Hint::new(TARGET, UnixMillis::now(), Duration::from_hours(1), b"put");
    store.append(hint, Durability::Os).unwrap();
}

fn done(reply: Result<Reply, ClientError>) -> String {
    match reply.unwrap() {
        Reply::Done(done) => done,
        other => unreachable!("{other:?}"),
    }
}

fn why_not<T: std::fmt::Debug>(reply: Result<T, ClientError>) -> String {
    reply.unwrap_err().to_string()
}

#[test]
fn an_operator_watches_and_steers() {
    let place = Place::new();
    let store = place.store();
    keep(&store);
    store.target(TARGET).up();
    let settings = place.0.join("hints.toml");
    let admin = Admin::of(&store)
        .reload_from(&settings)
        .serve(&place.socket())
        .unwrap();
    let mode = fs::metadata(place.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let mut client = Client::connect(&place.socket()).unwrap();
    let status = client.status().unwrap();
    assert_eq!((status.store, status.pending), (store.id().to_string(), 1));
    let [of] = &status.targets[..] else {
        unreachable!("{:?}", status.targets);
    };
    assert_eq!((of.state.as_str(), of.pending), ("up", 1));
    assert!(of.next_expiry_ms.is_some() && of.window_bytes > 0);

    let target = || TARGET.to_string();
    let words = done(client.ask(&Request::Pause { target: target() }));
    assert!(words.contains("paused"), "{words}");
    assert_eq!(store.target(TARGET).state(), TargetState::Paused);
    let words = done(client.ask(&Request::Resume { target: target() }));
    assert!(words.ends_with("up"), "{words}");

    let limit = |target, bytes_per_second| Request::Limit {
        target,
        bytes_per_second,
    };
    done(client.ask(&limit(Some(target()), Some(1 << 20))));
    assert_eq!(
        store.target(TARGET).snapshot().unwrap().limit,
        Some(Bytes::mib(1))
    );
    done(client.ask(&limit(Some(target()), None)));
    assert_eq!(store.target(TARGET).snapshot().unwrap().limit, None);
    done(client.ask(&limit(None, Some(2 << 20))));
    assert_eq!(store.config().deliver_bytes_per_second, Some(Bytes::mib(2)));
    let nobody = TargetId::from_u128(0xdead).to_string();
    let words = why_not(client.ask(&Request::Pause { target: nobody }));
    assert!(words.contains("no target of this store"), "{words}");
    let words = why_not(client.ask(&limit(None, Some(0))));
    assert!(words.contains("pause the target"), "{words}");
    let pause = Request::Pause {
        target: "seven".to_owned(),
    };
    assert!(why_not(client.ask(&pause)).contains("`seven`"));

    // Settings: none, wrong ones, ones that are fixed, right ones.
    let words = why_not(client.ask(&Request::Reload));
    assert!(words.contains("hints.toml"), "{words}");
    let directory = place.0.join("hints");
    let write = |text: &str| {
        fs::write(
            &settings,
            format!("directory = '{}'\n{text}", directory.display()),
        )
        .unwrap();
    };
    write("hint_windw = '6h'");
    assert!(why_not(client.ask(&Request::Reload)).contains("did you mean hint_window?"));
    write("memory = '8 MiB'");
    let words = why_not(client.ask(&Request::Reload));
    assert!(words.contains("memory"), "{words}");
    assert_eq!(store.config().deliver_bytes_per_second, Some(Bytes::mib(2)));
    write("deliver_bytes_per_second = '3 MiB'");
    done(client.ask(&Request::Reload));
    assert_eq!(store.config().deliver_bytes_per_second, Some(Bytes::mib(3)));
    drop(admin);
    assert!(matches!(client.status(), Err(ClientError::Io { .. })));
    assert!(!place.socket().exists());
    store.close().unwrap();
}

#[test]
fn a_node_without_settings_says_so_and_a_closed_store_as_well() {
    let place = Place::new();
    let store = place.store();
    let _admin = Admin::of(&store).serve(&place.socket()).unwrap();
    let mut client = Client::connect(&place.socket()).unwrap();
    assert!(why_not(client.ask(&Request::Reload)).contains("no settings"));
    drop(store);
    assert!(why_not(client.status()).contains("closed"));
}

#[test]
fn whatever_is_sent_ends_nothing_but_its_own_connection() {
    let place = Place::new();
    let store = place.store();
    let _admin = Admin::of(&store).serve(&place.socket()).unwrap();
    let say = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(place.socket()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        // One that is refused in the middle does not read to the end.
        drop(stream.write_all(bytes));
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer));
        answer
    };
    for wrong in [
        b"\n".as_slice(),
        b"status\n",
        b"{\"do\":\"explode\"}\n",
        b"{\"do\":\"pause\"}\n",
        b"{\"do\":\"pause\",\"target\":\"\",\"more\":1}\n",
        b"{\"do\":\"limit\"}\n",
        b"\xff\xfe\n",
        b"[[[[[[[[[[[[[[\n",
    ] {
        let answer = say(wrong);
        assert!(answer.contains("\"error\":\"not a request"), "{answer}");
    }
    assert_eq!(say(b""), "");
    let answer = say(&vec![b' '; LINE_MAX + 10]);
    assert!(answer.contains("65536 bytes at most"), "{answer}");
    let nested = "[".repeat(60_000) + "\n";
    assert!(say(nested.as_bytes()).contains("not a request"));
    // Without an end, two in one go, and one in two.
    assert!(say(b"{\"do\":\"status\"}").contains("\"ok\""));
    let answer = say(b"{\"do\":\"status\"}\n{\"do\":\"status\"}\n");
    assert_eq!(answer.lines().count(), 2);
    let mut stream = UnixStream::connect(place.socket()).unwrap();
    stream.write_all(b"{\"do\":").unwrap();
    stream.write_all(b"\"status\"}\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"ok\":{\"status\":{"), "{line}");
    assert_eq!(
        Client::connect(&place.socket())
            .unwrap()
            .status()
            .unwrap()
            .pending,
        0
    );
}

#[test]
fn who_says_nothing_locks_nobody_out_and_ends_with_it() {
    let place = Place::new();
    let store = place.store();
    let admin = Admin::of(&store).serve(&place.socket()).unwrap();
    let clients: Vec<UnixStream> = (0..8)
        .map(|_| UnixStream::connect(place.socket()).unwrap())
        .collect();
    // One more: the first of them goes.
    let mut ninth = Client::connect(&place.socket()).unwrap();
    ninth.status().unwrap();
    let mut first = &clients[0];
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
    let mut hangs = UnixStream::connect(place.socket()).unwrap();
    drop(admin);
    assert_eq!(hangs.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_nothing_else_is() {
    let place = Place::new();
    let store = place.store();
    drop(UnixListener::bind(place.socket()).unwrap());
    assert!(place.socket().exists());
    let admin = Admin::of(&store).serve(&place.socket()).unwrap();
    let second = Admin::of(&store).serve(&place.socket()).unwrap_err();
    assert!(
        second.to_string().contains("another process serves"),
        "{second}"
    );
    // Somebody takes the path away, and has a socket of their own: that stays.
    fs::remove_file(place.socket()).unwrap();
    let other = UnixListener::bind(place.socket()).unwrap();
    drop(admin);
    assert!(place.socket().exists());
    drop(other);
    fs::remove_file(place.socket()).unwrap();
    fs::write(place.socket(), "a file").unwrap();
    let wrong = Admin::of(&store).serve(&place.socket()).unwrap_err();
    assert!(wrong.to_string().contains("no socket"), "{wrong}");
    assert_eq!(fs::read_to_string(place.socket()).unwrap(), "a file");
    let nowhere = Admin::of(&store).serve(&place.0.join("no/where.sock"));
    assert!(nowhere.is_err());
}

#[test]
fn another_user_is_not_answered_even_where_the_mode_lets_it_in() {
    const SCRIPT: &str = r#"
        # It may be answered, and let go, before it asked.
        $SIG{PIPE} = "IGNORE";
        my $socket = IO::Socket::UNIX->new($ARGV[0]) or die "connect: $!";
        print $socket "{\"do\":\"status\"}\n";
        print scalar <$socket>;"#;
    let place = Place::new();
    let store = place.store();
    let _admin = Admin::of(&store).serve(&place.socket()).unwrap();
    let ask = |path: &PathBuf| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.args(["/usr/bin/perl", "-MIO::Socket::UNIX", "-e", SCRIPT]);
        command.arg(path);
        command.output()
    };
    let Ok(first) = ask(&place.socket()).map_err(drop) else {
        return skipped("setpriv is not here");
    };
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    if said.contains("setpriv:") || !rustix::process::geteuid().is_root() {
        return skipped("only root may become another user");
    }
    assert!(said.contains("connect: Permission denied"), "{said}");
    for path in [&place.0, &place.socket()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let second = ask(&place.socket()).unwrap();
    let said = String::from_utf8_lossy(&second.stdout).into_owned();
    assert!(said.contains("user 65534 may not"), "{second:?}");
}

/// Says that a check is skipped, past the capture of tests; where `CI` is set that is an error.
fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    std::io::stderr()
        .write_all(format!("skipped: {why}\n").as_bytes())
        .unwrap();
}
