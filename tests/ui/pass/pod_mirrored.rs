//! A plain-old-data type is its own twin, as any movable shared type that is `Clone`.
#![forbid(unsafe_code)]
#![deny(warnings)]
use bytemuck::{Pod, Zeroable};
use shmem_core::{Mirror, Segment, ShmSafe};

#[derive(ShmSafe, Clone, Copy, Pod, Zeroable, PartialEq, Debug)]
#[shm(pod)]
#[repr(C)]
pub struct Sample {
    at: u64,
    values: [f32; 2],
}

#[derive(ShmSafe, PartialEq, Debug)]
#[shm(mirror = ShmSeries)]
pub struct Series {
    samples: Vec<Sample>,
    last: Option<Sample>,
}

fn main() {
    let sample = Sample { at: 1, values: [2.0, 3.0] };
    let series = Series { samples: vec![sample; 3], last: Some(sample) };
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    let shared = segment.construct::<ShmSeries>("series", series.mirror()).unwrap();
    assert_eq!(shared.to_native(), series);
}
