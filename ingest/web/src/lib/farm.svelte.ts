/**
 * What is known of one cooperative: greenhouses, latest values, alerts, and the live stream that
 * keeps them new. It holds nothing about the chart; a chart listens with `onReadings`.
 */

import * as api from './api';
import { arrived, NO_CADENCE, recalled, usualMs, type Cadence } from './cadence';
import { afterReading, parseReadings, type ShowContext } from './freshness';
import { DAY_MS, SECOND_MS } from './format';
import { LiveConnection, type LiveState } from './live';
import { eachLimited } from './pool';
import { seriesKey, type Alert, type Greenhouse, type Latest, type LiveReading } from './types';
import { serverTime } from './ui.svelte';

/** Requests under way at once while the first page fills. */
const PARALLEL = 4;
/** Live readings are shown in groups, at most this often. */
const FLUSH_MS = 250;
/** A backlog can bring many readings at once; a group is never larger than this. */
const GROUP_MAX = 5_000;
/** What the live stream announces without details is asked for again, at most this often. */
const REFRESH_MS_MIN = SECOND_MS;
/** And this often in any case, as the stream may not tell everything. */
const REFRESH_MS_MAX = 60 * SECOND_MS;
/** How far back the alerts list goes. */
export const ALERTS_BACK_MS = 30 * DAY_MS;

const CADENCES_KEY = 'furrow.cadences.';

export interface HouseState {
  latest: ReadonlyMap<string, Latest>;
  alerts: readonly Alert[];
  /** How often readings arrive, in milliseconds. */
  deliveryMs: number;
}

type ReadingsListener = (greenhouse: string, readings: readonly LiveReading[]) => void;
type ChangeListener = (greenhouse: string) => void;

export class Farm {
  readonly cooperative: string;
  greenhouses = $state.raw<readonly Greenhouse[] | null>(null);
  houses = $state.raw<ReadonlyMap<string, HouseState>>(new Map());
  error = $state.raw<unknown>(null);
  live = $state.raw<LiveState>({ kind: 'connecting', lostAt: null });
  /** Messages of the live stream that could not be understood; logged with the first. */
  malformed = 0;

  readonly #connection: LiveConnection;
  readonly #abort = new AbortController();
  readonly #unexpectedSession: () => void;
  #pending: LiveReading[] = [];
  /** Greenhouses to ask for again with the next refresh. */
  #changed = new Set<string>();
  #listChanged = false;
  #cadences: Map<string, Cadence>;
  #flushTimer: ReturnType<typeof setTimeout> | null = null;
  #refreshTimer: ReturnType<typeof setTimeout> | null = null;
  #interval: ReturnType<typeof setInterval> | null = null;
  #readingsListeners = new Set<ReadingsListener>();
  #changeListeners = new Set<ChangeListener>();

