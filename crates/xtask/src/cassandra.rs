//! What needs Cassandra's own classes: Maven, a JDK of 17 or later, and time.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{cargo, root, say};

type Done = Result<(), String>;

/// The reader, built in a folder of its own.
struct Reader {
    out: PathBuf,
    classpath: String,
    options: String,
    schema: PathBuf,
}

/// Builds the reader, uses it, and removes all of it.
fn with_reader(name: &str, use_it: impl FnOnce(&Reader) -> Done) -> Done {
    let out = env::temp_dir().join(format!("hintstore-{name}-{}", std::process::id()));
    let done = Reader::build(&out).and_then(|reader| use_it(&reader));
    drop(fs::remove_dir_all(&out));
    done
}

fn failed(what: &str) -> String {
    format!("{what} failed")
}

impl Reader {
    fn build(out: &Path) -> Result<Self, String> {
        let interop = root().join("interop/cassandra");
        let classpath = out.join("classpath");
        let status = Command::new("mvn")
            .args(["-q", "-B", "-Dstyle.color=never"])
            .arg(format!("-Dout={}", out.display()))
            .arg(format!("-Dmdep.outputFile={}", classpath.display()))
            .args(["compile", "dependency:build-classpath"])
            .current_dir(&interop)
            .status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(failed("mvn"));
        }
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| error.to_string());
        let dependencies = read(&classpath)?;
        Ok(Self {
            out: out.to_owned(),
            classpath: format!("{}:{}", out.join("classes").display(), dependencies.trim()),
            options: read(&interop.join("jvm.options"))?,
            schema: root().join("testdata/cassandra/schema.cql"),
        })
    }

    /// Runs it; gives what it prints.
    fn run(&self, command: &str, file: &Path) -> Result<String, String> {
        let output = Command::new("java")
            .args(self.options.split_whitespace())
            .arg(format!("-Dinterop.scratch={}", self.out.display()))
            .args([
                "-cp",
                &self.classpath,
                "org.apache.cassandra.hints.Interop",
                command,
            ])
            .args([&self.schema, file])
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("java cannot be run: {error}"))?;
        if !output.status.success() {
            return Err(failed("java"));
        }
        String::from_utf8(output.stdout).map_err(|error| error.to_string())
    }
}

/// Two small files, each with every bit flipped and cut at every byte, as Cassandra's own readers
/// take them and as we say they do.
pub(crate) fn verdicts() -> Done {
    with_reader("verdicts", |reader| {
        for folder in ["damaged/original", "damaged/original-lz4"] {
            let file = hint_file(&root().join("testdata/cassandra").join(folder));
            let file = file.ok_or_else(|| failed(folder))?;
            say(&format!(
                "Cassandra reads {} in every damage",
                file.display()
            ));
            let lines = reader.out.join("lines");
            fs::write(&lines, reader.run("damage", &file)?).map_err(|error| error.to_string())?;
            example("verdicts", &[&reader.schema, &file, &lines])?;
        }
        Ok(())
    })
}

fn example(name: &str, args: &[&Path]) -> Done {
    let args: Vec<String> = args.iter().map(|arg| arg.display().to_string()).collect();
    let mut all = vec![
        "run",
        "--release",
        "--quiet",
        "--package",
        "hintstore-cassandra",
    ];
    all.extend(["--example", name, "--"]);
    all.extend(args.iter().map(String::as_str));
    cargo(&all, &[])
}

fn hint_file(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.find(|path| path.extension().is_some_and(|end| end == "hints"))
}

/// How long `hintctl verify` takes over files of 512 MiB of hints, with and without a schema, as
/// ratios to Cassandra's two readers over the same files in the same run.
pub(crate) fn bench() -> Done {
    let build = ["build", "--release", "--package", "hintctl"];
    cargo(&build, &[])?;
    let hintctl = root().join("target/release/hintctl");
    with_reader("bench-cassandra", |reader| {
        say("hints of  packed  verify / verbatim reader  verify --schema / decoding reader  MiB");
        for (body, codec) in [
            ("256", "none"),
            ("1024", "none"),
            ("256", "lz4"),
            ("1024", "lz4"),
            ("256", "zstd"),
        ] {
            let name = "07070707-0707-0707-0707-070707070707-1767225600000-2.hints";
            let file = reader.out.join(name);
            example(
                "make",
                &[&file, Path::new(body), Path::new("512"), Path::new(codec)],
            )?;
            let printed = reader.run("time", &file)?;
            let best = |kind: &str| {
                let lines = printed.lines().filter_map(|line| line.split_once(' '));
                let times = lines.filter(|(one, _)| *one == kind);
                times
                    .filter_map(|(_, nanos)| nanos.parse().ok())
                    .min()
                    .map(Duration::from_nanos)
            };
            let (Some(verbatim), Some(decoding)) = (best("verbatim"), best("decoding")) else {
                return Err(failed("the reader"));
            };
            let verify = time(Command::new(&hintctl).arg("verify").arg(&file))?;
            let mut decode = Command::new(&hintctl);
            decode
                .arg("verify")
                .arg(&file)
                .arg("--schema")
                .arg(&reader.schema);
            let decode = time(&mut decode)?;
            let length = fs::metadata(&file).map_or(0, |info| info.len()) >> 20;
            say(&format!(
                "{body:>5} B   {codec:<6}  {:>24.1}  {:>33.1}  {length:>3}",
                verbatim.as_secs_f64() / verify.as_secs_f64(),
                decoding.as_secs_f64() / decode.as_secs_f64(),
            ));
            fs::remove_file(&file).map_err(|error| error.to_string())?;
        }
        Ok(())
    })
}

/// The best of a few runs; the first one warms up.
#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn time(command: &mut Command) -> Result<Duration, String> {
    command.stdout(Stdio::null());
    let mut best = Duration::MAX;
    for round in 0..6 {
        let start = Instant::now();
        let status = command.status().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(failed("hintctl verify"));
        }
        if round > 0 {
            best = best.min(start.elapsed());
        }
    }
    Ok(best)
}
