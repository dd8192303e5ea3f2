import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { LiveConnection, RETRY_MS_MAX, retryMs, SILENCE_MS_MAX, type LiveState } from './live';

/** A server whose answers the test gives one by one. */
class Server {
  readonly asked: { signal: AbortSignal; answer: (response: Response | Error) => void }[] = [];

  readonly fetch = (_url: string, init: RequestInit): Promise<Response> =>
    new Promise((resolve, reject) => {
      const signal = init.signal as AbortSignal;
      signal.addEventListener('abort', () => reject(new Error('aborted')));
      this.asked.push({ signal, answer: (r) => (r instanceof Error ? reject(r) : resolve(r)) });
    });

  /** Opens the newest request and returns how to send and to end. */
  open(): { send: (text: string) => void; end: () => void } {
    let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
    const body = new ReadableStream<Uint8Array>({ start: (c) => void (controller = c) });
    const asked = this.asked.at(-1);
    asked?.signal.addEventListener('abort', () => controller?.error(new Error('aborted')));
    asked?.answer(new Response(body));
    return { send: (text) => controller?.enqueue(new TextEncoder().encode(text)), end: () => controller?.close() };
  }

  fail(status: number | null): void {
    this.asked.at(-1)?.answer(status === null ? new Error('no network') : new Response('', { status }));
  }
}

let server: Server;
let states: LiveState[];
let heard: string[];
let connection: LiveConnection;
const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);
const last = (): LiveState | undefined => states.at(-1);

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
  server = new Server();
  states = [];
  heard = [];
  connection = new LiveConnection({
    url: '/live',
    fetch: server.fetch,
    now: () => Date.now(),
    random: () => 1,
    onEvent: (event) => heard.push(`${event.name} ${event.data}`),
    onState: (state) => states.push(state),
  });
  connection.start();
});

afterEach(() => {
  connection.stop();
  vi.useRealTimers();
});

describe('the connection', () => {
  test('hands on events, also those cut within a letter', async () => {
    const { send } = server.open();
    const bytes = 'event: reading\ndata: lưới\n\n';
    send(bytes);
    await settle();
    expect(heard).toEqual(['reading lưới']);
    expect(states).toEqual([{ kind: 'connecting', lostAt: null }, { kind: 'open' }]);
  });

  test('waits longer after each failure, and says since when it is lost', async () => {
    const waits: number[] = [];
    for (let i = 0; i < 7; i += 1) {
      server.fail(i % 2 === 0 ? null : 503);
      await settle();
      const state = last();
      if (state?.kind !== 'waiting') throw new Error(`not waiting: ${state?.kind}`);
      expect(state.lostAt).toBe(1_000_000);
      waits.push(state.retryAt - Date.now());
      await vi.advanceTimersByTimeAsync(state.retryAt - Date.now());
      expect(last()).toEqual({ kind: 'connecting', lostAt: 1_000_000 });
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    expect(server.asked).toHaveLength(8);
  });

  test('starts with short waits again after a good connection', async () => {
    server.fail(null);
    await vi.advanceTimersByTimeAsync(1_000);
    const { end } = server.open();
    await vi.advanceTimersByTimeAsync(10_000);
    end();
    await settle();
    expect(last()).toEqual({ kind: 'waiting', lostAt: 1_011_000, retryAt: 1_012_000 });
  });

  test('does not, when each connection ends at once', async () => {
    for (const wait of [1_000, 2_000, 4_000]) {
      server.open().end();
      await settle();
      expect(last()).toEqual({ kind: 'waiting', lostAt: Date.now(), retryAt: Date.now() + wait });
      await vi.advanceTimersByTimeAsync(wait);
    }
  });

  test('counts as lost when nothing comes any more, though it is not closed', async () => {
    const { send } = server.open();
    await vi.advanceTimersByTimeAsync(SILENCE_MS_MAX - 1);
    send(': keep-alive\n\n');
    await vi.advanceTimersByTimeAsync(SILENCE_MS_MAX - 1);
    expect(last()).toEqual({ kind: 'open' });
    await vi.advanceTimersByTimeAsync(1);
    expect(last()?.kind).toBe('waiting');
    expect(server.asked[0]?.signal.aborted).toBe(true);
  });

  test('gives up an attempt that is never answered', async () => {
    await vi.advanceTimersByTimeAsync(SILENCE_MS_MAX);
    expect(last()?.kind).toBe('waiting');
  });

  test('tries at once when asked to, and only then', async () => {
    connection.retryNow();
    expect(server.asked).toHaveLength(1);
    server.fail(null);
    await settle();
    connection.retryNow();
    expect(server.asked).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(server.asked).toHaveLength(2);
  });

  test('is given up when the phone goes offline, and waits as for any loss', async () => {
    server.open();
    await settle();
    connection.lose();
    await settle();
    expect(last()).toEqual({ kind: 'waiting', lostAt: 1_000_000, retryAt: 1_001_000 });
    connection.lose();
    await settle();
    expect(states.filter((s) => s.kind === 'waiting')).toHaveLength(1);
  });

  test('does not try again when the token is refused', async () => {
    server.fail(401);
    await vi.advanceTimersByTimeAsync(100_000);
    expect(last()).toEqual({ kind: 'unauthorised' });
    expect(server.asked).toHaveLength(1);
  });

  test('stays silent once stopped', async () => {
    const { send } = server.open();
    await settle();
    connection.stop();
    try {
      send('data: late\n\n');
    } catch {
      // The stream may be gone already.
    }
    await vi.advanceTimersByTimeAsync(100_000);
    expect(last()).toEqual({ kind: 'stopped' });
    expect(heard).toEqual([]);
    expect(server.asked).toHaveLength(1);
  });
});

test('the wait stays within its bounds', () => {
  expect([retryMs(0, 0), retryMs(0, 0.999), retryMs(50, 0.999)]).toEqual([500, 1_000, expect.any(Number)]);
  expect(retryMs(50, 0.999)).toBeLessThanOrEqual(RETRY_MS_MAX);
});
