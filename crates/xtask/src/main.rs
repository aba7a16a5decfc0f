//! `cargo xtask`: the tasks of the workspace, with the standard library only.
//!
//! `test` is what CI runs and what the README names: format, lints, tidy, docs, tests, and the
//! quickstart. The others run what is too long for that.

mod cassandra;
mod tidy;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const HELP: &str = "\
cargo xtask test          format, lints, tidy, docs, tests, quickstart: what CI runs
cargo xtask tidy          only the checks of the tree itself
cargo xtask release       hintctl without debug information, its completions and man pages: target/release
cargo xtask bench [ARGS]  one report: ratios to a naive log, in alternating rounds
cargo xtask bench parts   criterion benches of the parts
cargo xtask bench cassandra  verify, beside Cassandra's own readers on the same files
cargo xtask herd          many nodes deliver to one that came back: writes the tables of docs/herd.md
cargo xtask fuzz [SECS]   each fuzz target for SECS seconds (default 60)
cargo xtask kill --rounds N   a process that does everything at once is killed so often (500)
cargo xtask cut --rounds N    the file system under it stops, as at a power cut (50; root, ext4)
cargo xtask stress [SECS] each stress on threads for SECS seconds (default 60)
cargo xtask broken        the stress on engines that are broken on purpose: it must fail
cargo xtask loom          the shared buffer in a model checker
cargo xtask miri          bytes and the shared buffer in Miri, bytes on a big-endian machine too (nightly)
cargo xtask deny          licences, sources and doubles of the crates in Cargo.lock, and advisories (cargo-deny)
cargo xtask tsan [SECS]   the same under ThreadSanitizer (default 5)
cargo xtask verdicts      Cassandra's own verdict on every flipped bit and every cut, and ours
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let done = match args.first().map(String::as_str) {
        Some("test") => test(),
        Some("tidy") => tidy::check(&root()),
        Some("release") => release(),
        Some("bench") => bench(rest),
        Some("herd") => herd(),
        Some("verdicts") => cassandra::verdicts(),
        Some("kill") => crash("kill", rest, "500"),
        Some("cut") => crash("cut", rest, "50"),
        Some("stress") => stress(rest.first().map_or("60", String::as_str)),
        Some("broken") => broken(),
        Some("loom") => loom(),
        Some("miri") => miri(),
        Some("deny") => deny(),
        Some("tsan") => tsan(rest.first().map_or("5", String::as_str)),
        Some("fuzz") => fuzz(rest.first().map_or("60", String::as_str)),
        _ => {
            say(HELP);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&format!("xtask: {why}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a task talks to its caller")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn root() -> PathBuf {
    // As cargo says now, not as it was when this was built: two clones may share a target directory.
    let now = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = now.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_owned());
    here.ancestors().nth(2).unwrap_or(&here).to_owned()
}

fn cargo(args: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    say(&format!("$ cargo {}", args.join(" ")));
    let program = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(program)
        .args(args)
        .envs(environment.iter().copied())
        .current_dir(root())
        .status()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo {} failed", args.join(" ")))
    }
}

/// The binary is no larger than this, in bytes.
const HINTCTL_MAX: u64 = 20_000_000;

/// Builds hintctl as it is given to operators, and writes beside it what shells and readers want.
fn release() -> Result<(), String> {
    cargo(&["build", "--release", "--package", "hintctl"], &[])?;
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = target.join("release");
    let tool = folder.join("hintctl");
    let run = |args: &[&str]| {
        let done = Command::new(&tool).args(args).output();
        let done = done.map_err(|error| format!("hintctl cannot be run: {error}"))?;
        if done.status.success() {
            Ok(done.stdout)
        } else {
            Err(format!(
                "hintctl {}: {}",
                args.join(" "),
                String::from_utf8_lossy(&done.stderr)
            ))
        }
    };
    let man = folder.join("man");
    run(&["man", &man.display().to_string()])?;
    for (shell, name) in [
        ("bash", "hintctl.bash"),
        ("zsh", "_hintctl"),
        ("fish", "hintctl.fish"),
    ] {
        let script = run(&["completions", shell])?;
        fs::write(folder.join(name), script).map_err(|error| format!("{name}: {error}"))?;
    }
    let size = fs::metadata(&tool)
        .map_err(|error| format!("hintctl: {error}"))?
        .len();
    if size > HINTCTL_MAX {
        return Err(format!("hintctl has {size} bytes, more than {HINTCTL_MAX}"));
    }
    say(&format!(
        "hintctl: {size} bytes; completions and man/ beside it"
    ));
    Ok(())
}

