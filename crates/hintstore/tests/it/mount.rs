//! A file system of its own, until it is dropped.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::Command,
};

pub(crate) struct Mounted {
    pub(crate) at: PathBuf,
    image: Option<PathBuf>,
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let done = Command::new(program).args(args).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!(
        "{program}: {}",
        String::from_utf8_lossy(&done.stderr)
    ))
}

impl Mounted {
    /// `tmpfs`, or `ext4` in a file, of this number of MiB.
    pub(crate) fn new(kind: &str, name: &str, mib: u64) -> Result<Self, String> {
        let name = format!("hintstore-{name}-{kind}-{}", std::process::id());
        let at = std::env::temp_dir().join(name);
        fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        let mut mounted = Self { image: None, at };
        let at = mounted.at.to_string_lossy().into_owned();
        if kind == "tmpfs" {
            let size = format!("size={mib}m");
            run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &at])?;
            return Ok(mounted);
        }
        let image = mounted.at.with_extension("image");
        let path = image.to_string_lossy().into_owned();
        run("truncate", &["-s", &format!("{mib}M"), &path])?;
        run("mkfs.ext4", &["-qF", &path])?;
        mounted.image = Some(image);
        mounted.mount()?;
        Ok(mounted)
    }

    pub(crate) fn mount(&self) -> Result<(), String> {
        let image = self.image.as_ref().map(|path| path.to_string_lossy());
        let at = self.at.to_string_lossy();
        run("mount", &["-o", "loop", &image.unwrap_or_default(), &at])
    }
}

impl Mounted {
    pub(crate) fn unmount(&self) -> Result<(), String> {
        run("umount", &[&self.at.to_string_lossy()])
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(self.unmount());
        drop(fs::remove_dir(&self.at));
        self.image.take().map(fs::remove_file);
    }
}

/// Whether this process has the capability to mount.
fn may_mount() -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    held.is_some_and(|held| held >> CAP_SYS_ADMIN & 1 == 1)
}

/// Says that a check is skipped, past the capture of tests. A container without the right to mount is
/// no machine to fail on, another one is where `CI` is set.
pub(crate) fn skipped(what: &str, why: &str) {
    let text = format!("skipped: no {what}: {why}\n");
    io::stderr().write_all(text.as_bytes()).unwrap();
    let ci = std::env::var_os("CI").is_some() && may_mount();
    assert!(!ci, "{what}: {why}");
}
