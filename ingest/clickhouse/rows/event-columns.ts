import { ZERO16 } from '../../../core/kernel/bytes.ts';
import { Event } from '../../../proto/gen/chaperone/evidence/v1/event.ts';
import { kindName, tenantTag } from '../../../core/ledger/leaf.ts';
import { EventSlots, listOf, SHAPES, slotOf } from './event-slots.ts';
import type { Shape } from './event-slots.ts';
import { ArrayColumn, MapColumn } from './array-columns.ts';
import { ByteSink } from './byte-sink.ts';
import { LowCardinalityColumn } from './low-cardinality-column.ts';
import { FixedColumn, NullableU64Column, StringColumn } from './native-columns.ts';
import type { Column } from './native-columns.ts';

/** What of a record the index is made of. `leaf` was decoded by the ledger before, so its fields are in range. */
export interface IndexedRecord {
  readonly leaf: Buffer;
  readonly meta: Buffer;
}

/** How a slot becomes a value of its column. */
type ScalarKind = 'name' | 'hexName' | 'text' | 'hexText' | 'bool' | 'u16' | 'u32' | 'u64';

/** Columns that are one slot, in table order: column, slot, kind. */
const SCALARS: readonly (readonly [column: string, slot: string, kind: ScalarKind])[] = [
  ['principal_iss', 'iss', 'name'],
  ['principal_sub', 'sub', 'name'],
  ['principal_kind', 'principalKind', 'name'],
  ['person', 'person', 'name'],
  ['auth_method', 'authMethod', 'name'],
  ['purpose', 'purpose', 'name'],
  ['env', 'env', 'name'],
  ['token_digest', 'tokenDigest', 'hexName'],
  ['ci_repository', 'repository', 'name'],
  ['ci_ref', 'ref', 'name'],
  ['ci_sha', 'sha', 'name'],
  ['ci_workflow', 'workflow', 'name'],
  ['ci_run_id', 'runId', 'name'],
  ['ci_environment', 'environment', 'name'],
  ['ci_reviewed', 'reviewed', 'bool'],
  ['ci_script_digest', 'ciScript', 'name'],
  ['connection', 'connection', 'name'],
  ['op_class', 'opClass', 'name'],
  ['verb', 'verb', 'name'],
  ['text', 'text', 'text'],
  ['target_digest', 'targetDigest', 'hexText'],
  ['fingerprint', 'fingerprint', 'name'],
  ['destination', 'destination', 'name'],
  ['unresolved', 'unresolved', 'bool'],
  ['effect', 'effect', 'name'],
  ['code', 'code', 'name'],
  ['input_digest', 'inputDigest', 'hexText'],
  ['catalogue_digest', 'catalogueDigest', 'hexName'],
  ['engine_digest', 'engineDigest', 'hexName'],
  ['config_digest', 'configDigest', 'hexName'],
  ['cached', 'cached', 'bool'],
  ['durability', 'durability', 'name'],
  ['bundle_revision', 'bundleRevision', 'u64'],
  ['status', 'status', 'u16'],
  ['rows', 'exchangeRows', 'u64'],
  ['bytes', 'exchangeBytes', 'u64'],
  ['request_bytes', 'requestBytes', 'u64'],
  ['media_type', 'mediaType', 'name'],
  ['upstream_status', 'upstreamStatus', 'u16'],
  ['upstream_us', 'upstreamUs', 'u64'],
  ['total_us', 'totalUs', 'u64'],
  ['abort_reason', 'abortReason', 'name'],
  ['delivered_bytes', 'deliveredBytes', 'u64'],
  ['complete', 'complete', 'bool'],
  ['mask_profile', 'profile', 'name'],
  ['withheld', 'withheld', 'u64'],
  ['epoch_role', 'epochRole', 'name'],
  ['epoch_node', 'epochNode', 'name'],
  ['note_code', 'noteCode', 'name'],
  ['note_text', 'noteText', 'text'],
  ['note_first', 'noteFirst', 'u64'],
  ['note_count', 'noteCount', 'u64'],
  ['note_digest', 'noteDigest', 'hexText'],
  ['trace_id', 'traceId', 'text'],
  ['review_script_digest', 'reviewScript', 'name'],
  ['reviewer', 'reviewer', 'name'],
  ['review_commit', 'reviewCommit', 'name'],
  ['unit_first_byte', 'unitFirst', 'u64'],
  ['unit_bytes', 'unitBytes', 'u64'],
  ['unit_part', 'unitPart', 'u32'],
];

/** Arrays whose elements are plain strings: column, list. */
const NAME_LISTS = [
  ['groups', 'groups'],
  ['classes', 'classes'],
  ['kinds', 'kinds'],
  ['egress_kinds', 'egressKinds'],
  ['unknown_paths', 'unknownPaths'],
] as const;

