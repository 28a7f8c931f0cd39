//! Counts the words of files, with several processes that share one hash map.
//!
//! ```text
//! word_count [--workers N] [--top K] [--all] [FILE…]
//! ```
//! The program makes an anonymous segment, puts the list of work and an empty map into it, and starts N copies of
//! itself (as many as there are processors). Each takes chunk after chunk from the list by an atomic cursor, counts
//! the words in it, and adds what it has counted to the map: 64 hash maps behind a mutex each, at the named root
//! `counts`. Then the program prints the K most frequent words (10), or all of them.
//!
//! - A word is a maximal run of ASCII letters, in lower case. The files count as one text, in the order given, as
//!   `cat` would print them: the output of `--all`, sorted, is that of
//!   `cat FILES | LC_ALL=C tr A-Z a-z | tr -cs a-z '\n' | sort | uniq -c`.
//! - Files are cut into chunks of 1 MiB. A word that is cut by that is put together again at the end.
//! - FILE may be anything that can be read to its end, and `-` is the standard input. A symbolic link is followed.
//!   Without any FILE: all regular files under `/usr/share/common-licenses` and `/usr/share/doc`, in the order of
//!   their names; symbolic links found there are not followed, or their targets would be counted twice.
//! - Exit codes: 0; 1 if a file could not be read, after everything else was counted; 2 for a wrong command line; 3
//!   if the counting failed, as when a worker is killed: then no counts are printed.

use shmem_core::{Result, Root, Segment, ShmHashMap, ShmMutex, ShmSafe, ShmString, ShmVec, init};
use shmem_examples::words::{Counts, Edges, Scanner, Stitcher, count, shard_of};
use shmem_examples::workers::{MOST_WORKERS, Task, Workers, complain};
use shmem_examples::{FAILED, USAGE, number};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const USAGE_TEXT: &str = "usage: word_count [--workers N] [--top K] [--all] [FILE...]";
const DEFAULT_FOLDERS: [&str; 2] = ["/usr/share/common-licenses", "/usr/share/doc"];

/// What the segment may hold at most. Memory is committed as it is needed.
const SEGMENT_BYTES: u64 = 32 << 30;
const CHUNK_BYTES: u64 = 1 << 20;
/// A worker adds its counts to the shared map whenever it has this many distinct words.
const FLUSH_WORDS: usize = 1 << 14;
const SHARDS: usize = 64;

/// The map: a word is in the shard that `shard_of` tells.
type SharedCounts = [ShmMutex<ShmHashMap<ShmString, u64>>; SHARDS];

/// How far the work has come.
#[derive(ShmSafe)]
#[repr(C)]
struct Progress {
    /// The first chunk that nobody has taken.
    next: AtomicU64,
    bytes: AtomicU64,
    words: AtomicU64,
    /// A worker failed: the others need not go on.
    stop: AtomicBool,
}

/// A part of a file. The last one of each file goes on to the file's end, however long it has become.
#[derive(ShmSafe)]
#[repr(C)]
struct Chunk {
    file: u64,
    start: u64,
    is_last: bool,
}

/// The letters at both ends of a chunk, which may be parts of words: see `Edges`.
#[derive(ShmSafe)]
#[repr(C)]
struct ChunkEdges {
    chunk: u64,
    head: ShmString,
    tail: ShmString,
    is_whole: bool,
}

/// A file that could not be read.
#[derive(ShmSafe)]
#[repr(C)]
struct Unreadable {
    file: u64,
    why: ShmString,
}

/// The objects of the segment.
struct Shared {
    files: Root<[ShmVec<u8>]>,
    chunks: Root<[Chunk]>,
    progress: Root<Progress>,
    counts: Root<SharedCounts>,
    edges: Root<ShmMutex<ShmVec<ChunkEdges>>>,
    unreadable: Root<ShmMutex<ShmVec<Unreadable>>>,
}

impl Shared {
    fn construct(segment: &Segment, files: &[PathBuf], chunks: Vec<Chunk>) -> Result<Shared> {
        let (n, mut chunks) = (chunks.len(), chunks.into_iter());
        let progress = Progress {
            next: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            words: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        };
        Ok(Shared {
            files: segment.construct_slice("files", files.len(), |i| files[i].as_os_str().as_bytes())?,
            chunks: segment.construct_slice("chunks", n, |_| chunks.next().expect("there are n"))?,
            progress: segment.construct("progress", progress)?,
            counts: segment.construct("counts", init::array_from_fn(|_| ShmMutex::new(ShmHashMap::new())))?,
            edges: segment.construct("edges", ShmMutex::new(ShmVec::new()))?,
            unreadable: segment.construct("unreadable", ShmMutex::new(ShmVec::new()))?,
        })
    }

