import { ok } from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { packageRoot } from '../../../core/runtime/package-root.ts';
import { Findings } from './findings.ts';
import { CELL_PLAIN, scanCell } from './scan-cell.ts';
import { ALL_KINDS, kindName } from './scan-kinds.ts';
import type { ScanKind } from './scan-kinds.ts';

/*
 * Accuracy on the labelled texts. They are synthetic: the figures say that the shapes work, not how much is found in
 * the notes of a hospital.
 */
const FOLDER = process.env['CHAPERONE_CORPORA'] ?? join(packageRoot(), '..', 'shared', 'corpora', 'texts');
const FILES = ['legal', 'technology'];

/** Labels whose texts a kind must find. */
const LABELS: Readonly<Record<string, ScanKind>> = {
  SOCIAL_SECURITY_NUMBER: 'ssn',
  PHONE_NUMBER: 'phone',
  EMAIL_ADDRESS: 'email',
  DATE_OF_BIRTH: 'date',
  TIMESTAMP: 'date',
  MEDICAL_RECORD_NUMBER: 'mrn',
};

interface Annotation {
  readonly entity_type: string;
  readonly start: number;
  readonly end: number;
}

interface Score {
  labelled: number;
  covered: number;
  found: number;
  right: number;
  /** Overlaps an entity of another label. */
  wrong: number;
}

const findings = new Findings();

/** Offsets of the corpus count Unicode code points; those of the scanner count bytes. */
function byteOffsets(text: string): number[] {
  const offsets: number[] = [];
  let bytes = 0;
  for (const character of text) {
    offsets.push(bytes);
    bytes += Buffer.byteLength(character);
  }
  offsets.push(bytes);
  return offsets;
}

function measure(): Map<ScanKind, Score> {
  const scores = new Map<ScanKind, Score>();
  const scoreOf = (kind: ScanKind): Score => {
    const score = scores.get(kind) ?? { labelled: 0, covered: 0, found: 0, right: 0, wrong: 0 };
    scores.set(kind, score);
    return score;
  };
  for (const file of FILES) {
    const lines = gunzipSync(readFileSync(join(FOLDER, `${file}.jsonl.gz`)))
      .toString()
      .trimEnd()
      .split('\n');
    for (const line of lines) {
      const record = JSON.parse(line) as { text: string; annotations: Annotation[] };
      const bytes = Buffer.from(record.text);
      const offsets = byteOffsets(record.text);
      const spans = record.annotations.map(({ entity_type: label, start, end }) => {
        return { kind: LABELS[label], start: offsets[start] ?? 0, end: offsets[end] ?? 0 };
      });
      scanCell(bytes, 0, 0, bytes.length, CELL_PLAIN, 0, ALL_KINDS, findings);
      const found = Array.from({ length: findings.count }, (_, i) => {
        return { kind: kindName(findings.kindAt(i)), start: findings.startAt(i), end: findings.endAt(i) };
      });
      for (const span of spans) {
        if (span.kind !== undefined) {
          const score = scoreOf(span.kind);
          score.labelled++;
          score.covered += found.some((f) => f.start <= span.start && f.end >= span.end) ? 1 : 0;
        }
      }
      for (const find of found) {
        const score = scoreOf(find.kind);
        score.found++;
        const met = spans.filter((s) => s.start < find.end && s.end > find.start);
        score.right += met.some((s) => s.kind === find.kind) ? 1 : 0;
        score.wrong += met.length > 0 && met.every((s) => s.kind !== find.kind) ? 1 : 0;
      }
    }
  }
  return scores;
}

/**
 * kind: least recall, least precision, least number of labels. Precision counts each find without an annotation as
 * wrong, although a third of the phone numbers in the corpus (`Phone: +1 (774) …`) and its months (`June 2022`) have none.
 */
const FLOORS: readonly (readonly [kind: ScanKind, recall: number, precision: number, labelled: number])[] = [
  ['ssn', 0.999, 0.995, 1000],
  ['phone', 0.999, 0.68, 1500],
  ['email', 0.999, 0.995, 2500],
  ['date', 0.999, 0.94, 5000],
  ['mrn', 0.999, 0.98, 40],
];
const WRONG_MAX = 0.001;

describe('accuracy on labelled texts (synthetic)', () => {
  const isMissing = FILES.some((file) => !existsSync(join(FOLDER, `${file}.jsonl.gz`)));
  const skip = isMissing ? `the labelled texts are not in ${FOLDER}; set CHAPERONE_CORPORA` : false;
  test('structured kinds reach their floors', { skip }, (context) => {
    const scores = measure();
    for (const [kind, recallMin, precisionMin, labelledMin] of FLOORS) {
      const { labelled, covered, found, right, wrong } = scores.get(kind) ?? {
        labelled: 0,
        covered: 0,
        found: 0,
        right: 0,
        wrong: 0,
      };
      const recall = covered / labelled;
      const precision = right / found;
      context.diagnostic(`${kind}: ${labelled} labels, recall ${recall.toFixed(4)}, precision ${precision.toFixed(4)}`);
      ok(labelled >= labelledMin, `${kind}: a corpus with ${labelled} labels shows nothing`);
      ok(recall >= recallMin, `${kind}: recall ${recall}`);
      ok(precision >= precisionMin, `${kind}: precision ${precision}`);
      ok(wrong <= found * WRONG_MAX, `${kind}: ${wrong} finds are something else`);
    }
  });
});
