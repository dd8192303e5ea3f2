/**
 * What the chart shows and loads: chosen series, visible stretch, points. Points are asked for
 * again whenever the view settles somewhere new, at the resolution that the width can show.
 */

import * as api from '../api';
import { MINUTE_MS, SECOND_MS } from '../format';
import { seriesKey, type Channel, type LiveReading } from '../types';
import { serverTime } from '../ui.svelte';
import { appendReading, keepColours, SERIES_MAX, toggle, type SeriesData } from './data';
import { advance, clampView, fetchRange, panView, pointsFor, presetView, zoomView, type RangeName, type View } from './view';

/** A view that rests this long is loaded. */
const SETTLE_MS = 200;
/** Readings that the live stream did not bring one by one are fetched together, this long after the first. */
const LATE_MS = SECOND_MS;
/** A view that follows the present is fetched anew this often, since live points only approximate buckets. */
const RENEW_MS = 5 * MINUTE_MS;

interface Fetched {
  from: number;
  to: number;
  at: number;
}

export class ChartModel {
  selected = $state.raw<readonly string[]>([]);
  /** Number of each chosen series' colour, from 1; a series keeps its colour while it is shown. */
  colours = $state.raw<ReadonlyMap<string, number>>(new Map());
  range = $state<RangeName | null>('24h');
  view = $state.raw<View>(presetView('24h', serverTime.exact()));
  data = $state.raw<ReadonlyMap<string, SeriesData>>(new Map());
  loading = $state(false);
  error = $state.raw<unknown>(null);
  /** CSS pixels of the plotting area. */
  width = 600;

  readonly #cooperative: string;
  readonly #greenhouse: string;
  readonly #channels: ReadonlyMap<string, Channel>;
  #fetched: Fetched | null = null;
  #abort: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(cooperative: string, greenhouse: string, channels: readonly Channel[]) {
    this.#cooperative = cooperative;
    this.#greenhouse = greenhouse;
    this.#channels = new Map(channels.map((c) => [seriesKey(c), c]));
  }

  stop(): void {
    this.#abort?.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  unitOf(key: string): string {
    return this.#channels.get(key)?.unit ?? '';
  }

  select(keys: readonly string[]): void {
    this.selected = keys.filter((key) => this.#channels.has(key)).slice(0, SERIES_MAX);
    this.colours = keepColours(this.colours, this.selected);
    this.#loadIn(0);
  }

  toggle(key: string): void {
    this.select(toggle(this.selected, key, (k) => this.unitOf(k)));
  }

  setRange(range: RangeName): void {
    this.range = range;
    this.view = presetView(range, serverTime.exact());
    this.#loadIn(0);
  }

  zoomTo(from: number, to: number): void {
    this.#moved(clampView(from, to, serverTime.exact()));
  }

  /** Zooms around a share of the width: without one, around the middle, or the present if it is followed. */
  zoom(factor: number, share = this.view.following ? 1 : 0.5): void {
    const { from, to } = this.view;
    this.#moved(zoomView(this.view, factor, from + (to - from) * share, serverTime.exact()));
  }

  pan(share: number): void {
    this.#moved(panView(this.view, (this.view.to - this.view.from) * share, serverTime.exact()));
  }

  reload(): void {
    this.#loadIn(0);
  }

  /** Moves with the present, when it moved by a pixel. */
  tick(now: number): void {
    const pixel = (this.view.to - this.view.from) / Math.max(1, this.width);
    if (this.view.following && now - this.view.to >= pixel) this.view = advance(this.view, now);
    if (this.view.following && this.#fetched && now - this.#fetched.at > RENEW_MS && !this.loading) this.#loadIn(0);
  }

  append(readings: readonly LiveReading[]): void {
    let next: Map<string, SeriesData> | null = null;
    for (const reading of readings) {
      const key = seriesKey(reading);
      const held = (next ?? this.data).get(key);
      if (!held || reading.quality !== 'good' || reading.value === null) continue;
      const longer = this.view.following ? appendReading(held, reading.time_ms, reading.value) : null;
      if (longer) (next ??= new Map(this.data)).set(key, longer);
      else if (reading.time_ms >= this.view.from && reading.time_ms <= this.view.to) this.#loadIn(LATE_MS);
    }
    if (next) this.data = next;
  }

  #moved(view: View): void {
    if (view.from === this.view.from && view.to === this.view.to) return;
    this.view = view;
    this.range = null;
    if (!this.#covered()) this.#loadIn(SETTLE_MS, true);
  }

  /** Every reading of this stretch is already here. */
  #covered(): boolean {
    const fetched = this.#fetched;
    const raw = this.selected.every((key) => this.data.get(key)?.bucketMs === 0);
    return fetched !== null && raw && fetched.from <= this.view.from && (fetched.to >= this.view.to || this.view.following);
  }

  #loadIn(ms: number, again = false): void {
    if (this.#timer !== null && (again || ms === 0)) {
      clearTimeout(this.#timer);
      this.#timer = null;
    }
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      void this.#load();
    }, ms);
  }

  async #load(): Promise<void> {
    this.#abort?.abort();
    const abort = new AbortController();
    this.#abort = abort;
    if (this.selected.length === 0) {
      this.data = new Map();
      this.loading = false;
      return;
    }
    const now = serverTime.exact();
    const range = fetchRange(this.view, now);
    const share = (range.to - range.from) / (this.view.to - this.view.from);
    const points = pointsFor(this.width * share);
    this.loading = true;
    try {
      const loaded = await Promise.all(this.selected.map((key) => this.#series(key, { ...range, points }, abort.signal)));
      if (abort.signal.aborted) return;
      this.data = new Map(loaded);
      this.#fetched = { ...range, at: now };
      this.error = null;
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = error;
    }
    this.loading = false;
  }

  async #series(key: string, ask: { from: number; to: number; points: number }, signal: AbortSignal): Promise<[string, SeriesData]> {
    const channel = this.#channels.get(key);
    if (!channel) return [key, { bucketMs: 0, intervalMs: 0, points: [] }];
    const found = await api.series(this.#cooperative, this.#greenhouse, channel, ask, signal);
    return [key, { bucketMs: found.bucket_ms, intervalMs: channel.interval_ms, points: found.points }];
  }
}
