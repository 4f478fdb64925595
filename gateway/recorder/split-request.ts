import { assert } from '../../core/kernel/assert.ts';
import type { Original } from '../../proto/gen/chaperone/evidence/v1/unit.ts';
import type { RequestCopy } from '../contract/record-copy.ts';

/*
 * No record exceeds 192 KiB, and a request may be 1 MiB. A longer one is `request.part` records followed by its
 * `operation` (01 section 2): parts have up to 64 KiB of body and 96 KiB of originals; what the operation keeps leaves room
 * for the description of the decision (64 KiB) and the head of the request (40 KiB).
 */
const PART_BODY_BYTES_MAX = 64 * 1024;
const PART_ORIGINALS_BYTES_MAX = 96 * 1024;
const LAST_BODY_BYTES_MAX = 32 * 1024;
const LAST_ORIGINALS_BYTES_MAX = 32 * 1024;
/** Originals of the target belong to the head. */
const TARGET_PATH = '$target';

/**
 * Cuts a copy into pieces that fit a record each, in order. The last one is for the operation and has the head; the others
 * have body alone. One piece for what fits. Offsets of originals count in the body of their piece; a value that is too
 * large for one piece goes on in originals of size 0.
 */
export function splitRequest(copy: RequestCopy): readonly RequestCopy[] {
  const { body } = copy.request;
  if (body.length <= LAST_BODY_BYTES_MAX && sizeOf(copy.originals) <= LAST_ORIGINALS_BYTES_MAX) {
    return [copy];
  }
  const ofHead = copy.originals.filter((original) => original.path === TARGET_PATH);
  const ofBody = copy.originals.filter((original) => original.path !== TARGET_PATH).flatMap(inPieces);
  let left = sizeOf(ofBody);
  const pieces: RequestCopy[] = [];
  let start = 0;
  let first = 0;
  while (body.length - start > LAST_BODY_BYTES_MAX || left > LAST_ORIGINALS_BYTES_MAX) {
    const { end, next, bytes } = cut(body.length, start, ofBody, first);
    assert(end > start || next > first, 'every piece takes something');
    pieces.push({
      request: { ...copy.request, ...NO_HEAD, body: body.subarray(start, end), bodyOffset: BigInt(start) },
      originals: relative(ofBody.slice(first, next), start),
    });
    start = end;
    first = next;
    left -= bytes;
  }
  pieces.push({
    request: { ...copy.request, body: body.subarray(start), bodyOffset: BigInt(start) },
    originals: [...ofHead, ...relative(ofBody.slice(first), start)],
  });
  return pieces;
}

const NO_HEAD = { method: '', target: '', headers: [], host: '' };

/** Where the piece that begins at `start` ends: never inside a replacement. */
function cut(
  bodySize: number,
  start: number,
  originals: readonly Original[],
  first: number,
): { end: number; next: number; bytes: number } {
  let end = Math.min(start + PART_BODY_BYTES_MAX, bodySize);
  let bytes = 0;
  let next = first;
  for (; next < originals.length; next++) {
    const original = originals[next] as Original;
    if (original.offset > end || (original.offset === end && original.size > 0)) {
      break;
    }
    if (original.offset + original.size > end || bytes + original.value.length > PART_ORIGINALS_BYTES_MAX) {
      end = original.offset;
      break;
    }
    bytes += original.value.length;
  }
  return { end, next, bytes };
}

/** One original, or several that together stand for the value: the first has its place, the others follow it. */
function inPieces(original: Original): Original[] {
  const { value } = original;
  if (value.length <= LAST_ORIGINALS_BYTES_MAX) {
    return [original];
  }
  const out: Original[] = [];
  for (let at = 0; at < value.length; at += LAST_ORIGINALS_BYTES_MAX) {
    const place = at === 0 ? {} : { offset: original.offset + original.size, size: 0 };
    out.push({ ...original, ...place, value: value.subarray(at, at + LAST_ORIGINALS_BYTES_MAX) });
  }
  return out;
}

function sizeOf(originals: readonly Original[]): number {
  return originals.reduce((sum, { value }) => sum + value.length, 0);
}

function relative(originals: readonly Original[], start: number): Original[] {
  return originals.map((original) => ({ ...original, offset: original.offset - start }));
}
