//! Every item of the Boost.Interprocess guide that is there, one test an item, named after the guide's section.
//!
//! PARITY.md refers to these tests. What is a compile error is tested in `ui/fail` (run by `compile.rs`).

use shmem_core::{
    AllocError, Error, FileMapping, MapMode, NameError, OffsetPtr, OpenError, RemoveOnDrop, Result, Segment,
    SharedMemory, ShmBox, ShmHashMap, ShmMutex, ShmOption, ShmSafe, ShmString, ShmVec, init,
};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// What tells a copy of this program its role and the segment's name.
const ROLE: &str = "SHMEM_GUIDE_ROLE";
const NAME: &str = "SHMEM_GUIDE_NAME";

/// A name of this test and process.
fn unique(test: &str) -> String {
    format!("shmem-guide-{test}-{}", std::process::id())
}

/// Starts a copy of this program that runs [`other_process`] in `role`.
fn start(role: &str, name: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "other_process", "--nocapture"]).env(ROLE, role).env(NAME, name);
    command.stdout(std::process::Stdio::null()).spawn().unwrap()
}

/// Waits for it, half a minute at most.
fn finish(mut child: Child) {
    let started = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return assert!(status.success(), "the other process failed: {status}"),
            None if started.elapsed() < Duration::from_secs(30) => {
                std::thread::sleep(Duration::from_millis(2))
            }
            None => {
                let _ = child.kill();
                panic!("the other process hangs");
            }
        }
    }
}

/// Runs in the copies; does nothing otherwise.
#[test]
fn other_process() {
    let (Ok(role), Ok(name)) = (std::env::var(ROLE), std::env::var(NAME)) else { return };
    let shared = || Segment::shared(&name).open().unwrap();
    match &*role {
        "push" => {
            let list = shared().find::<ShmMutex<ShmVec<i32>>>("list").unwrap().unwrap();
            list.lock().unwrap().view().push(4).unwrap();
        }
        "find_or_construct" => {
            let built = shared().find_or_construct::<ShmMutex<u64>>("built", ShmMutex::new(0));
            *built.unwrap().lock().unwrap() += 1;
        }
        "file" => {
            let data =
                Segment::file(&name).open().unwrap().find::<ShmMutex<ShmVec<i32>>>("data").unwrap().unwrap();
            assert_eq!(data.lock().unwrap()[..], [42]);
        }
        "shared_data" => {
            let data = shared().find::<ShmMutex<SharedData>>("Data").unwrap().unwrap();
            for _ in 0..1000 {
                data.lock().unwrap().counter += 1;
            }
        }
        "nested" => {
            let map = shared().find::<ShmMutex<Nested>>("mymap").unwrap().unwrap();
            let mut guard = map.lock().unwrap();
            assert_eq!(guard["key1"][..], [1, 2]);
            guard.view().insert("key2", [3]).unwrap();
        }
        "counter" => {
            let counter = shared().find::<SharedCounter>("Counter").unwrap().unwrap();
            *counter.value.lock().unwrap() += 1;
        }
        "measure" => measure(&shared()),
        "leave" => {
            // Ends without any clean-up: the name is left behind.
            std::mem::forget(Segment::shared(&name).size(65536).create().unwrap());
            std::process::exit(0);
        }
        other => panic!("no such role: {other}"),
    }
}

type Nested = ShmHashMap<ShmString, ShmVec<i32>>;

#[derive(ShmSafe, Clone, Copy)]
#[repr(C)]
struct SharedData {
    counter: i32,
}

#[derive(ShmSafe)]
#[repr(C)]
struct SharedCounter {
    value: ShmMutex<i32>,
}

// ---- 1. Ideas --------------------------------------------------------------------------------------------

