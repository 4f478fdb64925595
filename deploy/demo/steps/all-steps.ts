import type { Step } from '../story/story.ts';
import { bulkExportStep } from './bulk-export.ts';
import { egressStep } from './egress.ts';
import { maskedReadStep } from './masked-read.ts';
import { serviceStep } from './service.ts';
import { unknownFieldStep } from './unknown-field.ts';

/** In the order in which they are told. */
export const STEPS: readonly Step[] = [serviceStep, maskedReadStep, unknownFieldStep, bulkExportStep, egressStep];
