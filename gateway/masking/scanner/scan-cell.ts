import { assert } from '../../../core/kernel/assert.ts';
import { BASE64_TOKEN_MAX, probeBase64 } from './base64.ts';
import {
  DECODE_CSV_QUOTES,
  DECODE_ESCAPES,
  DECODE_NESTED,
  DECODE_PLUS,
  decodeLayer,
  newDecodedText,
  sourceOf,
} from './decode-layer.ts';
import type { DecodedText } from './decode-layer.ts';
import { Findings } from './findings.ts';
import { KIND_BLOB } from './scan-kinds.ts';
import { SAW_ENCODED, SAW_SLOW, scalarScanner } from './scanner.ts';
import type { Scanner } from './scanner.ts';

/*
 * From one cell to its findings. Plain ASCII is scanned where it lies. Otherwise:
 *
 *   layer 0   what the medium escapes (JSON escapes, CSV quotes) undone, and every character folded to ASCII
 *   layer 1-2 percent codes, HTML entities and escapes undone, as long as there are any
 *   base64    long tokens are decoded and looked at like a layer of their own
 *
 * Each layer is scanned and its findings are mapped back to the bytes of the cell. Depth is at most 2.
 *
 * The scratch memory is shared by all streams of a thread: nothing in it outlives a call of `scanCell`.
 */

const DEPTH_MAX = 2;
const SCRATCH_START = 4096;

/** How the medium spells the cell. */
export const CELL_PLAIN = 0;
export const CELL_JSON: number = DECODE_ESCAPES;
export const CELL_CSV_QUOTED: number = DECODE_CSV_QUOTES;
/** Also read `+` as a space in deeper layers: queries and form bodies. */
export const CELL_FORM: number = DECODE_PLUS;

const layers: DecodedText[] = Array.from({ length: DEPTH_MAX + 2 }, () => newDecodedText(SCRATCH_START));
const found: Findings[] = Array.from({ length: DEPTH_MAX + 2 }, () => new Findings());
const tokens: Buffer[] = Array.from({ length: DEPTH_MAX + 1 }, () => Buffer.alloc(BASE64_TOKEN_MAX));
const scanner: Scanner = scalarScanner;

/** Depth of the layer that is being scanned, for the probes that the scanner calls. */
let depthNow = 0;
/** The label bits and medium of the cell that is being scanned. */
let contextNow = 0;
let cellNow = 0;
/** The layer that was decoded from the cell itself. */
let baseNow = 0;

/**
 * Adds to `findings` (which it clears first) what [start, end) holds, as settled positions in `bytes`. `floor` <= start
 * is where the text before begins that may label it. `kinds` are the bits that count; `cell` says how it is spelled.
 */
export function scanCell(
  bytes: Uint8Array,
  floor: number,
  start: number,
  end: number,
  cell: number,
  context: number,
  kinds: number,
  findings: Findings,
): void {
  assert(floor <= start && start <= end && end <= bytes.length, 'a cell lies in its buffer');
  findings.clear();
  depthNow = 0;
  contextNow = context;
  cellNow = cell;
  const spelled = cell & (DECODE_ESCAPES | DECODE_CSV_QUOTES);
  let saw = SAW_SLOW;
  if (spelled === 0) {
    const plain = found[0] as Findings;
    plain.clear();
    saw = scanner.scan(bytes, floor, start, end, context, plain, probeToken);
    if ((saw & SAW_SLOW) === 0) {
      collect(plain, -1, start, kinds, findings);
      if (goesDeeper(saw, 0)) {
        // Layer 0 is the cell itself: the first decoded layer has the place of layer 1.
        decodeLayer(bytes, floor, end, nestedModes(), layerOf(1, end - floor));
        scanLayers(1, 1, start, kinds, findings);
      }
    }
  }
  if ((saw & SAW_SLOW) !== 0) {
    decodeLayer(bytes, floor, end, spelled, layerOf(0, end - floor));
    scanLayers(0, 0, start, kinds, findings);
  }
  findings.settle();
}

