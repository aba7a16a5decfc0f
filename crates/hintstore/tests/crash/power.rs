//! A power cut of a mounted file system.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use crate::mount::Mounted;

/// `EXT4_IOC_SHUTDOWN` without a flush of the journal: nothing is written from then on, and what was
/// not is lost. The standard library has no ioctl, and Python does.
const SHUTDOWN: &str = "\
import fcntl, os, struct, sys
directory = os.open(sys.argv[1], os.O_RDONLY)
print('open', flush=True)
sys.stdin.readline()
fcntl.ioctl(directory, 0x8004587d, struct.pack('I', 2))";

/// Stops the file system, as a power cut does; calls `stops` right before.
pub(crate) fn cut(mounted: &Mounted, stops: &dyn Fn()) {
    let mut python = Command::new("python3")
        .args(["-c", SHUTDOWN])
        .arg(&mounted.at)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let said = BufReader::new(python.stdout.take().unwrap()).read_line(&mut line);
    assert_eq!((said.unwrap(), line.as_str()), (5, "open\n"));
    stops();
    python.stdin.take().unwrap().write_all(b"\n").unwrap();
    let status = python.wait().unwrap();
    assert!(status.success(), "the file system does not stop: {status}");
}