#[test]
fn guide_1_1_offset_pointers_work_at_any_address() -> Result<()> {
    let name = unique("1-1");
    let _remove = RemoveOnDrop::shared(&name)?;
    let here = Segment::shared(&name).size(1 << 20).create()?;
    let there = Segment::shared(&name).open()?;
    let ours = here.construct::<ShmVec<u64>>("numbers", [1, 2, 3])?;
    let theirs = there.find::<ShmVec<u64>>("numbers")?.unwrap();
    assert_ne!((&raw const *ours).addr(), (&raw const *theirs).addr(), "two mappings stand at two addresses");
    assert_eq!((&ours[..], &theirs[..]), (&[1, 2, 3][..], &[1, 2, 3][..]));
    // A null pointer is stored as 1 and read as `None`.
    let mut slot = std::mem::MaybeUninit::<OffsetPtr<u64>>::uninit();
    // SAFETY: the slot is valid for writes; null may be stored anywhere; then it is initialised.
    let null = unsafe {
        OffsetPtr::store(slot.as_mut_ptr(), std::ptr::null_mut());
        slot.assume_init_ref()
    };
    assert!(null.is_null() && null.get().is_none());
    // SAFETY: initialised, and eight bytes.
    assert_eq!(unsafe { slot.as_ptr().cast::<i64>().read() }, 1);
    Ok(())
}

#[test]
fn guide_1_2_three_kinds_of_persistence() -> Result<()> {
    // As long as a process has it.
    let anonymous = Segment::anonymous().size(1 << 16).create()?;
    anonymous.construct::<u64>("n", 1)?;
    let again = Segment::from_fd(&anonymous)?;
    drop(anonymous);
    assert_eq!(again.find::<u64>("n")?.as_deref(), Some(&1));

    // Until it is removed or the system restarts; and on a disk, until it is deleted.
    let name = unique("1-2");
    let path = std::env::temp_dir().join(&name);
    let (_shared, _file) = (RemoveOnDrop::shared(&name)?, RemoveOnDrop::file(&path)?);
    for builder in [Segment::shared(&name), Segment::file(&path)] {
        builder.clone().size(1 << 16).create()?.construct::<u64>("n", 2)?;
        assert_eq!(builder.open()?.find::<u64>("n")?.as_deref(), Some(&2));
    }
    assert!(path.metadata().is_ok_and(|file| file.is_file()));
    Ok(())
}

// ---- 2. Shared memory ------------------------------------------------------------------------------------

#[test]
fn guide_2_1_managed_shared_memory() -> Result<()> {
    let name = unique("2-1");
    {
        let _remover = RemoveOnDrop::shared(&name)?; // A missing name is no error.
        let segment = Segment::shared(&name).size(1024 * 1024).create()?;
        let list = segment.construct::<ShmMutex<ShmVec<i32>>>("list", ShmMutex::new(ShmVec::new()))?;
        for n in 1..=3 {
            list.lock()?.view().push(n)?;
        }
        finish(start("push", &name));
        let found = segment.find::<ShmMutex<ShmVec<i32>>>("list")?.expect("it was constructed");
        assert_eq!(found.lock()?[..], [1, 2, 3, 4]);

        // `find` gives a count in Boost: here a slice is found as one, and its length is the count.
        segment.construct::<u64>("one", 7)?;
        assert_eq!(segment.find_slice::<u64>("one")?.unwrap().len(), 1);
        assert!(segment.find::<u64>("absent")?.is_none());
        assert!(
            matches!(segment.find::<i64>("one"), Err(Error::Name(e)) if matches!(*e, NameError::TypeMismatch { .. }))
        );
        assert!(
            matches!(segment.construct::<u64>("one", 7), Err(Error::Name(e)) if matches!(*e, NameError::AlreadyExists { .. }))
        );

        // A constructor that fails leaves nothing.
        let fails = init::from_fn::<u64, _, _>(|| Err("no".to_owned()));
        assert!(matches!(segment.construct::<u64>("failed", fails), Err(Error::Init(_))));
        assert!(segment.find::<u64>("failed")?.is_none());

        assert!(segment.destroy::<ShmMutex<ShmVec<i32>>>("list")?);
        assert!(!segment.destroy::<ShmMutex<ShmVec<i32>>>("list")?);
        assert_eq!(found.lock()?.len(), 4, "an object lives as long as a handle to it");

        // `remove` takes the name; those who have the segment go on.
        assert!(Segment::remove(&name)?);
        assert!(!Segment::remove(&name)?);
        found.lock()?.view().push(5)?;
        assert!(segment.check().is_empty());
    }
    assert!(
        matches!(Segment::shared(&name).open(), Err(Error::Open(e)) if matches!(*e, OpenError::NotFound { .. }))
    );
    Ok(())
}

