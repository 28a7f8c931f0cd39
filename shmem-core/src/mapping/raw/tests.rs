use super::*;
use crate::mapping::region::RegionAdvice;
use crate::mapping::remove::RemoveOnDrop;

fn unique(test: &str) -> String {
    format!("shmem-unit-{test}-{}", std::process::id())
}

#[test]
fn named_creation_has_every_outcome() {
    let name = unique("raw-names");
    let _remove = RemoveOnDrop::shared(&name).unwrap();
    assert!(matches!(SharedMemory::open(&name), Err(OpenError::NotFound { .. })));
    let one = SharedMemory::create(&name, 0o640).unwrap();
    assert_eq!((one.mode().unwrap(), one.len().unwrap(), one.name()), (0o640, 0, name.as_str()));
    assert!(matches!(SharedMemory::create(&name, 0o600), Err(OpenError::AlreadyExists { .. })));
    let two = SharedMemory::open_or_create(&format!("/{name}"), 0o600).unwrap();
    assert_eq!(two.mode().unwrap(), 0o640, "it was opened, not created");
    one.set_len(10_000).unwrap();
    assert_eq!(two.len().unwrap(), 10_000);
    assert!(SharedMemory::remove(&name).unwrap());
    assert!(!SharedMemory::remove(&name).unwrap());
    let three = SharedMemory::open_or_create(&name, 0o600).unwrap();
    assert!(three.is_empty().unwrap(), "the name is free at once");
    assert!(two.map(.., MapMode::ReadWrite).is_ok(), "the removed object goes on");
}

#[test]
fn halves_written_apart_are_read_as_one() {
    let name = unique("raw-halves");
    let _remove = RemoveOnDrop::shared(&name).unwrap();
    let memory = SharedMemory::create(&name, 0o600).unwrap();
    memory.set_len(1000).unwrap();
    // 499 is neither a page nor a word.
    let (low, high) =
        (memory.map(..499, MapMode::ReadWrite).unwrap(), memory.map(499.., MapMode::ReadWrite).unwrap());
    assert_eq!((low.len(), high.len()), (499, 501));
    let bytes: Vec<u8> = (0..1000u32).map(|i| (i * 7 + 3) as u8).collect();
    low.write_at(0, &bytes[..499]).unwrap();
    high.write_at(0, &bytes[499..]).unwrap();
    let whole = memory.map(.., MapMode::ReadOnly).unwrap();
    assert_eq!(whole.to_vec(), bytes);
    assert_eq!(std::fs::read(format!("/dev/shm/{name}")).unwrap(), bytes);
    // SAFETY: nobody writes meanwhile.
    assert_eq!(unsafe { whole.as_slice() }, bytes);
    for (start, len) in [(0, 0), (0, 1), (3, 4), (7, 9), (8, 8), (5, 900), (999, 1), (1000, 0)] {
        let mut part = vec![0; len];
        whole.read_at(start, &mut part).unwrap();
        assert_eq!(part, &bytes[start..start + len]);
        high.write_at(0, &bytes[499..]).unwrap();
    }
    assert!(whole.read_at(1, &mut [0; 1000]).is_err() && whole.read_at(usize::MAX, &mut [0; 2]).is_err());
    assert_eq!(whole.write_at(0, b"x").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert!(high.flush(..).is_ok() && high.flush_async(1..7).is_ok() && high.flush(..502).is_err());
    for advice in
        [RegionAdvice::Normal, RegionAdvice::Sequential, RegionAdvice::Random, RegionAdvice::WillNeed]
    {
        high.advise(advice).unwrap();
    }
}

#[test]
fn private_writes_stay_private() {
    let dir = std::env::temp_dir().join(unique("raw-private"));
    let _remove = RemoveOnDrop::file(&dir).unwrap();
    std::fs::write(&dir, b"shared bytes").unwrap();
    let file = FileMapping::open(&dir, MapMode::ReadOnly).unwrap();
    assert_eq!(file.len().unwrap(), 12);
    let mut private = file.map(.., MapMode::CopyOnWrite).unwrap();
    private.write_at(0, b"hidden").unwrap();
    assert_eq!(private.to_vec(), b"hidden bytes");
    // SAFETY: the region is this test's alone.
    unsafe { private.as_mut_slice()[0] = b'H' };
    assert_eq!(private.to_vec(), b"Hidden bytes");
    assert_eq!(std::fs::read(&dir).unwrap(), b"shared bytes");
    assert_eq!(
        file.map(.., MapMode::ReadWrite).unwrap_err().kind(),
        io::ErrorKind::PermissionDenied,
        "the file was opened read-only"
    );
    for bad in [0..13u64, 12..12, 13..14] {
        assert_eq!(file.map(bad, MapMode::ReadOnly).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert!(FileMapping::remove(&dir).unwrap());
    assert!(!FileMapping::remove(&dir).unwrap());
    assert_eq!(private.to_vec(), b"Hidden bytes");
}

#[test]
fn empty_and_special_files_are_refused() {
    let path = std::env::temp_dir().join(unique("raw-empty"));
    let _remove = RemoveOnDrop::file(&path).unwrap();
    std::fs::write(&path, b"").unwrap();
    for mode in [MapMode::ReadOnly, MapMode::ReadWrite] {
        let file = FileMapping::open(&path, mode).unwrap();
        assert!(file.is_empty().unwrap());
        assert_eq!(file.map(.., mode).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    for mode in [MapMode::ReadOnly, MapMode::ReadWrite] {
        let kind = |e| match e {
            OpenError::NotAFile { kind, .. } => kind,
            e => panic!("{e}"),
        };
        assert_eq!(kind(FileMapping::open("/tmp", mode).unwrap_err()), "directory");
        assert_eq!(kind(FileMapping::open("/dev/null", mode).unwrap_err()), "character device");
    }
    let missing = FileMapping::open("/tmp/shmem-no-such-file", MapMode::ReadOnly);
    assert!(matches!(missing, Err(OpenError::NotFound { .. })));
}

#[test]
fn an_anonymous_region_starts_zeroed() {
    let region = MappedRegion::anonymous(5000).unwrap();
    assert_eq!(region.to_vec(), vec![0; 5000]);
    region.write_at(4990, b"0123456789").unwrap();
    assert_eq!(&region.to_vec()[4990..], b"0123456789");
    assert!(MappedRegion::anonymous(0).is_err());
    assert!(MappedRegion::page_size().is_power_of_two());
}

#[test]
fn writers_of_one_word_keep_off_each_other() {
    let region = MappedRegion::anonymous(8).unwrap();
    std::thread::scope(|s| {
        for at in 0..4 {
            let region = &region;
            s.spawn(move || {
                (0..2000u32).for_each(|i| region.write_at(at * 2, &[i as u8, at as u8]).unwrap())
            });
        }
    });
    let last = 1999u32 as u8;
    assert_eq!(region.to_vec(), [last, 0, last, 1, last, 2, last, 3]);
}
