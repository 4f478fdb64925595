import { SeededRandom } from '../core/kernel/testing/seeded-random.ts';
import type { MaskPlan } from '../gateway/contract/mask.ts';
import type { ClassInfo, FieldRule, MaskProfile, MediaKind, ResultShape } from '../gateway/contract/shape.ts';
import { createBodyMasker } from '../gateway/masking/body-masker.ts';
import { compileMaskPlan } from '../gateway/masking/plan.ts';
import { type Bench, interleave, type MeasuredCase, quantile } from './harness.ts';

const SEED = 20_260_101;
const CHUNK_BYTES = 65_536;
const BODY_BYTES = 8 * 1024 * 1024;
const SMOKE_BYTES = 64 * 1024;
const SMALL_BYTES = 1024;

const RULES: readonly (readonly [path: string, className: string, scan: boolean])[] = [
  ['id', 'public', false],
  ['mrn', 'phi.mrn', false],
  ['family', 'phi.name', false],
  ['given', 'phi.name', false],
  ['ssn', 'phi.ssn', false],
  ['birthdate', 'phi.birthdate', false],
  ['gender', 'public', false],
  ['zip', 'phi.zip', false],
  ['status', 'public', false],
  ['code', 'public', false],
  ['display', 'public', false],
  ['value', 'public', false],
  ['unit', 'public', false],
  ['note', 'public', true],
];

/**
 * What masking costs a body: dense rows in which half of the columns are masked, free text with and without
 * identifiers, hostile bytes, one small reply. References of the same run: a copy of the bytes, and what anyone would
 * write first (JSON.parse, mask, JSON.stringify). No gate yet: ratios are printed.
 */
export const bench: Bench = {
  name: 'mask',
  async run(context) {
    const size = context.smoke ? SMOKE_BYTES : BODY_BYTES;
    const random = new SeededRandom(SEED);
    const plan = benchPlan();
    const json = jsonBody(random, size);
    const maskOf = (name: string, media: MediaKind, body: Buffer): MeasuredCase => ({
      ...rate(name),
      reference: 'JSON.parse, mask, JSON.stringify',
      measure: () => megabytesPerSecond(body.length, () => maskWhole(plan, media, body)),
    });
    const cases: MeasuredCase[] = [
      { ...rate('memcpy'), measure: () => megabytesPerSecond(json.length, () => copyWhole(json)) },
      {
        ...rate('JSON.parse, mask, JSON.stringify'),
        reference: 'memcpy',
        measure: () => megabytesPerSecond(json.length, () => parseMaskStringify(json)),
      },
      maskOf('JSON rows', 'json', json),
      maskOf('NDJSON rows', 'ndjson', ndjsonBody(random, size)),
      maskOf('CSV rows', 'csv', csvBody(random, size)),
      maskOf('JSON rows without identifiers to take out', 'json', passBody(random, size)),
      maskOf('clean text', 'text', textBody(random, size, false)),
      maskOf('notes', 'text', textBody(random, size, true)),
      maskOf('notes as JSON', 'ndjson', notesBody(random, size)),
      maskOf('hostile: digits', 'text', Buffer.alloc(size, '7')),
      maskOf('hostile: short numbers', 'text', repeated('1 23 ', size)),
      maskOf('hostile: @', 'text', Buffer.alloc(size, '@')),
      maskOf('hostile: addresses', 'text', repeated('a@b.c@', size)),
      maskOf('hostile: nested escapes', 'ndjson', hostileEscapes(size)),
      maskOf('hostile: percent codes', 'text', repeated('%2525%33', size)),
      maskOf('hostile: capitals', 'text', repeated('aB3dE5gH', size)),
      { ...latency(context.smoke ? 50 : 5000, plan) },
    ];
    for (const each of cases) {
      await each.measure(0); // The first run of each measures the compiler.
    }
    const results = await interleave(context.rounds, cases, context.log);
    return { results, gates: [] };
  },
};

function rate(name: string): { case: string; metric: string; unit: string } {
  return { case: name, metric: 'throughput', unit: 'MB/s' };
}

function megabytesPerSecond(size: number, work: () => number): number {
  const start = performance.now();
  const bytes = work();
  const elapsedMs = performance.now() - start;
  if (bytes === 0) {
    throw new Error('the benchmark produced nothing');
  }
  return size / 1000 / elapsedMs;
}

function maskWhole(plan: MaskPlan, media: MediaKind, body: Buffer): number {
  const masker = createBodyMasker(plan, media);
  let bytes = 0;
  for (let i = 0; i < body.length; i += CHUNK_BYTES) {
    bytes += masker.push(body.subarray(i, i + CHUNK_BYTES)).bytes.length;
  }
  return bytes + masker.finish().bytes.length;
}

function copyWhole(body: Buffer): number {
  const target = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  let bytes = 0;
  for (let i = 0; i < body.length; i += CHUNK_BYTES) {
    bytes += body.copy(target, 0, i, i + CHUNK_BYTES);
  }
  return bytes;
}

/** The reference masks the same members of the same rows, without originals and without scanning the note. */
function parseMaskStringify(body: Buffer): number {
  const rows = (JSON.parse(body.toString()) as { rows: Record<string, unknown>[] }).rows;
  for (const row of rows) {
    for (const [path, className] of RULES) {
      if (className !== 'public') {
        row[path] = '[REDACTED]';
      }
    }
  }
  return Buffer.from(JSON.stringify({ rows })).length;
}

