import { uwsHeaderBytes } from '../gateway/adapters/uws/uws-listener.ts';
import { LIMITS } from '../core/kernel/limits.ts';
import { gateOf, interleave, median, resultOf, type Bench, type BenchCase, type MeasuredCase } from './harness.ts';
import { BenchChild } from './http/child.ts';
import type { CpuAnswer, GatewayCase, GatewayReady } from './http/gateway-process.ts';
import type { LoadOrder, LoadReport } from './http/load-process.ts';
import { Nginx, nginxMissing } from './http/nginx.ts';

/**
 * CPU of the whole gateway process per request, next to nginx in the same run. Origin, gateway, nginx and the load are
 * processes of their own, so only the proxy is counted. 2 KB of JSON, keep-alive everywhere, closed loop.
 */
const GATEWAY_CASES: readonly GatewayCase[] = ['relay', 'policy', 'mask', 'durable'];
const CONNECTIONS = [1, 8, 64] as const;
const GATED_CONNECTIONS = 64;
const RELAY_RATIO_MAX = 1.6;
const REQUESTS = { 1: 8_000, 8: 25_000, 64: 50_000 } as const;
const WARM_UP_REQUESTS = 30_000;

interface Subject {
  readonly name: string;
  readonly port: number;
  readonly token: string;
  cpuUs(): Promise<number>;
}

export const bench: Bench = {
  name: 'http',
  async run(context) {
    const origin = await BenchChild.start<{ port: number }>(moduleOf('origin-process'), []);
    const generator = await BenchChild.start<object>(moduleOf('load-process'), []);
    const missing = nginxMissing();
    const nginx = missing === null ? await Nginx.start(origin.ready.port) : null;
    const gateways: BenchChild<GatewayReady>[] = [];
    const subjects: Subject[] = [];
    try {
      for (const name of GATEWAY_CASES) {
        const gateway = await startGateway(name, origin.ready.port);
        gateways.push(gateway);
        context.log(`${name} listens by ${gateway.ready.front}`);
        const cpuUs = async (): Promise<number> => (await gateway.ask<CpuAnswer>({})).cpuUs;
        subjects.push({ name, port: gateway.ready.port, token: gateway.ready.token, cpuUs });
      }
      if (nginx !== null) {
        subjects.push({ name: 'nginx', port: nginx.port, token: '', cpuUs: () => Promise.resolve(nginx.cpuUs()) });
      }
      const scale = context.smoke ? 0.01 : 1;
      for (const { port, token } of subjects) {
        await drive(generator, { port, token, connections: 8, requests: Math.ceil(WARM_UP_REQUESTS * scale) });
      }
      const latencies: BenchCase[] = [];
      const results: BenchCase[] = [];
      for (const connections of CONNECTIONS) {
        const reports = new Map<string, LoadReport[]>(subjects.map(({ name }) => [name, []]));
        const requests = Math.ceil(REQUESTS[connections] * scale);
        const cases = subjects.map((subject): MeasuredCase => ({
          case: `${subject.name} c${connections}`,
          metric: 'cpu',
          unit: 'us/request',
          ...(nginx === null || subject.name === 'nginx' ? {} : { reference: `nginx c${connections}` }),
          measure: async () => {
            const beforeUs = await subject.cpuUs();
            const report = await drive(generator, { port: subject.port, token: subject.token, connections, requests });
            reports.get(subject.name)?.push(report);
            return ((await subject.cpuUs()) - beforeUs) / report.requests;
          },
        }));
        results.push(...(await interleave(context.rounds, cases, context.log)));
        latencies.push(...latencyCases(reports, connections));
      }
      const relay = resultOf(results, `relay c${GATED_CONNECTIONS}`);
      const gate = gateOf(context, {
        name: `relay CPU over nginx at ${GATED_CONNECTIONS} connections`,
        value: relay.ratio ?? NaN,
        bound: RELAY_RATIO_MAX,
        op: '<=',
        referenceRounds: nginx === null ? undefined : resultOf(results, `nginx c${GATED_CONNECTIONS}`).rounds,
        open: missing ?? undefined,
      });
      return { results: [...results, ...latencies], gates: [gate] };
    } finally {
      await Promise.all([...gateways, generator, origin].map((child) => child.stop()));
      await nginx?.stop();
    }
  },
};

function startGateway(name: GatewayCase, upstreamPort: number): Promise<BenchChild<GatewayReady>> {
  const headerBytes = String(uwsHeaderBytes(LIMITS.httpHeaderBytesMax));
  return BenchChild.start<GatewayReady>(
    moduleOf('gateway-process'),
    ['--case', name, '--upstream', String(upstreamPort)],
    { UWS_HTTP_MAX_HEADERS_SIZE: headerBytes },
  );
}

function drive(generator: BenchChild<object>, order: LoadOrder): Promise<LoadReport> {
  return generator.ask<LoadReport>(order);
}

function latencyCases(reports: ReadonlyMap<string, readonly LoadReport[]>, connections: number): BenchCase[] {
  return [...reports].flatMap(([name, list]) => [
    figure(
      `${name} c${connections}`,
      'p50',
      'us',
      list.map(({ p50Us }) => p50Us),
    ),
    figure(
      `${name} c${connections}`,
      'p99',
      'us',
      list.map(({ p99Us }) => p99Us),
    ),
    figure(
      `${name} c${connections}`,
      'rate',
      'requests/s',
      list.map(({ requests, elapsedMs }) => (requests / elapsedMs) * 1000),
    ),
  ]);
}

function figure(name: string, metric: string, unit: string, rounds: readonly number[]): BenchCase {
  return { case: name, metric, unit, value: median(rounds), rounds };
}

/** `.js` beside this module once built, `.ts` where Node runs the sources. */
function moduleOf(name: string): URL {
  return new URL(`./http/${name}${import.meta.url.slice(-3)}`, import.meta.url);
}
