import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';

/*
 * POSIX ustar (IEEE Std 1003.1-2017, pax, "ustar Interchange Format"), the part that bundles use. Blocks of 512 bytes:
 *
 *   header: name bytes100 || mode bytes8 || uid bytes8 || gid bytes8 || size bytes12 (octal) || mtime bytes12 ||
 *           checksum bytes8 (octal) || type flag byte || link name bytes100 || magic "ustar" bytes6 || version bytes2 ||
 *           ... || prefix bytes155 || zero bytes12
 *   then the file, padded with zeros to a block; the archive ends with two zero blocks, then zeros only
 */
const BLOCK_SIZE = 512;
const NAME_SIZE = 100;
const PREFIX_OFFSET = 345;
const PREFIX_SIZE = 155;
const SIZE_OFFSET = 124;
const CHECKSUM_OFFSET = 148;
const TYPE_OFFSET = 156;
const MAGIC_OFFSET = 257;

/**
 * The files of a tar archive, by name without the leading slash. Strict on purpose: a bundle is data that somebody else
 * made, and what two readers could take for two different things is refused with `bundle_invalid`. That is anything but
 * a plain file with a plain name: links, directories, extended headers, absolute tricks, a name that is there twice.
 */
export function readTar(archive: Buffer): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  let offset = 0;
  for (;;) {
    const header = archive.subarray(offset, offset + BLOCK_SIZE);
    refuse(header.length < BLOCK_SIZE, 'the archive ends in the middle of a header');
    if (isZero(header)) {
      const rest = archive.subarray(offset);
      refuse(rest.length < 2 * BLOCK_SIZE || !isZero(rest), 'the archive does not end with zero blocks only');
      return files;
    }
    checkHeader(header);
    const name = fileName(header);
    const size = octal(header, SIZE_OFFSET, 12);
    const start = offset + BLOCK_SIZE;
    const padded = Math.ceil(size / BLOCK_SIZE) * BLOCK_SIZE;
    refuse(archive.length - start < padded, `${name} ends early`);
    refuse(files.has(name), `${name} is there twice`);
    refuse(files.size >= LIMITS.bundleFilesMax, `more than ${LIMITS.bundleFilesMax} files`);
    refuse(!isZero(archive.subarray(start + size, start + padded)), `${name} is followed by hidden bytes`);
    files.set(name, archive.subarray(start, start + size));
    offset = start + padded;
  }
}

function checkHeader(header: Buffer): void {
  let sum = 8 * 0x20; // The checksum field counts as spaces.
  for (let i = 0; i < BLOCK_SIZE; i++) {
    sum += i >= CHECKSUM_OFFSET && i < CHECKSUM_OFFSET + 8 ? 0 : (header[i] ?? 0);
  }
  refuse(sum !== octal(header, CHECKSUM_OFFSET, 8), 'a header has a wrong checksum');
  refuse(header.toString('latin1', MAGIC_OFFSET, MAGIC_OFFSET + 5) !== 'ustar', 'a header is not ustar');
  const type = header[TYPE_OFFSET];
  refuse(type !== 0x30 && type !== 0, 'only plain files may be in a bundle');
}

function fileName(header: Buffer): string {
  const prefix = text(header, PREFIX_OFFSET, PREFIX_SIZE);
  const sent = prefix === '' ? text(header, 0, NAME_SIZE) : `${prefix}/${text(header, 0, NAME_SIZE)}`;
  const name = sent.startsWith('/') ? sent.slice(1) : sent;
  const plain = /^[A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+)*$/.test(name);
  refuse(!plain || name.split('/').some((part) => part === '.' || part === '..'), 'a file has an odd name');
  return name;
}

function text(header: Buffer, start: number, size: number): string {
  const end = header.indexOf(0, start);
  return header.toString('latin1', start, end === -1 || end > start + size ? start + size : end);
}

function octal(header: Buffer, start: number, size: number): number {
  const digits = /^ *([0-7]+)[ \0]*$/.exec(header.toString('latin1', start, start + size))?.[1];
  if (digits === undefined) {
    throw new GatewayError('bundle_invalid', 'a header holds a number that is not octal');
  }
  return Number.parseInt(digits, 8);
}

function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}

function refuse(condition: boolean, detail: string): void {
  if (condition) {
    throw new GatewayError('bundle_invalid', detail);
  }
}
