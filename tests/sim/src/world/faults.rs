//! What befalls.

use furrow_journal::sim::Survival;
use furrow_journal::{Disk, Journal};

use super::{
    Archive, FAR_AHEAD_MS, Fault, HOUR_MS, MINUTE_MS, Point, RESERVE_BYTES, RngExt, SimDisk, World,
};
use crate::gateway::JOURNAL;
use crate::ingest::known_after_power_cut;

impl World {
    pub(super) fn befall(&mut self, fault: Fault) {
        self.say(|_| format!("{fault:?}"));
        match fault {
            Fault::GatewayPower => {
                self.book.reached.note(Point::GatewayPower);
                let steps = self.rng.random_range(0..6_000);
                self.site.card.cut_power_in(steps);
            }
            Fault::GatewayKilled => {
                self.book.reached.note(Point::GatewayKilled);
                self.disconnect_gateway();
                self.site.process = None;
            }
            Fault::GatewayStopped => self.stop_gateway(),
            Fault::GatewayFlip if self.chance(30) => self.flip_last_commit(),
            Fault::GatewayFlip => {
                if flip(&self.site.card, &mut self.rng) {
                    self.book.reached.note(Point::GatewayFlip);
                    self.book.excuses.card_flipped = true;
                }
            }
            Fault::GatewayFull => {
                self.book.reached.note(Point::GatewayFull);
                self.book.excuses.card_full = true;
                let bytes = self.site.card.used_bytes() + RESERVE_BYTES;
                self.site.card.set_capacity(Some(bytes));
            }
            Fault::GatewayLies => self.card_lies(),
            Fault::GatewayWriteFails => {
                self.book.reached.note(Point::GatewayWriteFails);
                fail(&self.site.card, &mut self.rng);
            }
            Fault::GatewayRestored => self.restore_card(),
            Fault::Link => {
                self.book.reached.note(Point::LinkDown);
                self.site.link_up = false;
                self.outage_until_ms = self.now_ms + self.rng.random_range(0..20 * MINUTE_MS);
                self.disconnect_gateway();
            }
            Fault::Outage => {
                self.book.reached.note(Point::LongOutage);
                self.site.link_up = false;
                self.disconnect_gateway();
                self.outage_until_ms = self.now_ms + 26 * HOUR_MS;
                self.advance(25 * HOUR_MS);
            }
            Fault::Clock => self.step_clock(),
            Fault::BrokerDrops
            | Fault::BrokerWedged
            | Fault::BrokerForgets
            | Fault::AckLost
            | Fault::IngestPower
            | Fault::IngestKilled
            | Fault::IngestFlip
            | Fault::IngestFull
            | Fault::IngestLies
            | Fault::IngestWriteFails
            | Fault::IngestBlocked
            | Fault::ArchiveFails
            | Fault::IngestRestored => self.befall_server(fault),
        }
    }

    fn befall_server(&mut self, fault: Fault) {
        match fault {
            Fault::BrokerDrops => {
                self.book.reached.note(Point::BrokerDrops);
                self.broker_drops = true;
            }
            Fault::BrokerWedged => {
                self.book.reached.note(Point::BrokerWedged);
                self.broker_wedged = true;
            }
            Fault::BrokerForgets => {
                self.book.reached.note(Point::BrokerForgets);
                self.disconnect_gateway();
                self.broker.forget();
            }
            Fault::AckLost => self.ack_loss = true,
            Fault::IngestPower => {
                self.book.reached.note(Point::IngestPower);
                let steps = self.rng.random_range(0..8_000);
                self.server.disk.cut_power_in(steps);
            }
            Fault::IngestKilled => {
                self.book.reached.note(Point::IngestKilled);
                self.broker.disconnect_ingest();
                self.server.archive = self.take_archive();
            }
            Fault::IngestFlip => {
                if flip(&self.server.disk, &mut self.rng) {
                    self.book.reached.note(Point::IngestFlip);
                    self.book.excuses.ingest_lost = true;
                    self.server.doubtful = true;
                }
            }
            Fault::IngestFull => {
                self.book.reached.note(Point::IngestFull);
                let bytes = self.server.disk.used_bytes() + RESERVE_BYTES;
                self.server.disk.set_capacity(Some(bytes));
            }
            Fault::IngestLies => self.ingest_lies(),
            Fault::IngestWriteFails => {
                self.book.reached.note(Point::IngestWriteFails);
                fail(&self.server.disk, &mut self.rng);
            }
            Fault::IngestBlocked => {
                if let Some(process) = &mut self.server.process {
                    let back = process.intake.link();
                    back.is_blocked = !back.is_blocked;
                }
            }
            Fault::ArchiveFails => {
                self.book.reached.note(Point::ArchiveFails);
                let times = self.rng.random_range(1..10);
                if let Some(process) = &mut self.server.process {
                    process.archive_mut().failing = times;
                }
            }
            Fault::IngestRestored => self.restore_ingest(),
            Fault::GatewayPower
            | Fault::GatewayKilled
            | Fault::GatewayStopped
            | Fault::GatewayFlip
            | Fault::GatewayFull
            | Fault::GatewayLies
            | Fault::GatewayWriteFails
            | Fault::GatewayRestored
            | Fault::Link
            | Fault::Clock
            | Fault::Outage => {}
        }
    }

