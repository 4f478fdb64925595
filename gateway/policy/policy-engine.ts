import { createHash, hash } from 'node:crypto';
import { channel } from 'node:diagnostics_channel';
import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import type { Clock } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { ConnectionInfo } from '../contract/operation.ts';
import type { Catalogue } from '../contract/shape.ts';
import type { Decision } from '../contract/verdict.ts';
import { DecisionCache } from './decision-cache.ts';
import { InputWriter, type InputReads, type InputSources, pickLeaves, pickReads } from './input-writer.ts';
import type { PolicyRequest } from './policy-input.ts';
import type { ReasonTable } from './reason-table.ts';
import {
  buildVerdict,
  errorVerdict,
  type BuiltVerdict,
  type PolicyFailure,
  type VerdictRules,
} from './verdict-builder.ts';
import { WasmDriver } from './wasm-driver.ts';

/** What the engine needs of a verified bundle. Everything in it can be posted to a worker thread. */
export interface EngineBundle {
  /** SHA-256 of the bundle file, 32 bytes. */
  readonly digest: Uint8Array;
  readonly revision: number;
  readonly module: WebAssembly.Module;
  readonly dataJson: string;
  readonly entrypoint: string;
  readonly layers: readonly string[];
  readonly reads: InputReads;
  readonly reasons: ReasonTable;
}

export interface PolicyEngineOptions {
  readonly bundle: EngineBundle;
  /** The catalogue of the same bundle. */
  readonly catalogue: Catalogue;
  readonly clock: Clock;
  /** 0 switches the decision cache off. */
  readonly cacheEntriesMax?: number;
  /** 0 builds the verdict of each evaluation anew. */
  readonly verdictsMax?: number;
}

/** Published on `chaperone.policy.failed` for each evaluation that gave no verdict. */
export interface PolicyFailed {
  readonly failure: PolicyFailure;
  readonly bundleRevision: number;
}

/**
 * Changes whenever the same input and bundle could give another verdict: the merge, the floor, the checks, the limits.
 * Recorded in every decision (promise P6).
 */
const ENGINE_VERSION = 'chaperone/policy-engine/v1';
export const ENGINE_DIGEST: Buffer = createHash('sha256')
  .update(
    canonicalJson({
      engine: ENGINE_VERSION,
      inputBytesMax: LIMITS.policyInputBytesMax,
      wasmBytesPerDataByte: LIMITS.wasmBytesPerDataByte,
      wasmHeadroomBytes: LIMITS.wasmHeadroomBytes,
    }),
  )
  .digest();

const VERDICTS_MAX = 1_024;
const WARM_UP_EVALUATIONS = 2_000;
/** With at most this many items in its lists an input is under its limit. */
const PLAIN_ITEMS_MAX = 64;
const failures = channel('chaperone.policy.failed');

/**
 * Decides in the thread that owns the connection, for one bundle; another bundle is another engine. Synchronous.
 *
 * Fails closed: an evaluation that aborts, whose input is too large or whose output is not valid is a denial with code
 * `policy_error`; `decide` never throws for a policy or an input.
 *
 * WASM gets the part of the input that the bundle reads (`reads.json`, proved at build), and the decision cache has that
 * part as its key: what decides is what is compared. A bundle without a list gets, and is cached by, the whole input.
 *
 * Invariants: a verdict is a pure function of the canonical input and the bundle; `policy_error` and what a grant or an
 * approval touched are never cached; `#verdicts` holds what `buildVerdict` gave for exactly that output and lane.
 */
export class PolicyEngine {
  readonly bundleDigest: Buffer;
  readonly bundleRevision: number;
  readonly catalogueDigest: Buffer;
  readonly #driver: WasmDriver;
  readonly #writer: InputWriter;
  readonly #reads: InputReads;
  readonly #rules: VerdictRules;
  readonly #clock: Clock;
  readonly #cache: DecisionCache<BuiltVerdict>;
  readonly #cacheOn: boolean;
  readonly #verdictsMax: number;
  readonly #verdicts = new Map<string, BuiltVerdict>();
  readonly #error: BuiltVerdict;
  /** The input of the decision at hand; filled anew by each. */
  readonly #texts: string[] = [];
  readonly #nulls: boolean[] = [];

  private constructor(options: PolicyEngineOptions) {
    const { bundle, catalogue } = options;
    this.bundleDigest = Buffer.from(bundle.digest);
    this.bundleRevision = bundle.revision;
    this.catalogueDigest = catalogue.digest;
    this.#reads = bundle.reads;
    this.#writer = new InputWriter(bundle.reads);
    this.#driver = new WasmDriver(bundle.module, bundle.dataJson, bundle.entrypoint, this.#writer.layout);
    this.#rules = { layers: bundle.layers, reasons: bundle.reasons, classes: catalogue.classes };
    this.#clock = options.clock;
    const entriesMax = options.cacheEntriesMax ?? LIMITS.decisionCacheEntries;
    this.#cache = new DecisionCache(entriesMax);
    this.#cacheOn = entriesMax > 0;
    this.#verdictsMax = options.verdictsMax ?? VERDICTS_MAX;
    this.#error = errorVerdict(this.#rules);
  }

