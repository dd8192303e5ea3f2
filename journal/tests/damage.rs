//! Damage: everything that is still good is read, the rest is reported, a start never refused.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use common::{Bench, TINY, payload};
use furrow_journal::sim::{SimDisk, Survival};
use furrow_journal::{
    Damage, DamageReason, Disk, Journal, JournalError, JournalReader, Position, SECTOR_BYTES,
};

/// Two full segments and some of a third; commits of one and of several entries. The last commit
/// has one small entry.
fn filled() -> Bench {
    let mut bench = Bench::new(TINY);
    for round in 0..4 {
        for length in [30, 480, 700] {
            bench.append(length + round).unwrap();
        }
        bench.commit().unwrap();
        bench.append(900).unwrap();
        bench.commit().unwrap();
    }
    bench.append(10).unwrap();
    bench.commit().unwrap();
    assert_eq!(bench.journal().segments().len(), 4);
    bench
}

fn live_files(disk: &SimDisk) -> Vec<String> {
    let names = disk.list().unwrap();
    names
        .into_iter()
        .filter(|name| name.ends_with(".seg"))
        .collect()
}

#[test]
fn a_flipped_bit_anywhere_costs_at_most_the_entry_it_hits() {
    let whole = filled();
    let last = whole.appended.last().unwrap().0;
    let (mut hit_frames, mut hit_headers) = (0, 0);
    for name in live_files(&whole.disk) {
        for byte in 0..whole.disk.len(&name).unwrap() {
            let mut bench = filled();
            bench
                .disk
                .flip_bit(&name, byte, u8::try_from(byte % 8).unwrap());
            bench.journal = None;
            let (journal, recovery) = Journal::open(bench.disk.clone(), TINY).unwrap();
            bench.journal = Some(journal);
            let read = bench.read_all();
            let lost: Vec<_> = bench
                .appended
                .iter()
                .filter(|entry| !read.contains(entry))
                .cloned()
                .collect();
            assert_eq!(
                read.len() + lost.len(),
                bench.appended.len(),
                "{name} {byte}"
            );
            assert!(lost.len() <= 1, "{name} {byte}: {lost:?}");
            for (position, _) in lost {
                if position == last {
                    // No later commit shows that this one was ever complete.
                    assert_eq!(recovery.damaged, [], "{name} {byte}");
                    continue;
                }
                hit_frames += 1;
                let [damage] = recovery.damaged.as_slice() else {
                    panic!("{name} {byte}: {:?}", recovery.damaged);
                };
                assert_eq!(damage.reason, DamageReason::Checksum);
                assert_eq!(damage.segment, position.segment);
                let damaged = damage.offset..damage.offset + damage.bytes;
                assert!(damaged.contains(&position.offset), "{name} {byte}");
                assert!(
                    damaged.contains(&u32::try_from(byte).unwrap()),
                    "{name} {byte}"
                );
                assert!(matches!(
                    bench.journal().read(position),
                    Err(JournalError::Damaged { position: at, .. }) if at == position
                ));
            }
            if recovery
                .damaged
                .first()
                .is_some_and(|d| d.reason == DamageReason::Header)
            {
                hit_headers += 1;
                assert!(byte < u64::from(SECTOR_BYTES));
            }
            // It goes on, and says the same at the next start.
            bench.appended = read;
            bench.append(100).unwrap();
            bench.commit().unwrap();
            let again = bench.cut(Survival::Nothing);
            assert_eq!(again.damaged, recovery.damaged, "{name} {byte}");
        }
    }
    assert!(
        hit_frames > 7000 && hit_headers > 100,
        "{hit_frames} {hit_headers}"
    );
}

#[test]
fn unreadable_sectors_cost_what_is_in_them() {
    let mut bench = filled();
    let name = live_files(&bench.disk)[0].clone();
    bench.disk.make_unreadable(&name, 1024, 1536);
    bench.journal = None;
    let (journal, recovery) = Journal::open(bench.disk.clone(), TINY).unwrap();
    bench.journal = Some(journal);
    let [
        Damage {
            segment: 1,
            reason: DamageReason::Unreadable,
            offset,
            bytes,
        },
    ] = recovery.damaged[..]
    else {
        panic!("{:?}", recovery.damaged);
    };
    assert!(offset <= 1024 && offset + bytes >= 1536, "{offset} {bytes}");
    // The second entry reaches into the sector, the third begins in it.
    bench.appended.drain(1..3);
    assert_eq!(bench.read_all(), bench.appended);
}

