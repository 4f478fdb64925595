import { createHash, hash } from 'node:crypto';

export const HASH_SIZE = 32;

const LEAF_PREFIX = 0x00;
const NODE_PREFIX = 0x01;
/** Inputs up to this size are gathered into one buffer: one native call instead of one per part. */
const GATHER_BYTES_MAX = 4096;
const NODE_INPUT_SIZE = 1 + 2 * HASH_SIZE;

// Why latin1 (`binary`) strings: `crypto.hash` with a string result and a copy of its 32 characters costs less than half of what
// its buffer result costs, because no ArrayBuffer is made outside the pool. Every function here is synchronous, so the
// scratch buffers are never in use twice.
const gather = Buffer.alloc(GATHER_BYTES_MAX);
const nodeInput = Buffer.alloc(NODE_INPUT_SIZE);
nodeInput[0] = NODE_PREFIX;
// Exact views, made once: `subarray` on each call would cost as much as the copy it saves.
const gatherViews: (Buffer | undefined)[] = Array.from({ length: GATHER_BYTES_MAX + 1 });

/** Root of the empty tree (RFC 6962 section 2.1): SHA-256 of nothing. */
export const EMPTY_ROOT: Buffer = sha256();

/** SHA-256 over the concatenation of `parts`. */
export function sha256(...parts: readonly Uint8Array[]): Buffer {
  const only = parts[0];
  if (parts.length === 1 && only !== undefined) {
    return Buffer.from(hash('sha256', only, 'binary'), 'latin1');
  }
  let size = 0;
  for (const part of parts) {
    size += part.length;
  }
  if (size > GATHER_BYTES_MAX) {
    const state = createHash('sha256');
    for (const part of parts) {
      state.update(part);
    }
    return state.digest();
  }
  const input = gatherView(size);
  let offset = 0;
  for (const part of parts) {
    input.set(part, offset);
    offset += part.length;
  }
  return Buffer.from(hash('sha256', input, 'binary'), 'latin1');
}

/** Leaf hash of RFC 6962: SHA-256(0x00 || bytes). */
export function leafHash(bytes: Uint8Array): Buffer {
  if (bytes.length >= GATHER_BYTES_MAX) {
    return createHash('sha256').update(Buffer.of(LEAF_PREFIX)).update(bytes).digest();
  }
  const input = gatherView(1 + bytes.length);
  input[0] = LEAF_PREFIX;
  input.set(bytes, 1);
  return Buffer.from(hash('sha256', input, 'binary'), 'latin1');
}

/** Hash of an inner node of RFC 6962: SHA-256(0x01 || left || right). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  nodeInput.set(left, 1);
  nodeInput.set(right, 1 + HASH_SIZE);
  return Buffer.from(hash('sha256', nodeInput, 'binary'), 'latin1');
}

/**
 * Node hash of the two hashes that lie side by side at `offset` of `source`, written to `target` at `targetOffset`. Hot
 * path of trees: allocates nothing but a string. `target` may be `source`.
 */
export function nodePairHashInto(source: Buffer, offset: number, target: Buffer, targetOffset: number): void {
  source.copy(nodeInput, 1, offset, offset + 2 * HASH_SIZE);
  target.write(hash('sha256', nodeInput, 'binary'), targetOffset, HASH_SIZE, 'latin1');
}

function gatherView(size: number): Buffer {
  return (gatherViews[size] ??= gather.subarray(0, size));
}
