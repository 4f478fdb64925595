import { crc32 } from 'node:zlib';

const BLOCK_SIZE = 512;
/** RFC 1951 section 3.2.4: a stored block holds at most this many bytes. */
const STORED_BYTES_MAX = 0xffff;

/** A ustar archive of plain files, in the given order, without times or owners: equal files give equal bytes. */
export function writeTar(files: ReadonlyMap<string, Buffer>): Buffer {
  const blocks: Buffer[] = [];
  for (const [name, bytes] of files) {
    const padding = Buffer.alloc((BLOCK_SIZE - (bytes.length % BLOCK_SIZE)) % BLOCK_SIZE);
    blocks.push(header(`/${name}`, bytes.length), bytes, padding);
  }
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK_SIZE)]);
}

/**
 * Gzip (RFC 1952) with stored blocks only. What deflate makes differs between versions and builds of zlib; a bundle must
 * have the same bytes wherever it is built, and it is small.
 */
export function storedGzip(bytes: Buffer): Buffer {
  const parts: Buffer[] = [Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])];
  for (let offset = 0; ; offset += STORED_BYTES_MAX) {
    const block = bytes.subarray(offset, offset + STORED_BYTES_MAX);
    const isLast = offset + STORED_BYTES_MAX >= bytes.length;
    const head = Buffer.alloc(5);
    head.writeUInt8(isLast ? 1 : 0, 0);
    head.writeUInt16LE(block.length, 1);
    head.writeUInt16LE(block.length ^ 0xffff, 3);
    parts.push(head, block);
    if (isLast) {
      break;
    }
  }
  const tail = Buffer.alloc(8);
  tail.writeUInt32LE(crc32(bytes), 0);
  tail.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([...parts, tail]);
}

function header(name: string, size: number): Buffer {
  const block = Buffer.alloc(BLOCK_SIZE);
  if (name.length > 100) {
    throw new Error(`${name} is too long for this writer`);
  }
  block.write(name, 0, 'latin1');
  block.write('0000600\0', 100, 'latin1');
  block.write('0000000\0', 108, 'latin1');
  block.write('0000000\0', 116, 'latin1');
  block.write(`${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  block.write('00000000000\0', 136, 'latin1');
  block.write('        ', 148, 'latin1');
  block.write('0', 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