function latency(count: number, plan: MaskPlan): MeasuredCase {
  const body = jsonBody(new SeededRandom(SEED), SMALL_BYTES);
  return {
    case: 'one reply of 1 KB, p50',
    metric: 'latency',
    unit: 'µs',
    measure: () => {
      const times: number[] = [];
      for (let i = 0; i < count; i++) {
        const start = performance.now();
        maskWhole(plan, 'json', body);
        times.push((performance.now() - start) * 1000);
      }
      return quantile(times, 0.5);
    },
  };
}

function benchPlan(): MaskPlan {
  const fields = new Map<string, FieldRule>();
  for (const [path, className, scan] of RULES) {
    fields.set(path, { class: className, scan });
    fields.set(`rows[].${path}`, { class: className, scan });
  }
  const shape: ResultShape = {
    id: 'bench',
    media: ['json', 'ndjson', 'csv', 'text'],
    fields,
    text: { class: 'public', scan: true },
    digest: Buffer.alloc(32),
  };
  const names = [...new Set(RULES.map(([, className]) => className))];
  const classes = new Map(
    names.map((name): [string, ClassInfo] => [name, { name, phi: name !== 'public', hipaa: '', kind: '' }]),
  );
  const operators = { 'phi.birthdate': { partial: 'year' }, 'phi.zip': { partial: 'zip3' } } as const;
  const profile: MaskProfile = { name: 'expert', operators };
  const masks = { 'phi.birthdate': 'partial', 'phi.zip': 'partial' } as const;
  return compileMaskPlan({ shape, masks, classes, profile, referenceYear: 2026 });
}

const WORDS = (
  'the patient was seen in clinic today and reports mild pain after walking no fever or chills lungs clear heart ' +
  'regular rate continue current medication follow up with primary care as needed labs reviewed and stable'
).split(' ');

function words(random: SeededRandom, count: number): string {
  return Array.from({ length: count }, () => random.pick(WORDS)).join(' ');
}

function digits(random: SeededRandom, count: number): string {
  return Array.from({ length: count }, () => random.below(10)).join('');
}

function row(random: SeededRandom): Record<string, string | number> {
  return {
    id: random.below(1_000_000_000),
    mrn: `MRN-${digits(random, 7)}`,
    family: random.pick(['Walker', 'Garcia', 'Hernandez', 'Müller', "O'Brien"]),
    given: random.pick(['Anthony', 'Jessica', 'Noah', 'Zoë']),
    ssn: `${digits(random, 3)}-${digits(random, 2)}-${digits(random, 4)}`,
    birthdate: `19${digits(random, 2)}-0${random.below(9) + 1}-1${random.below(10)}`,
    gender: random.pick(['female', 'male', 'other']),
    zip: digits(random, 5),
    status: 'final',
    code: `${digits(random, 4)}-${random.below(10)}`,
    display: random.pick(['Body weight', 'Systolic blood pressure', 'Hemoglobin A1c', 'Glucose']),
    value: random.below(20000) / 100,
    unit: random.pick(['kg', 'mm[Hg]', '%', 'mg/dL']),
    note: words(random, 8),
  };
}

function rowsOf(random: SeededRandom, size: number, one: (random: SeededRandom) => string): string[] {
  const rows: string[] = [];
  for (let bytes = 0; bytes < size;) {
    const text = one(random);
    rows.push(text);
    bytes += text.length + 1;
  }
  return rows;
}

function jsonBody(random: SeededRandom, size: number): Buffer {
  return Buffer.from(`{"rows":[${rowsOf(random, size, (r) => JSON.stringify(row(r))).join(',')}]}`);
}

function ndjsonBody(random: SeededRandom, size: number): Buffer {
  return Buffer.from(rowsOf(random, size, (r) => JSON.stringify(row(r))).join('\n'));
}

function csvBody(random: SeededRandom, size: number): Buffer {
  const header = RULES.map(([path]) => path).join(',');
  const lines = rowsOf(random, size, (r) => Object.values(row(r)).join(','));
  return Buffer.from(`${header}\n${lines.join('\n')}\n`);
}

function passBody(random: SeededRandom, size: number): Buffer {
  const rows = rowsOf(random, size, (r) => {
    const { id, gender, status, code, display, value, unit } = row(r);
    return JSON.stringify({ id, gender, status, code, display, value, unit });
  });
  return Buffer.from(`{"rows":[${rows.join(',')}]}`);
}

function note(random: SeededRandom, hasIdentifiers: boolean): string {
  const text = `${words(random, 60)}. `;
  if (!hasIdentifiers) {
    return text;
  }
  const { ssn, birthdate, mrn } = row(random);
  const phone = `(${digits(random, 3)}) 555-${digits(random, 4)}`;
  return `${text}Call ${phone} or jane.doe${digits(random, 2)}@example.org, ${mrn}, SSN ${ssn}, seen ${birthdate}. `;
}

function textBody(random: SeededRandom, size: number, hasIdentifiers: boolean): Buffer {
  return Buffer.from(rowsOf(random, size, (r) => note(r, hasIdentifiers)).join('\n'));
}

function notesBody(random: SeededRandom, size: number): Buffer {
  const rows = rowsOf(random, size, (r) => JSON.stringify({ id: 1, note: `${note(r, true)}\n${note(r, false)}` }));
  return Buffer.from(rows.join('\n'));
}

function repeated(text: string, size: number): Buffer {
  return Buffer.from(text.repeat(Math.ceil(size / text.length)));
}

/** Escapes of escapes of escapes, in cells of about 60 KB. */
function hostileEscapes(size: number): Buffer {
  const cell = JSON.stringify({ note: '\\u005cu0031%5cu0031&#92;u0031'.repeat(2000) });
  return repeated(`${cell}\n`, size);
}
