//! The archive's codec for values, `pco`, beside differences packed by zstd: bytes and time a reading.
//!
//! `cargo bench -p furrow-ingest --bench codec [-- DAYS]`: the made-up channels of the reference greenhouse at 10 s, a
//! block for each day of each channel, as the archive seals them. `docs/adr/0004-archive-blocks.md` has the choice.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark may fail loudly")]
#![allow(clippy::cast_possible_truncation, reason = "made-up values are small")]

mod made_up;

use pco::standalone::{simple_compress, simple_decompress};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};
use rand::SeedableRng;
use rand::rngs::StdRng;

use made_up::{CHANNELS, DAY_MS, SEED, cpu_time, sample, tell};

const STEP_MS: i64 = 10_000;

/// How a block is packed.
#[derive(Debug, Clone, Copy)]
enum Codec {
    /// As the archive does it, at a level.
    Pco(usize),
    /// Zig-zag varints of differences, packed by zstd at a level.
    Varints(i32),
    /// Zig-zag differences of 32 bits, first all lowest bytes, then all next ones, packed by zstd.
    Planes(i32),
}

const CODECS: [Codec; 7] = [
    Codec::Pco(6),
    Codec::Pco(8),
    Codec::Varints(3),
    Codec::Varints(9),
    Codec::Varints(19),
    Codec::Planes(3),
    Codec::Planes(19),
];

fn main() {
    let days = std::env::args().find_map(|argument| argument.parse().ok());
    let blocks = blocks(days.unwrap_or(32));
    let readings: usize = blocks.iter().map(Vec::len).sum();
    for codec in CODECS {
        let begin = cpu_time();
        let packed: Vec<Vec<u8>> = blocks.iter().map(|block| codec.pack(block)).collect();
        let pack = cpu_time() - begin;
        let begin = cpu_time();
        let unpacked: Vec<Vec<i32>> = packed
            .iter()
            .zip(&blocks)
            .map(|(packed, block)| codec.unpack(packed, block.len()))
            .collect();
        let unpack = cpu_time() - begin;
        assert_eq!(unpacked, blocks, "{codec:?}");
        let bytes: usize = packed.iter().map(Vec::len).sum();
        let name = |what: &str| format!("codec: {}, {what}", codec.text());
        let each = |value: f64| value / readings as f64;
        tell(&name("size"), each(bytes as f64), "B/reading", None);
        tell(
            &name("encode"),
            each(pack.as_nanos() as f64),
            "ns/reading",
            None,
        );
        tell(
            &name("decode"),
            each(unpack.as_nanos() as f64),
            "ns/reading",
            None,
        );
    }
}

impl Codec {
    fn text(self) -> String {
        match self {
            Codec::Pco(level) => format!("pco {level}"),
            Codec::Varints(level) => format!("differences as varints, zstd {level}"),
            Codec::Planes(level) => format!("differences as planes of bytes, zstd {level}"),
        }
    }

    fn pack(self, values: &[i32]) -> Vec<u8> {
        match self {
            Codec::Pco(level) => {
                let config = ChunkConfig::default()
                    .with_compression_level(level)
                    .with_mode_spec(ModeSpec::Classic)
                    .with_delta_spec(DeltaSpec::TryConsecutive(1));
                simple_compress(values, &config).unwrap()
            }
            Codec::Varints(level) => {
                let mut bytes = Vec::with_capacity(values.len() * 2);
                for mut value in differences(values) {
                    while value >= 0x80 {
                        bytes.push(value as u8 | 0x80);
                        value >>= 7;
                    }
                    bytes.push(value as u8);
                }
                zstd::bulk::compress(&bytes, level).unwrap()
            }
            Codec::Planes(level) => {
                let all: Vec<u32> = differences(values).collect();
                let planes =
                    (0..4).flat_map(|plane| all.iter().map(move |v| (v >> (8 * plane)) as u8));
                let bytes: Vec<u8> = planes.collect();
                zstd::bulk::compress(&bytes, level).unwrap()
            }
        }
    }

    fn unpack(self, packed: &[u8], count: usize) -> Vec<i32> {
        match self {
            Codec::Pco(_) => simple_decompress(packed).unwrap(),
            Codec::Varints(_) => {
                let bytes = zstd::bulk::decompress(packed, count * 5).unwrap();
                let (mut value, mut shift) = (0, 0);
                let mut all = Vec::with_capacity(count);
                for byte in bytes {
                    value |= u32::from(byte & 0x7f) << shift;
                    shift += 7;
                    if byte & 0x80 == 0 {
                        all.push(value);
                        (value, shift) = (0, 0);
                    }
                }
                values(all.into_iter())
            }
            Codec::Planes(_) => {
                let bytes = zstd::bulk::decompress(packed, count * 4).unwrap();
                let mut all = vec![0_u32; count];
                for (plane, bytes) in bytes.chunks(count).enumerate() {
                    for (value, byte) in all.iter_mut().zip(bytes) {
                        *value |= u32::from(*byte) << (8 * plane);
                    }
                }
                values(all.into_iter())
            }
        }
    }
}

/// Zig-zag differences.
fn differences(values: &[i32]) -> impl Iterator<Item = u32> {
    let mut previous = 0_i32;
    values.iter().map(move |value| {
        let step = value.wrapping_sub(previous);
        previous = *value;
        ((step << 1) ^ (step >> 31)).cast_unsigned()
    })
}

fn values(differences: impl Iterator<Item = u32>) -> Vec<i32> {
    let mut value = 0_i32;
    let next = |zigzag: u32| {
        let step = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        value = value.wrapping_add(step);
        value
    };
    differences.map(next).collect()
}

/// A day of one channel each.
fn blocks(days: i64) -> Vec<Vec<i32>> {
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut blocks = Vec::new();
    for spec in &CHANNELS {
        let mut wander = 0.0;
        for day in 0..days {
            let times = (day * DAY_MS..(day + 1) * DAY_MS).step_by(STEP_MS as usize);
            let mantissa = |time| {
                let sample = sample(&mut rng, spec, &mut wander, time, STEP_MS);
                i32::try_from(sample.mantissa.unwrap()).unwrap()
            };
            blocks.push(times.map(mantissa).collect());
        }
    }
    blocks
}