/// Runs the simulation of a herd, and writes what it prints into its page.
fn herd() -> Result<(), String> {
    let run = [
        "run",
        "--release",
        "--quiet",
        "-p",
        "hintstore-benches",
        "--example",
        "herd",
    ];
    say(&format!("$ cargo {} (some minutes)", run.join(" ")));
    let done = Command::new("cargo").args(run).current_dir(root()).output();
    let done = done.map_err(|error| format!("cargo cannot be run: {error}"))?;
    let tables = String::from_utf8_lossy(&done.stdout);
    if !done.status.success() {
        return Err(format!(
            "the simulation failed:\n{}",
            String::from_utf8_lossy(&done.stderr)
        ));
    }
    let path = root().join("docs/herd.md");
    let page = fs::read_to_string(&path).map_err(|error| format!("docs/herd.md: {error}"))?;
    let (begin, end) = ("<!-- begin -->\n", "<!-- end -->");
    let (before, rest) = page.split_once(begin).ok_or("docs/herd.md has no begin")?;
    let (_, after) = rest.split_once(end).ok_or("docs/herd.md has no end")?;
    let page = format!("{before}{begin}{tables}\n{end}{after}");
    fs::write(&path, page).map_err(|error| format!("docs/herd.md: {error}"))
}

/// The shared buffer in a model checker: all holds, and a buffer that publishes its places without an order
/// is found out.
fn loom() -> Result<(), String> {
    let target = root().join("target/loom");
    let test = [
        "test",
        "--package",
        "hintstore-env",
        "--test",
        "loom",
        "--release",
    ];
    let run = |flags: &str| {
        say(&format!("$ RUSTFLAGS=\"{flags}\" cargo {}", test.join(" ")));
        Command::new("cargo")
            .args(test)
            .env("RUSTFLAGS", flags)
            .env("CARGO_TARGET_DIR", &target)
            .current_dir(root())
            .output()
            .map_err(|error| format!("cargo cannot be run: {error}"))
    };
    let checked = run("--cfg loom")?;
    if !checked.status.success() {
        let text = String::from_utf8_lossy(&checked.stdout);
        return Err(format!("the model check failed:\n{text}"));
    }
    let mutant = run("--cfg loom --cfg loom_mutant")?;
    let found = String::from_utf8_lossy(&mutant.stdout).contains("test result: FAILED");
    if found {
        Ok(())
    } else {
        Err("the model check does not find a buffer without an order".to_owned())
    }
}

/// Bytes and the shared buffer under Miri; the bytes also as a big-endian machine has them.
fn miri() -> Result<(), String> {
    // Tests that go through every bit of a file take hours there.
    let short = ["--", "--skip", "any_", "--skip", "every_"];
    let runs: [&[&str]; 3] = [
        &["-p", "hintstore-format", "--lib"],
        &["-p", "hintstore-env", "--lib", "shared_buffer"],
        &[
            "-p",
            "hintstore-format",
            "--lib",
            "--target",
            "s390x-unknown-linux-gnu",
        ],
    ];
    for run in runs {
        let args = [&["+nightly", "miri", "test"], run, &short].concat();
        say(&format!("$ cargo {}", args.join(" ")));
        // By its proxy: the cargo that runs this is of one toolchain.
        let status = Command::new("cargo")
            .args(args)
            .env_remove("RUSTUP_TOOLCHAIN")
            .env("CARGO_TARGET_DIR", root().join("target/miri"))
            .current_dir(root())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(
                "Miri found something, or is not there: rustup +nightly component add miri"
                    .to_owned(),
            );
        }
    }
    Ok(())
}

