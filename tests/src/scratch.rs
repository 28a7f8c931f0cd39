//! Names and directories of one test, gone when it ends.

use shmem_core::{RemoveOnDrop, Segment, SegmentBuilder};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("shmem-test-{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A name of a shared memory segment that no other test has; removed when dropped.
#[derive(Debug)]
pub struct TempName {
    name: String,
    _remove: RemoveOnDrop,
}

impl TempName {
    /// A new name with `what` in it.
    pub fn new(what: &str) -> Self {
        let name = unique(what);
        let _remove = RemoveOnDrop::shared(&name).expect("a valid name that can be removed");
        TempName { name, _remove }
    }

    /// The builder of the segment.
    pub fn segment(&self) -> SegmentBuilder {
        Segment::shared(&self.name)
    }

    /// Where its file stands.
    pub fn path(&self) -> PathBuf {
        Path::new("/dev/shm").join(&self.name)
    }
}

impl std::ops::Deref for TempName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.name
    }
}

impl std::fmt::Display for TempName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// What stands in `/dev/shm` with `part` in its name, temporary files of creators too.
pub fn leftovers(part: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/dev/shm").expect("/dev/shm can be listed");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.contains(part)).collect()
}

/// An empty directory, deleted with all that is in it when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new directory with `what` in its name, which anybody may look into.
    pub fn new(what: &str) -> Self {
        let path = std::env::temp_dir().join(unique(what));
        std::fs::create_dir(&path).expect("a directory for the test");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, open).expect("its own directory");
        TempDir(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What is in it.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("its own directory");
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
