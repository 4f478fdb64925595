import { assert, defined } from '../../kernel/assert.ts';
import { ERROR_REASONS } from '../../kernel/errors.ts';

/** Upper bounds in seconds; the last bucket is +Inf. */
const DURATION_BUCKETS_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 40];
const EVAL_BUCKETS_S = [0.000_002, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.0001, 0.001, 0.01];

export interface CounterDefinition {
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly label: string;
  readonly values: readonly string[];
}
export interface HistogramDefinition {
  readonly type: 'histogram';
  readonly help: string;
  readonly buckets: readonly number[];
}
type Definition = CounterDefinition | HistogramDefinition;

/**
 * Every metric of a node. Labels are closed lists: no user, no statement and no path can become one. `requests` counts
 * by outcome and `refusals` by the coarse reason of the error table.
 */
export const METRICS = {
  chaperone_requests_total: {
    type: 'counter',
    help: 'Operations by outcome.',
    label: 'outcome',
    values: ['allowed', 'denied', 'pending', 'failed', 'aborted'],
  },
  chaperone_refusals_total: {
    type: 'counter',
    help: 'Refusals by coarse reason.',
    label: 'reason',
    values: [...ERROR_REASONS],
  },
  chaperone_request_duration_seconds: {
    type: 'histogram',
    help: 'From the request head to the last released byte.',
    buckets: DURATION_BUCKETS_S,
  },
  chaperone_policy_eval_seconds: {
    type: 'histogram',
    help: 'One decision, cached ones included.',
    buckets: EVAL_BUCKETS_S,
  },
  chaperone_commit_seconds: { type: 'histogram', help: 'From append to durable.', buckets: DURATION_BUCKETS_S },
  chaperone_masked_values_total: {
    type: 'counter',
    help: 'Masked values by what was done.',
    label: 'action',
    values: ['redact', 'null', 'fixed', 'zip3', 'year', 'age90', 'drop', 'withhold', 'other'],
  },
  chaperone_wire_refused_total: {
    type: 'counter',
    help: 'Requests refused before they were understood.',
    label: 'lane',
    values: ['http'],
  },
  chaperone_records_total: { type: 'counter', help: 'Evidence records appended.', label: '', values: [''] },
  chaperone_durable_records: { type: 'gauge', help: 'Records on stable storage.', label: '', values: [''] },
  chaperone_published_records: { type: 'gauge', help: 'Records acknowledged by the bus.', label: '', values: [''] },
  chaperone_unpublished_events: {
    type: 'gauge',
    help: 'Durable records that the bus has not acknowledged.',
    label: '',
    values: [''],
  },
  chaperone_unpublished_age_seconds: {
    type: 'gauge',
    help: 'Age of the oldest unpublished record.',
    label: '',
    values: [''],
  },
  chaperone_held_bytes: {
    type: 'gauge',
    help: 'Masked bytes that wait for durability or for a slow agent.',
    label: '',
    values: [''],
  },
  chaperone_open_sessions: { type: 'gauge', help: 'Open strands.', label: '', values: [''] },
  chaperone_open_connections: { type: 'gauge', help: 'Open agent connections.', label: '', values: [''] },
  chaperone_recorder_failed: { type: 'gauge', help: '1 when a writer takes no record.', label: '', values: [''] },
  chaperone_heartbeat: { type: 'gauge', help: 'Beats of the worker.', label: '', values: [''] },
} as const satisfies Record<string, Definition>;

export type MetricName = keyof typeof METRICS;

interface Slot {
  readonly start: number;
  readonly size: number;
}

const SLOTS: Readonly<Record<MetricName, Slot>> = layout();
const PAGE_SIZE = Object.values(SLOTS).reduce((sum, slot) => sum + slot.size, 0);

/** Bytes of shared memory for `pages` threads. */
export function metricMemoryBytes(pages: number): number {
  return pages * PAGE_SIZE * Float64Array.BYTES_PER_ELEMENT;
}

/**
 * The counters of one thread in shared memory. Only its own thread writes a page; the main thread reads all of them.
 * A double is written in one store, so a reader sees the old or the new value, never half of each.
 */
export class MetricPage {
  readonly #page: Float64Array;

  constructor(memory: SharedArrayBuffer, index: number) {
    assert(memory.byteLength >= metricMemoryBytes(index + 1), 'the page lies inside the shared memory');
    this.#page = new Float64Array(memory, index * PAGE_SIZE * Float64Array.BYTES_PER_ELEMENT, PAGE_SIZE);
  }

  increment(name: MetricName, label = '', by = 1): void {
    const at = slotOf(name, label);
    this.#page[at] = (this.#page[at] ?? 0) + by;
  }

  /** Counts masked values; an action that is not in the table counts as `other`. */
  addMasked(action: string, by: number): void {
    const { values } = METRICS.chaperone_masked_values_total;
    this.increment('chaperone_masked_values_total', values.find((value) => value === action) ?? 'other', by);
  }

  set(name: MetricName, value: number): void {
    this.#page[slotOf(name, '')] = value;
  }

  observe(name: MetricName, value: number): void {
    const { buckets } = METRICS[name] as HistogramDefinition;
    const { start } = SLOTS[name];
    let bucket = 0;
    while (bucket < buckets.length && value > (buckets[bucket] as number)) {
      bucket++;
    }
    this.#page[start + bucket] = (this.#page[start + bucket] ?? 0) + 1;
    const sum = start + buckets.length + 1;
    this.#page[sum] = (this.#page[sum] ?? 0) + value;
  }

  read(name: MetricName, label = ''): number {
    return this.#page[slotOf(name, label)] ?? 0;
  }

  /** Counts by bucket (not cumulative, +Inf last) and the sum. */
  histogram(name: MetricName): { counts: number[]; sum: number } {
    const { start, size } = SLOTS[name];
    return { counts: [...this.#page.subarray(start, start + size - 1)], sum: this.#page[start + size - 1] ?? 0 };
  }
}

function slotOf(name: MetricName, label: string): number {
  const definition: Definition = METRICS[name];
  assert(definition.type !== 'histogram', 'histograms are observed');
  const at = definition.values.indexOf(label);
  assert(at >= 0, `unknown label of ${name}`);
  return defined(SLOTS[name], 'every metric has a slot').start + at;
}

function layout(): Record<MetricName, Slot> {
  const slots: Partial<Record<MetricName, Slot>> = {};
  let start = 0;
  for (const name of Object.keys(METRICS) as MetricName[]) {
    const definition: Definition = METRICS[name];
    const size = definition.type === 'histogram' ? definition.buckets.length + 2 : definition.values.length;
    slots[name] = { start, size };
    start += size;
  }
  return slots as Record<MetricName, Slot>;
}