    fn find(segment: &Segment) -> Result<Option<Shared>> {
        let (Some(files), Some(chunks), Some(progress), Some(counts), Some(edges), Some(unreadable)) = (
            segment.find_slice("files")?,
            segment.find_slice("chunks")?,
            segment.find("progress")?,
            segment.find("counts")?,
            segment.find("edges")?,
            segment.find("unreadable")?,
        ) else {
            return Ok(None);
        };
        Ok(Some(Shared { files, chunks, progress, counts, edges, unreadable }))
    }
}

// ---- the worker ------------------------------------------------------------------------------------------

fn work(task: &Task) -> Result<(), String> {
    let segment = task.segment().map_err(|e| e.to_string())?;
    let shared = Shared::find(&segment).map_err(|e| e.to_string())?;
    let shared = shared.ok_or("the segment does not hold a word count")?;
    count_chunks(task, &shared).map_err(|e| e.to_string())
}

fn count_chunks(task: &Task, shared: &Shared) -> Result<()> {
    let progress = &shared.progress;
    let (mut counts, mut buffer, mut open) = (Counts::default(), vec![0; CHUNK_BYTES as usize], None);
    while !progress.stop.load(Ordering::Relaxed) && !task.is_orphaned() {
        let i = progress.next.fetch_add(1, Ordering::Relaxed);
        let Some(chunk) = shared.chunks.get(i as usize) else { break };
        let path = Path::new(OsStr::from_bytes(&shared.files[chunk.file as usize]));
        let (mut scanner, mut words) = (Scanner::default(), 0);
        let mut add = |word: &[u8]| {
            words += 1;
            count(&mut counts, word);
        };
        let outcome = read_chunk(path, chunk, &mut open, &mut buffer, |block| scanner.feed(block, &mut add));
        let (bytes, error) = outcome;
        progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        progress.words.fetch_add(words, Ordering::Relaxed);
        if let Some(error) = error {
            let why = error.to_string();
            shared.unreadable.lock()?.view().push(UnreadableInit { file: chunk.file, why })?;
        }
        add_edges(shared, i, scanner.finish())?;
        if counts.len() >= FLUSH_WORDS {
            flush(&mut counts, &shared.counts, task.index)?;
        }
    }
    flush(&mut counts, &shared.counts, task.index)
}

