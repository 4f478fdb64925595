import type { JsonValue } from '../../../core/kernel/canonical-json.ts';
import type { Original } from '../../../proto/gen/chaperone/evidence/v1/unit.ts';
import type { MaskPlan, OriginalSpan } from '../../contract/mask.ts';
import type { RequestCopy } from '../../contract/record-copy.ts';
import { UNKNOWN_KIND, UNREADABLE_KIND } from '../../contract/operation.ts';
import type { Catalogue, MaskProfile, MediaKind, ResolvedRoute, ResultShape } from '../../contract/shape.ts';
import { createBodyMasker } from '../../masking/body-masker.ts';
import { createEgressScanner, scanText } from '../../masking/egress-scanner.ts';
import { maskText } from '../../masking/mask-text.ts';
import { mediaKindOf } from '../../masking/media-kind.ts';
import { compileMaskPlan, compileScanPlan } from '../../masking/plan.ts';
import type { HttpHeader } from './http-listener.ts';
import type { RequestFindings } from './understand.ts';

/** A request whose body is in memory, whole. */
export interface WholeRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly target: string;
  readonly host: string;
  readonly headers: readonly HttpHeader[];
  readonly contentType: string;
  readonly body: Buffer;
  readonly route: ResolvedRoute | undefined;
}

const PREVIEW_BODY_BYTES_MAX = 64 * 1024;
const SCAN_PLAN = compileScanPlan({ id: 'http.request' });
const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** What was found in a request, and the copy of it that goes into the record. One pass over the body serves both. */
export interface AnalysedRequest {
  readonly findings: RequestFindings;
  readonly copy: RequestCopy;
}

/**
 * Looks for identifiers in everything that would leave the gateway: path, query, header values and body. The body is
 * scanned as bytes, and read with the shape of the route, if there is one, for fields that are identifiers by name.
 */
export function analyseRequest(request: WholeRequest, catalogue: Catalogue, profile: MaskProfile): AnalysedRequest {
  const headKinds = [
    ...scanText(request.target),
    ...scanText(request.headers.map((header) => header.value).join('\n')),
  ];
  const target = maskTarget(request, catalogue);
  const body = analyseBody(request, catalogue, profile);
  return {
    findings: { headKinds, bodyKinds: body.kinds, bodyClasses: body.classes },
    copy: {
      request: {
        method: request.method,
        target: target.text,
        headers: request.headers.map(({ name, value }) => ({
          name,
          value: headKinds.length === 0 ? value : maskText(value).masked,
        })),
        body: body.masked,
        bodyOffset: 0n,
        host: request.host,
      },
      originals: [...target.originals, ...body.originals],
    },
  };
}

/** What the approver sees. It leaves this node only sealed to the approvers' keys. */
export function previewRequest(request: WholeRequest): Readonly<Record<string, JsonValue>> {
  const shown = request.body.subarray(0, PREVIEW_BODY_BYTES_MAX);
  return {
    method: request.method,
    target: request.target,
    content_type: request.contentType,
    body: shown.toString('utf8'),
    body_bytes: request.body.length,
    body_cut: request.body.length > shown.length,
  };
}

interface AnalysedBody {
  readonly kinds: readonly string[];
  readonly classes: readonly string[];
  readonly masked: Buffer;
  readonly originals: readonly Original[];
}

const EMPTY_BODY: AnalysedBody = { kinds: [], classes: [], masked: Buffer.alloc(0), originals: [] };

