import { GatewayError } from '../../core/kernel/errors.ts';
import type { ClassInfo, MediaKind, ResultShape } from '../contract/shape.ts';
import { machineFor } from './body-masker.ts';
import { BodyStream } from './body-stream.ts';
import { MaskCounters } from './mask-counters.ts';
import { MaskedOutput } from './masked-output.ts';
import { compileObservePlan } from './plan.ts';
import { SpanWriter } from './span-writer.ts';

/** What a request body holds by the catalogue: by where a value stands, not by what it looks like. */
export interface BodyClasses {
  /** Classes of the declared paths that have a value other than null. Sorted. */
  readonly classes: readonly string[];
  /** Scanner kinds that those classes stand for. Sorted. */
  readonly kinds: readonly string[];
  /** Members that nobody declared (names that look like data are `?`). */
  readonly unknownPaths: readonly string[];
  readonly rows: number;
}

export interface BodyClassifier {
  push(chunk: Buffer): void;
  /** Throws GatewayError `masking_failed` when the body cannot be read: it must not be forwarded as known. */
  finish(): BodyClasses;
}

/** Reads a request body along its declared shape. Throws `media_type_unknown` for a medium that is not declared. */
export function createBodyClassifier(
  shape: ResultShape,
  classes: ReadonlyMap<string, ClassInfo>,
  media: MediaKind,
): BodyClassifier {
  if (!shape.media.includes(media)) {
    throw new GatewayError('media_type_unknown', `the catalogue does not declare ${media} for this request`);
  }
  const plan = compileObservePlan(shape);
  const output = new MaskedOutput();
  const counters = new MaskCounters(plan);
  const stream = new BodyStream(machineFor(plan, media, new SpanWriter(output), counters), output, counters);
  return {
    push: (chunk) => {
      stream.push(chunk);
    },
    finish: () => {
      stream.finish();
      const names = counters.classes();
      const kinds = names.map((name) => classes.get(name)?.kind ?? '').filter((kind) => kind !== '');
      const { unknownPaths, rows } = counters.stats();
      return { classes: names, kinds: [...new Set(kinds)].sort(), unknownPaths, rows };
    },
  };
}

/** The same for a body that is already whole. */
export function kindsOfBody(
  shape: ResultShape,
  classes: ReadonlyMap<string, ClassInfo>,
  media: MediaKind,
  body: Buffer,
): BodyClasses {
  const classifier = createBodyClassifier(shape, classes, media);
  classifier.push(body);
  return classifier.finish();
}
