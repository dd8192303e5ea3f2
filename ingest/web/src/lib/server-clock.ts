/**
 * How far this device's clock is from the server's. Ages are counted in the server's time, since
 * a phone that is ten minutes off would otherwise call every value stale, or hide that one is.
 */

/** A Date header is whole seconds, and answers take a while: less than this is no difference. */
const TOLERANCE_MS = 2_000;

/** Milliseconds to add to this device's clock. `null`: the answer says nothing usable. */
export function offsetMs(dateHeader: string | null, sentAt: number, receivedAt: number): number | null {
  if (dateHeader === null) return null;
  const server = Date.parse(dateHeader);
  if (Number.isNaN(server)) return null;
  const offset = server + 500 - (sentAt + receivedAt) / 2;
  const uncertainty = TOLERANCE_MS + (receivedAt - sentAt) / 2;
  return Math.abs(offset) <= uncertainty ? 0 : Math.round(offset);
}