const FIXED_TYPES = { bool: ['Bool', 1], u16: ['UInt16', 2], u32: ['UInt32', 4], u64: ['UInt64', 8] } as const;
const DECISION_NAMES = ['none', 'allow', 'deny', 'approve'].map((name) => Buffer.from(name, 'ascii'));
const EMPTY = Buffer.alloc(0);
const COLON = Buffer.from(':', 'ascii');
const MALFORMED = Buffer.from('malformed', 'ascii');

/** Pushes the value of a slot or list that is there. */
type Writer = (slots: EventSlots) => void;

/**
 * The columns of one block of `events`. Free of decoded objects: `meta` bytes go to the columns as they stand.
 *
 * A meta that is not an `Event` is evidence all the same: its row has the leaf's fields and the attribute `malformed`.
 *
 * Invariant: no column has more than `rows` rows; what it lacks are defaults.
 */
export class EventColumns {
  readonly columns: Column[] = [];
  /** Rows so far, and so the number of the row that is being written. */
  rows = 0;
  readonly #slots = new EventSlots();
  readonly #slotWriters: (Writer | undefined)[] = [];
  readonly #listWriters: (Writer | undefined)[] = [];
  readonly #tenants: Map<string, Buffer>;
  readonly #leaf: LeafColumns;
  /** Writes the attribute that says that the meta of this row is no event. */
  readonly #malformed: () => void;

  /** Names of the known tenants; an unknown tag is shown in hex. `month` gives that of the archive object, YYYYMM. */
  constructor(tenants: readonly string[], month: () => number) {
    this.#tenants = new Map(tenants.map((name) => [tenantTag(name).toString('latin1'), Buffer.from(name, 'utf8')]));
    this.#tenants.set(ZERO16.toString('latin1'), EMPTY); // Records of the system itself.
    this.#leaf = new LeafColumns(month);
    this.columns.push(...this.#leaf.columns);
    for (const [column, slot, kind] of SCALARS) {
      this.#scalar(column, slotOf(slot), kind);
    }
    this.#planDigest();
    for (const [column, list] of NAME_LISTS) {
      this.#names(column, listOf(list));
    }
    this.#pairs('actors', 'actors', SHAPES.actor, 'actorKind', 'actorSub');
    this.#pairs('objects', 'objects', SHAPES.object, 'objectType', 'objectId');
    this.#reasons();
    this.#maskCounts();
    this.#approvals();
    this.#operationIndex();
    this.#malformed = this.#attributes();
  }

  append(record: IndexedRecord): void {
    const slots = this.#slots;
    if (!slots.parseEvent(record.meta)) {
      this.#parseSlowly(record.meta);
    }
    this.#leaf.append(record.leaf, this.#tenants);
    for (const slot of slots.present) {
      this.#slotWriters[slot]?.(slots);
    }
    for (const list of slots.presentLists) {
      this.#listWriters[list]?.(slots);
    }
    this.rows++;
  }

  /** Ends the block: every column has `rows` rows. */
  finish(): readonly Column[] {
    for (const column of this.columns) {
      column.pad(this.rows);
    }
    return this.columns;
  }

  reset(): void {
    this.rows = 0;
    for (const column of this.columns) {
      column.reset();
    }
  }

  #parseSlowly(meta: Buffer): void {
    const slots = this.#slots;
    try {
      if (slots.parseEvent(Buffer.from(Event.encode(Event.decode(meta)).finish()))) {
        return;
      }
    } catch {
      // Not an Event: the row says so below.
    }
    slots.clearEvent();
    this.#malformed();
  }

