//! An ingest that lost data is given again what gateways still hold.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use furrow_tests::binaries::Binaries;
use furrow_tests::delivery::{read_books, settled_books};
use furrow_tests::process::until;
use furrow_tests::site::{Site, SiteConfig};
use furrow_tests::stack::{Cooperative, Ingest};

/// Simulated seconds a real second.
const SPEED: &str = "60";
const PATIENCE: Duration = Duration::from_secs(60);
/// Readings between two steps.
const READINGS: i64 = 200;

/// What an administrator puts in the place of what is broken.
#[derive(Clone, Copy)]
enum Restored {
    /// A copy of the whole data directory, taken while ingest stood.
    Folder,
    /// What `backup` made while ingest ran: archives, no log and no marks.
    Backup,
    Nothing,
}

fn config() -> SiteConfig {
    SiteConfig::usual("10s", "30s", "1s")
}

fn cooperative() -> Cooperative {
    Cooperative::usual("token")
}

fn check_given_again(restored: Restored) {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (
        folder.path().join("ingest/data"),
        folder.path().join("backup"),
    );
    let binaries = Binaries::beside_test().unwrap();
    let home = folder.path().join("ingest");
    let mut ingest = Ingest::start(&binaries, &home, &[cooperative()], "", None).unwrap();
    let arguments = [
        "greenhouse",
        "--seed",
        "7",
        "--start",
        "-1d",
        "--speed",
        SPEED,
    ];
    let home = folder.path().join("site");
    let mut site = Site::open(&binaries, &home, config(), &arguments, ingest.mqtt()).unwrap();
    site.start_gateway().unwrap();
    let mut sites = [site];
    // Three starts make three streams: ingest has all of the first two before the backup is taken.
    let mut wanted = 0;
    for start in 0..3 {
        if start > 0 {
            sites[0].kill_gateway().unwrap();
            sites[0].start_gateway().unwrap();
        }
        match restored {
            Restored::Folder if start == 2 => {
                ingest.stop().unwrap();
                copy(&data, &backup);
                ingest.restart().unwrap();
            }
            Restored::Backup if start == 2 => {
                let made = ingest.backup(&folder.path().join("backups")).unwrap();
                fs::rename(made, &backup).unwrap();
            }
            Restored::Folder | Restored::Backup | Restored::Nothing => {}
        }
        wanted = stored(&ingest) + READINGS;
        let ingest = &ingest;
        until(PATIENCE, || Ok((stored(ingest) >= wanted).then_some(()))).unwrap();
    }
    ingest.kill().unwrap();
    fs::remove_dir_all(&data).unwrap();
    match restored {
        Restored::Folder => fs::rename(&backup, &data).unwrap(),
        Restored::Backup => {
            fs::create_dir_all(data.join("archive")).unwrap();
            let file = "hoa-binh.sqlite";
            fs::rename(backup.join(file), data.join("archive").join(file)).unwrap();
        }
        Restored::Nothing => {}
    }
    ingest.restart().unwrap();
    let apis = [("hoa-binh".to_owned(), ingest.api("token"))];
    let books = settled_books(&sites, &apis, PATIENCE).unwrap();
    assert!(books.balance(), "{books}");
    assert!(books.stored >= wanted, "{books}, of at least {wanted}");
    sites[0].stop().unwrap();
    ingest.stop().unwrap();
}

fn stored(ingest: &Ingest) -> i64 {
    let apis = [("hoa-binh".to_owned(), ingest.api("token"))];
    read_books(&[], &apis).unwrap().stored
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn an_ingest_restored_from_a_backup_is_given_again_what_it_lost() {
    check_given_again(Restored::Backup);
}

#[test]
fn an_ingest_restored_from_a_copy_of_its_folder_is_given_again_what_it_lost() {
    check_given_again(Restored::Folder);
}

#[test]
fn an_ingest_that_lost_everything_is_given_again_what_gateways_hold() {
    check_given_again(Restored::Nothing);
}
