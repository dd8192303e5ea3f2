/** The order in which quantities are shown: what a technician looks at first comes first. Pure. */

const CHANNELS = [
  'air_temperature',
  'relative_humidity',
  'vpd',
  'soil_moisture',
  'soil_moisture_index',
  'co2',
  'global_radiation',
  'dli',
  'electrical_conductivity',
  'ph',
  'zones_open',
  'water_flow',
  'water_volume',
  'tank_level',
  'rain',
  'temperature',
];
/** Places that are not the greenhouse itself come after it. */
const OUTSIDE = /outside|outdoor|ngoai/;
/** A dedicated climate sensor comes before one that measures climate only to correct itself. */
const CLIMATE = /sht|inside|climate/;

interface Named {
  device: string;
  channel: string;
}

/** First the quantities in their order, then what a second device says of the same ones, then outside. */
export function inOrder<T extends Named>(items: Iterable<T>): T[] {
  const sorted = [...items].sort(compare);
  const seen = new Set<string>();
  const groups: [T[], T[], T[]] = [[], [], []];
  for (const item of sorted) {
    if (OUTSIDE.test(item.device)) groups[2].push(item);
    else groups[seen.has(item.channel) ? 1 : 0].push(item);
    seen.add(item.channel);
  }
  return groups.flat();
}

function compare(a: Named, b: Named): number {
  return (
    Number(OUTSIDE.test(a.device)) - Number(OUTSIDE.test(b.device)) ||
    rank(a.channel) - rank(b.channel) ||
    text(a.channel, b.channel) ||
    Number(CLIMATE.test(b.device)) - Number(CLIMATE.test(a.device)) ||
    text(a.device, b.device)
  );
}

function rank(channel: string): number {
  const at = CHANNELS.indexOf(channel);
  return at < 0 ? CHANNELS.length : at;
}

const text = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
