/** Splits a server-sent event stream into events, however the network cuts it. */

export interface ServerEvent {
  name: string;
  data: string;
}

/** An event longer than this is not one of ours; the stream is given up rather than memory. */
export const EVENT_CHARS_MAX = 1 << 20;

export class SseParser {
  #rest = '';
  #name = '';
  #data: string[] = [];
  #size = 0;
  #first = true;

  /**
   * Takes the next piece of text and returns the events that are complete with it.
   *
   * Throws a `RangeError` when a single event exceeds `EVENT_CHARS_MAX`.
   */
  push(chunk: string): ServerEvent[] {
    let text = this.#rest + chunk;
    if (this.#first && text.length > 0) {
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
      this.#first = false;
    }
    const events: ServerEvent[] = [];
    let start = 0;
    for (;;) {
      const end = lineEnd(text, start);
      if (end === null) break;
      this.#line(text.slice(start, end.at), events);
      start = end.next;
    }
    this.#rest = text.slice(start);
    if (this.#rest.length + this.#size > EVENT_CHARS_MAX) throw new RangeError('event too long');
    return events;
  }

  #line(line: string, events: ServerEvent[]): void {
    if (line === '') {
      if (this.#data.length > 0) {
        events.push({ name: this.#name === '' ? 'message' : this.#name, data: this.#data.join('\n') });
      }
      this.#name = '';
      this.#data = [];
      this.#size = 0;
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return; // a comment keeps the connection alive and says nothing
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (field === 'event') this.#name = value;
    if (field === 'data') {
      this.#data.push(value);
      this.#size += value.length;
    }
  }
}

/** The next line end. A lone CR at the very end waits, since its LF may be in the next piece. */
function lineEnd(text: string, start: number): { at: number; next: number } | null {
  for (let i = start; i < text.length; i += 1) {
    const c = text.charCodeAt(i);
    if (c === 10) return { at: i, next: i + 1 };
    if (c === 13) {
      if (i + 1 === text.length) return null;
      return { at: i, next: text.charCodeAt(i + 1) === 10 ? i + 2 : i + 1 };
    }
  }
  return null;
}
