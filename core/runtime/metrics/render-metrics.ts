import { Registry, type MetricObjectWithValues, type MetricValue } from 'prom-client';
import { METRICS, MetricPage, type MetricName } from './metric-page.ts';

/** Facts that only the main thread has. */
export interface NodeFacts {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/**
 * Renders the pages of all threads as Prometheus text. prom-client does the text format; the values are read from
 * shared memory at scrape time, summed over threads (gauges of one thread each: summed as well).
 */
export class MetricRenderer {
  readonly #pages: readonly MetricPage[];
  readonly #registry = new Registry();

  constructor(
    pages: readonly MetricPage[],
    facts: Readonly<Record<string, { readonly help: string; readonly read: () => readonly NodeFacts[] }>>,
  ) {
    this.#pages = pages;
    for (const name of Object.keys(METRICS) as MetricName[]) {
      this.#register(name, METRICS[name].help, METRICS[name].type, () => this.#values(name));
    }
    for (const [name, fact] of Object.entries(facts)) {
      this.#register(name, fact.help, 'gauge', () => fact.read().map(({ labels, value }) => ({ labels, value })));
    }
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  render(): Promise<string> {
    return this.#registry.metrics();
  }

  #register(
    name: string,
    help: string,
    type: 'counter' | 'gauge' | 'histogram',
    read: () => (MetricValue<string> & { metricName?: string })[],
  ): void {
    const collector = {
      name,
      get: (): Promise<MetricObjectWithValues<MetricValue<string>>> =>
        Promise.resolve({ name, help, type: type as never, aggregator: 'sum', values: read() } as never),
      reset: () => undefined,
    };
    this.#registry.registerMetric(collector as never);
  }

  #values(name: MetricName): (MetricValue<string> & { metricName?: string })[] {
    const definition = METRICS[name];
    if (definition.type === 'histogram') {
      return this.#histogram(name, definition.buckets);
    }
    return definition.values.map((label) => ({
      labels: definition.label === '' ? {} : { [definition.label]: label },
      value: this.#pages.reduce((sum, page) => sum + page.read(name, label), 0),
    }));
  }

  #histogram(name: MetricName, buckets: readonly number[]): (MetricValue<string> & { metricName?: string })[] {
    const parts = this.#pages.map((page) => page.histogram(name));
    const values: (MetricValue<string> & { metricName?: string })[] = [];
    let count = 0;
    for (let i = 0; i <= buckets.length; i++) {
      count += parts.reduce((sum, part) => sum + (part.counts[i] ?? 0), 0);
      values.push({
        metricName: `${name}_bucket`,
        labels: { le: i < buckets.length ? String(buckets[i]) : '+Inf' },
        value: count,
      });
    }
    values.push({ metricName: `${name}_sum`, labels: {}, value: parts.reduce((sum, part) => sum + part.sum, 0) });
    values.push({ metricName: `${name}_count`, labels: {}, value: count });
    return values;
  }
}
