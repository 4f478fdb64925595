import { createHash } from 'node:crypto';

/*
 * RFC 6962 section 2.1 as it is written: recursive, over lists of entries, with nothing kept and nothing shared with
 * the room that it judges. Slow on purpose.
 */
export function oracleRoot(entries: readonly Buffer[]): Buffer {
  const [only] = entries;
  if (only === undefined) {
    return sha256(Buffer.alloc(0));
  }
  if (entries.length === 1) {
    return sha256(Buffer.of(0), only);
  }
  const k = split(entries.length);
  return sha256(Buffer.of(1), oracleRoot(entries.slice(0, k)), oracleRoot(entries.slice(k)));
}

/** PATH(m, D[n]), section 2.1.1. */
export function oraclePath(index: number, entries: readonly Buffer[]): Buffer[] {
  if (entries.length === 1) {
    return [];
  }
  const k = split(entries.length);
  return index < k
    ? [...oraclePath(index, entries.slice(0, k)), oracleRoot(entries.slice(k))]
    : [...oraclePath(index - k, entries.slice(k)), oracleRoot(entries.slice(0, k))];
}

/** PROOF(m, D[n]), section 2.1.2, in the form for any subtree [start, end). */
export function oracleConsistency(start: number, end: number, entries: readonly Buffer[], known = true): Buffer[] {
  if (start === 0 && end === entries.length) {
    return known ? [] : [oracleRoot(entries)];
  }
  const k = split(entries.length);
  const [left, right] = [entries.slice(0, k), entries.slice(k)];
  if (end <= k) {
    return [...oracleConsistency(start, end, left, known), oracleRoot(right)];
  }
  if (start >= k) {
    return [...oracleConsistency(start - k, end - k, right, known), oracleRoot(left)];
  }
  return [...oracleConsistency(0, end - k, right, false), oracleRoot(left)];
}

/** The largest power of two below n. */
function split(n: number): number {
  let k = 1;
  while (k * 2 < n) {
    k *= 2;
  }
  return k;
}

function sha256(...parts: readonly Buffer[]): Buffer {
  return createHash('sha256').update(Buffer.concat(parts)).digest();
}
