//! Speaks to a node.

use std::{
    error, fmt,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::message::{Answer, Reply, Request, Status};

/// A status of a hundred thousand targets is shorter.
const ANSWER_MAX: u64 = 64 << 20;
/// A node that does not answer for this long hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a node.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the socket of a node.
    ///
    /// # Errors
    /// [`ClientError::Io`] where nobody serves it, or this user may not.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connect = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let stream = connect().map_err(|source| ClientError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            stream: BufReader::new(stream),
        })
    }

    /// Waits no longer than this for an answer; by default half a minute. A node that did not answer in time may do so
    /// later: connect again.
    ///
    /// # Errors
    /// [`ClientError::Io`].
    pub fn set_patience(&mut self, patience: Duration) -> Result<(), ClientError> {
        let stream = self.stream.get_ref();
        let set = stream.set_read_timeout(Some(patience));
        set.map_err(|source| ClientError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// Has something done.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where the node did not do it; [`ClientError::Io`].
    pub fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        match self.exchange(request) {
            Ok(Answer::Ok(reply)) => Ok(*reply),
            Ok(Answer::Error(why)) => Err(ClientError::Refused(why)),
            Err(source) => Err(ClientError::Io {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// What goes on.
    ///
    /// # Errors
    /// As those of [`Self::ask`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(status),
            Reply::Done(done) => Err(ClientError::Refused(format!("no status: {done}"))),
        }
    }

    fn exchange(&mut self, request: &Request) -> io::Result<Answer> {
        let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
        line.push(b'\n');
        let sent = self.stream.get_mut().write_all(&line);
        let mut answer = String::new();
        // One that is refused is answered before it asked: that says more than its broken pipe.
        let read = (&mut self.stream).take(ANSWER_MAX).read_line(&mut answer);
        if answer.is_empty() {
            sent?;
            read?;
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the node ended the connection",
            ));
        }
        if !answer.ends_with('\n') {
            read?;
            let text = "the answer has no end: this is no node of hintstore, or it went away";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        serde_json::from_str(&answer).map_err(|error| {
            let text = format!("this is no admin socket of hintstore ({error})");
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }
}

/// Why a request came to nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The socket.
    Io {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The node did not do it, and says why.
    Refused(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => {
                let path = path.display();
                match source.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => write!(
                        f,
                        "nobody serves {path}: start the node, or name the socket that its settings name ({source})"
                    ),
                    io::ErrorKind::PermissionDenied => write!(
                        f,
                        "{path} is not for this user: become the one that the node runs as ({source})"
                    ),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        write!(f, "{path}: the node does not answer: its disk may hang")
                    }
                    _ => write!(f, "{path}: {source}"),
                }
            }
            Self::Refused(why) => f.write_str(why),
        }
    }
}

// What the system says is part of the text: it has no source that says it again.
impl error::Error for ClientError {}