#[test]
fn guide_2_2_ways_to_create_and_open() -> Result<()> {
    let name = unique("2-2");
    let _remover = RemoveOnDrop::shared(&name)?;
    let open_error = |result: Result<Segment>| match result {
        Err(Error::Open(e)) => *e,
        other => panic!("expected an error of opening, got {other:?}"),
    };
    assert!(matches!(open_error(Segment::shared(&name).open()), OpenError::NotFound { .. }));
    let created = Segment::shared(&name).size(1 << 20).create()?;
    assert!(created.created());
    assert!(matches!(open_error(Segment::shared(&name).create()), OpenError::AlreadyExists { .. }));
    assert!(!Segment::shared(&name).open()?.created());
    let either = Segment::shared(&name).size(1 << 30).open_or_create()?;
    assert!(!either.created());
    assert_eq!(either.size(), created.size(), "the size of one that exists stays");

    created.construct::<ShmVec<u64>>("numbers", [1, 2])?;
    let read_only = Segment::shared(&name).open_read_only()?;
    assert_eq!(read_only.find::<ShmVec<u64>>("numbers")?.unwrap()[..], [1, 2]);
    assert!(Segment::remove(&name)?);
    assert!(Segment::shared(&name).size(1 << 20).open_or_create()?.created());
    Ok(())
}

#[test]
fn guide_2_3_ways_to_construct() -> Result<()> {
    let name = unique("2-3");
    let _remover = RemoveOnDrop::shared(&name)?;
    let segment = Segment::shared(&name).size(1 << 20).create()?;

    // Named; anonymous; array.
    segment.construct::<SharedData>("unique_name", SharedData { counter: 1 })?;
    let free = segment.free_memory();
    let anonymous = segment.construct_anonymous::<ShmVec<u64>>(init::from_iter(0..10_000))?;
    assert!(segment.free_memory() + 80_000 <= free);
    assert!(
        segment.objects()?.iter().any(|object| object.name.is_empty() && object.type_name == "ShmVec<u64>")
    );
    drop(anonymous);
    assert!(segment.free_memory() + 8192 > free, "an anonymous object goes with its handle");
    let array = segment.construct_slice::<ShmString, _>("array", 10, |_| "the same")?;
    assert_eq!(array.len(), 10);
    let found = segment.find_slice::<ShmString>("array")?.unwrap();
    assert!(found.len() == 10 && found.iter().all(|text| *text == "the same"));

    // Find or construct: whoever comes first builds, the others find.
    let children: Vec<_> = (0..8).map(|_| start("find_or_construct", &name)).collect();
    children.into_iter().for_each(finish);
    let built = segment.find_or_construct::<ShmMutex<u64>>("built", ShmMutex::new(1000))?;
    assert_eq!(*built.lock()?, 8, "it was built once, with 0");

    // By its type.
    segment.construct_unique::<SharedData>(SharedData { counter: 2 })?;
    assert_eq!(segment.find_unique::<SharedData>()?.unwrap().counter, 2);
    assert!(segment.destroy_unique::<SharedData>()?);
    assert!(segment.check().is_empty());
    Ok(())
}

#[test]
fn guide_2_4_memory_and_growing() -> Result<()> {
    let segment = Segment::anonymous().size(1 << 20).max_size(16 << 20).create()?;
    let before = segment.free_memory();
    assert!(before <= 1 << 20 && before > 900_000, "{before}");
    let list =
        segment.construct::<ShmMutex<ShmVec<u64>>>("list", ShmMutex::new(ShmVec::with_capacity(50_000)))?;
    assert!(before - segment.free_memory() >= 400_000);
    assert!(list.lock()?.view().reserve(500_000).is_err_and(|e| e.is_out_of_memory()));
    let size = segment.grow(8 << 20)?;
    assert_eq!((size, segment.size()), (9 << 20, 9 << 20));
    list.lock()?.view().reserve(500_000)?;
    assert!(segment.grow(16 << 20).is_err(), "not beyond what was reserved");
    list.lock()?.view().shrink_to_fit()?;
    let committed = segment.committed();
    assert!(segment.trim()? > 4_000_000 && segment.committed() < committed - 4_000_000);
    assert!(segment.check().is_empty());
    Ok(())
}

