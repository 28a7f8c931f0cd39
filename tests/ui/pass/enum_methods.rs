//! Methods on an enum and on its views; `match` on what is stored.
use shmem_core::{Result, ShmMutex, ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Running { id: u64, name: ShmString },
    Failed(ShmString),
}

impl Job {
    fn name(&self) -> &str {
        match self {
            Job::Idle => "idle",
            Job::Running { name, .. } | Job::Failed(name) => name,
        }
    }
}

impl JobMut<'_> {
    fn fail(&mut self, why: &str) -> Result<()> {
        if let JobVariantMut::Failed(old) = &mut self.get() {
            return old.push_str(why);
        }
        self.set(JobFailedInit(why))
    }
}

impl<'a> JobVariantMut<'a> {
    fn into_name(self) -> Option<shmem_core::StringMut<'a>> {
        match self {
            JobVariantMut::Idle => None,
            JobVariantMut::Running { name, .. } | JobVariantMut::Failed(name) => Some(name),
        }
    }
}

fn use_it(mutex: &ShmMutex<Job>) -> Result<usize> {
    let mut guard = mutex.lock()?;
    guard.view().fail("because")?;
    if let Some(mut name) = guard.view().get().into_name() {
        name.push_str(" of that")?;
    }
    guard.set(Job::init_idle())?;
    let mut view = guard.view();
    view.set(JobRunningInit { id: 1, name: "a name" })?;
    assert_eq!(view.name(), "a name");
    let length = view.name().len();
    Ok(length)
}

fn main() {
    let _ = use_it;
    let _ = Job::Idle.name();
}