  /** Throws GatewayError `bundle_invalid` when the bundle's module cannot be run. Takes some milliseconds. */
  static create(options: PolicyEngineOptions): PolicyEngine {
    const engine = new PolicyEngine(options);
    engine.#warmUp();
    return engine;
  }

  /** Evaluations that ended without a result since the engine was made. */
  get aborts(): number {
    return this.#driver.aborts;
  }

  decide(request: PolicyRequest): Decision {
    const nowMs = this.#clock.nowMs();
    const sources: InputSources = { request, nowMs };
    if (isLarge(request)) {
      const input = this.#writer.whole(sources);
      if (Buffer.byteLength(input) > LIMITS.policyInputBytesMax) {
        return this.#failed('input_too_large', sources, oversizedInput(input));
      }
    }
    const { kind } = request.connection;
    const key = this.#cacheOn ? this.#key(sources, kind) : '';
    if (this.#cacheOn) {
      const hit = this.#cache.get(key, nowMs);
      if (hit !== undefined) {
        return new PolicyDecision(this, hit, sources, null, true);
      }
    }
    const result = this.#verdictOf(this.#evaluate(sources), kind);
    if (typeof result === 'string') {
      return this.#failed(result, sources, null);
    }
    if (this.#cacheOn && request.grants.length === 0 && result.verdict.effect !== 'approve') {
      this.#cache.set(key, result, nowMs + result.verdict.cacheTtlS * 1000);
    }
    return new PolicyDecision(this, result, sources, null, false);
  }

  /** The canonical input of a request: for decisions, which write it when they are recorded. */
  inputOf(sources: InputSources): string {
    return this.#writer.whole(sources);
  }

  /**
   * The verdict for a recorded input, as canonical JSON (promise P6). Throws GatewayError `evidence_malformed` when the
   * bytes are not a canonical input document, which no gateway recorded.
   */
  recompute(input: Buffer): Buffer {
    const document = canonicalDocument(input);
    const kind = connectionKind(document);
    if (kind === null) {
      return this.#error.json;
    }
    const result = this.#verdictOf(this.#evaluateDocument(document), kind);
    return typeof result === 'string' ? this.#error.json : result.json;
  }

  /** The kind decides which obligations are supported. An input starts with `{`, so the two forms never meet. */
  #key(sources: InputSources, kind: ConnectionInfo['kind']): string {
    const read = this.#writer.read(sources);
    return kind === 'http' ? read : kind + read;
  }

  #evaluate(sources: InputSources): string | null {
    if (!this.#driver.hasSlots) {
      return this.#driver.evaluate(this.#writer.read(sources));
    }
    this.#writer.gather(this.#texts, this.#nulls, sources);
    return this.#driver.evaluateLeaves(this.#texts, this.#nulls);
  }

  /** The same way as `#evaluate`, so that a recomputed verdict also runs out of fuel where the first one did. */
  #evaluateDocument(document: JsonValue): string | null {
    const { layout } = this.#writer;
    if (layout === null || !this.#driver.hasSlots) {
      return this.#driver.evaluate(canonicalJson(pickReads(document, this.#reads)));
    }
    const { texts, nulls } = pickLeaves(document, layout);
    return this.#driver.evaluateLeaves(texts, nulls);
  }

  #verdictOf(output: string | null, kind: ConnectionInfo['kind']): BuiltVerdict | PolicyFailure {
    if (output === null) {
      return 'aborted';
    }
    const key = kind === 'http' ? output : kind + output;
    let verdict = this.#verdicts.get(key);
    if (verdict === undefined) {
      const fresh = buildVerdict(output, kind, this.#rules);
      if (fresh === null) {
        return 'output_invalid';
      }
      verdict = fresh;
      if (this.#verdicts.size < this.#verdictsMax) {
        // Limit: fills once and stays; a bundle whose outputs vary without bound pays for the merge each time.
        this.#verdicts.set(key, verdict);
      }
    }
    return verdict;
  }

  #failed(failure: PolicyFailure, sources: InputSources, input: string | null): Decision {
    if (failures.hasSubscribers) {
      failures.publish({ failure, bundleRevision: this.bundleRevision } satisfies PolicyFailed);
    }
    return new PolicyDecision(this, this.#error, sources, input, false);
  }

  /** V8 compiles a module in tiers; a cold first decision costs milliseconds. */
  #warmUp(): void {
    for (let i = 0; i < WARM_UP_EVALUATIONS; i++) {
      if (typeof this.#verdictOf(this.#evaluateDocument(WARM_UP_INPUT), 'http') === 'string') {
        return; // It does not know this input; that is for the first real request to say.
      }
    }
  }
}

