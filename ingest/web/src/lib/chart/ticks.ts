/** Labels of the time axis, in greenhouse time: hours, and the date where a day begins. Pure. */

import { clock, day, DAY_MS } from '../format';

export function timeTicks(splits: readonly number[], stepMs: number): string[] {
  let shown = '';
  return splits.map((ms) => {
    const date = day(ms);
    if (stepMs >= DAY_MS) return date;
    if (date === shown) return clock(ms);
    shown = date;
    return `${clock(ms)}\n${date}`;
  });
}
