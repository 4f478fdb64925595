/**
 * Where the fields of one encoded `Event` (proto/chaperone/evidence/v1/event.proto) stand, without decoding them to
 * JavaScript values: a slot is a range of the source or a 64-bit number in two halves.
 *
 * Only what the generated encoder writes is read here. Anything else that is still legal (a group, a known field with
 * another wire type) makes `parse` return false, and the caller takes the slow way through the generated codec.
 */
type FieldKind = 'bytes' | 'number' | 'message' | 'list';

interface Field {
  readonly kind: FieldKind;
  /** Slot, or the number of the list. */
  readonly at: number;
  readonly message: Shape | null;
}

/** Slots `first` up to `end` belong to the message and to what is nested in it; so do the lists of `lists`. */
export interface Shape {
  readonly first: number;
  readonly end: number;
  readonly lists: readonly number[];
  readonly fields: readonly (Field | undefined)[];
}

/** `list` of strings, or with a third part of messages. */
type FieldSpec =
  | readonly [name: string, kind: 'bytes' | 'number' | 'list']
  | readonly [name: string, kind: 'list', element: Spec]
  | readonly [name: string, nested: Spec];
interface Spec {
  readonly [field: number]: FieldSpec;
}

/** Elements of the lists of messages. They are parsed again, one at a time, when their row is written. */
const ACTOR: Spec = { 2: ['actorSub', 'bytes'], 3: ['actorKind', 'bytes'] };
const OBJECT: Spec = { 1: ['objectType', 'bytes'], 2: ['objectId', 'bytes'] };
const REASON: Spec = { 1: ['reasonCode', 'bytes'], 4: ['reasonControl', 'bytes'] };
const COUNT: Spec = {
  1: ['countClass', 'bytes'],
  2: ['countKind', 'bytes'],
  3: ['countAction', 'bytes'],
  4: ['countColumn', 'bytes'],
  5: ['countValue', 'number'],
};
const APPROVAL: Spec = {
  1: ['approvalId', 'bytes'],
  2: ['approvalState', 'bytes'],
  4: ['approvalShown', 'bytes'],
  5: ['approvalApprover', 'bytes'],
  6: ['approvalMethod', 'bytes'],
  9: ['approvalReason', 'bytes'],
  10: ['approvalDecidedMs', 'number'],
};
const ATTRIBUTE: Spec = { 1: ['attributeKey', 'bytes'], 2: ['attributeValue', 'bytes'] };

const SUBJECT: Spec = {
  1: ['iss', 'bytes'],
  2: ['sub', 'bytes'],
  3: ['principalKind', 'bytes'],
  4: ['person', 'bytes'],
  5: ['actors', 'list', ACTOR],
  6: [
    'ci',
    {
      2: ['repository', 'bytes'],
      3: ['ref', 'bytes'],
      4: ['sha', 'bytes'],
      5: ['workflow', 'bytes'],
      6: ['runId', 'bytes'],
      7: ['environment', 'bytes'],
      8: ['reviewed', 'number'],
      9: ['ciScript', 'bytes'],
    },
  ],
  7: ['authMethod', 'bytes'],
  8: ['groups', 'list'],
  9: ['purpose', 'bytes'],
  10: ['env', 'bytes'],
  11: ['tokenDigest', 'bytes'],
};

const OPERATION: Spec = {
  1: ['opClass', 'bytes'],
  2: ['verb', 'bytes'],
  3: ['text', 'bytes'],
  4: ['targetDigest', 'bytes'],
  5: ['fingerprint', 'bytes'],
  6: ['objects', 'list', OBJECT],
  7: ['classes', 'list'],
  8: ['kinds', 'list'],
  9: ['egressKinds', 'list'],
  10: ['destination', 'bytes'],
  11: ['unresolved', 'number'],
};

const DECISION: Spec = {
  1: ['effect', 'bytes'],
  2: ['code', 'bytes'],
  3: ['reasons', 'list', REASON],
  4: ['inputDigest', 'bytes'],
  7: ['decisionBundle', 'bytes'],
  8: ['catalogueDigest', 'bytes'],
  9: ['engineDigest', 'bytes'],
  10: ['decisionPlan', 'bytes'],
  11: ['cached', 'number'],
  12: ['durability', 'bytes'],
  13: ['bundleRevision', 'number'],
};