/**
 * Scans layer `first`, then what is encoded in it, layer by layer. Layer `base` was decoded from the cell; each other
 * one from the layer before.
 */
function scanLayers(base: number, first: number, start: number, kinds: number, findings: Findings): void {
  for (let depth = first; ; depth++) {
    const text = layers[depth] as DecodedText;
    const here = found[depth] as Findings;
    here.clear();
    depthNow = depth;
    baseNow = base;
    const probe = depth < DEPTH_MAX ? probeToken : null;
    const saw = scanner.scan(text.bytes, 0, firstAt(depth, start), text.size, contextNow, here, probe);
    assert((saw & SAW_SLOW) === 0, 'a decoded layer is ASCII');
    collect(here, depth, start, kinds, findings);
    if (depth === DEPTH_MAX || !goesDeeper(saw, depth)) {
      return;
    }
    decodeLayer(text.bytes, 0, text.size, nestedModes(), layerOf(depth + 1, text.size));
  }
}

function goesDeeper(saw: number, depth: number): boolean {
  return (saw & SAW_ENCODED) !== 0 || (depth === 0 && (cellNow & DECODE_PLUS) !== 0);
}

function nestedModes(): number {
  return DECODE_NESTED | (cellNow & DECODE_PLUS);
}

/** Position in the cell of byte `at` of a layer; -1 is the cell itself. */
function cellPosition(depth: number, at: number): number {
  let position = at;
  for (let layer = depth; layer >= baseNow; layer--) {
    position = sourceOf(layers[layer] as DecodedText, position);
  }
  return position;
}

/** Maps findings of a layer to the cell. What begins before `start` was judged with the block before: cut it off. */
function collect(from: Findings, depth: number, start: number, kinds: number, to: Findings): void {
  for (let i = 0; i < from.count; i++) {
    const kind = from.kindAt(i);
    if ((kinds & (1 << kind)) === 0) {
      continue;
    }
    const first = depth < 0 ? from.startAt(i) : cellPosition(depth, from.startAt(i));
    const end = depth < 0 ? from.endAt(i) : cellPosition(depth, from.endAt(i));
    if (end > start) {
      to.add(Math.max(start, first), end, kind);
    }
  }
}

/** Index of the first byte of the layer that came from `start` or later. */
function firstAt(depth: number, start: number): number {
  let low = 0;
  let high = (layers[depth] as DecodedText).size;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (cellPosition(depth, middle) < start) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

function layerOf(depth: number, size: number): DecodedText {
  let text = layers[depth] as DecodedText;
  if (text.bytes.length < size) {
    text = newDecodedText(Math.max(size, text.bytes.length * 2));
    layers[depth] = text;
  }
  return text;
}

/** What is in a long token, were it base64. A token that is too long to be looked into is a finding of its own. */
function probeToken(bytes: Uint8Array, start: number, end: number): number {
  if (end - start > BASE64_TOKEN_MAX) {
    return KIND_BLOB;
  }
  return probeBase64(bytes, start, end, tokens[depthNow] as Buffer, probeText);
}

function probeText(bytes: Uint8Array, start: number, end: number): number {
  const depth = depthNow;
  const inner = found[depth + 1] as Findings;
  inner.clear();
  depthNow = depth + 1;
  const probe = depthNow < DEPTH_MAX ? probeToken : null;
  let saw = scanner.scan(bytes, start, start, end, contextNow, inner, probe);
  if (inner.count === 0 && saw !== 0 && depth + 2 < layers.length) {
    const text = layerOf(depth + 2, end - start);
    decodeLayer(bytes, start, end, DECODE_NESTED, text);
    saw = scanner.scan(text.bytes, 0, 0, text.size, contextNow, inner, null);
  }
  depthNow = depth;
  return inner.count > 0 ? inner.kindAt(0) : -1;
}
