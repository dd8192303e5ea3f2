//! Scans of made-up segment files, no disk involved.

use proptest::prelude::*;

use super::*;
use crate::frame::{SECTOR_BYTES, push_frame};

const SEGMENT: u64 = 5;

/// A file with commits of frames with payloads of these lengths; returns the frames' offsets and
/// totals too.
fn file(commits: &[&[usize]]) -> (Vec<u8>, Vec<(u32, u32)>) {
    let mut bytes = vec![0; SECTOR_BYTES as usize];
    let mut frames = Vec::new();
    let mut end = SECTOR_BYTES;
    for lengths in commits {
        let start = align_up(end);
        let mut buffer = Vec::new();
        for length in *lengths {
            let offset = start + u32::try_from(buffer.len()).unwrap();
            push_frame(
                &mut buffer,
                SEGMENT,
                (start, end),
                (1, false),
                &vec![0; *length],
            );
            let total = FRAME_HEADER_BYTES + u32::try_from(*length).unwrap();
            frames.push((offset, total));
        }
        bytes.resize(start as usize, 0);
        bytes.extend(buffer);
        end = u32::try_from(bytes.len()).unwrap();
    }
    bytes.resize(align_up(end) as usize + 2048, 0);
    (bytes, frames)
}

fn offsets(bytes: &[u8]) -> Vec<u32> {
    let end = u32::try_from(bytes.len()).unwrap();
    let steps = Walk::new(bytes, SEGMENT, SECTOR_BYTES, end);
    let frames = steps.filter_map(|step| match step {
        Step::Frame(offset, _) => Some(offset),
        Step::Hole(_) => None,
    });
    frames.collect()
}

/// Wipes frames and expects: entries, holes, dropped.
fn check(
    wiped: &[usize],
    tail: Tail,
    entries: u64,
    holes: &[(u32, u32)],
    dropped: Option<(u32, u32)>,
) {
    // Frames:            0   1     2   3    4     5    6   7
    let (mut bytes, frames) = file(&[&[10, 600], &[20, 30, 700], &[40], &[50, 60]]);
    for index in wiped {
        let (offset, total) = frames[*index];
        bytes[offset as usize..(offset + total) as usize].fill(0);
    }
    let scan = scan_part(&bytes, SEGMENT, SECTOR_BYTES, tail);
    let hole = |(start, end): &(u32, u32)| Hole {
        start: *start,
        end: *end,
    };
    assert_eq!(scan.entries, entries);
    assert_eq!(scan.holes, holes.iter().map(hole).collect::<Vec<_>>());
    assert_eq!(scan.dropped, dropped.as_ref().map(hole));
}

#[test]
fn holes_before_a_later_commit_are_damage_and_in_the_last_one_torn() {
    let (_, frames) = file(&[&[10, 600], &[20, 30, 700], &[40], &[50, 60]]);
    let end = frames[7].0 + frames[7].1;
    assert_eq!(
        frames.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(),
        [512, 538, 1536, 1572, 1618, 2560, 3072, 3138]
    );
    check(&[], Tail::Open, 8, &[], None);
    check(&[], Tail::Sealed(Some(end)), 8, &[], None);
    // Inside an early commit, at its start, at its end, all of it.
    check(&[3], Tail::Open, 7, &[(1572, 1618)], None);
    check(&[2], Tail::Open, 7, &[(1536, 1572)], None);
    check(&[1], Tail::Open, 7, &[(538, 1154)], None);
    check(&[5], Tail::Open, 7, &[(2334, 2616)], None);
    check(&[0, 3], Tail::Open, 6, &[(512, 538), (1572, 1618)], None);
    // The last commit: its first frame, its last.
    check(&[6], Tail::Open, 6, &[], Some((3072, end)));
    check(&[7], Tail::Open, 7, &[], None);
    check(&[6, 7], Tail::Open, 6, &[], None);
    // The same once it is known to have been complete.
    check(&[6], Tail::Sealed(Some(end)), 7, &[(3072, 3138)], None);
    check(&[7], Tail::Sealed(Some(end)), 7, &[(3138, end)], None);
    // The end of one commit and the start of the last.
    check(&[5, 6], Tail::Open, 5, &[(2334, 2616)], Some((3072, end)));
}

proptest! {
    #[test]
    fn rubbish_holds_no_frames(bytes in prop::collection::vec(any::<u8>(), 0..6000)) {
        prop_assert_eq!(scan_part(&bytes, SEGMENT, SECTOR_BYTES, Tail::Open).entries, 0);
        prop_assert_eq!(scan_part(&bytes, SEGMENT, SECTOR_BYTES, Tail::Sealed(None)).entries, 0);
    }

    #[test]
    fn overwriting_any_stretch_costs_only_the_frames_in_it(
        lengths in prop::collection::vec(prop::collection::vec(0_usize..900, 1..5), 1..6),
        at in 512_usize..6000,
        rubbish in prop::collection::vec(any::<u8>(), 1..1500),
    ) {
        let commits: Vec<&[usize]> = lengths.iter().map(Vec::as_slice).collect();
        let (mut bytes, frames) = file(&commits);
        let at = at.min(bytes.len());
        let stop = (at + rubbish.len()).min(bytes.len());
        bytes[at..stop].copy_from_slice(&rubbish[..stop - at]);
        let untouched = |(offset, total): &&(u32, u32)| {
            (offset + total) as usize <= at || *offset as usize >= stop
        };
        let expected: Vec<u32> = frames.iter().filter(untouched).map(|(offset, _)| *offset).collect();
        let found = offsets(&bytes);
        prop_assert!(expected.iter().all(|offset| found.contains(offset)));
        prop_assert!(found.iter().all(|offset| frames.iter().any(|(known, _)| known == offset)));
    }
}
