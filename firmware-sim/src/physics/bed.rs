//! What grows in what: how much water a bed holds for its crop, and how many leaves drink it.

/// A soil and a crop in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bed {
    /// Water content at field capacity, m³/m³: above it drains. Below saturation, 0.46.
    pub field_capacity: f64,
    /// Water content at which leaves wilt for good, m³/m³.
    pub wilting_point: f64,
    /// AquaCrop's drainage coefficient, 0.0866·Ksat^0.35 with Ksat in mm/day.
    pub drainage: f64,
    /// Rooted depth, m.
    pub root_depth_m: f64,
    /// Share of the available water that is easily taken up, 0 to 1: p of FAO-56, table 22.
    pub easy_share: f64,
    /// Leaf area per floor area.
    pub leaf_area: f64,
}

impl Default for Bed {
    /// Vegetables in loam.
    fn default() -> Self {
        Self {
            field_capacity: 0.31,
            wilting_point: 0.15,
            drainage: 0.762,
            root_depth_m: 0.2,
            easy_share: 0.40,
            leaf_area: 2.5,
        }
    }
}

impl Bed {
    /// Tomato in loam.
    #[must_use]
    pub fn tomato_in_loam() -> Self {
        Self {
            root_depth_m: 0.3,
            leaf_area: 3.0,
            ..Self::default()
        }
    }

    /// Lettuce in sandy loam: shallow roots, and little water held.
    #[must_use]
    pub fn lettuce_in_sandy_loam() -> Self {
        Self {
            field_capacity: 0.24,
            wilting_point: 0.10,
            drainage: 1.0,
            easy_share: 0.30,
            leaf_area: 1.8,
            ..Self::default()
        }
    }

    /// Sweet pepper in clay loam.
    #[must_use]
    pub fn pepper_in_clay_loam() -> Self {
        Self {
            field_capacity: 0.37,
            wilting_point: 0.21,
            drainage: 0.5,
            root_depth_m: 0.25,
            easy_share: 0.30,
            leaf_area: 2.6,
        }
    }

    /// How much of what plants can take is there at a water content: 1 at field capacity, 0 where
    /// they wilt.
    #[must_use]
    pub fn available(&self, water: f64) -> f64 {
        (water - self.wilting_point) / (self.field_capacity - self.wilting_point)
    }
}
