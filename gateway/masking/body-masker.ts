import { unreachable } from '../../core/kernel/assert.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import type { BodyMasker, MaskPlan } from '../contract/mask.ts';
import type { MediaKind } from '../contract/shape.ts';
import type { BodyMachine } from './body-stream.ts';
import { BodyStream } from './body-stream.ts';
import type { CompiledPlan } from './compiled-plan.ts';
import { compiledPlan } from './compiled-plan.ts';
import { CsvMachine } from './csv-machine.ts';
import { JsonMachine } from './json-machine.ts';
import { MaskCounters } from './mask-counters.ts';
import { MaskedOutput } from './masked-output.ts';
import { SpanWriter } from './span-writer.ts';
import { TextMachine } from './text-machine.ts';

/**
 * A masker for one body. Throws GatewayError `media_type_unknown` when the shape was not declared for this medium:
 * nobody said where its fields are.
 */
export function createBodyMasker(plan: MaskPlan, media: MediaKind): BodyMasker {
  const compiled = compiledPlan(plan);
  if (!compiled.media.includes(media)) {
    throw new GatewayError('media_type_unknown', `the catalogue does not declare ${media} for this result`);
  }
  const output = new MaskedOutput();
  const counters = new MaskCounters(compiled);
  const machine = machineFor(compiled, media, new SpanWriter(output), counters);
  return new BodyStream(machine, output, counters);
}

export function machineFor(
  plan: CompiledPlan,
  media: MediaKind,
  writer: SpanWriter,
  counters: MaskCounters,
): BodyMachine {
  switch (media) {
    case 'json':
      return new JsonMachine(plan, writer, counters, false);
    case 'ndjson':
      return new JsonMachine(plan, writer, counters, true);
    case 'csv':
      return new CsvMachine(plan, writer, counters);
    case 'text':
      return new TextMachine(plan, writer, counters);
    default:
      return unreachable(media);
  }
}
