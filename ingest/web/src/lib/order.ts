/** The order in which quantities are shown: what a technician looks at first comes first. Pure. */

const CHANNELS = ['air_temperature', 'relative_humidity', 'soil_moisture_index', 'co2', 'global_radiation', 'zones_open', 'water_flow', 'water_volume', 'tank_level'];
/** Places that are not the greenhouse itself come after it. */
const OUTSIDE = /outside|outdoor|ngoai/;

interface Named {
  device: string;
  channel: string;
}

export function byImportance(a: Named, b: Named): number {
  return rank(a) - rank(b) || compare(a.channel, b.channel) || devices(a.device) - devices(b.device) || compare(a.device, b.device);
}

function rank({ device, channel }: Named): number {
  const at = CHANNELS.indexOf(channel);
  return (OUTSIDE.test(device) ? 1_000 : 0) + (at < 0 ? CHANNELS.length : at);
}

/** A dedicated climate sensor before one that measures climate only to correct itself. */
const devices = (device: string): number => (/sht|inside|climate/.test(device) ? 0 : 1);

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
