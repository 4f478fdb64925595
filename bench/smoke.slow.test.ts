import { equal, ok } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL(`./main${import.meta.url.slice(-3)}`, import.meta.url));

/** Every benchmark in its tiny size: shows that it still runs and measures something. Its figures mean nothing. */
for (const name of ['journal', 'ledger', 'policy', 'mask', 'http', 'ingest', 'idle']) {
  test(`the benchmark ${name} runs in its smoke size`, () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, name, '--smoke', '--json'], {
      encoding: 'utf8',
      timeout: 180_000,
    });
    equal(status, 0, stderr);
    const report = JSON.parse(stdout) as {
      name: string;
      results: { case: string; value: number }[];
      calibration: object;
    };
    equal(report.name, name);
    ok(report.results.length > 0 && report.results.every((result) => Number.isFinite(result.value)), stdout);
    ok(Object.keys(report.calibration).length > 3);
  });
}
