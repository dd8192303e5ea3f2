//! Where the bytes of an MQTT 5 connection go: reads what a relay recorded, packet by packet.
//!
//! Knows of furrow's messages only the topic's last level and where a record's header ends.

use std::collections::BTreeMap;

/// What the bytes are, in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Type and length of publishes.
    Headers,
    /// Names and their lengths.
    Topics,
    /// Packet ids and properties, aliases among them.
    Properties,
    /// Flag byte and headers of records.
    RecordHeaders,
    /// Bodies of records.
    Bodies,
    /// What acknowledgements say.
    Acks,
    /// What other publishes say.
    Others,
    /// PUBACKs.
    Pubacks,
    /// Pings and everything else.
    Rest,
}

impl Part {
    /// In words.
    pub(super) fn text(self) -> &'static str {
        match self {
            Part::Headers => "headers of publishes",
            Part::Topics => "topics",
            Part::Properties => "packet ids and properties",
            Part::RecordHeaders => "headers of records",
            Part::Bodies => "bodies of records",
            Part::Acks => "what acknowledgements say",
            Part::Others => "what other publishes say",
            Part::Pubacks => "PUBACKs",
            Part::Rest => "pings and the rest",
        }
    }
}

const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const TOPIC_ALIAS: u8 = 35;
/// As in `wire/src/record.rs`.
const RECORD_HEADER: usize = 26;
const LENGTH_AT: usize = 18;

/// Bytes by part of the packets in one direction of one connection that begin at or behind `from`.
/// `bytes` are all that it carried; what follows something that is not MQTT is left out.
pub(super) fn parts(bytes: &[u8], from: usize) -> BTreeMap<Part, u64> {
    let (mut rest, mut parts) = (bytes, BTreeMap::new());
    let mut aliases = BTreeMap::new();
    while let Some((packet, head, behind)) = next_packet(rest) {
        let is_counted = bytes.len() - rest.len() >= from;
        let mut found = BTreeMap::new();
        read_packet(packet, head, &mut aliases, &mut found);
        for (part, count) in found.into_iter().filter(|_| is_counted) {
            *parts.entry(part).or_insert(0) += count as u64;
        }
        rest = behind;
    }
    parts
}

/// The next whole packet, how long its fixed header is, and what follows.
fn next_packet(bytes: &[u8]) -> Option<(&[u8], usize, &[u8])> {
    let (length, width) = varint(bytes.get(1..)?)?;
    let (packet, behind) = bytes.split_at_checked(1 + width + length)?;
    Some((packet, 1 + width, behind))
}

fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (width, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * width);
        if byte & 0x80 == 0 {
            return Some((value, width + 1));
        }
    }
    None
}

fn read_packet(
    packet: &[u8],
    head: usize,
    aliases: &mut BTreeMap<u16, Vec<u8>>,
    parts: &mut BTreeMap<Part, usize>,
) {
    let first = packet.first().copied().unwrap_or(0);
    match first >> 4 {
        PUBLISH => {
            let body = packet.get(head..).unwrap_or_default();
            parts.insert(Part::Headers, head);
            if read_publish(body, first & 0b110 != 0, aliases, parts).is_none() {
                parts.insert(Part::Others, body.len());
            }
        }
        PUBACK => {
            parts.insert(Part::Pubacks, packet.len());
        }
        _ => {
            parts.insert(Part::Rest, packet.len());
        }
    }
}

fn read_publish(
    body: &[u8],
    has_id: bool,
    aliases: &mut BTreeMap<u16, Vec<u8>>,
    parts: &mut BTreeMap<Part, usize>,
) -> Option<()> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let id = if has_id { 2 } else { 0 };
    let (length, width) = varint(rest.get(id..)?)?;
    let (before, payload) = rest.split_at_checked(id + width + length)?;
    let mut topic = topic.to_vec();
    parts.insert(Part::Topics, 2 + topic.len());
    parts.insert(Part::Properties, before.len());
    if let Some(alias) = alias(before.get(id + width..)?) {
        if topic.is_empty() {
            topic.clone_from(aliases.get(&alias)?);
        } else {
            aliases.insert(alias, topic.clone());
        }
    }
    if topic.ends_with(b"/batch") {
        let headers = record_headers(payload);
        parts.insert(Part::RecordHeaders, headers);
        parts.insert(Part::Bodies, payload.len() - headers);
    } else if topic.ends_with(b"/ack") {
        parts.insert(Part::Acks, payload.len());
    } else {
        parts.insert(Part::Others, payload.len());
    }
    Some(())
}

/// Ours have an alias and an expiry (4 bytes, 2) at most.
fn alias(mut properties: &[u8]) -> Option<u16> {
    while let Some((kind, rest)) = properties.split_first() {
        if *kind == TOPIC_ALIAS {
            return rest.first_chunk().copied().map(u16::from_be_bytes);
        }
        properties = rest.get(4..).filter(|_| *kind == 2)?;
    }
    None
}

/// The flag byte, and the headers where the records are not deflated.
fn record_headers(payload: &[u8]) -> usize {
    let mut headers = 1;
    let mut rest = payload.get(1..).unwrap_or_default();
    let is_plain = payload.first() == Some(&0);
    while is_plain && let Some(header) = rest.get(..RECORD_HEADER) {
        let length = header
            .get(LENGTH_AT..)
            .and_then(|bytes| bytes.first_chunk());
        let length = length.copied().map_or(0, u32::from_le_bytes);
        headers += RECORD_HEADER;
        rest = usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(RECORD_HEADER + length..))
            .unwrap_or_default();
    }
    headers.min(payload.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A publish of QoS 1 with these properties.
    fn publish(topic: &str, properties: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut body = vec![0, u8::try_from(topic.len()).unwrap()];
        body.extend(topic.as_bytes());
        body.extend([0, 9, u8::try_from(properties.len()).unwrap()]);
        body.extend(properties);
        body.extend(payload);
        let mut packet = vec![0x32, u8::try_from(body.len()).unwrap()];
        packet.extend(body);
        packet
    }

    fn record(body: u8) -> Vec<u8> {
        let mut record = vec![1; RECORD_HEADER + usize::from(body)];
        record[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&u32::from(body).to_le_bytes());
        record
    }

    #[test]
    fn every_byte_has_its_part() {
        let payload = [vec![0], record(30), record(8)].concat();
        let first = publish("f/batch", &[35, 0, 1], &payload);
        let bytes = [
            first.clone(),
            publish("", &[2, 0, 0, 0, 9, 35, 0, 1], &payload[..1 + 26 + 30]),
            publish("f/ack", &[], &[1, 2, 3]),
            publish("f/state", &[], &[1]),
            vec![0x40, 2, 0, 9],
            vec![0xc0, 0],
        ]
        .concat();
        let all = parts(&bytes, 0);
        let expected = [
            (Part::Headers, 8),
            (Part::Topics, 9 + 2 + 7 + 9),
            (Part::Properties, 6 + 11 + 3 + 3),
            (Part::RecordHeaders, 1 + 52 + 1 + 26),
            (Part::Bodies, 38 + 30),
            (Part::Acks, 3),
            (Part::Others, 1),
            (Part::Pubacks, 4),
            (Part::Rest, 2),
        ];
        assert_eq!(all, BTreeMap::from(expected));
        assert_eq!(all.values().sum::<u64>(), bytes.len() as u64);
        let later = parts(&bytes, 1);
        let of_first: u64 = parts(&first, 0).values().sum();
        assert_eq!(later.values().sum::<u64>() + of_first, bytes.len() as u64);
        assert_eq!(later[&Part::Bodies], 30);
    }
}
