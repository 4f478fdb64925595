import { deepEqual, equal, notEqual, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { LIMITS } from '../../core/kernel/limits.ts';
import { leafHash, sha256 } from '../../core/ledger/hash.ts';
import { decodeLeaf } from '../../core/ledger/leaf.ts';
import { decodeRecord, encodeRecord } from '../../core/ledger/record.ts';
import { openedWriter } from '../testing/sample-log.ts';
import { checkRecord } from './check-batch.ts';
import type { CheckedRecord, RefusalReason } from './check-batch.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? 1);
const writer = openedWriter(1);
const sizes = [0, 1, 300];
for (const payload of [...sizes, null]) {
  for (const originals of [...sizes, null]) {
    writer.append({
      ...(payload === null ? {} : { payload: Buffer.alloc(payload, 1) }),
      ...(originals === null ? {} : { originals: Buffer.alloc(originals, 2) }),
    });
  }
}

/** The same by the codecs of the ledger, one rule after the other. */
function slowly(bytes: Buffer, index: number): CheckedRecord | 'refused' {
  try {
    const body = decodeRecord(bytes);
    const leaf = decodeLeaf(body.leaf);
    const zero = Buffer.alloc(32);
    const commit = (unitClass: number): Buffer => {
      const unit = body.units.find((each) => each.unitClass === unitClass);
      return unit === undefined ? zero : sha256(unit.bytes);
    };
    const holds =
      leaf.index === index &&
      leaf.writerId.equals(writer.writerId) &&
      leaf.metaCommit.equals(sha256(body.salt, body.meta)) &&
      leaf.payloadCommit.equals(commit(1)) &&
      leaf.originalsCommit.equals(commit(2));
    return holds ? { ...body, leafHash: leafHash(body.leaf) } : 'refused';
  } catch {
    return 'refused';
  }
}

function check(bytes: Buffer, index: number): CheckedRecord | RefusalReason {
  return checkRecord(bytes, writer.writerId, index);
}

describe('checkRecord', () => {
  test('accepts every true record and gives what the codecs give', () => {
    ok(writer.records.length > 10);
    for (const [index, record] of writer.records.entries()) {
      deepEqual(check(record, index), slowly(record, index));
      notEqual(typeof check(record, index), 'string');
    }
  });

  // Goal: whatever is changed, added or cut off is refused, as by the codecs. Method: one edit of a true record.
  test('refuses every record with one edit, exactly when the codecs do', () => {
    const edit = fc.record({
      index: fc.nat(writer.records.length - 1),
      at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      kind: fc.constantFrom('flip', 'cut', 'grow', 'drop'),
      value: fc.integer({ min: 1, max: 255 }),
    });
    let refused = 0;
    fc.assert(
      fc.property(edit, ({ index, at, kind, value }) => {
        const record = Buffer.from(writer.records[index] as Buffer);
        const position = Math.floor(at * record.length);
        const edited = {
          flip: () => {
            record[position] = (record[position] as number) ^ value;
            return record;
          },
          cut: () => record.subarray(0, position),
          grow: () => Buffer.concat([record, Buffer.of(value)]),
          drop: () => Buffer.concat([record.subarray(0, position), record.subarray(position + 1)]),
        }[kind]();
        const expected = slowly(edited, index);
        const actual = check(edited, index);
        equal(typeof actual === 'string', expected === 'refused');
        refused += Number(expected === 'refused');
      }),
      { numRuns: 2_000 * SCALE },
    );
    ok(refused > 500, 'edits were refused');
  });

  test('refuses another index and another writer', () => {
    equal(check(writer.records[1] as Buffer, 2), 'leaf');
    equal(checkRecord(writer.records[1] as Buffer, Buffer.alloc(16), 1), 'leaf');
  });

  test('takes a meta of the limit and refuses one byte more', () => {
    const other = openedWriter(2);
    other.append({ meta: Buffer.alloc(LIMITS.metaBytesMax, 1) });
    notEqual(typeof checkRecord(other.records[1] as Buffer, other.writerId, 1), 'string');
    const record = decodeRecord(other.records[1] as Buffer);
    const longer = encodeRecord({ ...record, meta: record.meta.subarray(1) });
    const bytes = Buffer.concat([longer.subarray(0, 319), Buffer.alloc(2, 1), longer.subarray(319)]);
    bytes.writeUInt32BE(LIMITS.metaBytesMax + 1, 315);
    equal(checkRecord(bytes, other.writerId, 1), 'record');
  });
});
