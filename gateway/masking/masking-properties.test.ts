import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { GatewayError } from '../../core/kernel/errors.ts';
import { SeededRandom } from '../../core/kernel/testing/seeded-random.ts';
import type { MaskPlan } from '../contract/mask.ts';
import type { MediaKind } from '../contract/shape.ts';
import { unmask } from './masked-output.ts';
import type { MaskedBody } from './testing/mask-bodies.ts';
import { MASKS, maskBody, plainOriginals, planOf } from './testing/mask-bodies.ts';
import { CANARY, CANARY_DIGITS, randomCsv, randomCuts, randomJson, randomSchema } from './testing/random-bodies.ts';
import type { SchemaNode } from './testing/random-bodies.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? '1');
const SEED = Number(process.env['CHAPERONE_TEST_SEED'] ?? '20260101');

/** Runs a body for many seeds; a failure names its seed. */
function forSeeds(count: number, run: (random: SeededRandom) => void): void {
  for (let i = 0; i < count * SCALE; i++) {
    try {
      run(new SeededRandom(SEED + i));
    } catch (error) {
      throw new Error(`seed ${SEED + i} (CHAPERONE_TEST_SEED): ${(error as Error).message}`, { cause: error });
    }
  }
}

/** Masks whole and cut, checks that both agree and that the originals give the body back. */
function maskTwice(random: SeededRandom, plan: MaskPlan, media: MediaKind, text: string): MaskedBody {
  const body = Buffer.from(text);
  const whole = maskBody(plan, media, body);
  const cut = maskBody(plan, media, body, randomCuts(random, body.length));
  equal(cut.masked.toString('latin1'), whole.masked.toString('latin1'));
  deepEqual(plainOriginals(cut.originals), plainOriginals(whole.originals));
  deepEqual(cut.stats, whole.stats);
  deepEqual(unmask(whole.masked, whole.originals).toString(), text);
  deepEqual(unmask(cut.masked, cut.originals).toString(), text);
  return whole;
}

function noCanary(text: string): void {
  ok(!text.includes(CANARY), 'a canary left');
  ok(!text.includes(CANARY_DIGITS), 'a canary number left');
}

/** What the agent must see, from parsed values: the slow and obvious version. */
function expected(node: SchemaNode | null, value: unknown): unknown {
  if (node === null) {
    return '[WITHHELD]';
  }
  if (node.type === 'array') {
    if (value === null) {
      return null;
    }
    return Array.isArray(value) ? kept(value.map((item) => expected(node.element, item))) : '[WITHHELD]';
  }
  if (node.type === 'object') {
    if (value === null) {
      return null;
    }
    if (typeof value !== 'object' || Array.isArray(value)) {
      return '[WITHHELD]';
    }
    const members = Object.entries(value).map(([name, item]): [string, unknown] => [
      name,
      expected(node.members.get(name) ?? null, item),
    ]);
    return Object.fromEntries(members.filter(([, item]) => item !== DROPPED));
  }
  return expectedLeaf(node.rule, value);
}

const DROPPED = Symbol('dropped');

function kept(items: unknown[]): unknown[] {
  return items.filter((item) => item !== DROPPED);
}

function expectedLeaf(rule: string, value: unknown): unknown {
  const isContainer = typeof value === 'object' && value !== null;
  switch (rule) {
    case 'public':
      return isContainer ? '[WITHHELD]' : value;
    case 'public+scan':
      if (typeof value !== 'string') {
        return isContainer ? '[WITHHELD]' : value;
      }
      return value.replace('123-45-6789', '[SSN]').replace('a.b@c.de', '[EMAIL]').replace('1985-02-03', '[DATE]');
    case 'undeclared.class':
      return '[WITHHELD]';
    case 'phi.drop':
      return DROPPED;
    case 'phi.null':
      return null;
    default: {
      if (value === null || typeof value === 'number' || typeof value === 'boolean') {
        return null;
      }
      return rule === 'phi.fixed' && typeof value === 'string' ? '*'.repeat(Array.from(value).length) : '[REDACTED]';
    }
  }
}

