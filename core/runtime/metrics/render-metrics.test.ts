import { equal, match, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { METRICS, MetricPage, metricMemoryBytes } from './metric-page.ts';
import { MetricRenderer } from './render-metrics.ts';

test('two threads count in their own pages and one scrape shows the sum', async () => {
  const memory = new SharedArrayBuffer(metricMemoryBytes(2));
  const pages = [new MetricPage(memory, 0), new MetricPage(memory, 1)];
  pages[0]?.increment('chaperone_requests_total', 'allowed');
  pages[1]?.increment('chaperone_requests_total', 'allowed', 2);
  pages[1]?.increment('chaperone_refusals_total', 'egress');
  const renderer = new MetricRenderer(pages, {
    chaperone_build_info: { help: 'Build.', read: () => [{ labels: { version: '1' }, value: 1 }] },
  });
  const text = await renderer.render();
  match(text, /^chaperone_requests_total\{outcome="allowed"\} 3$/m);
  match(text, /^chaperone_refusals_total\{reason="egress"\} 1$/m);
  match(text, /^chaperone_build_info\{version="1"\} 1$/m);
});

test('a histogram is cumulative, ends at +Inf and agrees with its count', async () => {
  const memory = new SharedArrayBuffer(metricMemoryBytes(1));
  const page = new MetricPage(memory, 0);
  for (const value of [0.0004, 0.0005, 0.002, 100]) {
    page.observe('chaperone_commit_seconds', value);
  }
  const text = await new MetricRenderer([page], {}).render();
  match(text, /^chaperone_commit_seconds_bucket\{le="0.0005"\} 2$/m);
  match(text, /^chaperone_commit_seconds_bucket\{le="0.0025"\} 3$/m);
  match(text, /^chaperone_commit_seconds_bucket\{le="\+Inf"\} 4$/m);
  match(text, /^chaperone_commit_seconds_count 4$/m);
});

test('every metric of the table is in a scrape, and no slot is shared', async () => {
  const memory = new SharedArrayBuffer(metricMemoryBytes(1));
  const page = new MetricPage(memory, 0);
  let seen = 0;
  const text = await new MetricRenderer([page], {}).render();
  for (const name of Object.keys(METRICS)) {
    ok(text.includes(`# HELP ${name} `), name);
    seen++;
  }
  equal(seen, Object.keys(METRICS).length);
  page.set('chaperone_held_bytes', 7);
  equal(page.read('chaperone_open_sessions'), 0);
});
