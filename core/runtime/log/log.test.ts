import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { createLog, type LogFields } from './log.ts';

test('a field that is not on the list never reaches the log', () => {
  const lines: string[] = [];
  const log = createLog({ role: 'gateway' }, { write: (line) => void lines.push(line) });
  log.info('decided', { outcome: 'allow', body: '999-17-5017' } as LogFields);
  equal(lines.length, 1);
  const { time: _time, ...rest } = JSON.parse(lines[0] ?? '{}') as Record<string, unknown>;
  deepEqual(rest, { level: 'info', role: 'gateway', outcome: 'allow', msg: 'decided' });
});
