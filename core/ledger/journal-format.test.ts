import { deepEqual, equal, notEqual, ok, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { InvariantError } from '../kernel/assert.ts';
import { LIMITS } from '../kernel/limits.ts';
import { SeededRandom } from '../kernel/testing/seeded-random.ts';
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  findFrame,
  type Frame,
  FRAME_HEADER_SIZE,
  parseSegmentName,
  readFrame,
  SEGMENT_HEADER_SIZE,
  segmentName,
  writeFrameHeader,
} from './journal-format.ts';

const random = new SeededRandom(5);
const writerId = random.bytes(16);
const SEGMENT = 3;
const BODIES = [random.bytes(40), random.bytes(1), random.bytes(700), random.bytes(299)];

describe('segment header', () => {
  const header = { writerId, segment: SEGMENT, firstIndex: 2 ** 41, createdNs: 1_767_225_600_000_000_001n };

  test('comes back, also from a whole segment', () => {
    const bytes = encodeSegmentHeader(header);
    equal(bytes.length, SEGMENT_HEADER_SIZE);
    deepEqual(decodeSegmentHeader(Buffer.concat([bytes, Buffer.alloc(100, 1)])), header);
  });

  test('no changed byte goes unseen', () => {
    for (let at = 0; at < SEGMENT_HEADER_SIZE; at++) {
      const bytes = encodeSegmentHeader(header);
      bytes[at]! ^= 8;
      throws(() => decodeSegmentHeader(bytes), { code: 'evidence_malformed' }, `byte ${at}`);
    }
    throws(() => decodeSegmentHeader(encodeSegmentHeader(header).subarray(1)), { code: 'evidence_malformed' });
  });

  test('names come back, others are none', () => {
    const name = segmentName(writerId, 7);
    ok(name.endsWith('-00000007.seg'));
    deepEqual(parseSegmentName(name), { writerId, segment: 7 });
    for (const other of ['x.seg', name.toUpperCase(), `${name}.tmp`, name.replace('-', '_')]) {
      equal(parseSegmentName(other), undefined);
    }
    throws(() => segmentName(writerId, 100_000_000), InvariantError);
  });
});

describe('frames', () => {
  test('are read back to back until the zeros', () => {
    const segment = segmentOf(BODIES, 300);
    const { frames, last } = readAll(segment);
    equal(last, 'end');
    deepEqual(
      frames.map(({ body, index, group, groupEnd }) => ({ body, index, group, groupEnd })),
      BODIES.map((body, index) => ({ body, index, group: 1 + (index >> 1), groupEnd: index % 2 === 1 })),
    );
  });

  test('fewer zeros than a header at the end of the file are the end too; anything else there is torn', () => {
    for (let zeros = 0; zeros <= FRAME_HEADER_SIZE + 1; zeros++) {
      equal(readAll(segmentOf(BODIES, zeros)).last, 'end', `${zeros} zeros`);
    }
    const segment = segmentOf(BODIES, 10);
    segment[segment.length - 1] = 1;
    equal(readAll(segment).last, 'torn');
  });

  test('a frame that was cut anywhere is torn, and the frames before it are kept', () => {
    const whole = segmentOf(BODIES, 0);
    const start = whole.length - FRAME_HEADER_SIZE - BODIES[3]!.length;
    for (let cut = start + 1; cut < whole.length; cut++) {
      // The rest of the preallocated segment is zeros, as a write that was cut leaves it.
      const segment = Buffer.concat([whole.subarray(0, cut), Buffer.alloc(whole.length - cut + 500)]);
      const { frames, last } = readAll(segment);
      // A cut in front of bytes that are zero anyway cuts nothing.
      const same = segment.subarray(0, whole.length).equals(whole);
      deepEqual([frames.length, last], same ? [4, 'end'] : [3, 'torn'], `cut at ${cut}`);
    }
  });

  test('a flipped bit anywhere in a frame is found', () => {
    const whole = segmentOf(BODIES, 100);
    const property = fc.property(fc.nat({ max: whole.length - 101 }), fc.integer({ min: 0, max: 7 }), (at, bit) => {
      const segment = Buffer.from(whole);
      segment[at]! ^= 1 << bit;
      const { frames, last } = readAll(segment);
      ok(last === 'torn' && frames.length < BODIES.length);
    });
    fc.assert(property, { numRuns: 1000 });
  });

  test('a frame of another writer, segment or index is torn', () => {
    const segment = segmentOf(BODIES, 100);
    const expected = { writerId, segment: SEGMENT, index: 0 };
    notEqual(readFrame(segment, 0, expected), 'torn');
    equal(readFrame(segment, 0, { ...expected, writerId: random.bytes(16) }), 'torn');
    equal(readFrame(segment, 0, { ...expected, segment: 4 }), 'torn');
    equal(readFrame(segment, 0, { ...expected, index: 1 }), 'torn');
  });

  test('a body at, and over, the limit of a record', () => {
    const big = segmentOf([Buffer.alloc(LIMITS.recordBytesMax, 7)], 0);
    equal(readAll(big).frames.length, 1);
    const over = segmentOf([Buffer.alloc(LIMITS.recordBytesMax + 1, 7)], 0);
    equal(readAll(over).last, 'torn');
  });

  test('what follows a damaged frame is found, and after a torn tail nothing is', () => {
    const segment = segmentOf(BODIES, 100);
    segment[50]! ^= 1; // In the body of the first frame.
    equal(readFrame(segment, 0, { writerId, segment: SEGMENT, index: 0 }), 'torn');
    const found = findFrame(segment, 1, { writerId, segment: SEGMENT });
    deepEqual([found?.offset, found?.frame.index], [FRAME_HEADER_SIZE + BODIES[0]!.length, 1]);
    const torn = segmentOf(BODIES.slice(0, 2), 100);
    torn.copyWithin(torn.length - 100, 0, 60); // The beginning of a frame, and zeros.
    equal(findFrame(torn, torn.length - 100, { writerId, segment: SEGMENT, index: 2 }), undefined);
  });

  test('a frame without a body or group is a bug of ours', () => {
    const header = { writerId, segment: 1, index: 0, group: 1, groupEnd: true };
    throws(() => writeFrameHeader(Buffer.alloc(44), 0, header, Buffer.alloc(0)), InvariantError);
    throws(() => writeFrameHeader(Buffer.alloc(44), 0, { ...header, group: 0 }, Buffer.alloc(1)), InvariantError);
    throws(() => writeFrameHeader(Buffer.alloc(43), 0, header, Buffer.alloc(1)), InvariantError);
  });
});

/** Frames of index 0.., two to a group, then zeros. Offsets count from the first frame, not from a segment header. */
function segmentOf(bodies: readonly Buffer[], zeros: number): Buffer {
  const parts = bodies.map((body, index) => {
    const header = Buffer.alloc(FRAME_HEADER_SIZE);
    const group = 1 + (index >> 1);
    writeFrameHeader(header, 0, { writerId, segment: SEGMENT, index, group, groupEnd: index % 2 === 1 }, body);
    return Buffer.concat([header, body]);
  });
  return Buffer.concat([...parts, Buffer.alloc(zeros)]);
}

function readAll(segment: Buffer): { frames: Frame[]; last: 'end' | 'torn' } {
  const frames: Frame[] = [];
  let offset = 0;
  for (;;) {
    const frame = readFrame(segment, offset, { writerId, segment: SEGMENT, index: frames.length });
    if (typeof frame === 'string') {
      return { frames, last: frame };
    }
    frames.push(frame);
    offset = frame.end;
  }
}