  #scalar(name: string, slot: number, kind: ScalarKind): void {
    if (kind === 'name' || kind === 'hexName') {
      const column = new LowCardinalityColumn(name, kind === 'hexName');
      this.#onSlot(column, slot, (slots) => pushRange(column, slots, slot));
    } else if (kind === 'text') {
      const column = new StringColumn(name);
      this.#onSlot(column, slot, (slots) => pushRange(column, slots, slot));
    } else if (kind === 'hexText') {
      const column = new StringColumn(name);
      this.#onSlot(column, slot, ({ source, starts, ends }) =>
        column.hex(source, starts[slot] as number, ends[slot] as number),
      );
    } else {
      const [type, width] = FIXED_TYPES[kind];
      const column = new FixedColumn(name, type, width);
      const bool = kind === 'bool';
      this.#onSlot(column, slot, ({ lows, highs }) => {
        const low = lows[slot] as number;
        const high = highs[slot] as number;
        column.number(bool ? Number((low | high) !== 0) : low, high);
      });
    }
  }

  /** The plan of the record's units, else the one of its decision. */
  #planDigest(): void {
    const column = new LowCardinalityColumn('plan_digest', true);
    const [own, decided] = [slotOf('planDigest'), slotOf('decisionPlan')];
    this.#onSlot(column, own, (slots) => pushRange(column, slots, own));
    this.#slotWriters[decided] = (slots) => {
      if (!slots.has(own)) {
        column.pad(this.rows);
        pushRange(column, slots, decided);
      }
    };
  }

  #names(name: string, list: number): void {
    const column = new ArrayColumn(new LowCardinalityColumn(name));
    this.#onList([column], list, ({ source, lists }) => {
      const ranges = lists[list] as number[];
      for (let i = 0; i < ranges.length; i += 2) {
        column.elements.slice(source, ranges[i] as number, ranges[i + 1] as number);
      }
    });
  }

  /** `<first>:<second>` of each element. */
  #pairs(name: string, listName: string, shape: Shape, first: string, second: string): void {
    const column = new ArrayColumn(new LowCardinalityColumn(name));
    const [list, left, right] = [listOf(listName), slotOf(first), slotOf(second)];
    const scratch = new ByteSink(256);
    this.#onElements([column], list, shape, (slots) => {
      scratch.size = 0;
      scratch.slice(slots.source, ...rangeOf(slots, left));
      scratch.slice(COLON, 0, 1);
      scratch.slice(slots.source, ...rangeOf(slots, right));
      column.elements.slice(scratch.bytes, 0, scratch.size);
    });
  }

  #reasons(): void {
    const codes = new ArrayColumn(new LowCardinalityColumn('reasons'));
    const controls = new ArrayColumn(new LowCardinalityColumn('controls'));
    const [code, control] = [slotOf('reasonCode'), slotOf('reasonControl')];
    this.#onElements([controls, codes], listOf('reasons'), SHAPES.reason, (slots) => {
      pushRange(codes.elements, slots, code);
      pushRange(controls.elements, slots, control);
    });
  }

  #maskCounts(): void {
    const names = ['mask_classes', 'mask_kinds', 'mask_actions', 'mask_columns'] as const;
    const texts = names.map((name) => new ArrayColumn(new LowCardinalityColumn(name)));
    const textSlots = ['countClass', 'countKind', 'countAction', 'countColumn'].map(slotOf);
    const counts = new ArrayColumn(new FixedColumn('mask_counts', 'UInt64', 8));
    const value = slotOf('countValue');
    this.#onElements([...texts, counts], listOf('counts'), SHAPES.count, (slots) => {
      for (let i = 0; i < texts.length; i++) {
        pushRange((texts[i] as (typeof texts)[number]).elements, slots, textSlots[i] as number);
      }
      counts.elements.number(slots.lows[value] as number, slots.highs[value]);
    });
  }

  #approvals(): void {
    const names = ['approval_states', 'approval_approvers', 'approval_methods'] as const;
    const texts = names.map((name) => new ArrayColumn(new LowCardinalityColumn(name)));
    const textSlots = ['approvalState', 'approvalApprover', 'approvalMethod'].map(slotOf);
    const ids = new ArrayColumn(new StringColumn('approval_ids'));
    const reasons = new ArrayColumn(new StringColumn('approval_reasons'));
    const shown = new ArrayColumn(new StringColumn('approval_shown'));
    const decided = new ArrayColumn(new FixedColumn('approval_decided_ms', 'UInt64', 8));
    const [id, reason, digest, ms] = ['approvalId', 'approvalReason', 'approvalShown', 'approvalDecidedMs'].map(
      slotOf,
    ) as [number, number, number, number];
    const columns = [...texts, reasons, shown, decided, ids];
    this.#onElements(columns, listOf('approvals'), SHAPES.approval, (slots) => {
      texts.forEach((text, i) => pushRange(text.elements, slots, textSlots[i] as number));
      pushRange(ids.elements, slots, id);
      pushRange(reasons.elements, slots, reason);
      shown.elements.hex(slots.source, ...rangeOf(slots, digest));
      decided.elements.number(slots.lows[ms] as number, slots.highs[ms]);
    });
  }

  #operationIndex(): void {
    const column = new NullableU64Column('operation_index');
    const slot = slotOf('operationIndex');
    this.#onSlot(column, slot, ({ lows, highs }) => column.number(lows[slot] as number, highs[slot] as number));
  }

  #attributes(): () => void {
    const column = new MapColumn('attributes');
    const [key, value] = [slotOf('attributeKey'), slotOf('attributeValue')];
    this.#onElements([column], listOf('attributes'), SHAPES.attribute, (slots) => {
      pushRange(column.keys, slots, key);
      pushRange(column.values, slots, value);
    });
    return () => {
      column.pad(this.rows);
      column.keys.slice(MALFORMED, 0, MALFORMED.length);
      column.values.slice(EMPTY, 0, 0);
      column.end();
    };
  }

  #onSlot(column: Column, slot: number, push: Writer): void {
    this.columns.push(column);
    this.#slotWriters[slot] = (slots) => {
      column.pad(this.rows);
      push(slots);
    };
  }

  /** `push` gets the slots of each element in turn. */
  #onElements(columns: readonly RowList[], list: number, shape: Shape, push: Writer): void {
    this.#onList(columns, list, (slots) => {
      const ranges = slots.lists[list] as number[];
      for (let i = 0; i < ranges.length; i += 2) {
        slots.parseElement(shape, ranges[i] as number, ranges[i + 1] as number);
        push(slots);
      }
    });
  }

  #onList(columns: readonly RowList[], list: number, push: Writer): void {
    this.columns.push(...columns);
    this.#listWriters[list] = (slots) => {
      for (const column of columns) {
        column.pad(this.rows);
      }
      push(slots);
      for (const column of columns) {
        column.end();
      }
    };
  }
}