/// Gives the chunk's bytes to `block`, a buffer at a time; how many there were, and why there were not more.
fn read_chunk(
    path: &Path,
    chunk: &Chunk,
    open: &mut Option<(u64, File)>,
    buffer: &mut [u8],
    mut block: impl FnMut(&mut [u8]),
) -> (u64, Option<io::Error>) {
    let mut done = 0;
    let mut read = || -> io::Result<()> {
        let file = match open {
            Some((number, file)) if *number == chunk.file => file,
            _ => &mut open.insert((chunk.file, File::open(path)?)).1,
        };
        if chunk.start > 0 {
            file.seek(SeekFrom::Start(chunk.start))?;
        }
        while chunk.is_last || done < CHUNK_BYTES {
            let wanted = if chunk.is_last { CHUNK_BYTES } else { CHUNK_BYTES - done };
            match file.read(&mut buffer[..wanted as usize]) {
                Ok(0) => break,
                Ok(n) => {
                    block(&mut buffer[..n]);
                    done += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    };
    let error = read().err();
    (done, error)
}

fn add_edges(shared: &Shared, chunk: u64, edges: Edges) -> Result<()> {
    let (head, tail, is_whole) = match &edges {
        Edges::Whole(letters) => (text(letters), "", true),
        Edges::Cut(head, tail) => (text(head), text(tail), false),
    };
    shared.edges.lock()?.view().push(ChunkEdgesInit { chunk, head, tail, is_whole })
}

/// Adds the counts to the shared map and forgets them. Workers begin at different shards, so that they seldom meet.
fn flush(counts: &mut Counts, shared: &SharedCounts, worker: usize) -> Result<()> {
    let mut parts: [Vec<(Box<[u8]>, u64)>; SHARDS] = std::array::from_fn(|_| Vec::new());
    for (word, n) in counts.drain() {
        parts[shard_of(&word, SHARDS)].push((word, n));
    }
    for i in 0..SHARDS {
        let i = (i + worker * 17) % SHARDS;
        if parts[i].is_empty() {
            continue;
        }
        let mut guard = shared[i].lock()?;
        let mut map = guard.view();
        for (word, n) in &parts[i] {
            *map.entry_ref(text(word))?.or_insert(0)? += n;
        }
    }
    Ok(())
}

/// Words consist of ASCII letters.
fn text(word: &[u8]) -> &str {
    str::from_utf8(word).expect("a word has ASCII letters only")
}

// ---- the command line ------------------------------------------------------------------------------------

struct Options {
    workers: usize,
    /// How many words to print; all of them if `None`.
    top: Option<usize>,
    files: Vec<PathBuf>,
}

enum Command {
    Count(Options),
    Help,
}

fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut options =
        Options { workers: workers.min(MOST_WORKERS) as usize, top: Some(10), files: Vec::new() };
    let mut args = args.peekable();
    let mut only_files = false;
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        if only_files || !bytes.starts_with(b"-") || bytes == b"-" {
            options.files.push(if bytes == b"-" && !only_files { "/dev/stdin".into() } else { arg.into() });
            continue;
        }
        // `--top=3` is `--top 3`.
        let (name, value) = match bytes.iter().position(|b| *b == b'=') {
            Some(at) => (&bytes[..at], Some(OsString::from_vec(bytes[at + 1..].to_vec()))),
            None => (bytes, None),
        };
        let takes_value = matches!(name, b"--workers" | b"--top");
        let value = if takes_value { value.or_else(|| args.next()) } else { value };
        match (name, value) {
            (b"--workers", value) => {
                options.workers = number("--workers", value.as_deref(), 1..=MOST_WORKERS)? as usize;
            }
            (b"--top", value) => {
                options.top = Some(number("--top", value.as_deref(), 0..=u64::MAX)? as usize);
            }
            (b"--all", None) => options.top = None,
            (b"--help" | b"-h", None) => return Ok(Command::Help),
            (b"--", None) => only_files = true,
            _ => return Err(format!("unknown option {arg:?}")),
        }
    }
    Ok(Command::Count(options))
}

/// The regular files below `folder`, sorted; what cannot be listed is given to `failed`.
fn walk(folder: &Path, files: &mut Vec<PathBuf>, failed: &mut impl FnMut(&Path, io::Error)) {
    let listed = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.and_then(|e| Ok((e.path(), e.file_type()?)))).collect()
    });
    let mut listed: Vec<_> = match listed {
        Ok(listed) => listed,
        Err(e) => return failed(folder, e),
    };
    listed.sort_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
    for (path, kind) in listed {
        if kind.is_dir() {
            walk(&path, files, failed);
        } else if kind.is_file() {
            files.push(path);
        }
    }
}

/// Cuts the files into chunks. A file that cannot be examined is given to `failed`.
fn cut(files: &[PathBuf], failed: &mut impl FnMut(&Path, io::Error)) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for (i, path) in files.iter().enumerate() {
        let length = match fs::metadata(path) {
            Err(e) => {
                failed(path, e);
                continue;
            }
            Ok(data) if data.is_dir() => {
                failed(path, io::ErrorKind::IsADirectory.into());
                continue;
            }
            // The length of a pipe or of a file under /proc is 0: one chunk that goes on to its end.
            Ok(data) => data.len(),
        };
        let count = length.div_ceil(CHUNK_BYTES).max(1);
        let chunk = |n| Chunk { file: i as u64, start: n * CHUNK_BYTES, is_last: n + 1 == count };
        chunks.extend((0..count).map(chunk));
    }
    chunks
}

// ---- the parent ------------------------------------------------------------------------------------------