#[test]
fn a_file_of_rubbish_is_reported_and_set_aside_when_its_space_is_due() {
    for rubbish in [
        vec![],
        vec![0xA5; 3000],
        vec![0xFF; 4096],
        b"FURROWJ\n".repeat(512),
    ] {
        let mut bench = filled();
        let name = live_files(&bench.disk)[1].clone();
        bench.disk.create(&name, rubbish.len() as u64).unwrap();
        bench.disk.write_at(&name, 0, &rubbish).unwrap();
        bench.disk.sync_dir().unwrap();
        bench.appended.retain(|(position, _)| position.segment != 2);
        bench.committed = bench.appended.len();
        let recovery = bench.cut(Survival::Everything);
        let expected = Damage {
            segment: 2,
            offset: 0,
            bytes: u32::try_from(rubbish.len()).unwrap(),
            reason: DamageReason::Segment,
        };
        assert_eq!(recovery.damaged[0], expected);
        bench.release_all();
        for _ in 0..40 {
            bench.append(1200).unwrap();
            bench.commit().unwrap();
            bench.release_all();
        }
        let names = bench.disk.list().unwrap();
        let kept = names
            .iter()
            .find(|name| name.ends_with(".damaged"))
            .unwrap();
        assert_eq!(bench.disk.len(kept).unwrap(), rubbish.len() as u64);
        assert_eq!(bench.cut(Survival::Nothing).damaged, []);
    }
}

#[test]
fn damaged_files_that_are_set_aside_are_bounded() {
    let mut bench = Bench::new(TINY);
    for _ in 0..12 {
        for _ in 0..3 {
            bench.append(1000).unwrap();
            bench.commit().unwrap();
        }
        let name = live_files(&bench.disk).pop().unwrap();
        bench.disk.flip_bit(&name, 600, 3);
        bench.journal = None;
        bench.journal = Some(Journal::open(bench.disk.clone(), TINY).unwrap().0);
        for segment in bench.journal().segments() {
            bench.journal().release(segment.number);
        }
        bench.appended.clear();
        for _ in 0..20 {
            bench.append(1000).unwrap();
            bench.commit().unwrap();
            bench.release_all();
        }
    }
    let set_aside = bench
        .disk
        .list()
        .unwrap()
        .iter()
        .filter(|n| n.ends_with(".damaged"))
        .count();
    assert_eq!(set_aside, 4);
}

#[test]
fn a_file_of_an_unknown_version_is_left_alone() {
    let mut bench = filled();
    let name = live_files(&bench.disk)[0].clone();
    let mut header = [0; 48];
    bench.disk.read_at(&name, 0, &mut header).unwrap();
    header[8] = 2;
    let crc = crc32c::crc32c(&header[..44]).to_le_bytes();
    header[44..].copy_from_slice(&crc);
    bench.disk.write_at(&name, 0, &header).unwrap();
    bench.appended.retain(|(position, _)| position.segment != 1);
    bench.committed = bench.appended.len();
    for _ in 0..2 {
        let recovery = bench.cut(Survival::Everything);
        assert_eq!(recovery.damaged.len(), 1);
        assert_eq!(recovery.damaged[0].reason, DamageReason::Version);
        bench.release_all();
        bench.append(1000).unwrap();
        bench.commit().unwrap();
    }
    let mut now = [0; 48];
    bench.disk.read_at(&name, 0, &mut now).unwrap();
    assert_eq!(now, header);
}

#[test]
fn damage_that_happens_later_is_found_when_reading_and_stepped_over() {
    let mut bench = filled();
    let (position, _) = bench.appended[1].clone();
    bench.disk.flip_bit(
        &live_files(&bench.disk)[0],
        u64::from(position.offset) + 40,
        1,
    );
    let read: Vec<_> = bench.journal().entries_from(Position::default()).collect();
    let errors: Vec<_> = read
        .iter()
        .filter_map(|entry| entry.as_ref().err())
        .collect();
    assert!(
        matches!(errors[..], [JournalError::Damaged { position: at, .. }] if *at == position),
        "{errors:?}"
    );
    assert_eq!(read.len(), bench.appended.len());

    let reader = JournalReader::new(bench.disk.clone());
    let seen: Vec<_> = reader.entries_from(Position::default()).unwrap().collect();
    assert_eq!(seen.iter().filter(|entry| entry.is_err()).count(), 1);
    assert_eq!(seen.len(), bench.appended.len());
}

#[test]
fn entries_that_look_like_frames_of_the_journal_are_only_payload() {
    let mut inner = Bench::new(TINY);
    for _ in 0..3 {
        inner.append(40).unwrap();
    }
    inner.commit().unwrap();
    let mut bytes = vec![0; 1024];
    inner
        .disk
        .read_at(&live_files(&inner.disk)[0], 512, &mut bytes)
        .unwrap();

    let mut bench = Bench::new(TINY);
    bench.append(20).unwrap();
    bench.commit().unwrap();
    let position = bench.journal().append(1, &bytes).unwrap();
    bench.appended.push((position, bytes));
    bench.commit().unwrap();
    bench.append(20).unwrap();
    bench.commit().unwrap();
    // Its header is gone: the search goes through the payload.
    bench
        .disk
        .flip_bit(&live_files(&bench.disk)[0], u64::from(position.offset), 0);
    bench.journal = None;
    let (journal, recovery) = Journal::open(bench.disk.clone(), TINY).unwrap();
    assert_eq!((recovery.entries, recovery.damaged.len()), (2, 1));
    let read: Vec<_> = journal
        .entries_from(Position::default())
        .map(|e| e.unwrap().payload)
        .collect();
    assert_eq!(read, [payload(0, 20), payload(1, 20)]);
}
