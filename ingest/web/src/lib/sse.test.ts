import { describe, expect, test } from 'vitest';
import { EVENT_CHARS_MAX, SseParser, type ServerEvent } from './sse';

const parse = (...chunks: string[]): ServerEvent[] => {
  const parser = new SseParser();
  return chunks.flatMap((chunk) => parser.push(chunk));
};
const event = (name: string, data: string): ServerEvent => ({ name, data });

describe('the parser', () => {
  test.each<[string, string, ServerEvent[]]>([
    ['a named event', 'event: reading\ndata: {"a":1}\n\n', [event('reading', '{"a":1}')]],
    ['an event without a name', 'data: x\n\n', [event('message', 'x')]],
    ['several lines of data', 'data: a\ndata: b\n\n', [event('message', 'a\nb')]],
    ['a comment', ': keep-alive\n\n', []],
    ['a comment within an event', 'data: a\n: still here\n\n', [event('message', 'a')]],
    ['a name without data', 'event: reading\n\ndata: x\n\n', [event('message', 'x')]],
    ['no space after the colon, and only one is taken', 'data:a\ndata:  b\n\n', [event('message', 'a\n b')]],
    ['a field without a colon', 'data\n\n', [event('message', '')]],
    ['unknown fields', 'id: 3\nretry: 10\ndata: x\n\n', [event('message', 'x')]],
    ['CRLF', 'event: alert\r\ndata: x\r\n\r\n', [event('alert', 'x')]],
    ['CR', 'data: x\r\rdata: y\r\r\n', [event('message', 'x'), event('message', 'y')]],
    ['a byte order mark', '\ufeffdata: x\n\n', [event('message', 'x')]],
    ['an event that is not complete', 'data: x\n', []],
  ])('%s', (_name, text, expected) => {
    expect(parse(text)).toEqual(expected);
  });

  test('gives the same events wherever the network cuts', () => {
    const text = '\ufeff: hi\r\nevent: reading\r\ndata: Nhà lưới\r\ndata: 2\r\n\r\ndata: y\n\n';
    const whole = parse(text);
    expect(whole).toEqual([event('reading', 'Nhà lưới\n2'), event('message', 'y')]);
    for (let at = 0; at <= text.length; at += 1) expect(parse(text.slice(0, at), text.slice(at))).toEqual(whole);
    expect(parse(...text)).toEqual(whole);
  });

  test('gives up an event without end', () => {
    const parser = new SseParser();
    const half = `data: ${'x'.repeat(EVENT_CHARS_MAX / 2)}\n`;
    expect(parser.push(half)).toEqual([]);
    expect(() => parser.push(half)).not.toThrow();
    expect(() => parser.push(half)).toThrow(RangeError);
  });
});
