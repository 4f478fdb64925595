import { HASH_SIZE } from '../../core/ledger/hash.ts';
import { equalAt } from './check-record.ts';

/** Where a leaf was seen, as bits. `tile` is a hash without a record. */
export const SOURCES = { archive: 1, bus: 2, journal: 4, tile: 8 } as const;
export type Source = (typeof SOURCES)[keyof typeof SOURCES];
export const RECORD_SOURCES = SOURCES.archive | SOURCES.bus | SOURCES.journal;

const CHUNK_RECORDS = 256;

interface Chunk {
  readonly hashes: Buffer;
  readonly seen: Uint8Array;
  readonly timesMs: Float64Array;
}

/**
 * Leaf hash, time and sources of every record of one writer, by index. 41 bytes a record.
 *
 * Chunks make it sparse: an index is only what somebody claims, and a large one must not cost memory. The first hash for
 * an index stays until `replace`; another one for it is told apart.
 */
export class LeafTable {
  readonly #chunks = new Map<number, Chunk>();
  #last: Chunk | undefined;
  #lastNumber = -1;
  #size = 0;
  #count = 0;

  /** One past the highest index that was put. */
  get size(): number {
    return this.#size;
  }

  /** Records (not tiles) that were put at least once. */
  get count(): number {
    return this.#count;
  }

  put(index: number, hash: Buffer, source: Source, timeMs: number): 'new' | 'same' | 'different' {
    const chunk = this.#reserve(Math.floor(index / CHUNK_RECORDS));
    const at = index % CHUNK_RECORDS;
    const seen = chunk.seen[at] as number;
    if (seen !== 0 && !equalAt(chunk.hashes, at * HASH_SIZE, hash, 0, HASH_SIZE)) {
      return 'different';
    }
    chunk.seen[at] = seen | source;
    if ((seen & RECORD_SOURCES) === 0 && source !== SOURCES.tile) {
      chunk.timesMs[at] = timeMs;
      this.#count++;
    }
    if (seen !== 0) {
      return 'same';
    }
    chunk.hashes.set(hash, at * HASH_SIZE);
    this.#size = Math.max(this.#size, index + 1);
    return 'new';
  }

  /** Another hash turned out to be the right one. */
  replace(index: number, hash: Buffer, source: Source): void {
    const chunk = this.#reserve(Math.floor(index / CHUNK_RECORDS));
    chunk.hashes.set(hash, (index % CHUNK_RECORDS) * HASH_SIZE);
    chunk.seen[index % CHUNK_RECORDS] = source;
  }

  /** A view; undefined when nothing is known. */
  hashAt(index: number): Buffer | undefined {
    const chunk = this.#chunk(Math.floor(index / CHUNK_RECORDS));
    const at = index % CHUNK_RECORDS;
    return chunk === undefined || chunk.seen[at] === 0
      ? undefined
      : chunk.hashes.subarray(at * HASH_SIZE, (at + 1) * HASH_SIZE);
  }

  /** Time of the record in milliseconds; undefined when no record was seen. */
  timeMsAt(index: number): number | undefined {
    const chunk = this.#chunk(Math.floor(index / CHUNK_RECORDS));
    const at = index % CHUNK_RECORDS;
    return chunk === undefined || ((chunk.seen[at] as number) & RECORD_SOURCES) === 0 ? undefined : chunk.timesMs[at];
  }

  has(index: number, sources: number): boolean {
    const chunk = this.#chunk(Math.floor(index / CHUNK_RECORDS));
    return chunk !== undefined && ((chunk.seen[index % CHUNK_RECORDS] as number) & sources) !== 0;
  }

  /** Where the run from `from` that any of `sources` has ends. */
  runEnd(from: number, sources: number): number {
    let index = from;
    while (index < this.#size && this.has(index, sources)) {
      index++;
    }
    return index;
  }

  /** Ranges of [from, to) that none of `sources` has. */
  holes(from: number, to: number, sources: number): { first: number; count: number }[] {
    const holes: { first: number; count: number }[] = [];
    for (let index = from; index < to;) {
      const first = this.runEnd(index, sources);
      if (first >= to) {
        break;
      }
      // Past the end of the table nothing is known: no need to walk to a claimed size.
      let end = first >= this.#size ? to : first + 1;
      while (end < to && end < this.#size && !this.has(end, sources)) {
        end++;
      }
      end = end >= this.#size ? to : end;
      holes.push({ first, count: end - first });
      index = end;
    }
    return holes;
  }

  #chunk(number: number): Chunk | undefined {
    if (number !== this.#lastNumber) {
      this.#last = this.#chunks.get(number);
      this.#lastNumber = number;
    }
    return this.#last;
  }

  #reserve(number: number): Chunk {
    const known = this.#chunk(number);
    if (known !== undefined) {
      return known;
    }
    const chunk = {
      hashes: Buffer.allocUnsafeSlow(CHUNK_RECORDS * HASH_SIZE),
      seen: new Uint8Array(CHUNK_RECORDS),
      timesMs: new Float64Array(CHUNK_RECORDS),
    };
    this.#chunks.set(number, chunk);
    this.#last = chunk;
    return chunk;
  }
}
