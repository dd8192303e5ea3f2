//! What grows where: the name that watering is recorded under.

use furrow_irrigation::ZoneIndex;
use furrow_wire::PlantingId;
use jiff::civil::Date;

/// What grows in some zones, from a day to another.
#[derive(Debug, Clone, PartialEq)]
pub struct PlantingSettings {
    /// Stamped on what happens with the water of its zones.
    pub id: PlantingId,
    /// Where; at least one.
    pub zones: Vec<ZoneIndex>,
    /// What, for people; rules know some names.
    pub crop: String,
    /// Which variety; may be empty.
    pub variety: String,
    /// Code of the plot, as in the cooperative's records; may be empty.
    pub plot: String,
    /// Whose; may be empty.
    pub household: String,
    /// Area, in square metres.
    pub area_m2: Option<f64>,
    /// First day.
    pub planted: Date,
    /// First day on which nothing of it grows any more.
    pub ended: Option<Date>,
}

impl PlantingSettings {
    /// Whether it grows there on a day.
    #[must_use]
    pub fn grows_on(&self, date: Date) -> bool {
        self.planted <= date && self.ended.is_none_or(|ended| date < ended)
    }
}