type RowList = ArrayColumn<LowCardinalityColumn | StringColumn | FixedColumn> | MapColumn;

/** The columns that come from the leaf, first in the table because they order it. */
class LeafColumns {
  readonly columns: Column[];
  readonly #month: () => number;
  readonly #monthColumn = new FixedColumn('month', 'UInt32', 4);
  readonly #tenant = new LowCardinalityColumn('tenant');
  readonly #sessionId = new FixedColumn('session_id', 'UInt128', 16);
  readonly #writerId = new FixedColumn('writer_id', 'UInt128', 16);
  readonly #seq = new FixedColumn('seq', 'UInt32', 4);
  readonly #index = new FixedColumn('record_index', 'UInt64', 8);
  readonly #time = new FixedColumn('time', "DateTime64(9, 'UTC')", 8);
  readonly #kind = new LowCardinalityColumn('kind');
  readonly #decision = new LowCardinalityColumn('decision');
  readonly #obligations = new FixedColumn('obligations', 'UInt32', 4);
  readonly #bundle = new LowCardinalityColumn('bundle_digest', true);
  readonly #lastTag = Buffer.alloc(16);
  #lastTenant: Buffer = EMPTY;
  readonly #kindNames: Buffer[] = Array.from({ length: 256 }, (_, kind) => Buffer.from(kindName(kind), 'ascii'));

  constructor(month: () => number) {
    this.#month = month;
    this.columns = [
      this.#monthColumn,
      this.#tenant,
      this.#sessionId,
      this.#writerId,
      this.#seq,
      this.#index,
      this.#time,
      this.#kind,
      this.#decision,
      this.#obligations,
      this.#bundle,
    ];
  }

  append(leaf: Buffer, tenants: ReadonlyMap<string, Buffer>): void {
    this.#monthColumn.number(this.#month());
    if (leaf.compare(this.#lastTag, 0, 16, 34, 50) !== 0) {
      leaf.copy(this.#lastTag, 0, 34, 50);
      this.#lastTenant =
        tenants.get(leaf.toString('latin1', 34, 50)) ?? Buffer.from(leaf.toString('hex', 34, 50), 'ascii');
    }
    this.#tenant.slice(this.#lastTenant, 0, this.#lastTenant.length);
    this.#sessionId.reversed(leaf, 50);
    this.#writerId.reversed(leaf, 2);
    this.#seq.reversed(leaf, 66);
    this.#index.reversed(leaf, 18);
    pushTime(this.#time, leaf, 26);
    const kind = this.#kindNames[leaf[1] as number] as Buffer;
    this.#kind.slice(kind, 0, kind.length);
    const decision = DECISION_NAMES[leaf[134] as number] as Buffer;
    this.#decision.slice(decision, 0, decision.length);
    this.#obligations.reversed(leaf, 135);
    this.#bundle.slice(leaf, 102, isZero(leaf, 102, 134) ? 102 : 134);
  }
}

/** A u64 of nanoseconds as DateTime64(9), which is signed: what lies past its end is shown as its end. */
function pushTime(column: FixedColumn, source: Buffer, offset: number): void {
  if ((source[offset] as number) < 0x80) {
    column.reversed(source, offset);
  } else {
    column.number(0xffff_ffff, 0x7fff_ffff);
  }
}

function isZero(source: Buffer, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    if (source[i] !== 0) {
      return false;
    }
  }
  return true;
}

function rangeOf(slots: EventSlots, slot: number): [start: number, end: number] {
  return slots.has(slot) ? [slots.starts[slot] as number, slots.ends[slot] as number] : [0, 0];
}

function pushRange(column: LowCardinalityColumn | StringColumn, slots: EventSlots, slot: number): void {
  const start = slots.starts[slot] as number;
  column.slice(slots.source, start < 0 ? 0 : start, start < 0 ? 0 : (slots.ends[slot] as number));
}
