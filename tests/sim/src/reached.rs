//! What a run came across: every fault and every state has a counter, and one that stays at zero over
//! a whole run says that the simulation does not test what it claims to.

/// Declares the points with their names.
macro_rules! points {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// A fault or a state.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $($(#[$doc])* $name,)*
        }

        impl Point {
            /// All of them, in the order in which they are printed.
            pub const ALL: &'static [Point] = &[$(Point::$name,)*];

            /// For people.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self {
                    $(Point::$name => $text,)*
                }
            }
        }
    };
}

points! {
    /// The gateway lost its power with writes under way.
    GatewayPower => "fault: gateway loses power",
    /// The same, and sectors of unsynced writes were rubbish.
    GatewayTorn => "fault: gateway's sectors torn",
    /// The gateway's process was killed.
    GatewayKilled => "fault: gateway killed",
    /// The gateway ended as it should.
    GatewayStopped => "fault: gateway stopped and started",
    /// A bit of the gateway's card flipped.
    GatewayFlip => "fault: bit flipped on gateway's card",
    /// The gateway's card has no space.
    GatewayFull => "fault: gateway's card full",
    /// The gateway's card reports syncs that it does not do.
    GatewayLies => "fault: gateway's card lies about a flush",
    /// A write or sync of the gateway's card fails.
    GatewayWriteFails => "fault: gateway's write or sync fails",
    /// The gateway's card was replaced by an older image of itself.
    GatewayRestored => "fault: gateway's card restored from an image",
    /// The link between gateway and broker goes down.
    LinkDown => "fault: link down",
    /// The broker confirms packets that it then drops.
    BrokerDrops => "fault: broker confirms and drops",
    /// The broker confirms nothing any more.
    BrokerWedged => "fault: broker confirms nothing",
    /// The broker forgets queues and sessions.
    BrokerForgets => "fault: broker forgets everything",
    /// The broker hands messages over in another order.
    BrokerReorders => "fault: broker reorders",
    /// The broker hands a message over twice.
    BrokerDuplicates => "fault: broker duplicates",
    /// An acknowledgement did not get through.
    AckLost => "fault: acknowledgement lost",
    /// Acknowledgements overtook each other.
    AckReordered => "fault: acknowledgements reordered",
    /// Ingest lost its power with writes under way.
    IngestPower => "fault: ingest loses power",
    /// The same, and sectors of unsynced writes were rubbish.
    IngestTorn => "fault: ingest's sectors torn",
    /// Ingest's process was killed.
    IngestKilled => "fault: ingest killed",
    /// A bit of ingest's log flipped.
    IngestFlip => "fault: bit flipped in ingest's log or marks",
    /// Ingest's disk has no space.
    IngestFull => "fault: ingest's disk full",
    /// Ingest's disk reports syncs that it does not do.
    IngestLies => "fault: ingest's disk lies about a flush",
    /// A write or sync of ingest's disk fails.
    IngestWriteFails => "fault: ingest's write or sync fails",
    /// The archive can't be written for a while.
    ArchiveFails => "fault: archive can't be written",
    /// Ingest was replaced by an older backup of itself.
    IngestRestored => "fault: ingest restored from a backup",
    /// Wall time stepped forward.
    ClockForward => "fault: clock steps forward",
    /// Wall time stepped back.
    ClockBack => "fault: clock steps back",
    /// A boot began without wall time.
    ClocklessBoot => "fault: boot without a clock",
    /// Days without a link.
    LongOutage => "fault: outage of more than a day",
    /// Batches waited for their boot's mapping.
    Held => "state: batches wait for a mapping",
    /// A mapping came from the boot's own clock.
    MappedRepaired => "state: boot mapped by its own clock",
    /// A mapping came from ingest's time.
    MappedByIngest => "state: boot mapped by ingest's time",
    /// A mapping was estimated by a later boot.
    MappedLater => "state: earlier boot mapped by an estimate",
    /// The journal reached its cap.
    Evicted => "state: segment given up at the cap",
    /// A segment went before its loss was told, for want of any space.
    Unsaid => "state: segment went before it was told",
    /// Events, catalogs or mappings were written again before their segment went.
    Copied => "state: records written again before their segment went",
    /// The catalog was written again because its segment went.
    CatalogAgain => "state: catalog written again",
    /// Batches were told as lost for lack of space.
    LostAtCap => "state: batches told as lost, cap",
    /// Batches were told as lost because the disk was full.
    LostDiskFull => "state: batches told as lost, disk full",
    /// Damaged records were told as lost.
    LostDamaged => "state: records told as lost, damaged",
    /// A restart found its last commit torn.
    TornTail => "state: torn last commit dropped",
    /// Records were gone with the tail of a damaged journal.
    TailDamaged => "state: damage in the very last commit",
    /// A segment was released.
    Released => "state: segment released",
    /// A segment that was released is kept, since something in it waits again.
    Kept => "state: released segment kept after all",
    /// The outbox took back what an ingest had lost.
    TakenBack => "state: acknowledged records taken back",
    /// A packet was offered again.
    OfferedAgain => "state: packet offered again",
    /// A connection was made anew because nothing was confirmed.
    Rebuilt => "state: connection made anew",
    /// A packet of several records.
    ManyRecords => "state: packet of many records",
    /// Ingest recognised a record that it held.
    Duplicate => "state: duplicate recognised",
    /// Ingest held ranges above its mark.
    Ranges => "state: ranges above the mark",
    /// Ingest held as many ranges as it can, and left a record to be offered again.
    Beyond => "state: more than 64 ranges above the mark",
    /// A record was parked.
    Parked => "state: record parked",
    /// A parked record came out.
    Unparked => "state: parked record came out",
    /// A record was refused for good.
    DeadLetter => "state: dead letter",
    /// Ingest stopped taking messages.
    Stalled => "state: ingest takes no more",
    /// Marks were stored and segments of the log let go.
    Checkpoint => "state: checkpoint of ingest",
    /// A segment of the log was used again.
    LogRecycled => "state: segment of the log used again",
    /// The archive skipped what it had.
    Skipped => "state: entries skipped after a restart",
    /// Transactions of the archive were lost in a power cut and made again.
    ArchiveRolledBack => "state: archive lost its last transactions",
    /// The log was found to be another one.
    NewEra => "state: log ended before the archive",
    /// The marks could not be read.
    MarksLost => "state: marks unreadable",
    /// Ingest forgot a stream that no gateway held.
    StreamForgotten => "state: stream forgotten",
    /// A gap without a word of the gateway.
    Gap => "state: gap shown",
}

/// How often each point was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached(Vec<u64>);

impl Default for Reached {
    fn default() -> Self {
        Self(vec![0; Point::ALL.len()])
    }
}

impl Reached {
    /// Once more.
    pub fn note(&mut self, point: Point) {
        self.add(point, 1);
    }

    /// So many times more.
    pub fn add(&mut self, point: Point, times: u64) {
        if let Some(count) = self.0.get_mut(point as usize) {
            *count += times;
        }
    }

    /// What another run reached, too.
    pub fn merge(&mut self, other: &Reached) {
        for (mine, more) in self.0.iter_mut().zip(&other.0) {
            *mine += more;
        }
    }

    /// All points with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Point, u64)> {
        Point::ALL.iter().copied().zip(self.0.iter().copied())
    }

    /// How often a point was reached.
    #[must_use]
    pub fn count(&self, point: Point) -> u64 {
        self.0.get(point as usize).copied().unwrap_or(0)
    }
}