  constructor(cooperative: string, onUnauthorised: () => void) {
    this.cooperative = cooperative;
    this.#cadences = rememberedCadences(cooperative);
    this.#unexpectedSession = onUnauthorised;
    this.#connection = new LiveConnection({
      url: api.liveUrl(cooperative),
      fetch: (url, init) => fetch(url, init),
      now: () => serverTime.exact(),
      random: () => Math.random(),
      onEvent: (event) => this.#event(event.name, event.data),
      onState: (state) => this.#liveChanged(state),
    });
  }

  start(): void {
    void this.load();
    this.#connection.start();
    this.#interval = setInterval(() => {
      void this.refresh();
      this.#remember();
    }, REFRESH_MS_MAX);
    window.addEventListener('online', this.#wake);
    window.addEventListener('offline', this.#lose);
    document.addEventListener('visibilitychange', this.#wake);
  }

  stop(): void {
    this.#abort.abort();
    this.#connection.stop();
    this.#remember();
    if (this.#interval !== null) clearInterval(this.#interval);
    if (this.#flushTimer !== null) clearTimeout(this.#flushTimer);
    if (this.#refreshTimer !== null) clearTimeout(this.#refreshTimer);
    window.removeEventListener('online', this.#wake);
    window.removeEventListener('offline', this.#lose);
    document.removeEventListener('visibilitychange', this.#wake);
  }

  /**
   * What decides with a reading's age whether it may be shown as current. Without a live stream
   * nobody knows whether the gateway still delivers, so nothing is allowed for its cadence.
   */
  contextOf(greenhouse: Greenhouse): ShowContext {
    const { live } = this;
    const lost = live.kind === 'waiting' || (live.kind === 'connecting' && live.lostAt !== null);
    const usual = this.houses.get(greenhouse.id)?.deliveryMs ?? usualMs(NO_CADENCE);
    return { online: greenhouse.gateway?.online ?? false, deliveryMs: lost ? 0 : usual };
  }

  retryLive(): void {
    this.#connection.retryNow();
  }

  /** Called with each group of live readings of a greenhouse. Returns how to stop. */
  onReadings(listener: ReadingsListener): () => void {
    this.#readingsListeners.add(listener);
    return () => this.#readingsListeners.delete(listener);
  }

  /** Called when events, alerts or the gateway of some greenhouse may have changed. */
  onChange(listener: ChangeListener): () => void {
    this.#changeListeners.add(listener);
    return () => this.#changeListeners.delete(listener);
  }

  /** Everything from the start. */
  async load(): Promise<void> {
    this.error = null;
    try {
      this.greenhouses = await api.greenhouses(this.cooperative, this.#abort.signal);
    } catch (error) {
      if (!this.#abort.signal.aborted) this.error = error;
      return;
    }
    await this.#loadHouses();
  }

  /** Everything again, without showing a failure: what is on the page stays, and its age tells the rest. */
  async refresh(): Promise<void> {
    if (document.hidden || this.greenhouses === null) return;
    this.#listChanged = false;
    this.#changed.clear();
    await this.#refreshList();
    await this.#loadHouses();
    for (const { id } of this.greenhouses) this.#tell(id);
  }

  async #refreshList(): Promise<void> {
    try {
      this.greenhouses = await api.greenhouses(this.cooperative, this.#abort.signal);
    } catch {
      // The banner already says when the connection is lost; the next refresh comes by itself.
    }
  }

  async #refreshChanged(): Promise<void> {
    const changed = [...this.#changed];
    this.#changed.clear();
    if (this.#listChanged || changed.some((id) => !this.greenhouses?.some((g) => g.id === id))) {
      this.#listChanged = false;
      await this.#refreshList();
    }
    await eachLimited(changed, PARALLEL, (id) => this.#loadHouse(id));
    for (const id of changed) this.#tell(id);
  }

  #tell(greenhouse: string): void {
    for (const listener of this.#changeListeners) listener(greenhouse);
  }

  #loadHouses(): Promise<void> {
    return eachLimited(this.greenhouses ?? [], PARALLEL, ({ id }) => this.#loadHouse(id));
  }

  async #loadHouse(id: string): Promise<void> {
    try {
      const now = serverTime.exact();
      const [latest, alerts] = await Promise.all([
        api.latest(this.cooperative, id, this.#abort.signal),
        api.alerts(this.cooperative, id, now - ALERTS_BACK_MS, now + DAY_MS, this.#abort.signal),
      ]);
      this.#setHouse(id, { latest: this.#newest(id, latest), alerts, deliveryMs: usualMs(this.#cadences.get(id) ?? NO_CADENCE) });
    } catch (error) {
      if (!this.#abort.signal.aborted && this.houses.get(id) === undefined) this.error = error;
    }
  }

  /** Keeps the cadences for the next visit, which would otherwise take minutes to learn them. */
  #remember(): void {
    const usual = [...this.#cadences].map(([id, cadence]) => [id, cadence.spacings] as const);
    try {
      localStorage.setItem(CADENCES_KEY + this.cooperative, JSON.stringify(Object.fromEntries(usual)));
    } catch {
      // Without storage they are learned anew.
    }
  }

  /** An answer may be older than what the live stream has told meanwhile. */
  #newest(greenhouse: string, answered: readonly Latest[]): ReadonlyMap<string, Latest> {
    const held = this.houses.get(greenhouse)?.latest;
    return new Map(
      answered.map((latest) => {
        const key = seriesKey(latest);
        const other = held?.get(key);
        return [key, other && other.time_ms > latest.time_ms ? other : latest];
      }),
    );
  }

  #setHouse(id: string, state: HouseState): void {
    this.houses = new Map(this.houses).set(id, state);
  }

  #event(name: string, data: string): void {
    if (name !== 'reading') {
      this.#listChanged ||= name === 'gateway';
      this.#refreshSoon(name === 'gateway' ? null : greenhouseOf(data));
      return;
    }
    const { readings, malformed } = parseReadings(data);
    if (malformed > 0) {
      if (this.malformed === 0) console.warn('ignored a live reading that could not be understood', data.slice(0, 200));
      this.malformed += malformed;
    }
    this.#pending.push(...readings);
    if (this.#pending.length >= GROUP_MAX) this.#flush();
    else this.#flushTimer ??= setTimeout(() => this.#flush(), FLUSH_MS);
  }

  #flush(): void {
    if (this.#flushTimer !== null) clearTimeout(this.#flushTimer);
    this.#flushTimer = null;
    const readings = this.#pending;
    this.#pending = [];
    const byHouse = new Map<string, LiveReading[]>();
    for (const reading of readings) {
      const group = byHouse.get(reading.greenhouse);
      if (group) group.push(reading);
      else byHouse.set(reading.greenhouse, [reading]);
    }
    for (const [id, group] of byHouse) {
      this.#apply(id, group);
      for (const listener of this.#readingsListeners) listener(id, group);
    }
  }

  #apply(id: string, readings: readonly LiveReading[]): void {
    const house = this.houses.get(id);
    if (!house) {
      this.#refreshSoon(id);
      return;
    }
    const latest = new Map(house.latest);
    for (const reading of readings) {
      const key = seriesKey(reading);
      const held = latest.get(key);
      if (held) latest.set(key, afterReading(held, reading));
      else this.#refreshSoon(id); // a channel that is new: its unit and interval must be asked for
    }
    const cadence = arrived(this.#cadences.get(id) ?? NO_CADENCE, serverTime.exact());
    this.#cadences.set(id, cadence);
    this.#setHouse(id, { ...house, latest, deliveryMs: usualMs(cadence) });
  }

  #refreshSoon(greenhouse: string | null): void {
    if (greenhouse !== null) this.#changed.add(greenhouse);
    this.#refreshTimer ??= setTimeout(() => {
      this.#refreshTimer = null;
      void this.#refreshChanged();
    }, REFRESH_MS_MIN);
  }

  #liveChanged(state: LiveState): void {
    const wasLost = this.live.kind === 'waiting' || (this.live.kind === 'connecting' && this.live.lostAt !== null);
    this.live = state;
    if (state.kind === 'unauthorised') this.#unexpectedSession();
    if (state.kind === 'open' && wasLost) void this.refresh();
  }

  readonly #lose = (): void => this.#connection.lose();

  readonly #wake = (): void => {
    if (document.hidden) return;
    this.#connection.retryNow();
    void this.refresh();
  };
}

function rememberedCadences(cooperative: string): Map<string, Cadence> {
  try {
    return recalled(localStorage.getItem(CADENCES_KEY + cooperative) ?? '{}');
  } catch {
    return new Map();
  }
}

/** Which greenhouse a message of the live stream is about, if it says so. */
function greenhouseOf(data: string): string | null {
  try {
    const found: unknown = JSON.parse(data);
    if (typeof found !== 'object' || found === null || !('greenhouse' in found)) return null;
    return typeof found.greenhouse === 'string' ? found.greenhouse : null;
  } catch {
    return null;
  }
}
