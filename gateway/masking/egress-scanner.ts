import { assert } from '../../core/kernel/assert.ts';
import type { ScanFinding } from '../contract/mask.ts';
import { Findings } from './scanner/findings.ts';
import { BLOCK_BYTES, LOOK_BEHIND_BYTES, endOfOpenRun, scanBlock } from './scanner/scan-block.ts';
import { CELL_FORM, CELL_PLAIN, scanCell } from './scanner/scan-cell.ts';
import { SCAN_KINDS, kindBits, kindName } from './scanner/scan-kinds.ts';
import type { ScanKind } from './scanner/scan-kinds.ts';

/** Looks at a request body as it streams. The findings do not depend on how the body was cut. */
export interface EgressScanner {
  push(chunk: Buffer): readonly ScanFinding[];
  /** The rest. Only after this is `kinds` what the body holds. */
  finish(): readonly ScanFinding[];
  /** Kinds found so far, sorted. */
  readonly kinds: readonly string[];
}

export interface EgressScanOptions {
  /** `application/x-www-form-urlencoded`: `+` is a space. */
  readonly isForm?: boolean;
}

const findings = new Findings();

/**
 * A scanner for these kinds (all when none are named; names that only the catalogue knows, such as `name`, find
 * nothing here). Any medium: JSON, form, CSV and plain bodies are looked at as text, with percent codes, `\u` escapes,
 * entities and base64 undone to depth 2.
 */
export function createEgressScanner(
  kinds: readonly string[] = SCAN_KINDS,
  options: EgressScanOptions = {},
): EgressScanner {
  return new StreamingScanner(kindBits(kinds), options.isForm === true ? CELL_FORM : CELL_PLAIN);
}

/** Kinds that one string holds: a path, a query string, a header value, a literal. Sorted. */
export function scanText(value: string, kinds: readonly string[] = SCAN_KINDS): ScanKind[] {
  const bytes = Buffer.from(value);
  scanCell(bytes, 0, 0, bytes.length, CELL_FORM, 0, kindBits(kinds), findings);
  let bits = 0;
  for (let i = 0; i < findings.count; i++) {
    bits |= 1 << findings.kindAt(i);
  }
  return namesOf(bits);
}

/**
 * Invariants: `#held` [0, #size) is what is not decided, preceded by the bytes that may label it; its first undecided
 * byte is `#from`, at offset `#offset + #from` of the body; there is always less than one whole block undecided.
 */
class StreamingScanner implements EgressScanner {
  readonly #kinds: number;
  readonly #cell: number;
  readonly #held: Buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES + LOOK_BEHIND_BYTES);
  #size = 0;
  #from = 0;
  #offset = 0;
  #isOpen = false;
  #bits = 0;
  #isFinished = false;

  constructor(kinds: number, cell: number) {
    this.#kinds = kinds;
    this.#cell = cell;
  }

  get kinds(): readonly string[] {
    return namesOf(this.#bits);
  }

  push(chunk: Buffer): readonly ScanFinding[] {
    assert(!this.#isFinished, 'nothing follows the end of a body');
    const found: ScanFinding[] = [];
    let position = 0;
    while (position < chunk.length) {
      const wanted = this.#from + BLOCK_BYTES - this.#size;
      const taken = chunk.copy(this.#held, this.#size, position, position + wanted);
      this.#size += taken;
      position += taken;
      if (taken === wanted) {
        this.#settle(false, found);
      }
    }
    return found;
  }

  finish(): readonly ScanFinding[] {
    assert(!this.#isFinished, 'a body ends once');
    this.#isFinished = true;
    const found: ScanFinding[] = [];
    this.#settle(true, found);
    this.#held.fill(0);
    return found;
  }

  #settle(isFinal: boolean, found: ScanFinding[]): void {
    const held = this.#held;
    let from = this.#from;
    if (this.#isOpen) {
      from = endOfOpenRun(held, from, this.#size);
      this.#isOpen = from === this.#size;
    }
    if (from < this.#size && (isFinal || from === this.#from)) {
      const floor = Math.max(0, this.#from - LOOK_BEHIND_BYTES);
      const block = scanBlock(held, floor, from, this.#size, isFinal, this.#cell, 0, this.#kinds, findings);
      this.#isOpen = block.isOpen;
      from = block.cut;
      for (let i = 0; i < findings.count; i++) {
        const start = findings.startAt(i);
        this.#bits |= 1 << findings.kindAt(i);
        found.push({
          kind: kindName(findings.kindAt(i)),
          offset: this.#offset + start,
          size: findings.endAt(i) - start,
        });
      }
    }
    const keep = Math.max(0, from - LOOK_BEHIND_BYTES);
    held.copyWithin(0, keep, this.#size);
    this.#size -= keep;
    this.#from = from - keep;
    this.#offset += keep;
  }
}

function namesOf(bits: number): ScanKind[] {
  return SCAN_KINDS.filter((_, index) => (bits & (1 << index)) !== 0).sort();
}
