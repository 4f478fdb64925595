import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { GatewayError } from '../../kernel/errors.ts';
import { BodyReader, BodyWriter, decodeError, encodeError, FRAME, frameHeader, FrameReader } from './wire.ts';

const frameArb = fc.record(
  {
    type: fc.integer({ min: 0, max: 255 }),
    id: fc.integer({ min: 0, max: 0xffff_ffff }),
    body: fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b)),
  },
  { noNullPrototype: true },
);

describe('file bus wire', () => {
  test('yields the same frames wherever the stream is cut', () => {
    const cuts = fc.array(fc.integer({ min: 1, max: 99 }), { minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(fc.array(frameArb, { maxLength: 10 }), cuts, (frames, sizes) => {
        const bytes = Buffer.concat(frames.flatMap((f) => [frameHeader(f.type, f.id, f.body.length), f.body]));
        const got: { type: number; id: number; body: Buffer }[] = [];
        const reader = new FrameReader((type, id, body) => got.push({ type, id, body: Buffer.from(body) }));
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = sizes[i % sizes.length] as number;
          reader.push(bytes.subarray(at, at + size));
          at += size;
        }
        deepEqual(got, frames);
      }),
    );
  });

  test('survives hostile bytes: bounded memory, one kind of error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          new FrameReader(() => undefined).push(Buffer.from(bytes));
          const reader = new BodyReader(Buffer.from(bytes));
          reader.text();
          reader.positions();
          reader.settings();
        } catch (error) {
          ok(error instanceof GatewayError && error.code === 'bus_unavailable');
        }
      }),
    );
  });

  test('refuses a count that the body cannot hold before it allocates', () => {
    const body = Buffer.alloc(8);
    body.writeUInt32BE(0xffff_ffff, 0);
    throws(() => new BodyReader(body).positions(), { code: 'bus_unavailable' });
  });

  test('carries errors of the bus, and says nothing about others', () => {
    const known = decodeError(encodeError(new GatewayError('bus_misconfigured', 'unknown topic')));
    deepEqual([known.code, known.detail], ['bus_misconfigured', 'unknown topic']);
    const unknown = decodeError(encodeError(new Error('secret path')));
    deepEqual([unknown.code, unknown.detail], ['bus_unavailable', 'the bus process failed']);
  });

  test('reads back what it writes', () => {
    const out = new BodyWriter();
    out.u8(7);
    out.u64(2 ** 53 - 1);
    out.text('topic');
    out.positions([{ partition: 1, offset: 2 }]);
    const reader = new BodyReader(out.take());
    deepEqual([reader.u8(), reader.u64(), reader.text()], [7, 2 ** 53 - 1, 'topic']);
    deepEqual(reader.positions(), [{ partition: 1, offset: 2 }]);
    reader.end();
    equal(new Set(Object.values(FRAME)).size, Object.keys(FRAME).length, 'frame types differ');
  });
});
