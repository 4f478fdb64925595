import { createHash } from 'node:crypto';
import { GatewayError } from '../../../core/kernel/errors.ts';
import type { BodyMasker, MaskPlan } from '../../contract/mask.ts';
import type { Catalogue, MaskProfile, MediaKind, ResolvedRoute, ResultShape } from '../../contract/shape.ts';
import { createBodyMasker } from '../../masking/body-masker.ts';
import { mediaKindOf } from '../../masking/media-kind.ts';
import { compileMaskPlan } from '../../masking/plan.ts';
import type { Permit } from '../../session/authorise.ts';
import { headerValue, releasedHeaders } from './headers.ts';
import type { HttpHeader } from './http-listener.ts';

export interface ResponseHead {
  readonly method: string;
  readonly status: number;
  readonly headers: readonly HttpHeader[];
  readonly contentLength: number;
  readonly permit: Permit;
  readonly route: ResolvedRoute | undefined;
  readonly catalogue: Catalogue;
  readonly profile: MaskProfile;
}

export interface BegunRelease {
  readonly headers: HttpHeader[];
  readonly mediaType: string;
  readonly plan: MaskPlan | null;
  /** Null for a response without a body. */
  readonly masker: BodyMasker | null;
  /** Why nothing of this response may be released, decided from its head. */
  readonly failure: GatewayError | null;
}

/** A shape that knows nothing: every member, column and text is withheld. For errors of the upstream. */
const NOTHING_KNOWN: ResultShape = {
  id: 'unknown',
  media: ['json', 'ndjson', 'csv', 'text'],
  fields: new Map(),
  text: null,
  digest: createHash('sha256').update('chaperone/shape/unknown').digest(),
};
const PLAIN_CONTENT_TYPE = /^[A-Za-z0-9.+-]+\/[A-Za-z0-9.+-]+(?:; ?charset="?[A-Za-z0-9-]+"?)?$/;
const CONTENT_TYPE_OF: Readonly<Record<MediaKind, string>> = {
  json: 'application/json',
  ndjson: 'application/x-ndjson',
  csv: 'text/csv',
  text: 'text/plain; charset=utf-8',
};

/** Chooses how a response is masked from its head, or why it is refused whole. */
export function beginRelease(head: ResponseHead): BegunRelease {
  const encoding = headerValue(head.headers, 'content-encoding')?.trim().toLowerCase() ?? 'identity';
  if (encoding !== 'identity' && encoding !== '') {
    return refused('content_encoding_refused', '');
  }
  if (head.status === 206 || headerValue(head.headers, 'content-range') !== undefined) {
    return refused('masking_failed', 'the upstream answered with a part of the resource');
  }
  const headers = releasedHeaders(head.headers).filter((header) => header.name !== 'content-type');
  const hasBody = head.method !== 'HEAD' && head.status !== 204 && head.status !== 304 && head.contentLength !== 0;
  if (!hasBody) {
    return { headers, mediaType: '', plan: null, masker: null, failure: null };
  }
  const contentType = headerValue(head.headers, 'content-type') ?? '';
  const media = mediaKindOf(contentType);
  if (media === null) {
    return refused('media_type_unknown', '');
  }
  const isSuccess = head.status >= 200 && head.status < 300;
  const shape = head.route?.response ?? null;
  const known = isSuccess && shape !== null && shape.media.includes(media) && head.permit.plan !== null;
  const plan = known ? head.permit.plan : unknownPlan(head.catalogue, head.profile);
  const mediaType = PLAIN_CONTENT_TYPE.test(contentType) ? contentType : CONTENT_TYPE_OF[media];
  headers.push({ name: 'content-type', value: mediaType });
  return { headers, mediaType, plan, masker: createBodyMasker(plan, media), failure: null };
}

function refused(
  code: 'content_encoding_refused' | 'masking_failed' | 'media_type_unknown',
  detail: string,
): BegunRelease {
  return { headers: [], mediaType: '', plan: null, masker: null, failure: new GatewayError(code, detail) };
}

const unknownPlans = new WeakMap<Catalogue, MaskPlan>();

function unknownPlan(catalogue: Catalogue, profile: MaskProfile): MaskPlan {
  let plan = unknownPlans.get(catalogue);
  if (plan === undefined) {
    plan = compileMaskPlan({ shape: NOTHING_KNOWN, masks: {}, classes: catalogue.classes, profile });
    unknownPlans.set(catalogue, plan);
  }
  return plan;
}