const EXCHANGE: Spec = {
  1: ['status', 'number'],
  2: ['exchangeRows', 'number'],
  3: ['exchangeBytes', 'number'],
  4: ['requestBytes', 'number'],
  5: ['mediaType', 'bytes'],
  6: ['upstreamStatus', 'number'],
  7: ['upstreamUs', 'number'],
  8: ['totalUs', 'number'],
  9: ['abortReason', 'bytes'],
  10: ['deliveredBytes', 'number'],
  11: ['complete', 'number'],
};

const EVENT: Spec = {
  1: ['subject', SUBJECT],
  2: ['connection', 'bytes'],
  3: ['operation', OPERATION],
  4: ['decision', DECISION],
  5: ['exchange', EXCHANGE],
  6: [
    'masks',
    { 1: ['profile', 'bytes'], 2: ['counts', 'list', COUNT], 3: ['unknownPaths', 'list'], 4: ['withheld', 'number'] },
  ],
  7: ['approvals', 'list', APPROVAL],
  8: ['epoch', { 1: ['epochRole', 'bytes'], 2: ['epochNode', 'bytes'] }],
  9: [
    'note',
    {
      1: ['noteCode', 'bytes'],
      2: ['noteText', 'bytes'],
      3: ['noteFirst', 'number'],
      4: ['noteCount', 'number'],
      5: ['noteDigest', 'bytes'],
      6: ['attributes', 'list', ATTRIBUTE],
    },
  ],
  10: ['traceId', 'bytes'],
  11: ['configDigest', 'bytes'],
  12: ['operationIndex', 'number'],
  13: ['script', { 1: ['reviewScript', 'bytes'], 2: ['reviewer', 'bytes'], 4: ['reviewCommit', 'bytes'] }],
  14: ['unit', { 1: ['unitFirst', 'number'], 2: ['unitBytes', 'number'], 3: ['unitPart', 'number'] }],
  15: ['planDigest', 'bytes'],
};

const slotNumbers = new Map<string, number>();
const listNumbers = new Map<string, number>();

// Slots of a shape are contiguous, so the shapes of elements are numbered before those that hold them.
const ELEMENT_SHAPES = new Map(
  [ACTOR, OBJECT, REASON, COUNT, APPROVAL, ATTRIBUTE].map((spec) => [spec, shapeOf(spec)]),
);

export const SHAPES = {
  event: shapeOf(EVENT),
  actor: elementShape(ACTOR),
  object: elementShape(OBJECT),
  reason: elementShape(REASON),
  count: elementShape(COUNT),
  approval: elementShape(APPROVAL),
  attribute: elementShape(ATTRIBUTE),
} as const;

/** The slot of a field by its name above. Resolve once, not on the hot path. */
export function slotOf(name: string): number {
  return numberOf(slotNumbers, name);
}

export function listOf(name: string): number {
  return numberOf(listNumbers, name);
}

const ABSENT = -1;

/**
 * One record's slots, used again for the next.
 *
 * Invariant: `present` names the slots of the event itself that are not absent, `presentLists` its lists that have
 * elements; slots of elements are those of the element that was parsed last.
 */
export class EventSlots {
  source: Buffer = Buffer.alloc(0);
  /** Start and end of each range; `ABSENT` (-1) as start when the field is not there. */
  readonly starts = new Int32Array(slotNumbers.size).fill(ABSENT);
  readonly ends = new Int32Array(slotNumbers.size);
  readonly lows = new Uint32Array(slotNumbers.size);
  readonly highs = new Uint32Array(slotNumbers.size);
  /** Starts and ends of the elements in turn. */
  readonly lists: number[][] = Array.from({ length: listNumbers.size }, () => []);
  readonly present: number[] = [];
  readonly presentLists: number[] = [];

  has(slot: number): boolean {
    return this.starts[slot] !== ABSENT;
  }

  /** Fills the slots with the fields of an `Event`. False for what only the generated codec can judge. */
  parseEvent(source: Buffer): boolean {
    this.clearEvent();
    this.source = source;
    return this.#parse(SHAPES.event, 0, source.length);
  }

  /** Fills the slots of one element of a list. It was parsed before, as part of its event, so it parses. */
  parseElement(shape: Shape, start: number, end: number): boolean {
    this.#clear(shape);
    return this.#parse(shape, start, end);
  }

  clearEvent(): void {
    for (const slot of this.present) {
      this.starts[slot] = ABSENT;
      this.lows[slot] = 0;
      this.highs[slot] = 0;
    }
    for (const list of this.presentLists) {
      (this.lists[list] as number[]).length = 0;
    }
    this.present.length = 0;
    this.presentLists.length = 0;
  }

