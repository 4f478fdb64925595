import {
  closeSync,
  ftruncateSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

const CHUNK_SIZE = 1024 * 1024;
/**
 * What an outsider is given: no keys, no ClickHouse (it is an index that can be made again). In an order in which nothing
 * names what was copied before it: offsets and watermarks first, then what they speak of.
 */
const EVIDENCE = ['bus', 'archive', 'sequencer/log', 'witness/state', 'journal', 'tls/ca.pem'] as const;

/** A copy of the evidence, made while everything may run. Zeros stay holes: a journal is preallocated. */
export function copyEvidence(dataDir: string, target: string): void {
  rmSync(target, { recursive: true, force: true });
  for (const name of EVIDENCE) {
    copyTree(join(dataDir, name), join(target, name));
  }
}

function copyTree(from: string, to: string): void {
  let entries;
  try {
    entries = readdirSync(from, { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') {
      copySparse(from, to);
      return;
    }
    throw error;
  }
  mkdirSync(to, { recursive: true, mode: 0o700 });
  for (const entry of entries) {
    if (entry.isDirectory()) {
      copyTree(join(from, entry.name), join(to, entry.name));
    } else if (entry.isFile()) {
      copySparse(join(from, entry.name), join(to, entry.name));
    }
  }
}

function copySparse(from: string, to: string): void {
  let source: number;
  try {
    source = openSync(from, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return; // Temporary, or replaced since the folder was listed: what replaced it has another name.
    }
    throw error;
  }
  mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
  const target = openSync(to, 'w', 0o600);
  const { size } = fstatSync(source);
  const chunk = Buffer.alloc(CHUNK_SIZE);
  for (let offset = 0; offset < size;) {
    const count = readSync(source, chunk, 0, Math.min(CHUNK_SIZE, size - offset), offset);
    if (count === 0) {
      break;
    }
    if (usedSize(chunk.subarray(0, count)) > 0) {
      writeSync(target, chunk, 0, count, offset);
    }
    offset += count;
  }
  ftruncateSync(target, size);
  closeSync(target);
  closeSync(source);
}

/** Up to the last byte that is not zero. */
export function usedSize(bytes: Buffer): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) {
    end--;
  }
  return end;
}
