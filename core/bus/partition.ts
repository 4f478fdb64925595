import { crc32 } from 'node:zlib';
import { assert } from '../kernel/assert.ts';

/**
 * The partition of a key, the same on every bus and in every version: CRC-32 (IEEE) of the key modulo the number of
 * partitions. Adapters MUST use it instead of the hash of their client library, so that a deployment can move from one
 * bus to another without splitting a writer over two partitions.
 */
export function partitionOf(key: Buffer, partitions: number): number {
  assert(partitions > 0, 'a topic has at least one partition');
  return partitions === 1 ? 0 : crc32(key) % partitions;
}