  #clear(shape: Shape): void {
    for (let slot = shape.first; slot < shape.end; slot++) {
      this.starts[slot] = ABSENT;
      this.lows[slot] = 0;
      this.highs[slot] = 0;
    }
    for (const list of shape.lists) {
      (this.lists[list] as number[]).length = 0;
    }
  }

  #set(slot: number, start: number): void {
    if (slot >= SHAPES.event.first && this.starts[slot] === ABSENT) {
      this.present.push(slot);
    }
    this.starts[slot] = start;
  }

  #parse(shape: Shape, start: number, end: number): boolean {
    const source = this.source;
    let at = start;
    while (at < end) {
      let tag = source[at++] as number;
      if (tag >= 0x80) {
        const more = source[at++] as number;
        if (at > end || more >= 0x80) {
          return false;
        }
        tag = (tag & 0x7f) | (more << 7);
      }
      const field = shape.fields[tag >>> 3];
      const wire = tag & 7;
      if (tag >>> 3 === 0 || (wire !== 0 && wire !== 2)) {
        return false;
      }
      at = wire === 2 ? this.#ranged(field, at, end) : this.#varint(field, at, end);
      if (at < 0) {
        return false;
      }
    }
    return at === end;
  }

  #ranged(field: Field | undefined, start: number, end: number): number {
    const source = this.source;
    let at = start;
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= end || shift > 21) {
        return -1;
      }
      const byte = source[at++] as number;
      size |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        break;
      }
    }
    const stop = at + size;
    if (stop > end) {
      return -1;
    }
    if (field === undefined) {
      return stop;
    }
    if (field.kind === 'bytes') {
      this.#set(field.at, at);
      this.ends[field.at] = stop;
    } else if (field.kind === 'list') {
      // The element is checked now, because its row cannot be taken back when it turns out to be none.
      if (field.message !== null && !this.parseElement(field.message, at, stop)) {
        return -1;
      }
      const list = this.lists[field.at] as number[];
      if (list.length === 0) {
        this.presentLists.push(field.at);
      }
      list.push(at, stop);
    } else if (field.kind === 'message') {
      if (this.has(field.at)) {
        return -1; // A second occurrence replaces the first: the generated codec knows how.
      }
      this.#set(field.at, at);
      return this.#parse(field.message as Shape, at, stop) ? stop : -1;
    } else {
      return -1;
    }
    return stop;
  }

  #varint(field: Field | undefined, start: number, end: number): number {
    const source = this.source;
    if (field !== undefined && field.kind !== 'number') {
      return -1;
    }
    let at = start;
    let low = 0;
    let high = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= end || shift > 63) {
        return -1;
      }
      const byte = source[at++] as number;
      const bits = byte & 0x7f;
      if (shift < 28) {
        low |= bits << shift;
      } else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else {
        high |= bits << (shift - 32);
      }
      if (byte < 0x80) {
        break;
      }
    }
    if (field !== undefined) {
      this.#set(field.at, start);
      this.lows[field.at] = low >>> 0;
      this.highs[field.at] = high >>> 0;
    }
    return at;
  }
}

function shapeOf(spec: Spec): Shape {
  const first = slotNumbers.size;
  const lists: number[] = [];
  const fields: (Field | undefined)[] = [];
  for (const [number, [name, kind, element]] of Object.entries(spec) as [string, FieldSpec][]) {
    if (kind === 'list') {
      const list = listNumbers.size;
      listNumbers.set(name, list);
      lists.push(list);
      fields[Number(number)] = { kind, at: list, message: element === undefined ? null : elementShape(element) };
    } else if (kind === 'bytes' || kind === 'number') {
      const slot = slotNumbers.size;
      slotNumbers.set(name, slot);
      fields[Number(number)] = { kind, at: slot, message: null };
    } else {
      const own = slotNumbers.size;
      slotNumbers.set(name, own);
      const message = shapeOf(kind);
      lists.push(...message.lists);
      fields[Number(number)] = { kind: 'message', at: own, message };
    }
  }
  return { first, end: slotNumbers.size, lists, fields };
}

function elementShape(spec: Spec): Shape {
  const shape = ELEMENT_SHAPES.get(spec);
  if (shape === undefined) {
    throw new RangeError('the shapes of elements come before the shapes that hold them');
  }
  return shape;
}

function numberOf(numbers: ReadonlyMap<string, number>, name: string): number {
  const number = numbers.get(name);
  if (number === undefined) {
    throw new RangeError(`no field ${name}`);
  }
  return number;
}
