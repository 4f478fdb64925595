import { SystemClock } from '../../core/kernel/clock.ts';
import { defined } from '../../core/kernel/assert.ts';
import { PeopleMap } from '../../gateway/contract/people-map.ts';
import type { Permit } from '../../gateway/session/authorise.ts';
import type { Catalogue, MaskProfile } from '../../gateway/contract/shape.ts';
import type { Decision } from '../../gateway/contract/verdict.ts';
import { DevelopmentIssuer } from '../../gateway/contract/development-issuer.ts';
import { DEMO_ISSUER, demoToken, WorkerHarness } from '../../gateway/e2e/testing/worker-harness.ts';
import { GITHUB_ACTIONS_MAPPING } from '../../gateway/identity/claim-mapping.ts';
import { IdentityVerifier } from '../../gateway/identity/identity-verifier.ts';
import { fixedKeySource, parseKeySet } from '../../gateway/identity/key-set.ts';
import { bearerToken, forwardedHeaders } from '../../gateway/lanes/http/headers.ts';
import type { HttpExchange } from '../../gateway/lanes/http/http-listener.ts';
import type { HttpUpstream, UpstreamResponseHead } from '../../gateway/lanes/http/http-upstream.ts';
import { analyseRequest } from '../../gateway/lanes/http/request-content.ts';
import { beginRelease } from '../../gateway/lanes/http/response-content.ts';
import { understand } from '../../gateway/lanes/http/understand.ts';
import { PlanCache } from '../../gateway/session/plan-cache.ts';
import { defaultBundle } from '../../gateway/policy/testing/default-bundle.ts';
import { PolicyEngine } from '../../gateway/policy/policy-engine.ts';
import { createRelay } from './relay.ts';

/** A handler with the token that it accepts. */
export interface LaneCase {
  readonly token: string;
  readonly onRequest: (exchange: HttpExchange) => void;
}

const CONNECTION = { name: 'clinic', kind: 'http', env: 'staging', database: '', labels: {} } as const;
const PREFIX = '/clinic';

/** `+policy`: credential, catalogue, request scan and decision of the shipped rooms in front of the bare relay. */
export function policyCase(upstream: HttpUpstream): LaneCase {
  const judge = createJudge();
  const relay = createRelay(upstream);
  return {
    token: judge.token,
    onRequest: (exchange) => {
      judge.decide(exchange);
      relay(exchange);
    },
  };
}

/** `+mask`: the response also runs through the shipped plan and masker. Nothing is recorded. */
export function maskCase(upstream: HttpUpstream): LaneCase {
  const judge = createJudge();
  return {
    token: judge.token,
    onRequest: (exchange) => {
      const { decision, route } = judge.decide(exchange);
      const { head } = exchange;
      const plan = judge.plans.planFor(defined(route?.response, 'the route has a shape'), decision.verdict);
      const permit: Permit = {
        kind: 'permit',
        operationIndex: 0,
        position: '',
        decision,
        plan,
        fastRequest: null,
        terminate: false,
      };
      const chunks: Buffer[] = [];
      let begun: ReturnType<typeof beginRelease> | null = null;
      let response: UpstreamResponseHead | null = null;
      upstream.request(
        { method: head.method, target: head.path, headers: head.headers, body: null, streamed: false },
        {
          onHead: (got) => {
            response = got;
            begun = beginRelease({
              method: head.method,
              ...got,
              permit,
              route,
              catalogue: judge.catalogue,
              profile: judge.profile,
            });
          },
          onData: (chunk) => void chunks.push(defined(begun?.masker, 'the body is masked').push(chunk).bytes),
          onEnd: () => {
            chunks.push(defined(begun?.masker, 'the body is masked').finish().bytes);
            exchange.respond(response?.status ?? 500, begun?.headers ?? [], Buffer.concat(chunks));
          },
          onError: () => exchange.respond(502, [], Buffer.alloc(0)),
        },
      );
    },
  };
}

/** `+durable`: the whole shipped worker with its journal on the disk that the benchmark looked at. */
export async function durableCase(
  upstreamPort: number,
  front: 'uws' | 'node',
): Promise<{ token: string; port: number }> {
  const harness = await WorkerHarness.start({
    adapter: front,
    upstreams: { clinic: upstreamPort, analytics: upstreamPort },
  });
  process.once('exit', () => void harness.close());
  return { token: harness.token(), port: harness.port };
}

interface Judge {
  readonly token: string;
  readonly catalogue: Catalogue;
  readonly profile: MaskProfile;
  readonly plans: PlanCache;
  decide(exchange: HttpExchange): { readonly decision: Decision; readonly route: ReturnType<Catalogue['resolveHttp']> };
}

function createJudge(): Judge {
  const clock = new SystemClock();
  const { loaded: bundle, engine: compiled, catalogue } = defaultBundle();
  const engine = PolicyEngine.create({ bundle: compiled, catalogue, clock });
  const issuer = DevelopmentIssuer.generate(DEMO_ISSUER, 'bench');
  const identity = new IdentityVerifier({
    audience: 'chaperone',
    issuers: [
      { iss: DEMO_ISSUER, keys: fixedKeySource(parseKeySet(issuer.publicJwks())), mapping: GITHUB_ACTIONS_MAPPING },
    ],
    people: PeopleMap.parse(JSON.parse(bundle.peopleJson)),
    clock,
  });
  const profile = bundle.masks;
  return {
    token: demoToken(issuer),
    catalogue,
    profile,
    plans: new PlanCache(catalogue, profile, clock),
    decide: (exchange) => {
      const { head } = exchange;
      const token = defined(bearerToken(head.headers), 'the load sends a token');
      const subject = identity.verifyCached(token) ?? identity.verify(token);
      const path = head.path.slice(PREFIX.length);
      const route = catalogue.resolveHttp('clinic', head.method, path, head.query);
      const body = Buffer.alloc(0);
      const whole = {
        method: head.method,
        path,
        query: head.query,
        target: path,
        host: '',
        headers: forwardedHeaders(head.headers),
        contentType: '',
        body,
        route,
      };
      const { findings } = analyseRequest(whole, catalogue, profile);
      const operation = understand(CONNECTION, head.method, route, findings, catalogue, head.query !== '');
      const decision = engine.decide({
        subject,
        connection: CONNECTION,
        operation,
        reviewed: false,
        grants: [],
        remoteAddress: head.remoteAddress,
      });
      if (decision.verdict.effect !== 'allow') {
        throw new Error(
          `the benchmark's request is refused: ${decision.verdict.reasons.map((reason) => reason.code).join(', ')}`,
        );
      }
      return { decision, route };
    },
  };
}
