import { expect, test } from 'vitest';
import { ApiError } from './api';
import { asksDone, commandText } from './command';
import { dictionaries } from './dictionary';

const text = dictionaries.en;

test.each([
  ['the gateway’s reason', new ApiError('server', 409, '{"error":"tank is empty","outcome":"refused"}'), 'The gateway refuses: tank is empty'],
  ['too late', new ApiError('server', 409, '{"error":"x","outcome":"stale"}'), text.water.stale],
  ['no JSON', new ApiError('server', 409, '<html>'), 'The gateway refuses: '],
  ['too often', new ApiError('server', 429, ''), text.water.tooMany],
  ['offline', new ApiError('server', 503, ''), text.water.notSent],
  ['no answer', new ApiError('server', 504, ''), text.water.unknown],
  ['no network', new ApiError('network', 0, ''), text.water.unknown],
  ['page too slow', new ApiError('timeout', 0, ''), text.water.unknown],
  ['logged out', new ApiError('unauthorised', 401, ''), text.login.expired],
])('what became of a command: %s', (_name, error, expected) => {
  expect(commandText(error, text)).toBe(expected);
});

test('what is done is said', () => {
  expect(asksDone({ kind: 'open_zone', zone: 'zone-1', seconds: 600 }, text)).toBe('Accepted: water for 10 min.');
  expect(asksDone({ kind: 'stop_zone', zone: 'zone-1' }, text)).toBe(text.water.stopped);
});
