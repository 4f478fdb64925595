import { createHash } from 'node:crypto';
import type { MaskPlan, MaskStats, OriginalSpan } from '../../contract/mask.ts';
import type {
  ClassInfo,
  FieldRule,
  MaskOperatorName,
  MaskProfile,
  MediaKind,
  ResultShape,
} from '../../contract/shape.ts';
import type { MaskStrength } from '../../contract/verdict.ts';
import { createBodyMasker } from '../body-masker.ts';
import { compileMaskPlan } from '../plan.ts';

/** A path and its rule: `class`, or `class+scan`. */
export type Fields = Readonly<Record<string, string>>;

export const CLASSES: ReadonlyMap<string, ClassInfo> = new Map(
  (
    [
      ['public', false, '', ''],
      ['phi.name', true, 'A', 'name'],
      ['phi.ssn', true, 'G', 'ssn'],
      ['phi.zip', true, 'B', 'zip'],
      ['phi.birthdate', true, 'C', 'date'],
      ['phi.age', true, 'C', 'age'],
      ['phi.phone', true, 'D', 'phone'],
      ['phi.drop', true, 'R', ''],
      ['phi.null', true, 'R', ''],
      ['phi.fixed', true, 'R', ''],
    ] as const
  ).map(([name, phi, hipaa, kind]) => [name, { name, phi, hipaa, kind }]),
);

export const PROFILE: MaskProfile = {
  name: 'safe-harbor',
  operators: {
    'phi.zip': { partial: 'zip3' },
    'phi.birthdate': { partial: 'year' },
    'phi.fixed': { redact: 'fixed' },
    'phi.name': { partial: 'fixed' },
  } satisfies Record<string, Partial<Record<string, MaskOperatorName>>>,
};

export const MASKS: Readonly<Record<string, MaskStrength>> = {
  'phi.zip': 'partial',
  'phi.birthdate': 'partial',
  'phi.age': 'none',
  'phi.drop': 'drop',
  'phi.null': 'null',
};

export function shapeOf(fields: Fields, text: FieldRule | null = null): ResultShape {
  const rules = Object.entries(fields).map(([path, rule]): [string, FieldRule] => {
    const [name = '', scan] = rule.split('+');
    return [path, { class: name, scan: scan === 'scan' }];
  });
  return {
    id: 'test',
    media: ['json', 'ndjson', 'csv', 'text'],
    fields: new Map(rules),
    text,
    digest: createHash('sha256').update(JSON.stringify(rules)).digest(),
  };
}

export function planOf(fields: Fields, text: FieldRule | null = null, masks = MASKS): MaskPlan {
  return compileMaskPlan({
    shape: shapeOf(fields, text),
    masks,
    classes: CLASSES,
    profile: PROFILE,
    referenceYear: 2026,
  });
}

export interface MaskedBody {
  readonly masked: Buffer;
  readonly originals: readonly OriginalSpan[];
  readonly stats: MaskStats;
}

/** Masks a body that arrives in chunks of these sizes (the last one is repeated). Each chunk is wiped after its push. */
export function maskBody(
  plan: MaskPlan,
  media: MediaKind,
  body: Buffer,
  sizes: readonly number[] = [body.length],
): MaskedBody {
  const masker = createBodyMasker(plan, media);
  const parts: Buffer[] = [];
  const originals: OriginalSpan[] = [];
  let position = 0;
  for (let i = 0; position < body.length; i++) {
    const size = Math.max(1, sizes[Math.min(i, sizes.length - 1)] ?? 1);
    const chunk = Buffer.from(body.subarray(position, position + size));
    const masked = masker.push(chunk);
    chunk.fill(0x58); // The caller's buffer is its own again.
    parts.push(masked.bytes);
    originals.push(...masked.originals);
    position += size;
  }
  const last = masker.finish();
  parts.push(last.bytes);
  originals.push(...last.originals);
  return { masked: Buffer.concat(parts), originals, stats: masker.stats() };
}

/** Originals as plain data, with the values joined that were delivered in parts. */
export function plainOriginals(originals: readonly OriginalSpan[]): unknown[] {
  return originals.map(({ offset, size, value, class: name, kind, path }) => {
    return { offset, size, value: value.toString('latin1'), class: name, kind, path };
  });
}