/**
 * One decision. The input and its digest are made when they are asked for, and kept: they are for the record, and the
 * objects that they follow from are immutable.
 */
class PolicyDecision implements Decision {
  readonly verdict: BuiltVerdict['verdict'];
  readonly verdictJson: Buffer;
  readonly cached: boolean;
  readonly #engine: PolicyEngine;
  readonly #sources: InputSources;
  #inputText: string | null;
  #input: Buffer | null = null;
  #inputDigest: Buffer | null = null;

  constructor(
    engine: PolicyEngine,
    built: BuiltVerdict,
    sources: InputSources,
    inputText: string | null,
    cached: boolean,
  ) {
    this.verdict = built.verdict;
    this.verdictJson = built.json;
    this.cached = cached;
    this.#engine = engine;
    this.#sources = sources;
    this.#inputText = inputText;
  }

  get input(): Buffer {
    this.#inputText ??= this.#engine.inputOf(this.#sources);
    this.#input ??= Buffer.from(this.#inputText);
    return this.#input;
  }

  get inputDigest(): Buffer {
    this.#inputDigest ??= hash('sha256', this.input, 'buffer');
    return this.#inputDigest;
  }

  get bundleDigest(): Buffer {
    return this.#engine.bundleDigest;
  }

  get bundleRevision(): number {
    return this.#engine.bundleRevision;
  }

  get catalogueDigest(): Buffer {
    return this.#engine.catalogueDigest;
  }

  get engineDigest(): Buffer {
    return ENGINE_DIGEST;
  }
}

/** Lists can be long; single texts come from a token, which is at most 8 KiB, from the catalogue or from the config. */
function isLarge({ subject, operation, grants }: PolicyRequest): boolean {
  const { classes, objects, kinds, facts } = operation;
  const items = subject.groups.length + subject.actors.length + grants.length + classes.length + objects.length;
  return items + kinds.length + facts.functionCalls.length > PLAIN_ITEMS_MAX;
}

/** What is recorded instead of an input that is over the limit; its verdict is `policy_error`, now and when recomputed. */
function oversizedInput(input: string): string {
  return canonicalJson({ v: 1, oversized: { bytes: Buffer.byteLength(input), sha256: hash('sha256', input, 'hex') } });
}

function canonicalDocument(input: Buffer): JsonValue {
  const text = input.toString('utf8');
  let document: JsonValue;
  try {
    document = JSON.parse(text) as JsonValue;
  } catch {
    throw new GatewayError('evidence_malformed', 'the recorded policy input is not JSON');
  }
  if (canonicalJson(document) !== text) {
    throw new GatewayError('evidence_malformed', 'the recorded policy input is not canonical');
  }
  return document;
}

/** Null for the document that stands for an oversized input. */
function connectionKind(document: JsonValue): ConnectionInfo['kind'] | null {
  const fields = (document ?? {}) as {
    readonly oversized?: JsonValue;
    readonly connection?: { readonly kind?: JsonValue };
  };
  if (fields.oversized !== undefined) {
    return null;
  }
  const kind = fields.connection?.kind;
  if (kind !== 'http' && kind !== 'postgres' && kind !== 's3' && kind !== 'mcp') {
    throw new GatewayError('evidence_malformed', 'the recorded policy input names no kind of connection');
  }
  return kind;
}

const WARM_UP_INPUT: JsonValue = {
  v: 1,
  session: {
    human: { id: '', groups: [], type: 'enrolled' },
    agent: { id: '', kind: 'ai_agent', group: '', attested: true },
    chain: [],
    depth: 1,
    auth: { method: 'jwt', issuer: '', mfa: false, age_band: 'fresh' },
    purpose: '',
    env: '',
    ci: { repo_id: '', ref: '', sha: '', workflow: '', reviewed: false, script_digest: '' },
  },
  connection: { name: '', kind: 'http', env: '', database: '', labels: {} },
  operation: {
    class: 'read',
    verb: '',
    fingerprint: '',
    objects: [],
    classes: [],
    kinds: [],
    outputs_classes: [],
    filters_classes: [],
    egress: { kinds: [], destination: '' },
    unresolved: false,
    facts: { has_where: false, has_limit: false, multi: false, function_calls: [], lineage: 'exact' },
  },
  facts: {
    rows_band: 'bulk',
    est_rows_band: '',
    bytes_band: '',
    subjects_band: '',
    denied_recent_band: '',
    time: { dow: 0, hour: 0, business: false },
    client_net: '',
    risk: '',
  },
  approvals: [],
};