    fn ingest_lies(&mut self) {
        // One side's at most: with both nothing is promised.
        if self.book.excuses.card_lied {
            return;
        }
        self.book.reached.note(Point::IngestLies);
        self.book.excuses.ingest_lost = true;
        self.server.doubtful = true;
        self.book.excuses.ingest_lied = true;
        self.server.disk.lie_about_syncs(true);
        let transactions = match &self.server.process {
            Some(process) => process.archive().transactions(),
            None => self
                .server
                .archive
                .as_ref()
                .map_or(0, Archive::transactions),
        };
        self.server.lies_since.get_or_insert(transactions);
    }

    /// Damage where it is taken for a torn write: in the last thing written, found at a restart.
    fn flip_last_commit(&mut self) {
        let Ok((journal, _)) = Journal::open(self.site.card.image(), JOURNAL) else {
            return;
        };
        let end = journal.end();
        let back = self.rng.random_range(1..400);
        let names = self.site.card.list().unwrap_or_default();
        let prefix = format!("{:016x}-", end.segment);
        let Some(name) = names.iter().rfind(|name| name.starts_with(&prefix)) else {
            return;
        };
        self.book.reached.note(Point::GatewayFlip);
        self.book.excuses.card_flipped = true;
        let byte = u64::from(end.offset.saturating_sub(back));
        self.site
            .card
            .flip_bit(name, byte, self.rng.random_range(0..8));
        self.gateway_off(Survival::Everything);
    }

    /// As asked: everything is committed, and the state says so.
    fn stop_gateway(&mut self) {
        let field = self.field();
        let card = self.site.card.clone();
        let Some(process) = &mut self.site.process else {
            return;
        };
        process.stop_sampling(field);
        for part in 0..2 {
            for _ in 0..4 {
                process.turn(field, &mut self.book);
                process.journal(&card, &mut self.book);
                process.hear(field, &mut self.book);
            }
            if part == 0 {
                process.goodbye();
            }
        }
        if process.is_settled() {
            self.book.reached.note(Point::GatewayStopped);
        }
        self.site.last_commit = process.commits();
        self.disconnect_gateway();
        self.site.process = None;
    }

    fn card_lies(&mut self) {
        let other_side = self.book.excuses.ingest_lost;
        if other_side {
            return;
        }
        self.book.reached.note(Point::GatewayLies);
        self.book.excuses.card_lied = true;
        self.site.lies = true;
        self.site.card.lie_about_syncs(true);
    }

    /// The first time an image is made, later the card is replaced by it.
    fn restore_card(&mut self) {
        let Some((image, names)) = self.site.image.take() else {
            let image = self.site.card.image();
            image.restart(Survival::Everything);
            image.lie_about_syncs(false);
            image.set_capacity(None);
            if let Ok((journal, _)) = Journal::open(image.image(), JOURNAL) {
                let names = crate::gateway::names_in(&journal);
                self.site.image = Some((image, names));
            }
            return;
        };
        self.book.reached.note(Point::GatewayRestored);
        self.disconnect_gateway();
        self.site.process = None;
        self.site.card = image;
        self.site.lies = false;
        self.book.handle_card_replaced();
        self.book.handle_on_card(&names);
        self.boot();
    }

    /// The first time a backup is made, later ingest is replaced by it.
    fn restore_ingest(&mut self) {
        let Some((disk, archive)) = self.server.backup.take() else {
            if self.server.disk.is_off() || self.book.excuses.ingest_lost {
                return;
            }
            let archive = match &self.server.process {
                Some(process) => Some(process.archive()),
                None => self.server.archive.as_ref(),
            };
            let Some(archive) = archive else { return };
            let disk = self.server.disk.image();
            disk.restart(Survival::Everything);
            disk.set_capacity(None);
            // A copy that can't even be started is no backup.
            if known_after_power_cut(&disk, archive).is_some() {
                self.server.backup = Some((disk.clone(), archive.on(disk)));
            }
            return;
        };
        self.book.reached.note(Point::IngestRestored);
        self.book.excuses.ingest_lost = true;
        self.server.doubtful = true;
        self.broker.disconnect_ingest();
        drop(self.take_archive());
        self.server.lies_since = None;
        self.server.disk = disk;
        self.server.archive = Some(archive);
    }

    fn step_clock(&mut self) {
        let Some(error) = self.site.clock_error_ms else {
            return;
        };
        let far = self.chance(10);
        let size = if far {
            self.rng.random_range(0..3 * 24 * HOUR_MS)
        } else {
            self.rng.random_range(0..2 * HOUR_MS)
        };
        let size = i64::try_from(size).unwrap_or(0);
        let error = match self.rng.random_range(0..3) {
            0 => error + size,
            1 => error - size,
            _ => 0,
        };
        self.book
            .reached
            .note(if Some(error) > self.site.clock_error_ms {
                Point::ClockForward
            } else {
                Point::ClockBack
            });
        self.book.excuses.far_ahead |= error > FAR_AHEAD_MS;
        self.site.clock_error_ms = Some(error);
    }
}

/// Flips a bit somewhere; whether there was one.
fn flip(disk: &SimDisk, rng: &mut impl RngExt) -> bool {
    let names = disk.list().unwrap_or_default();
    if names.is_empty() {
        return false;
    }
    let Some(name) = names.get(rng.random_range(0..names.len())) else {
        return false;
    };
    let length = disk.len(name).unwrap_or(0);
    if length == 0 {
        return false;
    }
    disk.flip_bit(name, rng.random_range(0..length), rng.random_range(0..8));
    true
}

fn fail(disk: &SimDisk, rng: &mut impl RngExt) {
    match rng.random_range(0..3) {
        0 => disk.fail_writes(rng.random_range(1..4)),
        1 => disk.fail_syncs(rng.random_range(1..4)),
        _ => disk.fail_name_syncs(rng.random_range(1..3)),
    }
}