// ---- 3. Files --------------------------------------------------------------------------------------------

#[test]
fn guide_3_1_managed_mapped_file() -> Result<()> {
    let path = std::env::temp_dir().join(unique("3-1"));
    let _remover = RemoveOnDrop::file(&path)?;
    {
        let file = Segment::file(&path).size(100 << 20).open_or_create()?;
        assert!(file.created());
        let data = file.find_or_construct::<ShmMutex<ShmVec<i32>>>("data", ShmMutex::new(ShmVec::new()))?;
        data.lock()?.view().push(42)?;
        file.flush()?;
    }
    finish(start("file", path.to_str().unwrap()));
    let file = Segment::file(&path).open_or_create()?;
    assert!(!file.created());
    assert!(file.find::<ShmMutex<ShmVec<i32>>>("data")?.is_some());
    Ok(())
}

#[test]
fn guide_3_2_file_mapping_and_mapped_region() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(unique("3-2"));
    let _remover = RemoveOnDrop::file(&path)?;
    std::fs::File::create(&path)?.set_len(1 << 20)?;
    let mapping = FileMapping::open(&path, MapMode::ReadWrite)?;
    let region = mapping.map(.., MapMode::ReadWrite)?;
    assert_eq!(region.len(), 1 << 20);
    region.write_at(12345, b"written")?;
    region.flush(..)?;
    assert_eq!(&std::fs::read(&path)?[12345..12352], b"written");

    // The same with shared memory: `shared_memory_object`, `truncate`, `mapped_region`.
    let name = unique("3-2-raw");
    let _remover = RemoveOnDrop::shared(&name)?;
    let object = SharedMemory::create(&name, 0o600)?;
    object.set_len(4096)?;
    object.map(.., MapMode::ReadWrite)?.write_at(0, b"raw")?;
    let mut read = [0; 3];
    SharedMemory::open(&name)?.map(.., MapMode::ReadOnly)?.read_at(0, &mut read)?;
    assert_eq!(&read, b"raw");
    assert!(SharedMemory::remove(&name)?);
    Ok(())
}

// ---- 4. Synchronisation ----------------------------------------------------------------------------------

#[test]
fn guide_4_2_mutex_embedded_in_shared_memory() -> Result<()> {
    let name = unique("4-2");
    let _remover = RemoveOnDrop::shared(&name)?;
    let segment = Segment::shared(&name).size(65536).open_or_create()?;
    let data = segment
        .find_or_construct::<ShmMutex<SharedData>>("Data", ShmMutex::new(SharedData { counter: 0 }))?;
    let children: Vec<_> = (0..3).map(|_| start("shared_data", &name)).collect();
    for _ in 0..1000 {
        data.lock()?.counter += 1;
    }
    children.into_iter().for_each(finish);
    assert_eq!(data.lock()?.counter, 4000);

    let held = data.lock()?;
    let other = std::thread::scope(|s| s.spawn(|| data.try_lock().map(drop)).join().unwrap());
    assert!(other.is_err());
    let other = std::thread::scope(|s| {
        s.spawn(|| data.lock_timeout(Duration::from_millis(5)).map(drop)).join().unwrap()
    });
    assert!(other.is_err());
    drop(held);
    assert!(data.try_lock().is_ok());
    Ok(())
}

// ---- 5. Containers ---------------------------------------------------------------------------------------

#[test]
fn guide_5_1_vector() -> Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let list = segment.construct::<ShmMutex<ShmVec<i32>>>("vector", ShmMutex::new([3, 1, 2]))?;
    let mut guard = list.lock()?;
    let mut view = guard.view();
    view.push(5)?;
    view.insert(1, 4)?;
    view.as_mut_slice().sort();
    assert_eq!(view.pop(), Some(5));
    assert_eq!(view.remove(0), 1);
    view[0] = 20;
    assert_eq!(guard[..], [20, 3, 4]);
    assert_eq!(guard.iter().sum::<i32>(), 27);
    Ok(())
}