describe('masking', () => {
  test('JSON: what the agent sees is what the parsed values say, and no canary leaves', () => {
    let originals = 0;
    forSeeds(600, (random) => {
      const { fields, root } = randomSchema(random);
      const text = randomJson(random, root);
      const value = JSON.parse(text) as unknown;
      const masked = maskTwice(random, planOf(fields), 'json', text);
      const want = expected(root, value);
      deepEqual(JSON.parse(masked.masked.toString()), want === DROPPED ? null : want);
      originals += masked.originals.length;
    });
    ok(originals > 300, 'values must have been masked');
  });

  test('JSON and NDJSON: no declared or unknown value leaves', () => {
    let withheld = 0;
    const masks = { ...MASKS, public: 'redact', 'public+scan': 'redact' } as const;
    forSeeds(600, (random) => {
      const { fields, root } = randomSchema(random);
      const rows = Array.from({ length: random.below(4) + 1 }, () => randomJson(random, root));
      const plan = planOf(fields, null, masks);
      for (const row of rows) {
        const { masked, stats } = maskTwice(random, plan, 'json', row);
        noCanary(JSON.stringify(JSON.parse(masked.toString())));
        withheld += stats.withheld;
      }
      const lines = maskTwice(random, plan, 'ndjson', rows.join(random.pick(['\n', '\r\n', '\n\n'])));
      for (const line of lines.masked.toString().split(/\r?\n/)) {
        noCanary(line === '' ? '' : JSON.stringify(JSON.parse(line)));
      }
      equal(lines.stats.rows, rows.length);
    });
    ok(withheld > 300, 'values must have been withheld');
  });

  test('CSV: no declared or unknown value leaves, and rows keep their shape', () => {
    let originals = 0;
    forSeeds(600, (random) => {
      const { root } = randomSchema(random, true);
      const fields: Record<string, string> = {};
      for (const [name, member] of root.type === 'object' ? root.members : []) {
        fields[name] = member.type === 'leaf' ? member.rule : 'public';
      }
      const text = randomCsv(random, fields);
      const { masked, originals: spans, stats } = maskTwice(random, planOf(fields), 'csv', text);
      noCanary(masked.toString());
      const table = parseCsv(masked.toString());
      const width = table[0]?.length ?? 0;
      ok(
        table.every((row) => row.length === width),
        'each row has the fields of the header',
      );
      equal(stats.rows, Math.max(0, parseCsv(text).length - 1));
      originals += spans.length;
    });
    ok(originals > 300, 'values must have been masked');
  });

  test('bytes that were changed at random fail closed or mask as before, however they are cut', () => {
    let failed = 0;
    let passed = 0;
    forSeeds(600, (random) => {
      const { fields, root } = randomSchema(random);
      const plan = planOf(fields, { class: 'public', scan: true }, { ...MASKS, public: 'redact' });
      const media = random.pick(['json', 'ndjson', 'csv', 'text'] as const);
      const body = Buffer.from(media === 'csv' ? randomCsv(random, fields) : randomJson(random, root));
      for (let i = random.below(3) + 1; i > 0 && body.length > 0; i--) {
        body[random.below(body.length)] = random.pick([
          0x22,
          0x5c,
          0x7b,
          0x7d,
          0x2c,
          0x5b,
          0x0a,
          0x0d,
          0,
          0xff,
          random.below(256),
        ]);
      }
      const whole = outcome(plan, media, body, [body.length]);
      deepEqual(outcome(plan, media, body, randomCuts(random, body.length)), whole);
      failed += whole.startsWith('failed') ? 1 : 0;
      passed += whole.startsWith('failed') ? 0 : 1;
      if (media === 'json' && !whole.startsWith('failed')) {
        JSON.parse(body.toString()); // Never more than JSON.parse takes.
      }
    });
    ok(failed > 60 && passed > 60, `both must happen: ${failed} ${passed}`);
  });
});

function outcome(plan: MaskPlan, media: MediaKind, body: Buffer, sizes: readonly number[]): string {
  try {
    const { masked, originals } = maskBody(plan, media, body, sizes);
    deepEqual(unmask(masked, originals), body);
    return masked.toString('latin1');
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'masking_failed') {
      return 'failed';
    }
    throw error;
  }
}

/** A plain reader of RFC 4180: the oracle for rows and fields. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let field = '';
  let isQuoted = false;
  let isOpen = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    isOpen = true;
    if (isQuoted) {
      if (c === '"' && text[i + 1] === '"') {
        field += '"';
        i++;
      } else if (c === '"') {
        isQuoted = false;
      } else {
        field += c;
      }
    } else if (c === '"') {
      isQuoted = true;
    } else if (c === ',' || c === '\n') {
      row.push(field.replace(/\r$/, ''));
      field = '';
      if (c === '\n') {
        rows.push(row);
        row = [];
        isOpen = false;
      }
    } else {
      field += c;
    }
  }
  if (isOpen) {
    rows.push([...row, field]);
  }
  return rows;
}