/// Counts and prints; whether every file could be read.
fn count_words(options: Options) -> Result<bool, String> {
    let started = Instant::now();
    let (mut files, mut all_read) = (options.files, true);
    let mut failed = |path: &Path, e: io::Error| {
        all_read = false;
        complain("word_count", format_args!("{}: {e}", path.display()));
    };
    if files.is_empty() {
        for folder in DEFAULT_FOLDERS {
            walk(Path::new(folder), &mut files, &mut failed);
        }
    }
    let chunks = cut(&files, &mut failed);
    let segment = Segment::anonymous().size(SEGMENT_BYTES).create().map_err(|e| e.to_string())?;
    let shared = Shared::construct(&segment, &files, chunks).map_err(|e| e.to_string())?;

    let count = options.workers.min(shared.chunks.len());
    let workers =
        Workers::start(&segment, "count", count).map_err(|e| format!("cannot start a worker: {e}"))?;
    let failures = workers.wait(|| shared.progress.stop.store(true, Ordering::Relaxed));
    if !failures.is_empty() {
        return Err(failures.join("; "));
    }

    let result = finish(&shared).map_err(|e| e.to_string())?;
    for (file, why) in &result.unreadable {
        all_read = false;
        complain("word_count", format_args!("{}: {why}", files[*file as usize].display()));
    }
    let distinct = result.counts.len();
    let seconds = started.elapsed().as_secs_f64();
    print(result.counts, options.top).map_err(|e| format!("cannot print: {e}"))?;
    let megabytes = shared.progress.bytes.load(Ordering::Relaxed) as f64 / 1e6;
    eprintln!(
        "{} files, {megabytes:.1} MB, {} words, {distinct} distinct; {count} workers, {seconds:.3} s, {:.0} MB/s",
        files.len(),
        result.words,
        megabytes / seconds
    );
    Ok(all_read)
}

struct Outcome {
    counts: Vec<(u64, String)>,
    unreadable: BTreeMap<u64, String>,
    words: u64,
}

/// Puts the cut words together and takes everything out of the segment.
fn finish(shared: &Shared) -> Result<Outcome> {
    let mut last = Counts::default();
    let mut words = shared.progress.words.load(Ordering::Relaxed);
    let mut add = |word: &[u8]| {
        words += 1;
        count(&mut last, word);
    };
    let edges = shared.edges.lock()?;
    let mut in_order: Vec<_> = edges.iter().collect();
    in_order.sort_by_key(|edges| edges.chunk);
    let mut stitcher = Stitcher::default();
    for edges in in_order {
        let (head, tail) = (edges.head.as_bytes().to_vec(), edges.tail.as_bytes().to_vec());
        stitcher.feed(if edges.is_whole { Edges::Whole(head) } else { Edges::Cut(head, tail) }, &mut add);
    }
    stitcher.finish(&mut add);
    flush(&mut last, &shared.counts, 0)?;

    let mut counts = Vec::new();
    for shard in shared.counts.iter() {
        counts.extend(shard.lock()?.iter().map(|(word, n)| (*n, word.to_string())));
    }
    let unreadable = shared.unreadable.lock()?;
    let unreadable = unreadable.iter().map(|found| (found.file, found.why.to_string())).collect();
    Ok(Outcome { counts, unreadable, words })
}

/// Prints the `top` most frequent words, equally frequent ones in the order of the alphabet.
fn print(mut counts: Vec<(u64, String)>, top: Option<usize>) -> io::Result<()> {
    counts.sort_unstable_by(|(m, a), (n, b)| n.cmp(m).then_with(|| a.cmp(b)));
    counts.truncate(top.unwrap_or(usize::MAX));
    let mut out = BufWriter::new(io::stdout().lock());
    let written = counts.iter().try_for_each(|(n, word)| writeln!(out, "{n} {word}"));
    match written.and_then(|()| out.flush()) {
        // Whoever reads has seen enough: `word_count --all | head`.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn main() -> ExitCode {
    if let Some(task) = Task::of_this_process() {
        return match work(&task) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                complain("word_count", format_args!("worker {}: {e}", task.index));
                ExitCode::from(FAILED)
            }
        };
    }
    match parse(std::env::args_os().skip(1)) {
        Err(e) => {
            complain("word_count", e);
            eprintln!("{USAGE_TEXT}");
            ExitCode::from(USAGE)
        }
        Ok(Command::Help) => {
            println!("{USAGE_TEXT}");
            ExitCode::SUCCESS
        }
        Ok(Command::Count(options)) => match count_words(options) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(e) => {
                complain("word_count", e);
                ExitCode::from(FAILED)
            }
        },
    }
}