function analyseBody(request: WholeRequest, catalogue: Catalogue, profile: MaskProfile): AnalysedBody {
  if (request.body.length === 0) {
    return EMPTY_BODY;
  }
  const isForm = request.contentType.toLowerCase().startsWith('application/x-www-form-urlencoded');
  const scanner = createEgressScanner(undefined, { isForm });
  const kinds = new Set<string>();
  for (const finding of [...scanner.push(request.body), ...scanner.finish()]) {
    kinds.add(finding.kind);
  }
  const media = mediaKindOf(request.contentType);
  if (media === null || !isUtf8(request.body)) {
    kinds.add(UNREADABLE_KIND);
    return withheldBody(request.body, [...kinds]);
  }
  const shape = request.route?.request ?? null;
  const plan = shape === null || !shape.media.includes(media) ? SCAN_PLAN : recordPlan(shape, catalogue, profile);
  try {
    const read = maskWhole(plan, media, request.body);
    const classes = new Set<string>();
    for (const entry of read.counts) {
      const info = catalogue.classes.get(entry.class);
      if (info?.phi === true) {
        classes.add(info.name);
        kinds.add(info.kind === '' ? info.name : info.kind);
      } else if (entry.kind !== '') {
        kinds.add(entry.kind);
      }
    }
    if (read.unknown) {
      kinds.add(UNKNOWN_KIND);
    }
    return { kinds: [...kinds], classes: [...classes], masked: read.masked, originals: read.originals };
  } catch {
    // Malformed for its own media type: the record keeps it sealed whole, and the policy sees that it is unreadable.
    kinds.add(UNREADABLE_KIND);
    return withheldBody(request.body, [...kinds]);
  }
}

function maskWhole(plan: MaskPlan, media: MediaKind, body: Buffer) {
  const masker = createBodyMasker(plan, media);
  const first = masker.push(body);
  const last = masker.finish();
  const stats = masker.stats();
  return {
    masked: Buffer.concat([first.bytes, last.bytes]),
    originals: [...first.originals, ...last.originals].map(originalOf),
    counts: stats.counts,
    unknown: stats.unknownPaths.length > 0,
  };
}

function originalOf(span: OriginalSpan): Original {
  return {
    offset: span.offset,
    size: span.size,
    value: span.value,
    class: span.class,
    kind: span.kind,
    path: span.path,
  };
}

const WITHHELD = Buffer.from('[WITHHELD]');

function withheldBody(body: Buffer, kinds: readonly string[]): AnalysedBody {
  const original: Original = {
    offset: 0,
    size: WITHHELD.length,
    value: body,
    class: 'unknown',
    kind: UNREADABLE_KIND,
    path: '',
  };
  return { kinds, classes: [], masked: WITHHELD, originals: [original] };
}

/**
 * The target as recorded. A path or query whose parameters are identifiers by catalogue is replaced by the template;
 * else what the scanner finds in it. The true target is among the originals, under the path `$target`.
 */
function maskTarget(request: WholeRequest, catalogue: Catalogue): { text: string; originals: Original[] } {
  const { route, target } = request;
  const sensitive = route?.parameterClasses.some((name) => catalogue.classes.get(name)?.phi === true) ?? false;
  const masked = sensitive ? (route?.template ?? '') : maskText(target).masked;
  if (masked === target) {
    return { text: target, originals: [] };
  }
  const original: Original = {
    offset: 0,
    size: 0,
    value: Buffer.from(target, 'latin1'),
    class: 'target',
    kind: '',
    path: '$target',
  };
  return { text: masked, originals: [original] };
}

const recordPlans = new WeakMap<ResultShape, { readonly catalogue: Catalogue; readonly plan: MaskPlan }>();

/** Masks every identifier class and scans every other field, whatever the policy says of responses. */
function recordPlan(shape: ResultShape, catalogue: Catalogue, profile: MaskProfile): MaskPlan {
  const known = recordPlans.get(shape);
  if (known !== undefined && known.catalogue === catalogue) {
    return known.plan;
  }
  const fields = new Map([...shape.fields].map(([path, rule]) => [path, { ...rule, scan: true }]));
  const plan = compileMaskPlan({ shape: { ...shape, fields }, masks: {}, classes: catalogue.classes, profile });
  recordPlans.set(shape, { catalogue, plan });
  return plan;
}

function isUtf8(bytes: Buffer): boolean {
  try {
    UTF8.decode(bytes);
    return true;
  } catch {
    return false;
  }
}
