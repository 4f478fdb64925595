import { ZERO16, ZERO32 } from '../kernel/bytes.ts';
import { GatewayError } from '../kernel/errors.ts';
import { HASH_SIZE, sha256 } from './hash.ts';
import { decodeLeaf, type LeafFields } from './leaf.ts';
import { decodeRecord, type RecordBody } from './record.ts';
import { decodeUnitHeader } from './sealed-unit.ts';

/** What is wrong, as one word that reports and tests can rely on. */
export type FindingCode =
  | 'malformed'
  | 'meta_commit'
  | 'unit_commit'
  | 'unit_missing'
  | 'unit_unexpected'
  | 'key_id'
  | 'writer'
  | 'index'
  | 'strand'
  | 'leaf_hash'
  | 'compact'
  | 'root'
  | 'head'
  | 'signature'
  | 'epoch';

/** One thing that does not hold. */
export interface Finding {
  readonly code: FindingCode;
  /** For people; never content of a record. */
  readonly detail: string;
  /** Index of the record in its writer log, when it is about one. */
  readonly index?: number;
  /** Byte position in the bytes that were verified, when it is known. */
  readonly offset?: number;
}

/** A record whose parts were decoded, whether or not its commits hold. */
export interface ReadRecord {
  readonly body: RecordBody;
  readonly leaf: LeafFields;
}

/** Decodes a record body and its leaf; the text of the error when it is not one. */
export function readRecord(bytes: Buffer): ReadRecord | string {
  try {
    const body = decodeRecord(bytes);
    return { body, leaf: decodeLeaf(body.leaf) };
  } catch (error) {
    if (error instanceof GatewayError) {
      return error.detail;
    }
    throw error;
  }
}

/**
 * Whether meta and sealed units are those that the leaf commits to. The leaf itself is bound by the tree only. Without
 * `withUnits`, a record whose units were taken out (a cluster leaf, ClickHouse) is checked for its meta alone.
 */
export function verifyRecordCommits(record: ReadRecord, options: { readonly withUnits?: boolean } = {}): Finding[] {
  const { body, leaf } = record;
  const findings: Finding[] = [];
  const add = (code: FindingCode, detail: string): void => void findings.push({ code, detail, index: leaf.index });
  if (!sha256(body.salt, body.meta).equals(leaf.metaCommit)) {
    add('meta_commit', 'meta and salt are not those that the leaf commits to');
  }
  if (options.withUnits === false) {
    return findings;
  }
  for (const [unitClass, name, commit, keyId] of [
    [1, 'payload', leaf.payloadCommit, leaf.payloadKeyId],
    [2, 'originals', leaf.originalsCommit, leaf.originalsKeyId],
  ] as const) {
    const unit = body.units.find((each) => each.unitClass === unitClass);
    const committed = !isZero(commit);
    if (unit === undefined) {
      if (committed) {
        add('unit_missing', `the ${name} unit that the leaf commits to is not there`);
      } else if (!isZero(keyId)) {
        add('key_id', `the leaf names a ${name} key but has no unit`);
      }
    } else if (!committed) {
      add('unit_unexpected', `the leaf commits to no ${name} unit`);
    } else if (sha256(unit.bytes).equals(commit)) {
      const problem = unitProblem(unit.bytes, unitClass, keyId);
      if (problem !== null) {
        add('key_id', `${name} unit: ${problem}`);
      }
    } else {
      add('unit_commit', `the ${name} unit is not the one that the leaf commits to`);
    }
  }
  return findings;
}

function unitProblem(bytes: Buffer, unitClass: 1 | 2, keyId: Buffer): string | null {
  try {
    const header = decodeUnitHeader(bytes);
    if (header.unitClass !== unitClass) {
      return 'its header says another class';
    }
    return header.keyId.equals(keyId) ? null : 'its header says another key';
  } catch (error) {
    if (error instanceof GatewayError) {
      return error.detail;
    }
    throw error;
  }
}

function isZero(bytes: Buffer): boolean {
  return bytes.equals(bytes.length === HASH_SIZE ? ZERO32 : ZERO16);
}
