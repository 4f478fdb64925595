import type { HttpRequest, HttpResponse, Original } from '../../proto/gen/chaperone/evidence/v1/unit.ts';

/** What a request looked like after masking, with what was masked out of it. Goes into sealed units only. */
export interface RequestCopy {
  readonly request: HttpRequest;
  readonly originals: readonly Original[];
}

/** A part of a response as the agent gets it. `originals` have offsets in `response.body`. */
export interface ResponseCopy {
  readonly response: HttpResponse;
  readonly originals: readonly Original[];
}