/// What `deny.toml` allows. The list of advisories comes from the network; without it, only that part is skipped.
fn deny() -> Result<(), String> {
    cargo(&["fetch", "--locked"], &[])?;
    let check = |args: &[&str]| cargo(&[&["deny"], args].concat(), &[]);
    check(&["--offline", "check", "licenses", "bans", "sources"])?;
    if check(&["fetch"]).is_err() {
        say("skipped: advisories, the database cannot be fetched");
        return Ok(());
    }
    check(&["--offline", "check", "advisories"])
}

/// Examples that an embedder begins with.
const EXAMPLES: [&str; 4] = ["cdn_purge", "custom_delivery", "tokio_service", "toy_node"];

/// The tests come last, so that their closing lines are the last that is printed.
fn test() -> Result<(), String> {
    component("rustfmt", &["fmt", "--all", "--check"])?;
    component(
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    tidy::check(&root())?;
    loom()?;
    let strict = [("RUSTDOCFLAGS", "-D warnings")];
    cargo(
        &[
            "doc",
            "--workspace",
            "--no-deps",
            "--all-features",
            "--quiet",
        ],
        &strict,
    )?;
    cargo(
        &[
            "run",
            "--release",
            "--package",
            "hintctl",
            "--quiet",
            "--",
            "quickstart",
        ],
        &[],
    )?;
    release()?;
    cargo(
        &["check", "--package", "hintstore", "--no-default-features"],
        &[],
    )?;
    for example in EXAMPLES {
        let run = ["run", "--package", "hintstore", "--all-features"];
        let args = [run.as_slice(), &["--quiet", "--example", example]].concat();
        cargo(&args, &[])?;
    }
    cargo(&["test", "--workspace", "--doc", "--all-features"], &[])?;
    cargo(
        &[
            "test",
            "--workspace",
            "--exclude",
            "hintstore",
            "--lib",
            "--bins",
            "--tests",
        ],
        &[],
    )?;
    cargo(
        &[
            "test",
            "--package",
            "hintstore",
            "--all-features",
            "--lib",
            "--tests",
        ],
        &[],
    )
}

/// A check that needs a component of the toolchain: without it, it is skipped aloud, and fails
/// where `CI` is set.
fn component(name: &str, args: &[&str]) -> Result<(), String> {
    let subcommand = args.first().copied().unwrap_or_default();
    let there = Command::new("cargo")
        .args([subcommand, "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if there {
        return cargo(args, &[]);
    }
    if env::var_os("CI").is_some() {
        return Err(format!(
            "{name} is not installed: rustup component add {name}"
        ));
    }
    say(&format!("skipped: {name} is not installed"));
    Ok(())
}

/// One report of alternating rounds; or, by name, the criterion benches of the parts.
fn bench(rest: &[String]) -> Result<(), String> {
    if let Some((_, rest)) = rest.split_first().filter(|(first, _)| *first == "parts") {
        let mut args = vec!["bench", "--package", "hintstore-benches", "--"];
        args.extend(rest.iter().map(String::as_str));
        return cargo(&args, &[]);
    }
    if rest.first().is_some_and(|first| first == "cassandra") {
        return cassandra::bench();
    }
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let folder = folder.to_string_lossy().into_owned();
    let mut args = vec!["run", "--release", "--package", "hintctl", "--", "bench"];
    args.push(&folder);
    args.extend(rest.iter().map(String::as_str));
    cargo(&args, &[])
}

/// The crash loops of the engine. Every test run has a share of them.
fn crash(what: &str, rest: &[String], usual: &str) -> Result<(), String> {
    let rounds = match rest {
        [] => usual,
        [flag, rounds] if flag == "--rounds" => rounds,
        _ => return Err(format!("say: cargo xtask {what} --rounds N")),
    };
    let mut args = vec!["test", "--release", "--package", "hintstore", "--test"];
    args.extend(["crash", "--", what, "--rounds", rounds]);
    cargo(&args, &[])
}

const STRESS: [&str; 6] = ["--package", "hintstore", "--test", "it", "--", "threads"];

fn stress(seconds: &str) -> Result<(), String> {
    let args = [["test", "--release"].as_slice(), &STRESS].concat();
    cargo(&args, &[("STRESS_SECONDS", seconds)])
}

/// Takes a fix out, in a copy of the last commit, and sees the test fail that its patch is named after:
/// `room.test.patch`, or `room.test.what.patch`.
fn broken() -> Result<(), String> {
    let patches = root().join("crates/hintstore/tests/broken");
    let (tree, build) = (
        root().join("target/broken/tree"),
        root().join("target/broken/build"),
    );
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(|error| error.to_string())?;
    }
    let git = |args: &[&str]| {
        let status = Command::new("git").args(args).current_dir(root()).status();
        if status.is_ok_and(|status| status.success()) {
            Ok(())
        } else {
            Err(format!("git {} failed", args.join(" ")))
        }
    };
    let copy = tree.to_string_lossy().into_owned();
    git(&["clone", "--quiet", "--shared", ".", &copy])?;
    let found = fs::read_dir(&patches).map_err(|error| error.to_string())?;
    for patch in found {
        let patch = patch.map_err(|error| error.to_string())?.path();
        let Some(name) = patch.file_stem().and_then(|name| name.to_str()) else {
            continue;
        };
        let mut parts = name.split('.');
        let (Some(room), Some(test)) = (parts.next(), parts.next()) else {
            return Err(format!("{name}: the patch names no room and no test"));
        };
        say(&format!("without the fix that {name} is of:"));
        git(&["-C", &copy, "checkout", "--quiet", "--force", "."])?;
        git(&["-C", &copy, "apply", &patch.to_string_lossy()])?;
        let output = Command::new("cargo")
            .args([
                "test",
                "--quiet",
                "--package",
                "hintstore",
                "--test",
                "it",
                "--",
            ])
            .arg(format!("{room}::{test}"))
            .env("CARGO_TARGET_DIR", &build)
            .env("STRESS_SECONDS", "20")
            .current_dir(&tree)
            .output()
            .map_err(|error| format!("cargo cannot be run: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !said.contains("test result: FAILED. 0 passed; 1 failed") {
            return Err(format!("{name} does not find it: {said}"));
        }
    }
    say("each broken engine was found out");
    Ok(())
}

/// The standard library is built with the sanitizer as well: what it synchronises would be taken for
/// races otherwise. Its source is a component of the toolchain.
fn tsan(seconds: &str) -> Result<(), String> {
    let added = Command::new("rustup")
        .args(["component", "add", "rust-src"])
        .status();
    if !added.is_ok_and(|status| status.success()) {
        return Err("rust-src is not installed: rustup component add rust-src".to_owned());
    }
    let target = "x86_64-unknown-linux-gnu";
    let folder = root().join("target/tsan").to_string_lossy().into_owned();
    let build = ["test", "-Zbuild-std", "--target", target, "--target-dir"];
    let args = [build.as_slice(), &[&folder], &STRESS].concat();
    let environment = [
        ("RUSTC_BOOTSTRAP", "1"),
        ("RUSTFLAGS", "-Zsanitizer=thread"),
        ("STRESS_SECONDS", seconds),
    ];
    cargo(&args, &environment)
}

/// Runs on the stable toolchain: the sanitizers only want to be asked for.
fn fuzz(seconds: &str) -> Result<(), String> {
    let folder = root().join("fuzz");
    let targets = fs::read_dir(folder.join("fuzz_targets"))
        .map_err(|error| format!("fuzz/fuzz_targets: {error}"))?;
    for target in targets {
        let path = target.map_err(|error| error.to_string())?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else {
            continue;
        };
        say(&format!("$ cargo fuzz run {name}"));
        let status = Command::new("cargo")
            .args([
                "fuzz",
                "run",
                name,
                "--",
                &format!("-max_total_time={seconds}"),
            ])
            .env("RUSTC_BOOTSTRAP", "1")
            .current_dir(&folder)
            .status()
            .map_err(|error| format!("cargo fuzz cannot be run: {error}"))?;
        if !status.success() {
            return Err(format!(
                "{name} found something, or cargo-fuzz is not installed"
            ));
        }
    }
    Ok(())
}
