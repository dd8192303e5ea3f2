/** What only the page of one greenhouse needs: its channels, events and gaps, and its chart. */

import * as api from './api';
import { ChartModel } from './chart/model.svelte';
import type { Farm } from './farm.svelte';
import { DAY_MS } from './format';
import { inOrder } from './order';
import { seriesKey, type Channel, type FarmEvent, type Gap } from './types';
import { serverTime } from './ui.svelte';

/** The longest range of the chart, so that every watering run in it can be shaded. */
const EVENTS_BACK_MS = 30 * DAY_MS;
/** How many series the chart starts with. */
const FIRST_SERIES = 2;
const CHOSEN_KEY = 'furrow.chart.';

export class House {
  channels = $state.raw<readonly Channel[] | null>(null);
  events = $state.raw<readonly FarmEvent[]>([]);
  gaps = $state.raw<readonly Gap[]>([]);
  chart = $state.raw<ChartModel | null>(null);
  error = $state.raw<unknown>(null);

  readonly id: string;
  readonly #farm: Farm;
  readonly #abort = new AbortController();
  #stops: (() => void)[] = [];

  constructor(farm: Farm, id: string) {
    this.#farm = farm;
    this.id = id;
  }

  start(): void {
    void this.load();
    this.#stops = [
      this.#farm.onReadings((greenhouse, readings) => {
        if (greenhouse === this.id) this.chart?.append(readings);
      }),
      this.#farm.onChange((greenhouse) => {
        if (greenhouse === this.id) void this.#refresh();
      }),
    ];
  }

  stop(): void {
    this.#abort.abort();
    this.chart?.stop();
    for (const stop of this.#stops) stop();
  }

  async load(): Promise<void> {
    this.error = null;
    try {
      const channels = await api.channels(this.#farm.cooperative, this.id, this.#abort.signal);
      this.#useChannels(channels);
    } catch (error) {
      if (!this.#abort.signal.aborted) this.error = error;
      return;
    }
    await this.#refresh();
  }

  /** Draws a series or takes it out, and remembers the choice on this device. */
  toggle(key: string): void {
    this.chart?.toggle(key);
    try {
      localStorage.setItem(CHOSEN_KEY + this.id, JSON.stringify(this.chart?.selected ?? []));
    } catch {
      // Without storage the choice lasts for this visit.
    }
  }

  #useChannels(channels: readonly Channel[]): void {
    const same = this.channels !== null && JSON.stringify(channels) === JSON.stringify(this.channels);
    this.channels = channels;
    if (this.chart && same) return;
    const chosen = this.chart?.selected ?? this.#remembered();
    this.chart?.stop();
    const chart = new ChartModel(this.#farm.cooperative, this.id, channels);
    const known = chosen.filter((key) => channels.some((c) => seriesKey(c) === key));
    chart.select(known.length > 0 ? known : inOrder(channels).slice(0, FIRST_SERIES).map(seriesKey));
    this.chart = chart;
  }

  async #refresh(): Promise<void> {
    const now = serverTime.exact();
    const { cooperative } = this.#farm;
    const { signal } = this.#abort;
    try {
      const [events, gaps, channels] = await Promise.all([
        api.events(cooperative, this.id, now - EVENTS_BACK_MS, now + DAY_MS, signal),
        api.gaps(cooperative, this.id, signal),
        api.channels(cooperative, this.id, signal),
      ]);
      this.events = events;
      // What waits on the gateway is no loss; the page says how many readings that are.
      this.gaps = gaps.filter((gap) => gap.reason !== 'waiting');
      this.#useChannels(channels);
    } catch (error) {
      // What is shown stays; only a page that never got its events has to say so.
      if (!signal.aborted && this.channels === null) this.error = error;
    }
  }

  #remembered(): string[] {
    try {
      const found: unknown = JSON.parse(localStorage.getItem(CHOSEN_KEY + this.id) ?? '[]');
      return Array.isArray(found) ? found.filter((key): key is string => typeof key === 'string') : [];
    } catch {
      return [];
    }
  }
}