#[test]
fn guide_5_1_string_option_box_map() -> Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let parts = segment.construct::<ShmMutex<ShmHashMap<ShmString, ShmOption<ShmBox<ShmString>>>>>(
        "parts",
        ShmMutex::new(ShmHashMap::new()),
    )?;
    let mut guard = parts.lock()?;
    let mut map = guard.view();
    map.insert("none", ShmOption::none())?;
    map.insert("some", Some(ShmBox::new("a string that is longer than the inline ones")))?;
    assert!(!map.insert("some", Some(ShmBox::new("text")))?, "the key was there");
    assert_eq!(&***map["some"].as_ref().unwrap(), "text");
    assert!(map["none"].is_none() && map.get("absent").is_none());
    assert!(map.remove("none"));
    assert_eq!(guard.len(), 1);
    Ok(())
}

#[test]
fn guide_5_2_containers_take_memory_from_their_own_segment() -> Result<()> {
    // Nothing is passed: a container finds the heap of the segment it stands in.
    let (a, b) = (Segment::anonymous().size(1 << 20).create()?, Segment::anonymous().size(1 << 20).create()?);
    let list = a.construct::<ShmMutex<ShmVec<u64>>>("list", ShmMutex::new(ShmVec::new()))?;
    let (free_a, free_b) = (a.free_memory(), b.free_memory());
    list.lock()?.view().extend(0..10_000)?;
    assert!(a.free_memory() + 80_000 <= free_a);
    assert_eq!(b.free_memory(), free_b);
    Ok(())
}

#[test]
fn guide_5_5_string() -> Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let text = segment.construct::<ShmString>("greeting", "Hello, IPC!")?;
    assert_eq!(**text, *"Hello, IPC!");
    assert_eq!(text.len(), 11);
    let owned =
        segment.construct::<ShmMutex<ShmString>>("owned", ShmMutex::new(format!("{} {}", *text, 1)))?;
    owned.lock()?.view().push_str(" and some more, so that it does not fit inline")?;
    assert!(owned.lock()?.starts_with("Hello, IPC! 1 and"));
    Ok(())
}

#[test]
fn guide_5_6_nested_containers() -> Result<()> {
    let name = unique("5-6");
    let _remover = RemoveOnDrop::shared(&name)?;
    let segment = Segment::shared(&name).size(1 << 20).create()?;
    let map = segment.construct::<ShmMutex<Nested>>("mymap", ShmMutex::new(ShmHashMap::new()))?;
    let mut value = vec![1];
    value.push(2);
    map.lock()?.view().insert("key1", value)?;
    finish(start("nested", &name));
    let mut guard = map.lock()?;
    guard.view().get_mut("key2").unwrap().push(4)?;
    assert_eq!((&guard["key1"][..], &guard["key2"][..]), (&[1, 2][..], &[3, 4][..]));
    drop(guard);
    let free = segment.free_memory();
    drop(map);
    assert!(segment.destroy::<ShmMutex<Nested>>("mymap")?);
    assert!(segment.free_memory() > free, "what a container owns goes with it");
    assert!(segment.check().is_empty());
    Ok(())
}

// ---- 8. Pitfalls -----------------------------------------------------------------------------------------

/// 8.1 to 8.4 are compile errors: `field_vec`, `field_raw_mut`, `field_reference`, `field_dyn`, `field_fn` and their
/// like in `ui/fail`. Here: that the cases are there for `compile.rs` to run.
#[test]
fn guide_8_1_to_8_4_are_compile_errors() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("ui/fail");
    for (case, says) in [
        ("field_vec", "ShmVec"),
        ("field_string", "ShmString"),
        ("field_hash_map", "ShmHashMap"),
        ("field_raw_mut", "pointer"),
        ("field_raw_const", "pointer"),
        ("field_reference", "reference"),
        ("field_dyn", "dyn"),
        ("field_box_dyn", "dyn"),
        ("field_fn", "function"),
    ] {
        let message = std::fs::read_to_string(folder.join(format!("{case}.stderr"))).unwrap();
        assert!(message.contains(says), "{case} does not speak of {says}:\n{message}");
    }
}

/// A type tag instead of virtual functions: an enum, whose variants another process tells apart.
#[derive(ShmSafe)]
#[repr(u8)]
enum Shape {
    Nothing,
    Circle { radius: f64 },
    Polygon(ShmVec<f64>),
}

impl Shape {
    fn circumference(&self) -> f64 {
        match self {
            Shape::Nothing => 0.0,
            Shape::Circle { radius } => 2.0 * radius,
            Shape::Polygon(sides) => sides.iter().sum(),
        }
    }
}

