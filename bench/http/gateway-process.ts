import { SystemClock } from '../../core/kernel/clock.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { listenNodeHttp } from '../../gateway/adapters/node-http/node-http-listener.ts';
import { createHttpUpstream } from '../../gateway/adapters/upstream-http/http-upstream-client.ts';
import { loadUws } from '../../gateway/adapters/uws/load-uws.ts';
import { createUwsListen } from '../../gateway/adapters/uws/uws-listener.ts';
import type { HttpListenerHandlers, ListenHttp } from '../../gateway/lanes/http/http-listener.ts';
import type { HttpUpstream } from '../../gateway/lanes/http/http-upstream.ts';
import { serveParent } from './child.ts';
import { durableCase, maskCase, policyCase } from './lane-cases.ts';
import { createRelay } from './relay.ts';

/**
 * The gateway under measurement, alone in its process: `gateway-process --case <name> --upstream <port>`. It answers
 * every question of its parent with the CPU that all its threads used since the process started.
 *
 * A case is what stands between the two adapters. To add one, wire the shipped session and lane in a module beside this
 * one and name it in CASES; `bench/http.ts` measures it when it is in GATEWAY_CASES there.
 */
export type GatewayCase = 'relay' | 'policy' | 'mask' | 'durable';

export interface GatewayReady {
  readonly port: number;
  readonly front: string;
  /** What the load must present; empty when nobody looks at it. */
  readonly token: string;
}

export interface CpuAnswer {
  readonly cpuUs: number;
}

type StartCase = (upstream: HttpUpstream) => {
  readonly token: string;
  readonly onRequest: HttpListenerHandlers['onRequest'];
};

/** `durable` is not here: it is the whole shipped worker, which listens itself. */
const CASES: Readonly<Record<Exclude<GatewayCase, 'durable'>, StartCase>> = {
  relay: (upstream) => ({ token: '', onRequest: createRelay(upstream) }),
  policy: policyCase,
  mask: maskCase,
};

const name = argument('--case') as GatewayCase;
serveParent(name === 'durable' ? await startDurable() : await startCase(CASES[name]), (): CpuAnswer => {
  const { user, system } = process.cpuUsage();
  return { cpuUs: user + system };
});

async function startDurable(): Promise<GatewayReady> {
  const { front } = chooseFront(process.argv.includes('--node-http'));
  const adapter = front === 'uws' ? 'uws' : 'node';
  return { ...(await durableCase(Number(argument('--upstream')), adapter)), front };
}

async function startCase(start: StartCase): Promise<GatewayReady> {
  const upstream = createHttpUpstream({
    host: '127.0.0.1',
    port: Number(argument('--upstream')),
    clock: new SystemClock(),
    idleTimeoutMs: 60_000,
  });
  const { listen, front } = chooseFront(process.argv.includes('--node-http'));
  const { token, onRequest } = start(upstream);
  const listener = await listen(
    {
      host: '127.0.0.1',
      port: 0,
      headerBytesMax: LIMITS.httpHeaderBytesMax,
      headersMax: LIMITS.httpHeadersMax,
      idleTimeoutMs: LIMITS.httpIdleTimeoutMs,
      sharedPort: false,
    },
    { onRequest, onRefused: () => undefined },
  );
  return { port: listener.port, front, token };
}

function chooseFront(isNodeHttp: boolean): { listen: ListenHttp; front: string } {
  const loaded = isNodeHttp ? null : loadUws();
  return loaded?.kind === 'loaded'
    ? { listen: createUwsListen(loaded.uws), front: 'uws' }
    : { listen: listenNodeHttp, front: 'node:http' };
}

function argument(name: string): string {
  const value = process.argv[process.argv.indexOf(name) + 1];
  if (!process.argv.includes(name) || value === undefined) {
    throw new Error(`${name} is missing`);
  }
  return value;
}
