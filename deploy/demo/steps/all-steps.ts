import type { Step } from '../story/story.ts';
import { bulkExportStep } from './bulk-export.ts';
import { crashStep } from './crash.ts';
import { egressStep } from './egress.ts';
import { maskedReadStep } from './masked-read.ts';
import { replayStep } from './replay.ts';
import { serviceStep } from './service.ts';
import { tamperStep } from './tamper.ts';
import { unknownFieldStep } from './unknown-field.ts';

/** In the order in which they are told. */
export const STEPS: readonly Step[] = [
  serviceStep,
  maskedReadStep,
  unknownFieldStep,
  bulkExportStep,
  egressStep,
  replayStep,
  tamperStep,
  crashStep,
];