/// In the other process.
fn measure(segment: &Segment) {
    let shapes = segment.find::<ShmMutex<ShmVec<Shape>>>("shapes").unwrap().unwrap();
    let mut guard = shapes.lock().unwrap();
    assert_eq!(guard.iter().map(Shape::circumference).collect::<Vec<_>>(), [0.0, 3.0, 6.0]);
    guard.view().get_mut(0).unwrap().set(ShapePolygonInit([1.0, 1.0])).unwrap();
}

#[test]
fn guide_8_4_type_tags_are_enums() -> Result<()> {
    let name = unique("8-4");
    let _remover = RemoveOnDrop::shared(&name)?;
    let segment = Segment::shared(&name).size(1 << 20).create()?;
    let shapes = segment.construct::<ShmMutex<ShmVec<Shape>>>("shapes", ShmMutex::new(ShmVec::new()))?;
    {
        let mut guard = shapes.lock()?;
        let mut view = guard.view();
        view.push(Shape::init_nothing())?;
        view.push(ShapeCircleInit { radius: 1.5 })?;
        view.push(ShapePolygonInit([1.0, 2.0, 3.0]))?;
    }
    finish(start("measure", &name));
    let sum: f64 = shapes.lock()?.iter().map(Shape::circumference).sum();
    assert_eq!(sum, 2.0 + 3.0 + 6.0);
    Ok(())
}

#[test]
fn guide_8_5_what_a_crash_left_is_cleared_away() -> Result<()> {
    let name = unique("8-5");
    finish(start("leave", &name));
    assert!(Segment::shared(&name).open().is_ok(), "it was left behind");
    {
        let _remover = RemoveOnDrop::shared(&name)?;
        Segment::shared(&name).size(65536).create()?;
    }
    assert!(!Segment::remove(&name)?, "nothing is left");
    Ok(())
}

#[test]
fn guide_8_6_out_of_memory_is_an_error_and_changes_nothing() -> Result<()> {
    let segment = Segment::anonymous().size(1 << 16).max_size(1 << 20).create()?;
    let list = segment.construct::<ShmMutex<ShmVec<u64>>>("list", ShmMutex::new(ShmVec::new()))?;
    let mut guard = list.lock()?;
    let failed = (0..).find_map(|n| guard.view().push(n).err());
    let Some(Error::Alloc(AllocError::OutOfMemory { wanted_bytes, largest_free_bytes })) = failed else {
        panic!("expected to run out of memory: {failed:?}");
    };
    assert!(wanted_bytes > largest_free_bytes);
    let len = guard.len() as u64;
    assert!(guard.iter().copied().eq(0..len), "everything pushed is there");
    segment.grow(1 << 19)?;
    guard.view().push(len)?;
    assert!(guard.iter().copied().eq(0..=len));
    assert!(segment.check().is_empty());
    Ok(())
}

#[test]
fn guide_8_7_names_of_shared_memory() -> Result<()> {
    let name = unique("8-7");
    let _remover = RemoveOnDrop::shared(&name)?;
    Segment::shared(&name).size(65536).create()?;
    assert!(Segment::shared(&format!("/{name}")).open().is_ok(), "a leading `/` is optional");
    for bad in ["", "/", "a/b", "//a", "..", "nul\0"] {
        let error = Segment::shared(bad).size(65536).create().unwrap_err();
        assert!(
            matches!(&error, Error::Open(e) if matches!(**e, OpenError::InvalidName { .. })),
            "{bad:?}: {error}"
        );
    }
    Ok(())
}

// ---- The complete example --------------------------------------------------------------------------------

#[test]
fn guide_complete_example_counter_of_several_processes() -> Result<()> {
    let name = unique("counter");
    let _remover = RemoveOnDrop::shared(&name)?;
    let segment = Segment::shared(&name).size(65536).create()?;
    let counter =
        segment.construct::<SharedCounter>("Counter", SharedCounterInit { value: ShmMutex::new(0) })?;
    let children: Vec<_> = (0..10).map(|_| start("counter", &name)).collect();
    children.into_iter().for_each(finish);
    assert_eq!(*counter.value.lock()?, 10);
    Ok(())
}
