/**
 * Keeps one connection to the live stream, reconnecting with back-off. It knows nothing of what
 * the events mean. `fetch`, time and chance are arguments, so the whole of it is tested.
 */

import { SseParser, type ServerEvent } from './sse';

/** The server sends a comment every 15 s; three missed ones mean that the line is dead. */
export const SILENCE_MS_MAX = 45_000;
/** First and longest wait between attempts. */
export const RETRY_MS_MIN = 1_000;
export const RETRY_MS_MAX = 30_000;
/** A connection that lasted this long was a good one: the next wait starts small again. */
const GOOD_CONNECTION_MS = 10_000;

export type LiveState =
  | { kind: 'connecting'; lostAt: number | null }
  | { kind: 'open' }
  | { kind: 'waiting'; lostAt: number; retryAt: number }
  | { kind: 'unauthorised' }
  | { kind: 'stopped' };

export interface LiveOptions {
  url: string;
  onEvent: (event: ServerEvent) => void;
  onState: (state: LiveState) => void;
  fetch: (url: string, init: RequestInit) => Promise<Response>;
  now: () => number;
  /** In [0, 1). */
  random: () => number;
}

/** The wait before attempt `attempt` (from 0): doubling, at most 30 s, 50 to 100 % of it by chance. */
export function retryMs(attempt: number, random: number): number {
  const full = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(attempt, 10));
  return Math.round(full * (0.5 + random / 2));
}

export class LiveConnection {
  readonly #options: LiveOptions;
  #attempt = 0;
  #lostAt: number | null = null;
  #abort: AbortController | null = null;
  #retryTimer: ReturnType<typeof setTimeout> | null = null;
  #silenceTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(options: LiveOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#abort === null) void this.#run();
  }

  /** Cuts a wait short, as when the phone is back on the network or the page comes to the front. */
  retryNow(): void {
    if (this.#retryTimer === null) return;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
    void this.#run();
  }

  /** Gives up a connection that can't work any more, as when the phone says that it is offline. */
  lose(): void {
    if (this.#retryTimer === null) this.#abort?.abort();
  }

  stop(): void {
    this.#clearTimers();
    const abort = this.#abort;
    this.#abort = null;
    abort?.abort();
    this.#options.onState({ kind: 'stopped' });
  }

  async #run(): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    this.#options.onState({ kind: 'connecting', lostAt: this.#lostAt });
    let openedAt: number | null = null;
    try {
      this.#watch(abort);
      const response = await this.#options.fetch(this.#options.url, {
        signal: abort.signal,
        headers: { Accept: 'text/event-stream' },
        credentials: 'same-origin',
        cache: 'no-store',
      });
      if (this.#abort !== abort) return;
      if (response.status === 401) {
        this.#clearTimers();
        this.#abort = null;
        this.#options.onState({ kind: 'unauthorised' });
        return;
      }
      if (response.ok && response.body) {
        openedAt = this.#options.now();
        this.#lostAt = null;
        this.#options.onState({ kind: 'open' });
        await this.#read(response.body, abort);
      }
    } catch {
      // Every way a connection can end is the same to the reader: it is lost, and tried again.
    }
    if (this.#abort !== abort) return;
    abort.abort();
    this.#lost(openedAt);
  }

  async #read(body: ReadableStream<Uint8Array>, abort: AbortController): Promise<void> {
    const parser = new SseParser();
    const decoder = new TextDecoder();
    const reader = body.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done || this.#abort !== abort) return;
        this.#watch(abort);
        for (const event of parser.push(decoder.decode(value, { stream: true }))) this.#options.onEvent(event);
      }
    } finally {
      reader.cancel().catch(() => undefined);
    }
  }

  #lost(openedAt: number | null): void {
    this.#clearTimers();
    const now = this.#options.now();
    if (openedAt !== null && now - openedAt >= GOOD_CONNECTION_MS) this.#attempt = 0;
    this.#lostAt ??= now;
    const wait = retryMs(this.#attempt, this.#options.random());
    this.#attempt += 1;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = null;
      void this.#run();
    }, wait);
    this.#options.onState({ kind: 'waiting', lostAt: this.#lostAt, retryAt: now + wait });
  }

  #watch(abort: AbortController): void {
    if (this.#silenceTimer !== null) clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => {
      abort.abort();
    }, SILENCE_MS_MAX);
  }

  #clearTimers(): void {
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    if (this.#silenceTimer !== null) clearTimeout(this.#silenceTimer);
    this.#retryTimer = null;
    this.#silenceTimer = null;
  }
}
